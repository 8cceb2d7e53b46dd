"""Which files a parsed line writes.

The rules are those that GCC 12.2 and Clang 14 were seen to follow (the tests run both and compare). What differs
between versions or families, or can't be told from the words alone, is not claimed, and the answer says that it is
not complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeGuard

from spraycc.commands.languages import ASSEMBLER_STAGES, Stage
from spraycc.commands.names import Family
from spraycc.commands.parse import Input, Mode, ParsedLine, SaveTemps


@dataclass(frozen=True, slots=True)
class Outputs:
    #: as written or implied, relative to the working directory; the one that -o names last
    names: tuple[bytes, ...]
    #: True where these are all that a successful run writes
    complete: bool


def is_file(name: bytes | None) -> TypeGuard[bytes]:
    """True where a name given as an output makes a file: not standard output, not a device."""
    return name is not None and name not in (b"", b"-") and not name.startswith((b"/dev/", b"/proc/"))


def stem(name: bytes) -> bytes:
    """The name without its last suffix; a basename that is nothing but a suffix (``.x``) loses nothing."""
    dot = name.rfind(b".")
    return name[:dot] if dot > name.rfind(b"/") + 1 else name


def _basename(name: bytes) -> bytes:
    return name[name.rfind(b"/") + 1 :]


def outputs_of(line: ParsedLine) -> Outputs:
    """Works out what the line writes, for every mode. A link's answer is never complete, as it never runs elsewhere."""
    named = line.output if is_file(line.output) else None
    out: list[bytes] = []
    complete = not line.writes_unknown
    if line.mode is Mode.PREPROCESS:
        complete &= _claim_depfiles(line, named, out)
        complete &= not line.writes and line.fragment is None
    elif line.mode is Mode.DEPENDENCIES:
        if is_file(line.depfile):
            out.append(line.depfile)
            if line.family is not Family.GCC:
                named = None  # Clang writes nothing to -o then; GCC an empty file
                complete &= line.output is None or line.family is Family.CLANG
        elif line.depfile is not None and line.family is not Family.GCC:
            named = None
        complete &= not line.depend and not line.writes and line.fragment is None and line.cpp_depfile is None
    elif line.mode in (Mode.OBJECT, Mode.ASSEMBLY) or is_header_only(line):
        if line.mode is Mode.ASSEMBLY and line.family is not Family.CLANG and _is_assembler_only(line):
            named = None  # preprocessed to standard output
        complete &= _claim_compiled(line, named, out)
    elif line.mode is Mode.LINK:
        named = b"a.out" if line.output is None else named
        complete = False
    elif line.mode is Mode.SYNTAX:
        if line.depfile is not None or line.cpp_depfile is not None:
            complete &= _claim_depfiles(line, None, out) and not line.writes
        else:
            complete &= not line.depend and not line.writes
        named = None
    else:
        complete = False
    if named is not None:
        out.append(named)
    if len(out) > 1:
        # Each name once, at its last place.
        out = list(dict.fromkeys(reversed(out)))[::-1]
    return Outputs(tuple(out), complete)


def is_header_only(line: ParsedLine) -> bool:
    """True where a line without -c makes precompiled headers all the same, as all it has is headers."""
    return (
        line.mode is Mode.LINK
        and bool(line.inputs)
        and not line.linker_words
        and all(source.language is not None and source.language.stage is Stage.HEADER for source in line.inputs)
    )


def _is_assembler_only(line: ParsedLine) -> bool:
    return {source.language.stage for source in line.inputs if source.language is not None} <= ASSEMBLER_STAGES


def _claim_compiled(line: ParsedLine, named: bytes | None, out: list[bytes]) -> bool:
    """-c and -S: everything but the named file itself. True where that is all."""
    sources = [source for source in line.inputs if source.language is not None]
    complete = _claim_depfiles(line, named, out)
    for name in (*line.writes, *([line.fragment] if line.fragment is not None else [])):
        if is_file(name):
            out.append(name)
    if line.output is not None and named is None:
        # To standard output or a device: where the other files go then is nobody's rule.
        return complete and not _has_companions(line)
    has_companions = _has_companions(line)
    for source in sources:
        if has_companions:
            complete &= _claim_companions(line, source, named, out)
        if named is None:
            implied = _implied(line, source)
            if implied is None:
                complete = False
            elif implied:
                out.append(implied)
        elif source.language is not None and source.language.stage is Stage.OTHER:
            complete = False
    return complete


def _implied(line: ParsedLine, source: Input) -> bytes | None:
    """The main output where -o does not name it; empty where there is none, None where it is not known."""
    assert source.language is not None
    stage = source.language.stage
    if stage is Stage.OTHER:
        return None
    if stage is Stage.HEADER:
        if line.mode is Mode.ASSEMBLY and line.family is not Family.CLANG:
            return None
        return source.name + b".gch"
    base = _source_stem(line, source)
    if base is None:
        return None
    if line.mode is Mode.ASSEMBLY:
        if stage in ASSEMBLER_STAGES:
            return b""
        return base + (b".ll" if line.emit_llvm else b".s")
    return base + (b".bc" if line.emit_llvm and stage in (Stage.PREPROCESS, Stage.COMPILE) else b".o")


def _source_stem(line: ParsedLine, source: Input) -> bytes | None:
    """The source's basename without its suffix; None for ``.x``, which GCC and Clang strip differently."""
    name = _basename(source.name)
    if name.startswith(b".") and name.count(b".") == 1:
        return None
    return stem(name)


def _claim_depfiles(line: ParsedLine, named: bytes | None, out: list[bytes]) -> bool:
    """The files of -MD, -MMD and -Wp,-MD,FILE. True where that is all."""
    if not line.depend and line.cpp_depfile is None:
        # -MF alone: an error to GCC, unused to Clang
        return line.depfile is None
    stages = {source.language.stage for source in line.inputs if source.language is not None}
    complete = True
    if Stage.OTHER in stages or Stage.COMPILE in stages:
        complete = False
        stages -= {Stage.OTHER, Stage.COMPILE}
    if stages <= {Stage.ASSEMBLE}:
        return complete
    explicit = line.depfile if line.cpp_depfile is None else line.cpp_depfile
    if explicit is not None:
        if is_file(explicit):
            out.append(explicit)
        return complete
    if line.output is not None:
        if named is None:
            return False
        base = _basename(named)
        dot = base.rfind(b".")
        directory = named[: len(named) - len(base)]
        out.append(directory + (base[:dot] if dot >= 0 else base) + b".d")
        return complete
    if line.renames_dumps:
        return False
    for source in line.inputs:
        if source.language is None or source.language.stage in (Stage.ASSEMBLE, Stage.OTHER, Stage.COMPILE):
            continue
        name = _source_stem(line, source)
        if name is None:
            complete = False
        else:
            out.append(name + b".d")
    return complete


def _has_companions(line: ParsedLine) -> bool:
    return (
        line.split_dwarf
        or line.coverage
        or line.note is not None
        or line.stack_usage
        or line.callgraph
        or line.time_trace
        or line.save_temps is not SaveTemps.OFF
    )


def _claim_companions(line: ParsedLine, source: Input, named: bytes | None, out: list[bytes]) -> bool:
    """The files beside one source's object: .gcno, .su, .ci, .dwo, .json and -save-temps. True where that is all."""
    assert source.language is not None
    stage = source.language.stage
    # PCH: GCC writes some of them and Clang none; other languages: not known.
    if stage in (Stage.HEADER, Stage.OTHER) or line.renames_dumps:
        return False
    base = stem(named) if named is not None else _source_stem(line, source)
    if base is None or (named is not None and _basename(named).startswith(b".") and _basename(named).count(b".") == 1):
        return False
    complete = True
    assembler = stage in ASSEMBLER_STAGES
    if not assembler:
        if line.note is not None:
            out.append(line.note)
        elif line.coverage:
            out.append(base + b".gcno")
        for wanted, suffix in ((line.stack_usage, b".su"), (line.callgraph, b".ci")):
            # With -flto they come at link time, unless there is an object besides.
            if wanted and line.lto:
                complete = False
            elif wanted:
                out.append(base + suffix)
        if line.time_trace:
            out.append(base + b".json")
    if line.split_dwarf and (line.mode is Mode.OBJECT or line.family is not Family.GCC):
        # Without -g it depends on the version and on the family whether there is debug information to split off.
        certain = line.family is Family.GCC or (line.debug and not line.lto and not line.emit_llvm and not assembler)
        if line.mode is Mode.ASSEMBLY:
            certain = certain and line.family is Family.CLANG
        if certain:
            out.append(base + b".dwo")
        else:
            complete = False
    if line.save_temps is not SaveTemps.OFF:
        complete = False  # other names before GCC 11
        out.extend(_temporaries(line, source, named))
    return complete


def _temporaries(line: ParsedLine, source: Input, named: bytes | None) -> list[bytes]:
    assert source.language is not None
    stage = source.language.stage
    if (
        stage not in (Stage.PREPROCESS, Stage.ASSEMBLE_CPP)
        or line.family is Family.EITHER
        or line.lto
        or line.emit_llvm
    ):
        return []
    clang = line.family is Family.CLANG
    base = named if named is not None and not clang else source.name
    beside = line.save_temps is SaveTemps.OBJECT or (line.save_temps is SaveTemps.DEFAULT and not clang)
    directory = named[: named.rfind(b"/") + 1] if named is not None and beside else b""
    prefix = directory + stem(_basename(base))
    suffixes = [] if stage is Stage.ASSEMBLE_CPP else [source.language.temporary] + ([b".bc"] if clang else [])
    if line.mode is Mode.OBJECT:
        suffixes.append(b".s")
    return [prefix + suffix for suffix in suffixes]
