"""Recognizes a tool by its name alone.

The name is a basename, as found on PATH or in ``argv[0]``: plain (``gcc``), versioned (``gcc-12``, ``clang++-16``,
``gcc12``, ``clang-mp-15``), with a target in front (``x86_64-linux-gnu-gcc-12``, ``arm-none-eabi-g++``), with a
thread model behind (``x86_64-w64-mingw32-gcc-posix``). All other names are unknown: ``gcc-hardening-check``,
``ccache-gcc``, ``clang-tidy``.
"""

from __future__ import annotations

import enum
import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache


class Family(enum.Flag):
    """The compiler whose command line a program understands. ``cc`` and ``c++`` may be either."""

    GCC = enum.auto()
    CLANG = enum.auto()
    EITHER = GCC | CLANG


class Tool(enum.Enum):
    """The programs whose command lines SprayCC understands well enough to choose a placement."""

    GCC = "gcc"
    GXX = "g++"
    CLANG = "clang"
    CLANGXX = "clang++"
    CC = "cc"
    CXX = "c++"
    AR = "ar"
    RANLIB = "ranlib"
    STRIP = "strip"
    OBJCOPY = "objcopy"
    LD = "ld"
    AS = "as"
    NVCC = "nvcc"
    HIPCC = "hipcc"
    #: icx, icpx, ifx
    INTEL = "intel"
    #: nvc, nvc++, nvfortran
    NVHPC = "nvhpc"
    #: a compiler driver of which no more is known than -c, -S, -E and -o: Fortran, Arm, the user's own
    DRIVER = "driver"
    NASM = "nasm"
    YASM = "yasm"

    @property
    def family(self) -> Family | None:
        """The grammar of the command line; None if the program is no C or C++ compiler driver."""
        return _FAMILIES.get(self)

    @property
    def is_opaque(self) -> bool:
        """True if the outputs of a command line can't be predicted, see :mod:`.opaque`."""
        return self in _OPAQUE

    @property
    def is_cxx(self) -> bool:
        """True if the program reads ``.c`` and ``.h`` files as C++."""
        return self in (Tool.GXX, Tool.CLANGXX, Tool.CXX)


_FAMILIES = {
    Tool.GCC: Family.GCC,
    Tool.GXX: Family.GCC,
    Tool.CLANG: Family.CLANG,
    Tool.CLANGXX: Family.CLANG,
    Tool.CC: Family.EITHER,
    Tool.CXX: Family.EITHER,
}
_OPAQUE = frozenset({Tool.NVCC, Tool.HIPCC, Tool.INTEL, Tool.NVHPC, Tool.DRIVER, Tool.NASM, Tool.YASM})

#: Without mold: ``mold -run make`` executes a whole build.
_STEMS = {
    b"cc": Tool.CC,
    b"c++": Tool.CXX,
    b"c89": Tool.CC,
    b"c99": Tool.CC,
    b"gcc": Tool.GCC,
    b"g++": Tool.GXX,
    b"c89-gcc": Tool.GCC,
    b"c99-gcc": Tool.GCC,
    b"clang": Tool.CLANG,
    b"clang++": Tool.CLANGXX,
    b"ar": Tool.AR,
    b"gcc-ar": Tool.AR,
    b"llvm-ar": Tool.AR,
    b"ranlib": Tool.RANLIB,
    b"gcc-ranlib": Tool.RANLIB,
    b"llvm-ranlib": Tool.RANLIB,
    b"strip": Tool.STRIP,
    b"llvm-strip": Tool.STRIP,
    b"objcopy": Tool.OBJCOPY,
    b"llvm-objcopy": Tool.OBJCOPY,
    b"ld": Tool.LD,
    b"ld.bfd": Tool.LD,
    b"ld.gold": Tool.LD,
    b"ld.lld": Tool.LD,
    b"ld.mold": Tool.LD,
    b"ld64.lld": Tool.LD,
    b"lld": Tool.LD,
    b"gold": Tool.LD,
    b"as": Tool.AS,
    b"llvm-as": Tool.AS,
    b"nvcc": Tool.NVCC,
    b"hipcc": Tool.HIPCC,
    b"icx": Tool.INTEL,
    b"icpx": Tool.INTEL,
    b"ifx": Tool.INTEL,
    b"nvc": Tool.NVHPC,
    b"nvc++": Tool.NVHPC,
    b"nvfortran": Tool.NVHPC,
    b"gfortran": Tool.DRIVER,
    b"f77": Tool.DRIVER,
    b"f95": Tool.DRIVER,
    b"flang": Tool.DRIVER,
    b"flang-new": Tool.DRIVER,
    b"armclang": Tool.DRIVER,
    b"armclang++": Tool.DRIVER,
    b"armflang": Tool.DRIVER,
    b"nasm": Tool.NASM,
    b"yasm": Tool.YASM,
}

#: A prefix of a tool's name counts as a target only if it begins with an architecture, or ends with an operating system
#: or ABI. Other prefixes belong to wrappers (``ccache-gcc``, ``afl-clang``, ``my-gcc``), which may do anything. Each is
#: the start of a word, and its only special signs are sets (``[3-7]``).
_ARCHITECTURES = (
    b"x86_64 amd64 i[3-7]86 x86 arm aarch64 thumb riscv mips powerpc ppc s390 sparc sh[1-5e] m68k m6811 avr msp430 "
    b"xtensa alpha hppa ia64 loongarch or1k microblaze nios2 arc csky bfin blackfin rx rl78 v850 wasm amdgcn nvptx bpf "
    b"pru tricore h8300 lm32 moxie m32[cr] mn10300 cris frv ft32 visium vax tile epiphany hexagon mep z80"
).split()
_SYSTEMS = (
    b"linux gnu musl uclibc uclinux android elf eabi none mingw cygwin msys newlib darwin freebsd netbsd openbsd "
    b"dragonfly solaris aix hpux rtems vxworks haiku wasi emscripten unknown poky"
).split()
_ARCHITECTURE = rb"(?:" + b"|".join(_ARCHITECTURES) + rb")[A-Za-z0-9_.]*"
_SYSTEM = rb"(?:" + b"|".join(_SYSTEMS) + rb")[A-Za-z0-9_.]*"
#: The longest first: the first that fits counts.
_ORDERED_STEMS = sorted(_STEMS, key=len, reverse=True)
_NAME = re.compile(
    rb"(?:" + _ARCHITECTURE + rb"-(?:[A-Za-z0-9_.]+-)*?|(?:[A-Za-z0-9_.]+-)*?" + _SYSTEM + rb"-)?"
    rb"(" + b"|".join(map(re.escape, _ORDERED_STEMS)) + rb")"
    rb"(?:-[0-9]+(?:\.[0-9]+)*|([0-9]+)|-mp-[0-9.]+|-devel)?"
    rb"(?:-posix|-win32)?"
)

#: Names that have a version without a hyphen on some systems (``gcc12``, ``llvm-ar16``). ``cc1`` and
#: ``f951`` are other programs.
_NUMBERED = (b"gcc", b"g++", b"gfortran", b"clang", b"flang", b"llvm-")

#: NAME_MAX of Linux: no file has a longer name, so a longer word needs no match.
_NAME_MAX = 255

#: Programs that start the compiler named by their next word, or by the link through which they were called.
_LAUNCHERS = frozenset(
    b"spraycc-run ccache sccache distcc icecc buildcache fastbuild fbuild cachecc1 goma gomacc rewrapper nocc pump "
    b"colorgcc".split()
)
#: Links such as ``/usr/lib/ccache/gcc`` lead to the launcher.
_LAUNCHER_DIRECTORIES = b"ccache sccache distcc icecc icecream colorgcc buildcache".split()
_MASQUERADE = re.compile(rb"/(?:" + b"|".join(_LAUNCHER_DIRECTORIES) + rb")/(?:[^/]+/)?[^/]*\Z")

#: Tools of which no name on PATH gets a shim: the compiler starts them under its own slot.
_WITHOUT_SHIM = (Tool.LD, Tool.AS)


@lru_cache(maxsize=1024)
def tool_of(name: bytes) -> Tool | None:
    """The tool with this basename; None if SprayCC does not understand its command line."""
    match = _NAME.fullmatch(name) if len(name) <= _NAME_MAX else None
    if match is None or (match[2] and not match[1].startswith(_NUMBERED)):
        return None
    return _STEMS[match[1]]


@dataclass(frozen=True, slots=True)
class Tools:
    """The user's own compilers: patterns of basenames. They come before the grammar of this module."""

    like_gcc: tuple[str, ...] = ()
    like_clang: tuple[str, ...] = ()
    overlay_only: tuple[str, ...] = ()

    def names(self, name: bytes) -> bool:
        """True if a pattern of the user has this basename."""
        return _tool_in(self, name) is not None

    def named(self, program: bytes, called: bytes) -> Tool | None:
        """The tool with one of these basenames.

        Args:
            program: basename of the program's file. It counts more than ``called``.
            called: basename of argv[0].
        """
        return _tool_in(self, program) or _tool_in(self, called) or tool_of(program) or tool_of(called)


#: The user names no compiler.
NO_TOOLS = Tools()


@lru_cache(maxsize=1024)
def _tool_in(tools: Tools, name: bytes) -> Tool | None:
    text = name.decode("utf-8", "surrogateescape")
    is_cxx = "++" in text
    for patterns, tool in (
        (tools.overlay_only, Tool.DRIVER),
        (tools.like_gcc, Tool.GXX if is_cxx else Tool.GCC),
        (tools.like_clang, Tool.CLANGXX if is_cxx else Tool.CLANG),
    ):
        if any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns):
            return tool
    return None


@lru_cache(maxsize=1024)
def is_launcher(program: bytes) -> bool:
    """True if the program is a launcher such as ccache, by its name or by the directory of its links.

    A launcher uses files of its own (a cache, a socket), so it stays on the submit host.
    """
    name = program[program.rfind(b"/") + 1 :]
    return name in _LAUNCHERS or _MASQUERADE.search(program) is not None


def is_shim_name(name: bytes) -> bool:
    """True if a program with this basename in a directory of PATH gets a shim."""
    tool = tool_of(name)
    return tool is not None and tool not in _WITHOUT_SHIM


def grammar() -> list[tuple[bytes, bytes]]:
    """The lists behind :func:`tool_of` and :func:`is_launcher`, as lines for the library that intercepts executions.

    spraycc/native/exec/names.c decides by them as these functions do.
    """
    lists: dict[bytes, Sequence[bytes]] = {
        b"stem": _ORDERED_STEMS,
        b"numbered": _NUMBERED,
        b"architecture": _ARCHITECTURES,
        b"system": _SYSTEMS,
        b"launcher": sorted(_LAUNCHERS),
        b"launcher-directory": _LAUNCHER_DIRECTORIES,
    }
    return [(key, value) for key, values in lists.items() for value in values]
