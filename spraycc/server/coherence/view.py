"""The submit host's table of stamps: the server's knowledge of files, and the entries that it has to read again.

Pure: the caller reads the disk and the clock. Times are monotonic seconds.

Each lookup has a small integer id, dense from 0. A set of ids is a Python int: bit ``id`` is 1 for a member. Union,
difference and intersection of sets in a table of 50,000 entries take about a microsecond.

An entry is *fresh* while the server may use its stamp without reading the disk, and *stale* otherwise. An entry gets
fresh only through :meth:`View.learn`. It becomes stale when it is forgotten, and at the latest ``FRESH_S`` after the
ticket of the read. Inotify tells only of changes that are made on this host, so time has to bound the age of the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from spraycc.stamps import Lookup, Stamp

#: An entry is stale at this age at the latest, and at three quarters of it at the earliest. An NFS client itself
#: trusts its attributes for at least this time (acregmin), so make would not see another host's change earlier either.
FRESH_S = 3.0
#: Entries that were learnt within the same span become stale together.
_SPANS = 4
_SPAN_S = FRESH_S / _SPANS

#: The most entries of a table: about 100 MB with paths of 100 bytes.
LIMIT = 200_000
#: The most changes that the log of changes holds.
LOG_LIMIT = 100_000

_ONES = re.compile("1")
#: Up to this length a set is searched as text, a microsecond for 1,000 bits.
_PART_BITS = 8192
#: The sets of this many directories are kept: 6 MB with a full table.
_DIRECTORY_SETS = 256


def bits_of(ids: Iterable[int]) -> int:
    """The set of these ids."""
    ids = list(ids)
    if not ids:
        return 0
    octets = bytearray(max(ids) // 8 + 1)
    for entry in ids:
        octets[entry >> 3] |= 1 << (entry & 7)
    return int.from_bytes(octets, "little")


def ids_of(bits: int) -> list[int]:
    """The members of this set, in ascending order."""
    ids: list[int] = []
    parts = [(0, bits)]
    while parts:  # a task's set has few members in a large table, so most halves are empty
        first, part = parts.pop()
        length = part.bit_length()
        if length > _PART_BITS:
            half = length // 2
            high = part >> half
            parts += ((first + half, high), (first, part ^ high << half))
        elif part:
            ids += [first + match.start() for match in _ONES.finditer(bin(part)[:1:-1])]
    return ids


def directory_of(path: bytes) -> bytes:
    """The directory that holds this absolute path's last name, as text: links and ``..`` are not resolved."""
    return path.rpartition(b"/")[0] or b"/"


class TableFullError(Exception):
    """The table has ``LIMIT`` entries. Its owner continues with a new, empty table, in which old ids mean nothing."""


class Ticket(NamedTuple):
    """Taken before the disk is read. Tells which entries were forgotten while the caller read the disk."""

    serial: int
    now: float


class View:
    """A bounded table from lookup to stamp.

    Ids are never used again within a table, and an entry is never removed. A full table raises, so that ids and
    versions keep their meaning as long as their user holds the same View.
    """

    def __init__(self, limit: int = LIMIT, log_limit: int = LOG_LIMIT) -> None:
        self._limit = limit
        self._log_limit = log_limit
        self._ids: dict[Lookup, int] = {}
        #: The following lists have an item for each id.
        self._lookups: list[Lookup] = []
        self._stamps: list[Stamp | None] = []
        #: the serial of the newest ticket with which the entry was learnt
        self._learnt: list[int] = []
        #: the serial at which the entry was last forgotten
        self._forgotten: list[int] = []

        #: counts tickets and calls of ``forget_ids``, so that the two can be put in order
        self._serial = 0
        self._all_forgotten = 0
        #: span of time -> set of the ids that were learnt in it
        self._spans: dict[int, int] = {}
        #: the union of ``_spans``
        self._fresh = 0
        #: forgotten ids that are still in ``_spans``: one pass removes many
        self._to_remove: list[int] = []

        #: ids in the order of their changes: item i changed at version ``_log_start + i + 1``
        self._log: list[int] = []
        self._log_start = 0
        self._ever_changed = 0
        #: directory -> ids of the entries directly in it
        self._in_directory: dict[bytes, list[int]] = {}
        #: the same for the latest directories: directory -> the number of ids, and the set of them
        self._directory_sets: dict[bytes, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._lookups)

    @property
    def version(self) -> int:
        """Counts the changes of the whole table."""
        return self._log_start + len(self._log)

    @property
    def everything(self) -> int:
        """The set of all ids."""
        return (1 << len(self._lookups)) - 1

    @property
    def ever_changed(self) -> int:
        """The set of the ids whose stamp changed at least once after they were first learnt."""
        return self._ever_changed

    def id_of(self, lookup: Lookup) -> int | None:
        """The lookup's id, or None if the table does not have it."""
        return self._ids.get(lookup)

    def lookup_of(self, entry: int) -> Lookup:
        """The lookup with this id."""
        return self._lookups[entry]

    def stamp_of(self, entry: int) -> Stamp | None:
        """The last known stamp, fresh or not. None: the entry was never learnt."""
        return self._stamps[entry]

    def add(self, lookup: Lookup) -> int:
        """The lookup's id. A new entry has no stamp and is stale.

        Raises:
            TableFullError: the lookup is new and the table is full.
        """
        entry = self._ids.get(lookup)
        if entry is not None:
            return entry
        entry = len(self._lookups)
        if entry >= self._limit:
            raise TableFullError(f"the table of stamps has {entry} entries")
        self._ids[lookup] = entry
        self._lookups.append(lookup)
        self._stamps.append(None)
        self._learnt.append(0)
        # Only a later ticket makes the entry fresh: until now the table did not note changes of this file.
        self._serial += 1
        self._forgotten.append(self._serial)
        self._in_directory.setdefault(directory_of(lookup[1:]), []).append(entry)
        return entry

    def stale(self, wanted: int, now: float) -> int:
        """Those of the ``wanted`` ids that the caller has to read from the disk before it uses their stamps."""
        self._remove_forgotten()
        oldest = int(now // _SPAN_S) - _SPANS
        if any(span <= oldest for span in self._spans):
            self._set_spans({span: bits for span, bits in self._spans.items() if span > oldest})
        return wanted & ~self._fresh

    def ticket(self, now: float) -> Ticket:
        """Take one before you read the disk, and give it to :meth:`learn`."""
        self._serial += 1
        return Ticket(self._serial, now)

    def learn(self, results: Iterable[tuple[int, Stamp]], ticket: Ticket) -> int:
        """Take stamps that were read from the disk after ``ticket`` was taken.

        An entry that was forgotten after the ticket stays stale, because its stamp may be older than the change. A
        stamp of an older ticket than the known one's is dropped.

        Returns:
            The set of the ids whose known stamp changed. An entry's first stamp is no change.
        """
        fresh = []
        changed = []
        for entry, stamp in results:
            if ticket.serial < self._learnt[entry]:
                continue
            self._learnt[entry] = ticket.serial
            if not self.forgotten_since(entry, ticket):
                fresh.append(entry)
            known = self._stamps[entry]
            if stamp == known:
                continue
            if known is not None:
                changed.append(entry)
            self._stamps[entry] = stamp
            self._log.append(entry)
        if len(self._log) > self._log_limit:
            excess = len(self._log) - self._log_limit // 2
            del self._log[:excess]
            self._log_start += excess
        changed_bits = bits_of(changed)
        self._ever_changed |= changed_bits
        if fresh:
            self._remove_forgotten()
            span = int(ticket.now // _SPAN_S)
            bits = bits_of(fresh)
            self._spans[span] = self._spans.get(span, 0) | bits
            self._fresh |= bits
        return changed_bits

    def forgotten_since(self, entry: int, ticket: Ticket) -> bool:
        """True if the entry was forgotten after the ticket was taken."""
        return max(self._forgotten[entry], self._all_forgotten) > ticket.serial

    def changed_since(self, version: int) -> int:
        """The set of the ids whose stamp changed after this version, first stamps included.

        All ids, if the version is older than the log or was never reached: it is of another table.
        """
        if not self._log_start <= version <= self.version:
            return self.everything
        return bits_of(self._log[version - self._log_start :])

    def in_directory(self, directory: bytes) -> int:
        """The set of the ids whose path is a name directly in this directory, compared as text."""
        ids = self._in_directory.get(directory)
        if ids is None:
            return 0
        # A set may have as many bits as the table has entries, so few directories have one.
        count, bits = self._directory_sets.pop(directory, (0, 0))
        if count < len(ids):
            bits |= bits_of(ids[count:])
        self._directory_sets[directory] = len(ids), bits
        if len(self._directory_sets) > _DIRECTORY_SETS:
            del self._directory_sets[next(iter(self._directory_sets))]
        return bits

    def forget_ids(self, ids: Iterable[int]) -> None:
        """These entries become stale."""
        self._serial += 1
        for entry in ids:
            self._forgotten[entry] = self._serial
            self._to_remove.append(entry)

    def forget_all(self) -> None:
        """All entries become stale."""
        self._serial += 1
        self._all_forgotten = self._serial
        self._to_remove.clear()
        self._set_spans({})

    def _remove_forgotten(self) -> None:
        if self._to_remove:
            kept = ~bits_of(self._to_remove)
            self._to_remove.clear()
            self._set_spans({span: bits & kept for span, bits in self._spans.items()})

    def _set_spans(self, spans: dict[int, int]) -> None:
        self._spans = spans
        self._fresh = 0
        for bits in spans.values():
            self._fresh |= bits
