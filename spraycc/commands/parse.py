"""Reads the command line of a compiler driver, as GCC's and Clang's drivers do, into a :class:`ParsedLine`.

Nothing is decided here: what the line is and where it runs is :mod:`.describe`'s, which files it writes
:mod:`.outputs`'s.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from spraycc.commands.languages import BY_NAME, Language, Stage, by_suffix
from spraycc.commands.names import Family
from spraycc.commands.option_table import ROWS
from spraycc.commands.options import Effect, OptionTable, Row, Takes
from spraycc.commands.reasons import Reason


class Mode(enum.IntEnum):
    """How far the driver goes. Of several the highest counts: ``-c -S`` writes assembler, ``-c -M`` rules."""

    LINK = 0
    OBJECT = 1  #: -c
    ASSEMBLY = 2  #: -S
    OTHER = 3  #: Clang's rare ones
    SYNTAX = 4  #: -fsyntax-only
    PREPROCESS = 5  #: -E
    DEPENDENCIES = 6  #: -M, -MM


class SaveTemps(enum.Enum):
    OFF = enum.auto()
    CWD = enum.auto()
    OBJECT = enum.auto()  #: beside the file named by -o
    DEFAULT = enum.auto()  #: plain -save-temps: GCC's OBJECT (since 11), Clang's CWD


@dataclass(frozen=True, slots=True)
class Input:
    name: bytes
    #: None: a file for the linker
    language: Language | None


@dataclass(slots=True)
class ParsedLine:
    """The meaning of the words of one command line. Filled by :func:`parse`, not changed later."""

    family: Family
    mode: Mode = Mode.LINK
    inputs: list[Input] = field(default_factory=list)
    #: what -o names, whatever it is; None where it is not given
    output: bytes | None = None
    #: it prints something and compiles nothing
    query: bool = False
    verbose: bool = False
    #: --driver-mode= says it is another program
    other_driver: bool = False
    #: libraries and options for the linker
    linker_words: list[bytes] = field(default_factory=list)
    #: files it reads besides its inputs, as far as they could be standard input
    reads: list[bytes] = field(default_factory=list)
    #: directories in which it looks for headers, in the order of the line
    searches: list[bytes] = field(default_factory=list)

    #: -MD or -MMD
    depend: bool = False
    #: what -MF names
    depfile: bytes | None = None
    #: what -Wp,-MD,FILE names: goes before -MD's own choice
    cpp_depfile: bytes | None = None
    #: what -MJ names
    fragment: bytes | None = None
    #: further files that it is said to write
    writes: list[bytes] = field(default_factory=list)
    #: it may write files that are not worked out here
    writes_unknown: bool = False
    #: -dumpbase and its like
    renames_dumps: bool = False
    debug: bool = False
    split_dwarf: bool = False
    coverage: bool = False
    #: what -fprofile-note= names
    note: bytes | None = None
    stack_usage: bool = False
    callgraph: bool = False
    save_temps: SaveTemps = SaveTemps.OFF
    time_trace: bool = False
    emit_llvm: bool = False
    lto: bool = False
    modules: bool = False
    #: made for the CPU it runs on
    native: bool = False
    #: words for the preprocessor and for the assembler, from -Wp, -Wa, and -X
    cpp_words: list[bytes] = field(default_factory=list)
    assembler_words: list[bytes] = field(default_factory=list)
    #: why a compile must stay on the submit host
    forced_here: Reason | None = None


#: Words of Clang's inner command line that write nothing; any other may.
_QUIET_CC1 = frozenset(
    b"-emit-pch -fno-pch-timestamp -fno-validate-pch -include-pch -include -fallow-pch-with-compiler-errors".split()
)
#: -d and these: printed or in the preprocessor's text; any other letter dumps files.
_QUIET_DUMPS = frozenset(b"ADHIMNPUpx")


_Handler = Callable[[ParsedLine, bytes | None], None]

#: So many bytes of a word are kept to know it again as an option without effect.
_LEAD_BYTES = 6


def _language_of(name: bytes, languages: dict[bytes, Language], family: Family) -> Language | None:
    dot = name.rfind(b".")
    start = name.rfind(b"/") + 1
    # To GCC a name that is nothing but a suffix (".c") has none; to Clang it has.
    if dot < start or (dot == start and family is not Family.CLANG):
        return None
    return languages.get(name[dot:])


def _set_mode(mode: Mode) -> _Handler:
    def apply(line: ParsedLine, value: bytes | None) -> None:
        line.mode = max(line.mode, mode)

    return apply


def _set(name: str, state: object) -> _Handler:
    def apply(line: ParsedLine, value: bytes | None) -> None:
        setattr(line, name, state)

    return apply


def _keep(name: str) -> _Handler:
    """The last one given counts; a missing argument is the driver's error to report."""

    def apply(line: ParsedLine, value: bytes | None) -> None:
        if value is not None:
            setattr(line, name, value)

    return apply


def _collect(name: str) -> _Handler:
    def apply(line: ParsedLine, value: bytes | None) -> None:
        if value is not None:
            getattr(line, name).append(value)

    return apply


def _force(reason: Reason) -> _Handler:
    def apply(line: ParsedLine, value: bytes | None) -> None:
        line.forced_here = line.forced_here or reason

    return apply


def _collect_split(name: str) -> _Handler:
    def apply(line: ParsedLine, value: bytes | None) -> None:
        getattr(line, name).extend((value or b"").split(b","))

    return apply


def _language(line: ParsedLine, value: bytes | None) -> None:
    """-x; the loop knows it by identity, as it keeps the language."""


def _end(line: ParsedLine, value: bytes | None) -> None:
    """``--``; the loop knows it by identity."""


def _driver_mode(line: ParsedLine, value: bytes | None) -> None:
    line.other_driver = value not in (b"gcc", b"g++")


def _appends(line: ParsedLine, value: bytes | None) -> None:
    line.forced_here = line.forced_here or Reason.APPENDS
    if value:
        line.writes.append(value)


def _split_dwarf(line: ParsedLine, value: bytes | None) -> None:
    line.split_dwarf = True
    # GCC turns debugging on with it (so did Clang before 12).
    if line.family is Family.GCC:
        line.debug = True


def _save_temps(line: ParsedLine, value: bytes | None) -> None:
    line.save_temps = {None: SaveTemps.DEFAULT, b"obj": SaveTemps.OBJECT}.get(value, SaveTemps.CWD)


def _opt_info(line: ParsedLine, value: bytes | None) -> None:
    _, equals, name = (value or b"").partition(b"=")
    if equals and name not in (b"stderr", b"stdout"):
        line.writes.append(name)


def _dump_letters(line: ParsedLine, value: bytes | None) -> None:
    if not _QUIET_DUMPS.issuperset(value or b""):
        line.writes_unknown = True


def _cc1_word(line: ParsedLine, value: bytes | None) -> None:
    # A word that is no option is the argument of the one before, which was judged.
    if value and value.startswith(b"-") and value not in _QUIET_CC1:
        line.writes_unknown = True
    if value == b"-dependency-file":
        line.cpp_depfile = b"-"  # goes before -MD's own choice, and names no file that is worked out here


def _cpu(line: ParsedLine, value: bytes | None) -> None:
    if value is not None and value.startswith(b"native"):
        line.native = True


def _lto(line: ParsedLine, value: bytes | None) -> None:
    line.lto = value != b"none"


def _module_mapper(line: ParsedLine, value: bytes | None) -> None:
    # A plain file may be read anywhere; a program, a socket, a descriptor or host:port belongs to this host (GCC's
    # manual, C++ Modules).
    if value and (value[:1] in b"|=<" or b":" in value):
        line.forced_here = Reason.MODULE_SERVER
    line.writes_unknown = True


_EFFECTS: dict[Effect, _Handler | None] = {
    Effect.NONE: None,
    Effect.COMPILE_ONLY: _set_mode(Mode.OBJECT),
    Effect.ASSEMBLY_ONLY: _set_mode(Mode.ASSEMBLY),
    Effect.PREPROCESS_ONLY: _set_mode(Mode.PREPROCESS),
    Effect.DEPENDENCIES_ONLY: _set_mode(Mode.DEPENDENCIES),
    Effect.SYNTAX_ONLY: _set_mode(Mode.SYNTAX),
    Effect.OTHER_MODE: _set_mode(Mode.OTHER),
    Effect.QUERY: _set("query", True),
    Effect.VERBOSE: _set("verbose", True),
    Effect.DRIVER_MODE: _driver_mode,
    Effect.READS: _collect("reads"),
    Effect.SEARCHES: _collect("searches"),
    Effect.LINKER_WORD: _collect("linker_words"),
    Effect.LINKER_WORDS: _collect_split("linker_words"),
    Effect.CPP_WORD: _collect("cpp_words"),
    Effect.CPP_WORDS: _collect_split("cpp_words"),
    Effect.ASSEMBLER_WORD: _collect("assembler_words"),
    Effect.ASSEMBLER_WORDS: _collect_split("assembler_words"),
    Effect.LANGUAGE: _language,
    Effect.END: _end,
    Effect.OUTPUT: _keep("output"),
    Effect.DEPEND: _set("depend", True),
    Effect.DEPFILE: _keep("depfile"),
    Effect.FRAGMENT: _keep("fragment"),
    Effect.CC1_WORD: _cc1_word,
    Effect.DEBUG: _set("debug", True),
    Effect.DEBUG_OFF: _set("debug", False),
    Effect.SPLIT_DWARF: _split_dwarf,
    Effect.SPLIT_DWARF_OFF: _set("split_dwarf", False),
    Effect.COVERAGE: _set("coverage", True),
    Effect.NOTE: _keep("note"),
    Effect.STACK_USAGE: _set("stack_usage", True),
    Effect.CALLGRAPH: _set("callgraph", True),
    Effect.SAVE_TEMPS: _save_temps,
    Effect.SAVE_TEMPS_OFF: _set("save_temps", SaveTemps.OFF),
    Effect.TIME_TRACE: _set("time_trace", True),
    Effect.OPT_INFO: _opt_info,
    Effect.DUMP_LETTERS: _dump_letters,
    Effect.DUMP_NAMES: _set("renames_dumps", True),
    Effect.EMIT_LLVM: _set("emit_llvm", True),
    Effect.LTO: _lto,
    Effect.LTO_OFF: _set("lto", False),
    Effect.WRITES: _collect("writes"),
    Effect.WRITES_UNKNOWN: _set("writes_unknown", True),
    Effect.CPU: _cpu,
    Effect.WRAPPER: _force(Reason.WRAPPER),
    Effect.APPENDS: _appends,
    Effect.MODULE_MAPPER: _module_mapper,
    Effect.MODULES: _set("modules", True),
    Effect.MODULES_OFF: _set("modules", False),
}


def _read_preprocessor_words(line: ParsedLine, words: list[bytes]) -> None:
    """-Wp,-MD,FILE, the form of the Linux kernel, and what else may stand there.

    GCC hands the words to its inner command, where -MD takes the file's name. Clang reads only exactly that form as
    GCC does.
    """
    if line.family is not Family.GCC and len(words) != 2:
        line.writes_unknown = True
        if line.family is Family.CLANG and len(words) != 1:
            return
    if words in ([b"-MD"], [b"-MMD"]) and line.family is Family.CLANG:
        line.depend = True
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if word in (b"-MD", b"-MMD", b"-MF"):
            if index < len(words):
                line.cpp_depfile = words[index]
            index += 1
        elif word in (
            b"-MT",
            b"-MQ",
            b"-D",
            b"-U",
            b"-I",
            b"-include",
            b"-imacros",
            b"-isystem",
            b"-iquote",
            b"-idirafter",
        ):
            index += 1
        elif word.startswith(b"-MF"):
            line.cpp_depfile = word[3:]
        elif word.startswith(b"-d"):
            line.writes_unknown = True
    if line.cpp_depfile is not None and line.depfile is not None and line.cpp_depfile != line.depfile:
        line.writes_unknown = True


def _read_assembler_words(line: ParsedLine, words: list[bytes]) -> None:
    """-Wa,-al=FILE, -Wa,--MD,FILE: the options of the GNU assembler that name a file besides its object."""
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if word.startswith(b"-a") and b"=" in word:
            line.writes.append(word[word.index(b"=") + 1 :])
        elif word == b"--MD":
            if index < len(words):
                line.writes.append(words[index])
            index += 1
        elif word.startswith(b"--MD="):
            line.writes.append(word[5:])
        elif word in (b"-I", b"--defsym", b"--debug-prefix-map"):
            index += 1
        elif word.startswith((b"@", b"-o")):
            line.writes_unknown = True


class _Grammar:
    """The option table of one family, in the form that the loop needs."""

    __slots__ = ("exact", "find_joined", "is_quiet")

    def __init__(self, family: Family) -> None:
        table = OptionTable(ROWS, family)
        #: by whole word: what to do, how many next words it takes, whether it stands with an empty joined argument
        self.exact: dict[bytes, tuple[_Handler | None, int, bool]] = {
            spelling: (
                _EFFECTS[row.effect],
                0 if row.takes in (Takes.FLAG, Takes.JOINED) else row.words,
                row.takes is Takes.JOINED,
            )
            for spelling, row in table.exact.items()
        }
        self.find_joined = table.find_joined
        # A memo of a pure function with short keys: most words begin like one seen before.
        self.is_quiet = lru_cache(maxsize=8192)(table.is_quiet)


_GRAMMARS = {family: _Grammar(family) for family in (Family.GCC, Family.CLANG, Family.EITHER)}


def parse(words: Sequence[bytes], family: Family, *, cxx: bool) -> ParsedLine:
    """Parses the words after ``argv[0]``, response files expanded. Accepts anything; what is no option is an input."""
    line = ParsedLine(family)
    grammar = _GRAMMARS[family]
    exact, is_quiet = grammar.exact, grammar.is_quiet
    languages = by_suffix(family, cxx=cxx)
    language: Language | None = None
    value: bytes | None
    rest = iter(words)
    for word in rest:
        if word[:1] != b"-" or word == b"-":
            line.inputs.append(Input(word, language or _language_of(word, languages, family)))
            continue
        found = exact.get(word)
        if found is not None:
            handler, next_words, joined = found
            value = b"" if joined else None
            if next_words:
                value = next(rest, None)
                for _ in range(next_words - 1):
                    next(rest, None)
            if handler is None:
                continue
        elif is_quiet(word[:_LEAD_BYTES]):
            continue
        else:
            row, value = _find_joined(word, grammar, family)
            if row is None:
                line.writes_unknown = True
                continue
            if row.takes is Takes.BOTH:
                next(rest, None)
            handler = _EFFECTS[row.effect]
            if handler is None:
                continue
        if handler is _language:
            if value is not None:
                language = None if value == b"none" else BY_NAME.get(value) or Language(value, Stage.OTHER)
        elif handler is _end:
            line.inputs.extend([Input(word, language or _language_of(word, languages, family)) for word in rest])
        else:
            handler(line, value)
    if line.cpp_words:
        _read_preprocessor_words(line, line.cpp_words)
    if line.assembler_words:
        _read_assembler_words(line, line.assembler_words)
    return line


def _find_joined(word: bytes, grammar: _Grammar, family: Family) -> tuple[Row | None, bytes]:
    """The row for a word that has none of its own, and the argument joined to it."""
    row = grammar.find_joined(word)
    if row is None and word[:2] == b"--" and family is not Family.CLANG:
        # GCC reads any other --name as -fname (its table of option prefixes, opts-common.cc).
        word = b"-f" + word[2:]
        row = grammar.find_joined(word)
    return row, word[len(row.spelling) :] if row is not None else b""
