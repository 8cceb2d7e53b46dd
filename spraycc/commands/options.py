"""The meaning of a row of the option table, and the search for the row of a word."""

from __future__ import annotations

import enum
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter

from spraycc.commands.names import Family


class Takes(enum.Enum):
    """The place of an option's argument."""

    FLAG = enum.auto()  #: no argument: ``-c``
    JOINED = enum.auto()  #: in the same word: ``-std=c11``; if only ``=`` joins it, the spelling has the ``=``
    NEXT = enum.auto()  #: the next word, or the next ``words`` words: ``-aux-info F``
    EITHER = enum.auto()  #: ``-Idir`` or ``-I dir``
    BOTH = enum.auto()  #: one argument in the same word and one in the next: ``-Xarch_arm64 -O2``


class Effect(enum.Enum):
    """The effect of an option, as far as it matters to SprayCC. Most options have none."""

    NONE = enum.auto()

    # how far the driver goes
    COMPILE_ONLY = enum.auto()  #: -c
    ASSEMBLY_ONLY = enum.auto()  #: -S
    PREPROCESS_ONLY = enum.auto()  #: -E
    DEPENDENCIES_ONLY = enum.auto()  #: -M, -MM
    SYNTAX_ONLY = enum.auto()  #: -fsyntax-only
    OTHER_MODE = enum.auto()  #: a rare mode of Clang: --analyze, -emit-ast, --precompile
    QUERY = enum.auto()  #: prints something and compiles nothing
    VERBOSE = enum.auto()  #: -v: a query if nothing is compiled
    DRIVER_MODE = enum.auto()  #: --driver-mode=
    END = enum.auto()  #: ``--``: all following words are inputs

    # inputs
    LANGUAGE = enum.auto()  #: -x
    READS = enum.auto()  #: names a file to read, which could be standard input
    SEARCHES = enum.auto()  #: names a directory of the header search path: -I, -isystem
    LINKER_WORD = enum.auto()  #: an input or option for the linker: -lfoo, -Xlinker W
    LINKER_WORDS = enum.auto()  #: several such words with commas between them: -Wl,a,b

    # outputs
    OUTPUT = enum.auto()  #: -o
    DEPEND = enum.auto()  #: -MD, -MMD
    DEPFILE = enum.auto()  #: -MF
    FRAGMENT = enum.auto()  #: -MJ: appends to a compilation database
    CPP_WORD = enum.auto()  #: -Xpreprocessor W
    CPP_WORDS = enum.auto()  #: -Wp,a,b
    ASSEMBLER_WORD = enum.auto()  #: -Xassembler W
    ASSEMBLER_WORDS = enum.auto()  #: -Wa,a,b
    CC1_WORD = enum.auto()  #: -Xclang W
    DEBUG = enum.auto()  #: -g…
    DEBUG_OFF = enum.auto()  #: -g0
    SPLIT_DWARF = enum.auto()
    SPLIT_DWARF_OFF = enum.auto()
    COVERAGE = enum.auto()  #: --coverage, -ftest-coverage
    NOTE = enum.auto()  #: -fprofile-note=
    STACK_USAGE = enum.auto()
    CALLGRAPH = enum.auto()
    SAVE_TEMPS = enum.auto()
    SAVE_TEMPS_OFF = enum.auto()
    TIME_TRACE = enum.auto()
    OPT_INFO = enum.auto()  #: -fopt-info…=FILE
    DUMP_LETTERS = enum.auto()  #: -dLETTERS
    DUMP_NAMES = enum.auto()  #: -dumpbase, -dumpdir: other outputs get other names
    EMIT_LLVM = enum.auto()
    LTO = enum.auto()
    LTO_OFF = enum.auto()
    WRITES = enum.auto()  #: the argument is a file to write
    WRITES_UNKNOWN = enum.auto()  #: writes, or may write, files with names that this package does not know

    # what keeps a compile on the submit host
    CPU = enum.auto()  #: -march=, -mtune=, -mcpu=: "native" is the CPU of the compiler's host
    WRAPPER = enum.auto()  #: -wrapper
    APPENDS = enum.auto()  #: -time=FILE
    MODULE_MAPPER = enum.auto()  #: -fmodule-mapper=
    MODULES = enum.auto()  #: -fmodules: Clang's cache with locks, or GCC's gcm.cache
    MODULES_OFF = enum.auto()


#: Effects that do not count for a compiler of unknown family: GCC reads these spellings as other options, and links.
_CLANG_MODES = frozenset([Effect.OTHER_MODE, Effect.END, Effect.DRIVER_MODE])


@dataclass(frozen=True, slots=True)
class Row:
    spelling: bytes
    takes: Takes
    effect: Effect = Effect.NONE
    #: the compilers that know the option
    family: Family = Family.EITHER
    #: number of next words that the option takes, if it takes any
    words: int = 1


class OptionTable:
    """The rows of one family, and the search for the row of a word."""

    __slots__ = ("_parents", "_rows", "_spellings", "exact")

    def __init__(self, rows: Iterable[Row], family: Family) -> None:
        #: rows by their whole spelling
        self.exact: dict[bytes, Row] = {}
        for row in rows:
            if not row.family & family or (
                family is Family.EITHER and row.family is Family.CLANG and row.effect in _CLANG_MODES
            ):
                continue
            # If GCC and Clang read a spelling differently, an unknown compiler counts as GCC.
            if row.spelling not in self.exact or row.family & Family.GCC:
                self.exact[row.spelling] = row
        self._rows = sorted(
            (row for row in self.exact.values() if row.takes in (Takes.JOINED, Takes.EITHER, Takes.BOTH)),
            key=attrgetter("spelling"),
        )
        self._spellings = [row.spelling for row in self._rows]
        # For each row, the index of the longest row that is a proper prefix of it; -1 if there is none.
        self._parents: list[int] = []
        for index, spelling in enumerate(self._spellings):
            parent = index - 1
            while parent >= 0 and not spelling.startswith(self._spellings[parent]):
                parent = self._parents[parent]
            self._parents.append(parent)

    def find_joined(self, word: bytes) -> Row | None:
        """The row with the longest spelling that ``word`` begins with, among those that allow a joined argument."""
        # A prefix of the word sorts before the word, and is a prefix of every row between the two. So the wanted row is
        # the last row before the word, or a prefix of that row.
        index = bisect_right(self._spellings, word) - 1
        while index >= 0 and not word.startswith(self._spellings[index]):
            index = self._parents[index]
        return self._rows[index] if index >= 0 else None

    def is_quiet(self, lead: bytes) -> bool:
        """True if every longer word that begins with ``lead`` and has no row of its own is an option without effect.

        Most words of a compile line have no effect (-D, -W, -f), and their first bytes show this. The parser caches the
        answers.
        """
        row = self.find_joined(lead)
        if row is None or row.effect is not Effect.NONE or row.takes is Takes.BOTH:
            return False
        index = bisect_left(self._spellings, lead)
        while index < len(self._rows) and self._spellings[index].startswith(lead):
            if self._rows[index].effect is not Effect.NONE or self._rows[index].takes is Takes.BOTH:
                return False
            index += 1
        return True
