"""Languages of source files, by suffix or by ``-x``, as far as they change the action of a command.

Sources: GCC's manual, "Options Controlling the Kind of Output", Clang's ``Types.def``; each suffix was tried with GCC
12.2 and Clang 14.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from spraycc.commands.names import Family


class Stage(enum.IntEnum):
    """The driver's first step for a file of a language."""

    PREPROCESS = enum.auto()  #: source that is preprocessed and compiled
    COMPILE = enum.auto()  #: preprocessed source, or a compiler's intermediate language
    HEADER = enum.auto()  #: a header: becomes a precompiled header, not an object
    ASSEMBLE_CPP = enum.auto()  #: assembler source that is preprocessed
    ASSEMBLE = enum.auto()  #: assembler source
    OTHER = enum.auto()  #: a language with outputs that this package does not know (Fortran, modules, CUDA, ...)


ASSEMBLER_STAGES = frozenset([Stage.ASSEMBLE, Stage.ASSEMBLE_CPP])


@dataclass(frozen=True, slots=True)
class Language:
    name: bytes
    stage: Stage
    #: suffix of the preprocessed text that -save-temps keeps; empty if there is none
    temporary: bytes = b""


C = Language(b"c", Stage.PREPROCESS, b".i")
CXX = Language(b"c++", Stage.PREPROCESS, b".ii")
C_HEADER = Language(b"c-header", Stage.HEADER)
CXX_HEADER = Language(b"c++-header", Stage.HEADER)

_OTHER = (
    b"ada f77 f77-cpp-input f95 f95-cpp-input "
    b"brig d go modula-2 modula-2-cpp-output algol68 rust cobol "  # GCC's alone
    b"ast c++-module c++-module-cpp-output cl clcpp cuda cuda-cpp-output hip hip-cpp-output hlsl ir "  # Clang's alone
    b"api-information pcm precompiled-header renderscript"
)

#: Allowed languages of ``-x``. ``none`` is no language: it ends the effect of an earlier ``-x``.
BY_NAME: dict[bytes, Language] = {
    language.name: language
    for language in [
        C,
        CXX,
        C_HEADER,
        CXX_HEADER,
        Language(b"c++-system-header", Stage.HEADER),
        Language(b"c++-user-header", Stage.HEADER),
        Language(b"c++-header-unit-header", Stage.HEADER),
        Language(b"cpp-output", Stage.COMPILE),
        Language(b"c-cpp-output", Stage.COMPILE),
        Language(b"c++-cpp-output", Stage.COMPILE),
        Language(b"objective-c", Stage.PREPROCESS, b".mi"),
        Language(b"objective-c++", Stage.PREPROCESS, b".mii"),
        Language(b"objective-c-header", Stage.HEADER),
        Language(b"objective-c++-header", Stage.HEADER),
        Language(b"objective-c-cpp-output", Stage.COMPILE),
        Language(b"objective-c++-cpp-output", Stage.COMPILE),
        Language(b"objc-cpp-output", Stage.COMPILE),
        Language(b"assembler", Stage.ASSEMBLE),
        Language(b"assembler-with-cpp", Stage.ASSEMBLE_CPP),
        *(Language(name, Stage.OTHER) for name in _OTHER.split()),
    ]
}

_SUFFIXES: list[tuple[Family, bytes, bytes]] = [
    (Family.EITHER, b"c", b".c"),
    (Family.EITHER, b"c++", b".cc .cp .cxx .cpp .CPP .c++ .C"),
    (Family.CLANG, b"c++", b".CC .CXX .C++"),
    (Family.EITHER, b"cpp-output", b".i"),
    (Family.EITHER, b"c++-cpp-output", b".ii"),
    (Family.EITHER, b"c-header", b".h"),
    (Family.EITHER, b"c++-header", b".hh .H .hxx .hpp"),
    (Family.GCC, b"c++-header", b".hp .HPP .h++ .tcc"),
    (Family.EITHER, b"objective-c", b".m"),
    (Family.EITHER, b"objective-c++", b".mm .M"),
    (Family.EITHER, b"objective-c-cpp-output", b".mi"),
    (Family.EITHER, b"objective-c++-cpp-output", b".mii"),
    (Family.EITHER, b"assembler", b".s"),
    (Family.EITHER, b"assembler-with-cpp", b".S"),
    (Family.GCC, b"assembler-with-cpp", b".sx"),
    (Family.CLANG, b"assembler", b".asm"),
    (Family.EITHER, b"f95", b".f90 .f95 .F90 .F95 .f03 .F03 .f08 .F08 .f .F .for .FOR .ftn .FTN .fpp .FPP"),
    (Family.EITHER, b"ada", b".adb .ads"),
    (Family.GCC, b"go", b".go"),
    (Family.GCC, b"d", b".d .di .dd"),
    # GCC 15 and later read these suffixes, too. Before, such a file is for the linker, so -c writes nothing.
    (Family.EITHER, b"c++-module", b".cppm .ccm .cxxm .c++m .ixx"),
    (Family.CLANG, b"c++-module-cpp-output", b".iim"),
    (Family.CLANG, b"ir", b".bc .ll"),
    (Family.CLANG, b"cuda", b".cu"),
    (Family.CLANG, b"cuda-cpp-output", b".cui"),
    (Family.CLANG, b"hip", b".hip"),
    (Family.CLANG, b"cl", b".cl"),
    (Family.CLANG, b"clcpp", b".clcpp"),
    (Family.CLANG, b"ast", b".ast"),
    (Family.CLANG, b"pcm", b".pcm"),
    (Family.CLANG, b"precompiled-header", b".gch .pch"),
]


def _by_suffix(family: Family, *, cxx: bool) -> dict[bytes, Language]:
    found = {}
    for known_to, name, suffixes in _SUFFIXES:
        if known_to & family:
            found.update(dict.fromkeys(suffixes.split(), BY_NAME[name]))
    if cxx:
        found.update({b".c": CXX, b".h": CXX_HEADER, b".i": BY_NAME[b"c++-cpp-output"]})
    return found


_TABLES = {
    (family, cxx): _by_suffix(family, cxx=cxx)
    for family in (Family.GCC, Family.CLANG, Family.EITHER)
    for cxx in (False, True)
}


#: Suffixes of all sources that compilers of any family compile; headers are none.
SOURCE_SUFFIXES = frozenset(
    suffix for _, name, suffixes in _SUFFIXES for suffix in suffixes.split() if BY_NAME[name].stage is not Stage.HEADER
)


def by_suffix(family: Family, *, cxx: bool) -> dict[bytes, Language]:
    """The languages by suffix; upper and lower case differ. A file with another suffix is for the linker.

    ``cxx`` is for the drivers named g++, clang++ and c++, which read ``.c`` and ``.h`` files as C++.
    """
    return _TABLES[family, cxx]
