"""Rewrites a compile line so that all outputs land in one directory: the capture for hosts without an overlay. Pure.

A line is rewritten only if every output is known, and no output holds the name of another output. Split debug
information and coverage notes record the name after -o, so lines with these outputs run on the submit host. In the rule
of a depfile, -MQ keeps the original name. The rewritten line is parsed again: its outputs must be the expected files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from spraycc.commands.appending import GCC_VARIABLES
from spraycc.commands.languages import Stage
from spraycc.commands.names import NO_TOOLS, Family, Tools
from spraycc.commands.outputs import outputs_of
from spraycc.commands.parse import Mode, ParsedLine, SaveTemps, parse
from spraycc.commands.response import expand

#: Stands for the directory in the rewritten words: no argument of a program can hold this byte.
PLACE = b"\0"
#: Options that write files, or record names, in ways that this package does not know. A line with a word that begins
#: like one of them is not rewritten.
_UNSURE = (
    b"-fprofile", b"-fauto-profile", b"-fcoverage", b"-fcs-profile", b"-frecord-command-line", b"-grecord-command-line",
    b"--output", b"-dump", b"-aux", b"-Xpreprocessor", b"-Xassembler", b"-Xclang", b"-Wa,", b"-specs", b"--specs",
    b"-fplugin", b"-fmodule", b"-index", b"-time",
)  # fmt: skip
_PREPROCESSOR_DEPENDS = (b"-Wp,-MD,", b"-Wp,-MMD,")


@dataclass(frozen=True, slots=True)
class Prediction:
    """A command line that an executor runs in place of the original line."""

    argv: tuple[bytes, ...]
    #: (name below the directory, name on the original line), the file of -o last
    outputs: tuple[tuple[bytes, bytes], ...]
    #: the only source, as on the original line
    source: bytes


def predict(
    argv: Sequence[bytes],
    program: bytes,
    env: Mapping[bytes, bytes],
    read_file: Callable[[bytes], bytes | None],
    tools: Tools = NO_TOOLS,
) -> Prediction | None:
    """The rewritten line; None if an output is uncertain.

    Args:
        argv: a line that :func:`~spraycc.commands.describe.describe` sends to an executor.
        program: the program. If the user has not named it, it is the one behind all links, because the name ``cc`` does
            not show the family.
        env: the line's environment.
        read_file: as for ``describe``.
        tools: the user's own compilers.
    """
    tool = tools.named(program[program.rfind(b"/") + 1 :], b"")
    if tool is None or tool.family not in (Family.GCC, Family.CLANG):
        return None
    family = tool.family
    expansion = expand(argv[1:], read_file, clang=family is Family.CLANG)
    if not expansion.complete or any(env.get(name) for name in GCC_VARIABLES):
        return None
    words = list(expansion.words)
    line = parse(words, family, cxx=tool.is_cxx)
    outputs = outputs_of(line)
    if not outputs.complete or not _is_plain(line, words):
        return None
    places: dict[bytes, bytes] = {}
    moved = tuple([(_place(name, places), name) for name in outputs.names])
    if not moved:
        return Prediction((argv[0], *words), (), line.inputs[0].name)
    rewritten = _rewritten(line, words, {name: place for place, name in moved})
    if rewritten is None:
        return None
    again = parse(rewritten, family, cxx=tool.is_cxx)
    expected = sorted(PLACE + b"/" + place for place, _ in moved)
    if again.inputs != line.inputs or again.mode != line.mode or sorted(outputs_of(again).names) != expected:
        return None
    return Prediction((argv[0], *rewritten), moved, line.inputs[0].name)


def _is_plain(line: ParsedLine, words: Sequence[bytes]) -> bool:
    sources = [source for source in line.inputs if source.language is not None]
    records_names = (
        line.split_dwarf or line.coverage or line.note is not None or line.time_trace or line.renames_dumps
        or line.fragment is not None or bool(line.writes) or line.save_temps is not SaveTemps.OFF
    )  # fmt: skip
    return (
        len(line.inputs) == len(sources) == 1
        and not records_names
        and line.stages() <= {Stage.PREPROCESS, Stage.COMPILE, Stage.ASSEMBLE, Stage.ASSEMBLE_CPP}
        and line.mode in (Mode.OBJECT, Mode.ASSEMBLY, Mode.PREPROCESS, Mode.DEPENDENCIES)
        and not any(word.startswith(_UNSURE) for word in words)
    )


def _place(name: bytes, places: dict[bytes, bytes]) -> bytes:
    """The place of an output: a number for its directory, and its own name, because other names derive from it."""
    cut = name.rfind(b"/") + 1
    number = places.setdefault(name[:cut], b"%d" % len(places))
    return number + b"/" + name[cut:]


def _rewritten(line: ParsedLine, words: Sequence[bytes], place_of: Mapping[bytes, bytes]) -> list[bytes] | None:
    def place(name: bytes) -> bytes:
        return PLACE + b"/" + place_of[name]

    result: list[bytes] = []
    rest = iter(words)
    for word in rest:
        if word in (b"-o", b"-MF"):
            next(rest, None)
        elif word.startswith((b"-o", b"-MF")):
            pass
        elif word.startswith(_PREPROCESSOR_DEPENDS):
            lead = word[: word.index(b",", 4) + 1]
            if word[len(lead) :] not in place_of:
                return None
            result.append(lead + place(word[len(lead) :]))
        else:
            result.append(word)
    main = line.output
    if main is None and line.mode in (Mode.OBJECT, Mode.ASSEMBLY):
        main = list(place_of)[-1]
    if line.output is not None and line.output not in place_of:
        return None
    front: list[bytes] = []
    if main is not None:
        front += [b"-o", place(main)]
    depfile = next((name for name in place_of if name != main and name == line.depfile), None)
    if line.depend and line.cpp_depfile is None:
        depfile = depfile or next((name for name in place_of if name.endswith(b".d") and name != main), None)
        if depfile is None:
            return None
    if depfile is not None:
        front += [b"-MF", place(depfile)]
    # Clang reads -Wp,-MD,FILE as -MD -MF FILE. GCC hands the words to its inner command, which does not know -o.
    by_driver = line.depend or (line.cpp_depfile is not None and line.family is Family.CLANG)
    # With -E, GCC names the target after the source and ignores -o.
    by_output = by_driver and not (line.family is Family.GCC and line.mode is Mode.PREPROCESS)
    if by_output and not any(word.startswith((b"-MT", b"-MQ")) for word in words):
        if main is None or (line.output is None and line.mode is not Mode.OBJECT):
            return None
        front += [b"-MQ", main]
    return front + result
