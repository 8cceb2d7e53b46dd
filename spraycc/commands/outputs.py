"""The files that a parsed line writes.

The rules are those observed with GCC 12.2 and Clang 14 (the tests run both and compare). A file is left out if it
differs between versions or families, or if the words alone do not show it. The answer is then marked as not complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeGuard

from spraycc.commands.languages import ASSEMBLER_STAGES, Stage
from spraycc.commands.names import Family
from spraycc.commands.parse import Input, Mode, ParsedLine, SaveTemps


@dataclass(frozen=True, slots=True)
class Outputs:
    #: as written or implied, relative to the working directory; the file of -o last
    names: tuple[bytes, ...]
    #: True if a successful run writes these files and no others
    complete: bool


def is_file(name: bytes | None) -> TypeGuard[bytes]:
    """True if an output of this name is a file, and not standard output or a device."""
    return name is not None and name not in (b"", b"-") and not name.startswith((b"/dev/", b"/proc/"))


def stem(name: bytes) -> bytes:
    """The name without its last suffix; a basename that is only a suffix (``.x``) stays."""
    dot = name.rfind(b".")
    return name[:dot] if dot > name.rfind(b"/") + 1 else name


def _basename(name: bytes) -> bytes:
    return name[name.rfind(b"/") + 1 :]


def outputs_of(line: ParsedLine) -> Outputs:
    """The outputs of a line of any mode. A link's answer is never complete, because no link runs on an executor."""
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
                named = None  # then Clang writes nothing to -o, and GCC writes an empty file
                complete &= line.output is None or line.family is Family.CLANG
        elif line.depfile is not None and line.family is not Family.GCC:
            named = None
        complete &= not line.depend and not line.writes and line.fragment is None and line.cpp_depfile is None
    elif line.mode in (Mode.OBJECT, Mode.ASSEMBLY) or is_header_only(line):
        if line.mode is Mode.ASSEMBLY and line.family is not Family.CLANG and line.stages() <= ASSEMBLER_STAGES:
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
    """True if a line without -c makes precompiled headers, because all its inputs are headers."""
    return (
        line.mode is Mode.LINK
        and bool(line.inputs)
        and not line.linker_words
        and all(source.language is not None and source.language.stage is Stage.HEADER for source in line.inputs)
    )


def _claim_compiled(line: ParsedLine, named: bytes | None, out: list[bytes]) -> bool:
    """Adds the outputs of -c and -S to ``out``, without the file of -o. True if these are all."""
    sources = [source for source in line.inputs if source.language is not None]
    complete = _claim_depfiles(line, named, out)
    for name in (*line.writes, *([line.fragment] if line.fragment is not None else [])):
        if is_file(name):
            out.append(name)
    if line.output is not None and named is None:
        # The output goes to standard output or a device. No rule says where the other files go then.
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
    """The main output of a line without -o; empty if there is none, None if it is unknown."""
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
    """Adds the files of -MD, -MMD and -Wp,-MD,FILE to ``out``. True if these are all depfiles."""
    if not line.depend and line.cpp_depfile is None:
        # -MF alone is an error for GCC, and Clang ignores it
        return line.depfile is None
    stages = line.stages()
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
    """Adds the files beside one source's object (.gcno, .su, .ci, .dwo, .json, -save-temps). True if these are all."""
    assert source.language is not None
    stage = source.language.stage
    # For a precompiled header GCC writes some of these files, and Clang none. For other languages they are unknown.
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
            # With -flto the link writes this file, unless the compile also makes a normal object.
            if wanted and line.lto:
                complete = False
            elif wanted:
                out.append(base + suffix)
        if line.time_trace:
            out.append(base + b".json")
    if line.split_dwarf and (line.mode is Mode.OBJECT or line.family is not Family.GCC):
        # Without -g, version and family decide whether there is debug information to split off.
        certain = line.family is Family.GCC or (line.debug and not line.lto and not line.emit_llvm and not assembler)
        if line.mode is Mode.ASSEMBLY:
            certain = certain and line.family is Family.CLANG
        if certain:
            out.append(base + b".dwo")
        else:
            complete = False
    if line.save_temps is not SaveTemps.OFF:
        complete = False  # GCC before 11 uses other names
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
