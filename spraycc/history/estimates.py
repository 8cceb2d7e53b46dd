"""Estimates duration and memory of tasks from earlier tasks. Pure; the clock comes from outside.

The history has the smoothed duration, its deviation and the peak memory of each target (an output's path and the kind
of its command). The estimate of a new target is the mean of its directory, else the mean of its kind.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from spraycc.model import UNKNOWN, Expectation

#: Weight of a new duration; the earlier durations have the rest. A rewritten source is known after three runs.
_WEIGHT = 0.4
#: Peaks decay slowly: a high estimate costs a little parallelism, a low estimate kills a compile.
_MEMORY_WEIGHT = 0.2
#: The assumed deviation after a single run, as a share of the duration (as in RFC 6298).
_FIRST_DEVIATION = 0.5
#: This many mean absolute deviations above the mean are about p95.
_P95_DEVIATIONS = 2.0
#: A task is late after this multiple of p95, and at least this many seconds after p95.
_LATE_FACTOR = 2.0
_LATE_LEAST_S = 1.0
#: A new target is late after this multiple of its kind's p95, because it may be the longest of its kind.
_LATE_FACTOR_NEW = 4.0
#: With fewer known targets of a kind, no new target of the kind is ever late.
_FEW = 20
#: p95 of a kind is computed again after this many changes.
_STALE = 64
#: Most targets of one workspace in memory. The oldest are forgotten first.
MOST_ENTRIES = 50_000

#: Kind of command (``Kind.value``) and target.
Key = tuple[str, bytes]


@dataclass(slots=True)
class Entry:
    """The history of one target."""

    seconds: float
    #: mean absolute deviation from ``seconds``
    deviation: float
    memory_bytes: int
    #: number of results
    runs: int
    #: time of the last result (seconds since the epoch)
    seen: int

    @property
    def p95_s(self) -> float:
        return self.seconds + _P95_DEVIATIONS * self.deviation


class _Mean:
    """The mean of the targets of a directory, or of a kind."""

    __slots__ = ("count", "memory_bytes", "seconds")

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        self.memory_bytes = 0

    def add(self, entry: Entry, sign: int) -> None:
        self.count += sign
        self.seconds += sign * entry.seconds
        self.memory_bytes += sign * entry.memory_bytes


class _Spread:
    """Durations of a kind's targets, in classes of a quarter of a doubling each."""

    __slots__ = ("_changes", "_classes", "_p95_s", "count")

    def __init__(self) -> None:
        self._classes: Counter[int] = Counter()
        self.count = 0
        self._changes = 0
        self._p95_s = 0.0

    def add(self, seconds: float, sign: int) -> None:
        self._classes[math.ceil(4 * math.log2(max(seconds, 1e-3)))] += sign
        self.count += sign
        self._changes += 1

    def p95_s(self) -> float:
        """The duration that 95 of 100 targets do not exceed."""
        if self._changes > _STALE or not self._p95_s:
            self._changes = 0
            left = self.count * 0.05
            for number in sorted(self._classes, reverse=True):
                left -= self._classes[number]
                if left < 0:
                    self._p95_s = 2.0 ** (number / 4)
                    break
        return self._p95_s


class History:
    """All targets of one workspace."""

    def __init__(self) -> None:
        self._entries: dict[Key, Entry] = {}
        self._changed: set[Key] = set()
        #: (kind, directory), and (kind, None) for all of the kind
        self._means: defaultdict[tuple[str, bytes | None], _Mean] = defaultdict(_Mean)
        self._spreads: defaultdict[str, _Spread] = defaultdict(_Spread)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Entry | None:
        return self._entries.get(key)

    def expect(self, key: Key) -> Expectation:
        """The expectation for a task that makes this target."""
        entry = self._entries.get(key)
        if entry is not None:
            return Expectation(entry.seconds, _late(entry.p95_s), entry.memory_bytes)
        kind, target = key
        mean = self._means.get((kind, _directory(target))) or self._means.get((kind, None))
        if mean is None:
            return UNKNOWN
        spread = self._spreads[kind]
        late_s = _LATE_LEAST_S + _LATE_FACTOR_NEW * spread.p95_s() if spread.count >= _FEW else None
        return Expectation(mean.seconds / mean.count, late_s, mean.memory_bytes // mean.count)

    def note(self, key: Key, seconds: float, memory_bytes: int, now: int) -> None:
        """Note that a task made this target; ``now`` in seconds since the epoch."""
        old = self._entries.get(key)
        if old is None:
            self._put(key, Entry(seconds, seconds * _FIRST_DEVIATION, memory_bytes, 1, now))
        else:
            deviation = old.deviation + _WEIGHT * (abs(seconds - old.seconds) - old.deviation)
            lower = int(old.memory_bytes + _MEMORY_WEIGHT * (memory_bytes - old.memory_bytes))
            memory_bytes = max(memory_bytes, lower)
            seconds = old.seconds + _WEIGHT * (seconds - old.seconds)
            self._put(key, Entry(seconds, deviation, memory_bytes, old.runs + 1, now))
        self._changed.add(key)
        if len(self._entries) > MOST_ENTRIES:
            self._forget_oldest()

    def note_memory(self, key: Key, memory_bytes: int, now: int) -> None:
        """Note that a task for this target needed more memory than this, and was killed."""
        old = self._entries.get(key)
        if old is not None and old.memory_bytes < memory_bytes:
            self._put(key, Entry(old.seconds, old.deviation, memory_bytes, old.runs, now))
            self._changed.add(key)

    def load(self, entries: Iterable[tuple[Key, Entry]]) -> None:
        """Add entries from the disk. Entries that were noted meanwhile are newer, and stay."""
        for key, entry in entries:
            if key not in self._entries:
                self._put(key, entry)

    def take_changes(self) -> list[tuple[Key, Entry]]:
        """The entries that have changed since the last call."""
        changed, self._changed = self._changed, set()
        return [(key, self._entries[key]) for key in changed if key in self._entries]

    def give_back(self, changes: Iterable[tuple[Key, Entry]]) -> None:
        """Return changes that could not be written; the next :meth:`take_changes` has them again."""
        self._changed.update(key for key, _ in changes)

    def clear(self) -> None:
        """Forgets everything."""
        self.__init__()  # type: ignore[misc]

    def __iter__(self) -> Iterator[tuple[Key, Entry]]:
        return iter(self._entries.items())

    def _put(self, key: Key, entry: Entry) -> None:
        old = self._entries.get(key)
        if old is not None:
            self._count(key, old, -1)
        self._entries[key] = entry
        self._count(key, entry, 1)

    def _count(self, key: Key, entry: Entry, sign: int) -> None:
        kind, target = key
        for group in ((kind, _directory(target)), (kind, None)):
            mean = self._means[group]
            mean.add(entry, sign)
            if not mean.count:
                del self._means[group]
        self._spreads[kind].add(entry.seconds, sign)

    def _forget_oldest(self) -> None:
        oldest = sorted(self._entries.items(), key=lambda item: item[1].seen)[: MOST_ENTRIES // 4]
        for key, entry in oldest:
            self._count(key, entry, -1)
            del self._entries[key]


def _late(p95_s: float) -> float:
    return max(_LATE_FACTOR * p95_s, p95_s + _LATE_LEAST_S)


def _directory(target: bytes) -> bytes:
    return target[: target.rfind(b"/") + 1]
