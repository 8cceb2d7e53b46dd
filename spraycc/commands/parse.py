"""Reads the command line of a compiler driver, as GCC's and Clang's drivers do, into a :class:`ParsedLine`.

:mod:`.describe` decides the kind and the placement of the line, and :mod:`.outputs` the files that the line writes.
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
    """The last step of the driver. Of several modes the highest counts: ``-c -S`` is ASSEMBLY."""

    LINK = 0
    OBJECT = 1  #: -c
    ASSEMBLY = 2  #: -S
    OTHER = 3  #: a rare mode of Clang
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
    #: the name after -o, also that of a device or standard output; None without -o
    output: bytes | None = None
    #: the line prints something and compiles nothing
    query: bool = False
    verbose: bool = False
    #: --driver-mode= selects a driver other than gcc and g++
    other_driver: bool = False
    #: libraries and options for the linker
    linker_words: list[bytes] = field(default_factory=list)
    #: further files to read (-include), which could be standard input
    reads: list[bytes] = field(default_factory=list)
    #: directories of the header search path, in the order of the line
    searches: list[bytes] = field(default_factory=list)

    #: -MD or -MMD
    depend: bool = False
    #: the file named by -MF; None without -MF
    depfile: bytes | None = None
    #: the file named by -Wp,-MD,FILE, which overrides the choice of -MD; None without it
    cpp_depfile: bytes | None = None
    #: the file named by -MJ; None without -MJ
    fragment: bytes | None = None
    #: further files to write, as other options name them
    writes: list[bytes] = field(default_factory=list)
    #: the line may write files with unknown names
    writes_unknown: bool = False
    #: -dumpbase or -dumpdir
    renames_dumps: bool = False
    debug: bool = False
    split_dwarf: bool = False
    coverage: bool = False
    #: the file named by -fprofile-note=; None without it
    note: bytes | None = None
    stack_usage: bool = False
    callgraph: bool = False
    save_temps: SaveTemps = SaveTemps.OFF
    time_trace: bool = False
    emit_llvm: bool = False
    lto: bool = False
    modules: bool = False
    #: makes code for the CPU of the compiler's host
    native: bool = False
    #: words for the preprocessor and for the assembler, from -Wp, -Wa, and -X
    cpp_words: list[bytes] = field(default_factory=list)
    assembler_words: list[bytes] = field(default_factory=list)
    #: the reason why the compile must stay on the submit host; None: it need not
    forced_here: Reason | None = None

    def stages(self) -> set[Stage]:
        """The first steps for the line's sources. Files for the linker have none."""
        return {source.language.stage for source in self.inputs if source.language is not None}


#: Words of Clang's inner command line that write no file. All other words may write one.
_QUIET_CC1 = frozenset(
    b"-emit-pch -fno-pch-timestamp -fno-validate-pch -include-pch -include -fallow-pch-with-compiler-errors".split()
)
_CPP_WORDS_WITH_ARGUMENT = frozenset(b"-MT -MQ -D -U -I -include -imacros -isystem -iquote -idirafter".split())
#: Letters of -d with a result that is printed, or stands in the preprocessor's text. All other letters dump files.
_QUIET_DUMPS = frozenset(b"ADHIMNPUpx")


_Handler = Callable[[ParsedLine, bytes | None], None]

#: Bytes at the beginning of a word by which the parser recognizes an option without effect.
_LEAD_BYTES = 6


def _language_of(name: bytes, languages: dict[bytes, Language], family: Family) -> Language | None:
    dot = name.rfind(b".")
    start = name.rfind(b"/") + 1
    # GCC sees no suffix in a name that is only a suffix (".c"). Clang does.
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
    """The last use counts. The driver itself reports a missing argument."""

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
    """-x. A mark only: the loop of :func:`parse` sets the language."""


def _end(line: ParsedLine, value: bytes | None) -> None:
    """``--``. A mark only: the loop of :func:`parse` takes all following words as inputs."""


def _driver_mode(line: ParsedLine, value: bytes | None) -> None:
    line.other_driver = value not in (b"gcc", b"g++")


def _appends(line: ParsedLine, value: bytes | None) -> None:
    line.forced_here = line.forced_here or Reason.APPENDS
    if value:
        line.writes.append(value)


def _split_dwarf(line: ParsedLine, value: bytes | None) -> None:
    line.split_dwarf = True
    # In GCC, -gsplit-dwarf turns debug information on (in Clang before 12, too).
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
    # A word that is no option is the argument of the option before it.
    if value and value.startswith(b"-") and value not in _QUIET_CC1:
        line.writes_unknown = True
    if value == b"-dependency-file":
        line.cpp_depfile = b"-"  # overrides the choice of -MD; the file's name is unknown


def _cpu(line: ParsedLine, value: bytes | None) -> None:
    if value is not None and value.startswith(b"native"):
        line.native = True


def _lto(line: ParsedLine, value: bytes | None) -> None:
    line.lto = value != b"none"


def is_module_server(mapper: bytes) -> bool:
    """True if this value of -fmodule-mapper= names a program, a socket, a descriptor or host:port, and no plain file.

    Only the submit host can reach such a mapper (GCC's manual, C++ Modules).
    """
    return mapper[:1] in b"|=<" or b":" in mapper


def _module_mapper(line: ParsedLine, value: bytes | None) -> None:
    if value and is_module_server(value):
        line.forced_here = Reason.MODULE_SERVER
    line.writes_unknown = True


def _modules(line: ParsedLine, value: bytes | None) -> None:
    line.modules = True
    # GCC 15 and later: -fmodules is another name of -fmodules-ts. The compiler writes into gcm.cache.
    if line.family is Family.GCC:
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
    Effect.MODULES: _modules,
    Effect.MODULES_OFF: _set("modules", False),
}


def _read_preprocessor_words(line: ParsedLine, words: list[bytes]) -> None:
    """Reads the words of -Wp. The Linux kernel uses -Wp,-MD,FILE.

    GCC hands the words to its inner command, where -MD takes the file's name. Clang reads only this exact form as GCC
    does.
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
        elif word in _CPP_WORDS_WITH_ARGUMENT:
            index += 1
        elif word.startswith(b"-MF"):
            line.cpp_depfile = word[3:]
        elif word.startswith(b"-d"):
            line.writes_unknown = True
    if line.cpp_depfile is not None and line.depfile is not None and line.cpp_depfile != line.depfile:
        line.writes_unknown = True


def _read_assembler_words(line: ParsedLine, words: list[bytes]) -> None:
    """-Wa,-al=FILE, -Wa,--MD,FILE: the options of the GNU assembler that name a file besides the object."""
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
        #: by whole word: the handler, the number of next words, and whether the word has an empty joined argument
        self.exact: dict[bytes, tuple[_Handler | None, int, bool]] = {
            spelling: (
                _EFFECTS[row.effect],
                0 if row.takes in (Takes.FLAG, Takes.JOINED) else row.words,
                row.takes is Takes.JOINED,
            )
            for spelling, row in table.exact.items()
        }
        self.find_joined = table.find_joined
        # Cached, because most words begin like an earlier word.
        self.is_quiet = lru_cache(maxsize=8192)(table.is_quiet)


_GRAMMARS = {family: _Grammar(family) for family in (Family.GCC, Family.CLANG, Family.EITHER)}


def parse(words: Sequence[bytes], family: Family, *, cxx: bool) -> ParsedLine:
    """Parses the words after ``argv[0]``, response files expanded. Never fails; a word that is no option is input."""
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
    """The row of a word with a joined argument, and the argument."""
    row = grammar.find_joined(word)
    if row is None and word[:2] == b"--" and family is not Family.CLANG:
        # GCC reads any other --name as -fname (its table of option prefixes, opts-common.cc).
        word = b"-f" + word[2:]
        row = grammar.find_joined(word)
    return row, word[len(row.spelling) :] if row is not None else b""
