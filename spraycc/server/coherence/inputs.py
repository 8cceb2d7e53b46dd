"""The files that tasks read: the stamps that go to an executor with a task, and the check of what the task has read.

For each task the server *expects* lookups: those of the last task with the same target or the same source, and the
files and directories that the command line names. With the task it *tells* the executor the stamps that are new to it.
When the command has ended, the server *checks* its lookups, and throws the attempt away if one of them had another
result than on the submit host.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import trio

from spraycc.model import Command, Description, Kind
from spraycc.server.coherence.tracker import Reading, Tracker
from spraycc.server.coherence.view import TableFullError, bits_of, directory_of, ids_of
from spraycc.server.host.offload import Disk
from spraycc.stamps import (
    CONTENTS,
    FILE,
    KINDS,
    LINK,
    MISSING,
    NAMES,
    OWN,
    PERMISSIONS,
    Lookup,
    Stamp,
    describe,
    is_contents,
    tidy,
)

#: The server remembers the reads of this many tasks, the latest.
_REMEMBERED = 20_000
#: The server reads this many entries from the disk in the event loop. When a task goes to an executor it reads no more,
#: and does not tell entries that are still stale.
_INLINE = 200
#: An executor is told this many directories in which builds make files, the latest.
_BUSY_TOLD = 500
#: An executor is told this many stamps of files on hosts' own disks, the first that any task read.
_OWN_TOLD = 20_000
#: The server examines this many words of a command line as names of files, and remembers this many tools whose record
#: was incomplete.
_WORDS = 1_000
_INCOMPLETE = 1_000

_INTERPRETER = re.compile(rb"(ba|da|k|z|c|tc)?sh$|env$|perl|python|ruby|node$|java$")

#: stamps for an executor: number, lookup, stamp
Stamps = tuple[tuple[int, Lookup, Stamp], ...]
#: In place of a stamp that the executor shall forget.
NO_STAMP = b""


@dataclass(slots=True)
class Told:
    """The stamps that one executor has been told, as a set of ids."""

    epoch: int = -1
    ids: int = 0
    #: the table's version when stamps were last told
    version: int = 0


@dataclass(slots=True)
class Expected:
    """The lookups that a task is expected to make."""

    #: names under which the task's reads are remembered, the best first
    keys: tuple[object, ...] = ()
    lookups: tuple[Lookup, ...] = ()
    #: directories of the search path, the source and the command itself
    directories: tuple[bytes, ...] = ()
    #: files that the command writes: lookups of them are not remembered
    outputs: frozenset[bytes] = frozenset()
    #: the program or script: commands with the same tool have equally complete records
    tool: object = None
    #: lookups that gave an attempt something else than the submit host
    surprises: set[Lookup] = field(default_factory=set)
    #: directories that an attempt has listed without having been told of them
    listings: set[Lookup] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A lookup that gave the executor's host something else than the submit host."""

    lookup: Lookup
    ours: Stamp
    #: None: the executor's host saw the stamp that it was told, but the submit host's has changed
    theirs: Stamp | None

    @property
    def is_of_own_disk(self) -> bool:
        """Whether the executor's host has another file on its own disk, so that no refresh helps."""
        if self.lookup[:1] != CONTENTS or self.theirs is None or not is_contents(self.theirs):
            return False
        return self.ours == MISSING or is_contents(self.ours)

    def __str__(self) -> str:
        path = os.fsdecode(self.lookup[1:])
        if self.lookup[:1] in PERMISSIONS and self.theirs is not None:
            return f"{path}: permission denied for the command, but not on the submit host"
        if self.theirs is None:
            return (
                f"{path} has changed on the submit host since its executor was told of it (now: {describe(self.ours)})"
            )
        return f"{path} was {describe(self.theirs)} for the command, and is {describe(self.ours)} on the submit host"


class Inputs:
    """The expectations and checks of all tasks of a server."""

    def __init__(
        self,
        tracker: Tracker,
        disk: Disk,
        is_slow: Callable[[Lookup], bool] = lambda lookup: False,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        """``is_slow``: whether the tracker reads a whole file for the lookup."""
        self._tracker = tracker
        self._disk = disk
        self._is_slow = is_slow
        self._clock = clock
        self._reads: OrderedDict[object, int] = OrderedDict()
        #: Directories in which builds make files, in the order in which that was seen. Executors are told no stamps of
        #: their names, because those change with each file. So each missing name in them is proved separately.
        self._busy: dict[bytes, None] = {}
        self._busy_ids = 0
        #: key -> the directories (NAMES) that tasks with this key list. They are told even if they are busy.
        self._listings: OrderedDict[object, int] = OrderedDict()
        self._incomplete: dict[object, None] = {}
        #: Lookups on hosts' own disks that were proved. All tasks read the same system headers, so each executor is
        #: told these stamps once, and not only with the tasks that read them before.
        self._own_ids = 0

    # -- before

    def build_begins(self) -> None:
        """Make all stamps stale, so that the build sees changes that other hosts made before it."""
        self._tracker.forget_all()

    def expect(self, command: Command, description: Description, outputs: Iterable[bytes]) -> Expected:
        """The lookups that this command is expected to make, by its command line alone.

        Args:
            outputs: absolute paths that the command is known to write.
        """
        outputs = tuple(outputs)
        cwd = command.cwd
        words = [word for word in command.argv[1:] if word and not word.startswith(b"-")]
        names, searches = [*description.inputs, *description.reads], [*description.searches]
        if description.kind is Kind.UNKNOWN:
            # Any word may name a file or a directory.
            names += words[:_WORDS]
            searches += words[:_WORDS]
        files = [tidy(os.path.join(cwd, name)) for name in names]
        searched = [tidy(os.path.join(cwd, name)) for name in searches]
        directories = tuple(dict.fromkeys([cwd, *map(directory_of, files), *searched]))
        for output in outputs:
            self._mark_busy(directory_of(output))
        lookups = [*(FILE + path for path in files if path not in outputs), *(NAMES + path for path in directories)]
        keys = [("target", path) for path in outputs[-1:]] + [("source", path) for path in files[:1]]
        return Expected(
            tuple(keys), tuple(filter(_is_proper, lookups)), directories, frozenset(outputs),
            _tool_of(command.program, words),
        )  # fmt: skip

    def busy_directories(self) -> tuple[bytes, ...]:
        """The latest directories in which builds made files. A command that can't be recorded may read them."""
        return tuple(self._busy)[-_BUSY_TOLD:]

    def note_incomplete(self, expected: Expected) -> None:
        """An executor could not record all that this command read. The next attempts refresh directories first."""
        self._incomplete[expected.tool] = None
        while len(self._incomplete) > _INCOMPLETE:
            del self._incomplete[next(iter(self._incomplete))]

    def was_incomplete(self, expected: Expected) -> bool:
        """True if a command with the same tool could not be recorded completely."""
        return expected.tool in self._incomplete

    async def prepare(self, expected: Expected) -> None:
        """Read the stamps that will go with the task, while it waits for an executor."""
        await self._refresh(self._wanted(expected))

    def tell(self, expected: Expected, told: Told) -> tuple[Stamps, int]:
        """The stamps that go with the task to this executor, and the table's version. Does not wait."""
        wanted = self._wanted(expected)  # first: it may begin a new table
        tracker, view = self._tracker, self._tracker.view
        if told.epoch != tracker.epoch:
            told.epoch, told.ids, told.version = tracker.epoch, 0, view.version
        # Stamps that the executor must forget: it would take an old stamp for the current one.
        dropped = told.ids & self._busy_ids & ~wanted
        reading = tracker.plan(wanted, self._clock())
        if reading is not None:
            stale = bits_of(entry for entry, _ in reading.entries)
            if self._is_inline(reading) and not self._disk.is_slow("read"):
                tracker.read(reading)
                tracker.learn(reading)
                stale = view.stale(stale, self._clock()) & ~bits_of(entry for entry, _ in reading.results)
            wanted &= ~stale
            dropped |= told.ids & stale
        stamps = [(entry, view.lookup_of(entry), NO_STAMP) for entry in ids_of(dropped)]
        told.ids &= ~(view.changed_since(told.version) | dropped)
        told.version = view.version
        if new := self._own_ids & ~told.ids:
            wanted |= new & ~view.stale(new, self._clock())
        for entry in ids_of(wanted & ~told.ids):
            stamp = view.stamp_of(entry)
            if stamp is not None:
                stamps.append((entry, view.lookup_of(entry), stamp))
                told.ids |= 1 << entry
        return tuple(stamps), view.version

    def forget_told(self, stamps: Stamps, told: Told) -> None:
        """The executor could not agree with these stamps, and has forgotten them."""
        told.ids &= ~bits_of(entry for entry, *_ in stamps)

    # -- after

    async def check(
        self, expected: Expected, told: Told, version: int, matched: bytes, others: Iterable[tuple[Lookup, Stamp]]
    ) -> Mismatch | None:
        """Compare what the command read with what the submit host has now. None: it is the same, and is remembered.

        Args:
            version: from :meth:`tell`, when the command was sent.
            matched: from the executor: the set of ids whose stamps were as told, little endian.
            others: from the executor: other lookups, with the stamps of its host.
        """
        tracker = self._tracker
        epoch = tracker.epoch
        known = int.from_bytes(matched, "little")
        proper = [(lookup, stamp) for lookup, stamp in others if _is_proper(lookup)]
        found = self._ids(lookup for lookup, _ in proper)
        # If the ids are of an old table, which was full: the next attempt is told stamps of the new table.
        outdated = Mismatch(expected.lookups[0] if expected.lookups else FILE + b"/", MISSING, None)
        if told.epoch != epoch or tracker.epoch != epoch or known & ~tracker.view.everything:
            return outdated
        await self._refresh(known | found)
        view = tracker.view
        if tracker.epoch != epoch:
            return outdated
        wrong: list[Mismatch] = []
        # An executor keeps a stamp until it is told another, so a stamp may be older than this task.
        for entry in ids_of(known & (view.changed_since(version) | ~told.ids)):
            wrong.append(Mismatch(view.lookup_of(entry), view.stamp_of(entry) or MISSING, None))
        for lookup, stamp in proper:
            ours = view.stamp_of(view.add(lookup)) or MISSING
            if stamp != ours:
                wrong.append(Mismatch(lookup, ours, stamp))
        if not wrong:
            self._remember(expected, known | found)
            if self._own_ids.bit_count() < _OWN_TOLD:
                self._own_ids |= self._ids(lookup for lookup, _ in proper if lookup[:1] in OWN)
            return None
        for mismatch in wrong:
            if mismatch.lookup[:1] != NAMES:
                expected.surprises |= {mismatch.lookup, NAMES + directory_of(mismatch.lookup[1:])}
            elif mismatch.theirs is None:
                self._mark_busy(mismatch.lookup[1:])
            else:
                # The stamp is the overlay's, or the directory has changed: only a stamp told before can be compared.
                expected.listings.add(mismatch.lookup)
        surprises = self._ids((*expected.surprises, *expected.listings))
        told.ids &= ~surprises
        await self._refresh(surprises)  # the stamps go with the next attempt
        return next((mismatch for mismatch in wrong if mismatch.is_of_own_disk), wrong[0])

    # -- internal

    def _wanted(self, expected: Expected) -> int:
        wanted = self._ids((*expected.lookups, *expected.surprises))
        view = self._tracker.view
        changed = view.ever_changed
        for directory in expected.directories:
            wanted |= view.in_directory(directory) & changed
        listings = self._ids(expected.listings)
        for key in expected.keys:
            if (reads := self._reads.get(key)) is not None:
                wanted |= reads
                listings |= self._listings.get(key, 0)
                break
        return (wanted & ~self._busy_ids) | listings

    def _ids(self, lookups: Iterable[Lookup]) -> int:
        """The set of the lookups' ids. Begins a new table if the old one is full: old ids mean nothing in it."""
        lookups = tuple(lookups)
        try:
            return self._tracker.ids(lookups)
        except TableFullError:
            self._tracker.start_over()
            self._reads.clear()
            self._listings.clear()
            self._busy.clear()
            self._busy_ids = 0
            self._own_ids = 0
            return self._tracker.ids(lookups)

    def _remember(self, expected: Expected, reads: int) -> None:
        view = self._tracker.view
        for path in expected.outputs:
            for kind in (FILE, LINK):
                if (entry := view.id_of(kind + path)) is not None:
                    reads &= ~(1 << entry)
        listings = self._ids(expected.listings)
        for key in expected.keys:
            self._reads[key] = reads
            self._reads.move_to_end(key)
            if listings:
                self._listings[key] = self._listings.get(key, 0) | listings
        for remembered in (self._reads, self._listings):
            while len(remembered) > _REMEMBERED:
                remembered.popitem(last=False)

    def _mark_busy(self, directory: bytes) -> None:
        if directory not in self._busy:
            self._busy[directory] = None
            self._busy_ids |= self._ids([NAMES + directory])

    async def _refresh(self, wanted: int) -> None:
        reading = self._tracker.plan(wanted, self._clock())
        if reading is None:
            return
        read = partial(self._tracker.read, reading)
        if self._is_inline(reading):
            await self._disk.do("read", read)
        else:
            await self._disk.do_in_thread(read)
        self._tracker.learn(reading)

    def _is_inline(self, reading: Reading) -> bool:
        """Whether the disk answers so soon that no thread is worth its price."""
        entries = reading.entries
        return len(entries) <= _INLINE and not any(self._is_slow(lookup) for _, lookup in entries)


def _tool_of(program: bytes, words: Sequence[bytes]) -> object:
    """Names the tool of a command: its program, for an interpreter with its script. See ``Expected.tool``."""
    name = os.path.basename(program)
    if words and _INTERPRETER.match(name):
        return (program, words[0].split(b" ", 1)[0])
    return program


def _is_proper(lookup: Lookup) -> bool:
    """True if the lookup can be made: an absolute path without a null byte."""
    return lookup[:1] in KINDS and lookup[1:2] == b"/" and b"\0" not in lookup
