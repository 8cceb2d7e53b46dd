"""Keeps the submit host's table of stamps true: a change on this host makes the entries stale that depend on it.

The path of a lookup is a walk through *steps*: (directory, name) pairs in which the directory's path has no symbolic
links. For ``/w/inc/a.h`` with the links ``inc -> v2`` and ``a.h -> b.h`` the steps are (/, w), (/w, inc), (/w, v2),
(/w/v2, a.h) and (/w/v2, b.h). The tracker watches the directory of each step before it reads the step's name. So an
event follows every change of the walk on this host.

There are two sorts of steps, and they are kept apart:

- *Components* lead to the directory of a name: the first three of the example. Many entries depend on one. A component
  rarely changes, so its change makes the whole table stale, and all walks are made anew.
- *Last names* are the rest. A change makes just their entries stale. Most are headers, sources and names that are
  missing.

Inotify can't tell of all changes (see ``watcher``). Two rules bound the rest: an entry's stamp is never used longer
than ``view.FRESH_S``, and no walk is used longer than ``WALKS_S``. A file with several hard links is never fresh. The
same holds for an entry on whose walk a directory can't be watched.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from spraycc.server.coherence.view import LIMIT, Ticket, View, bits_of, directory_of, ids_of
from spraycc.server.coherence.watcher import Change
from spraycc.stamps import LINK, NAMES, Lookup, Stamp
from spraycc.system.file_cache import as_opened

#: All walks are made anew after this time: another host may have renamed a directory or changed a link.
WALKS_S = 30.0

#: The most names and links of one walk. The kernel follows 40 links; a longer walk is never fresh.
_MAX_STEPS = 200


class Watches(Protocol):
    """The part of :class:`~spraycc.server.coherence.watcher.Watcher` that a tracker uses."""

    @property
    def full(self) -> bool: ...
    def watch(self, directory: bytes) -> bool: ...
    def unwatch_all(self) -> None: ...
    def events(self) -> list[Change]: ...
    def close(self) -> None: ...


class _CannotWatchError(Exception):
    """A change of the walk might cause no event."""


class _OutdatedError(Exception):
    """All walks were dropped while this one was made."""


@dataclass(slots=True)
class Reading:
    """Entries that have to be read from the disk: made by :meth:`Tracker.plan`, for ``read`` and then ``learn``."""

    view: View
    ticket: Ticket
    generation: int
    entries: list[tuple[int, Lookup]]
    results: list[tuple[int, Stamp]] = field(default_factory=list)
    #: entries that were watched before this reading; entries that it made watched; entries that can't be watched
    watched_before: list[int] = field(default_factory=list)
    watched_now: list[int] = field(default_factory=list)
    unwatched: list[int] = field(default_factory=list)


class Tracker:
    """The table of stamps, the walks of its lookups, and the events that concern them. The owner calls :meth:`close`.

    One thread calls everything but :meth:`read`, which is for any thread::

        reading = tracker.plan(tracker.ids(lookups), now)
        if reading:
            tracker.read(reading)  # waits for the file server
            tracker.learn(reading)

    :meth:`refresh` does the same inline. Afterwards the stamps in ``tracker.view`` were true at or after the call of
    ``plan``, except for changes of the last ``FRESH_S`` of which inotify can't tell.
    """

    def __init__(
        self, watcher: Watches | None, *, look: Callable[[Lookup], Stamp] = as_opened, limit: int = LIMIT
    ) -> None:
        """
        Args:
            watcher: None where the kernel offers no inotify: then no entry is ever fresh.
            look: reads a stamp from the disk.
            limit: the most entries of the table.
        """
        self._limit = limit
        self.view = View(limit)
        #: Counts tables: ids and versions are of one table only.
        self.epoch = 0
        self._watcher = watcher
        self._look = look
        self._walks_since = 0.0

        #: entries for which every change on the walk causes an event; other threads only test membership
        self._watched: set[int] = set()
        #: entries for which an event has come since they were last read
        self._announced: set[int] = set()

        #: Protects what follows. Held for a moment, never during a system call that may wait for a file server.
        self._lock = threading.Lock()
        #: counts the times when all walks were dropped
        self._generation = 0
        #: path of a directory as text -> its path without links; None: there is no such directory
        self._walks: dict[bytes, bytes | None] = {}
        #: directory without links -> names in it that are components of walks
        self._components: dict[bytes, set[bytes]] = {}
        #: directory without links -> name -> the entries whose last name or whose link this is
        self._last_names: dict[bytes, dict[bytes, tuple[int, ...]]] = {}
        #: directory without links -> the entries for the names in it
        self._names_of: dict[bytes, set[int]] = {}

    def close(self) -> None:
        """End all watches."""
        if self._watcher is not None:
            self._watcher.close()

    def start_over(self) -> None:
        """Replace a full table by an empty one, with the next ``epoch``. The old ids mean nothing in it."""
        self.epoch += 1
        self.view = View(self._limit)
        self.forget_all()

    @property
    def watched(self) -> int:
        """The number of watched entries. The rest of the table is read at each request."""
        return len(self._watched)

    def ids(self, lookups: Iterable[Lookup]) -> int:
        """The set of the ids of these lookups; the table gets entries for new ones.

        Raises:
            TableFullError: call :meth:`start_over`.
        """
        return bits_of([self.view.add(lookup) for lookup in lookups])

    def pump(self) -> int:
        """Apply the events that are queued now: the entries that depend on them become stale. Returns their number."""
        if self._watcher is None:
            return 0
        changes = self._watcher.events()
        for change in changes:
            self._apply(change)
        return len(changes)

    def plan(self, wanted: int, now: float) -> Reading | None:
        """Apply events, and find the ``wanted`` entries that have to be read from the disk. None: no entry."""
        self.pump()
        if now - self._walks_since >= WALKS_S:
            self._walks_since = now
            self.forget_all()
        stale = self.view.stale(wanted, now)
        if not stale:
            return None
        lookup_of = self.view.lookup_of
        entries = [(entry, lookup_of(entry)) for entry in ids_of(stale)]
        return Reading(self.view, self.view.ticket(now), self._generation, entries)

    def read(self, reading: Reading) -> None:
        """Watch the walks of the planned entries and read their stamps. May wait for the file server.

        Several threads may read at once, and none waits for another. If two find different states of a walk, an event
        of the change is queued, and all walks are made anew when it is applied.
        """
        for entry, lookup in reading.entries:
            if entry in self._watched:
                reading.watched_before.append(entry)
            else:
                try:
                    self._watch_walk(entry, lookup, reading.generation)
                    reading.watched_now.append(entry)
                except (_CannotWatchError, _OutdatedError, OSError):
                    reading.unwatched.append(entry)
            reading.results.append((entry, self._look(lookup)))

    def learn(self, reading: Reading) -> None:
        """Put the stamps that were read into the table."""
        if reading.view is not self.view:
            return  # the ids are those of an older table
        changed = self.view.learn(reading.results, reading.ticket)
        self.view.forget_ids(reading.unwatched)
        # An event since the ticket may have come between the walk and this line: make the walk again.
        ticket, forgotten_since = reading.ticket, self.view.forgotten_since
        self._watched.update(entry for entry in reading.watched_now if not forgotten_since(entry, ticket))
        if changed:
            # If no event told of the change, the walk may be another one now, or the file has got a second link.
            announced = self._announced
            silent = [entry for entry in reading.watched_before if changed >> entry & 1 and entry not in announced]
            self._watched.difference_update(silent)
            self.view.forget_ids(silent)
        self._announced.difference_update(
            entry for entry in reading.watched_before if not forgotten_since(entry, ticket)
        )

    def refresh(self, wanted: int, now: float) -> None:
        """Make the stamps of these entries true. May wait for the file server."""
        if reading := self.plan(wanted, now):
            self.read(reading)
            self.learn(reading)

    # Events

    def _apply(self, change: Change) -> None:
        if change.everything or change.gone:
            self.forget_all()
            return
        directory, name = change.directory, change.name
        if not name:
            # Permissions of the directory, which decide about every walk through it.
            self.view.forget_all()
            return
        if name in self._components.get(directory, ()):
            if change.names:
                self.forget_all()
                return
            if change.is_directory:
                self.view.forget_all()
        with self._lock:
            ids = self._last_names.get(directory, {}).pop(name, ())
            self._watched.difference_update(ids)  # the name may be a link now, or no link any more
            if change.names:
                ids += tuple(self._names_of.get(directory, ()))
        if ids:
            self._announced.update(ids)
            self.view.forget_ids(ids)

    def forget_all(self) -> None:
        """Make all stamps stale, and all walks anew: anything may have changed."""
        with self._lock:
            self._generation += 1
            self._walks.clear()
            self._components.clear()
            self._last_names.clear()
            self._names_of.clear()
        self._watched.clear()
        self._announced.clear()
        if self._watcher is not None and self._watcher.full:
            self._watcher.unwatch_all()  # some directories may be out of use
        self.view.forget_all()

    # Walks

    def _watch_walk(self, entry: int, lookup: Lookup, generation: int) -> None:
        """Have each change that concerns this lookup cause an event for it.

        Raises:
            _CannotWatchError, _OutdatedError, OSError: a change might cause no event.
        """
        kind, path = lookup[:1], lookup[1:]
        if not path.startswith(b"/"):
            raise _CannotWatchError
        for steps in range(_MAX_STEPS):
            name = path.rpartition(b"/")[2]
            if name in (b"", b".", b".."):  # the path means the directory itself
                self._watch_names(entry, self._directory(path, generation, steps), generation)
                break
            directory = self._directory(directory_of(path), generation, steps)
            if directory is None:
                break
            with self._current(generation):
                names = self._last_names.setdefault(directory, {})
                ids = names.get(name, ())
                if entry not in ids:
                    names[name] = (*ids, entry)
            status = _status(_join(directory, name))
            if status is None:
                break
            if stat.S_ISDIR(status.st_mode):
                if kind == NAMES:
                    self._watch_names(entry, self._directory(_join(directory, name), generation, steps), generation)
                break
            if status.st_nlink > 1:  # a change by way of another directory causes no event
                raise _CannotWatchError
            if kind == LINK or not stat.S_ISLNK(status.st_mode):
                break
            path = _join(directory, os.readlink(_join(directory, name)))
        else:
            raise _CannotWatchError

    def _watch_names(self, entry: int, directory: bytes | None, generation: int) -> None:
        if directory is not None:
            with self._current(generation):
                self._names_of.setdefault(directory, set()).add(entry)

    def _directory(self, path: bytes, generation: int, steps: int) -> bytes | None:
        """The directory's path without links, watched; None if the path leads to no directory."""
        if steps > _MAX_STEPS or self._watcher is None:
            raise _CannotWatchError
        known = self._walks.get(path, b"")
        if known != b"":
            return known
        found = self._walk(path, generation, steps + 1)
        with self._current(generation):
            self._walks[path] = found
        return found

    def _walk(self, path: bytes, generation: int, steps: int) -> bytes | None:
        if path == b"/":
            return self._watch(path)
        head, _, name = path.rpartition(b"/")
        parent = self._directory(head or b"/", generation, steps)
        if parent is None or name in (b"", b"."):
            return parent
        if name == b"..":
            return directory_of(parent)
        with self._current(generation):
            self._components.setdefault(parent, set()).add(name)
        real = _join(parent, name)
        status = _status(real)
        if status is None:
            return None
        if stat.S_ISLNK(status.st_mode):
            return self._directory(_join(parent, os.readlink(real)), generation, steps)
        return self._watch(real) if stat.S_ISDIR(status.st_mode) else None

    def _watch(self, directory: bytes) -> bytes:
        if self._watcher is None or not self._watcher.watch(directory):
            raise _CannotWatchError
        return directory

    @contextlib.contextmanager
    def _current(self, generation: int) -> Iterator[None]:
        """Holds the lock while the walks are still of this generation.

        Without the check a thread could note a step that it found before a change, after the change was applied.
        """
        with self._lock:
            if self._generation != generation:
                raise _OutdatedError
            yield


def _join(directory: bytes, path: bytes) -> bytes:
    """The path seen from the directory."""
    return path if path.startswith(b"/") else directory.rstrip(b"/") + b"/" + path


def _status(path: bytes) -> os.stat_result | None:
    """lstat(2); None if there is no such name."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
