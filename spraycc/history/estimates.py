"""What tasks are expected to take, by what they and their like took before. Pure; the clock comes from outside.

Of each target (an output's path and what kind of command makes it) the smoothed duration, its deviation and the peak of
memory are kept. A target that is new is expected to be like the others of its directory, else like all of its kind.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from spraycc.model import UNKNOWN, Expectation

#: A new duration counts for so much, all earlier ones for the rest: a target that was rewritten is known after three.
_WEIGHT = 0.4
#: Peaks are forgotten slowly: too high an expectation costs a little width, too low a one a killed compile.
_MEMORY_WEIGHT = 0.2
#: The deviation that is believed after a single run, as a share of the duration (as in RFC 6298).
_FIRST_DEVIATION = 0.5
#: With a deviation as it is kept here (the mean of absolute ones), so many of them above the mean are about p95.
_P95_DEVIATIONS = 2.0
#: Far beyond its expectation is what takes longer than so many times p95, and at least this many seconds more.
_LATE_FACTOR = 2.0
_LATE_LEAST_S = 1.0
#: A target that is new may be its kind's longest for good reasons: it has so many times p95 of the kind.
_LATE_FACTOR_NEW = 4.0
#: Of a kind with fewer known targets nothing is said of what is late.
_FEW = 20
#: p95 of a kind is worked out anew after so many changes.
_STALE = 64
#: Targets of one workspace that are kept in memory, the first to be forgotten the one that was not seen for longest.
MOST_ENTRIES = 50_000

#: Kind of command (``Kind.value``) and target.
Key = tuple[str, bytes]


@dataclass(slots=True)
class Entry:
    """One target's past."""

    seconds: float
    #: mean of the absolute differences from it
    deviation: float
    memory_bytes: int
    #: results that went into it
    runs: int
    #: when it was last seen (seconds since the epoch)
    seen: int

    @property
    def p95_s(self) -> float:
        return self.seconds + _P95_DEVIATIONS * self.deviation


class _Mean:
    """Of a directory's targets, or of a kind's."""

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
        """At most this long take 95 of 100."""
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
        self._means: dict[tuple[str, bytes | None], _Mean] = {}
        self._spreads: dict[str, _Spread] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Entry | None:
        return self._entries.get(key)

    def expect(self, key: Key) -> Expectation:
        """What is expected of a task that makes this target."""
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
        """A task made this target; ``now`` in seconds since the epoch."""
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
        """A task for this target was killed as it wanted more than so much."""
        old = self._entries.get(key)
        if old is not None and old.memory_bytes < memory_bytes:
            self._put(key, Entry(old.seconds, old.deviation, memory_bytes, old.runs, now))
            self._changed.add(key)

    def load(self, entries: Iterable[tuple[Key, Entry]]) -> None:
        """Takes in what is kept on disk. What was noted meanwhile is newer."""
        for key, entry in entries:
            if key not in self._entries:
                self._put(key, entry)

    def take_changes(self) -> list[tuple[Key, Entry]]:
        """What has changed since the last call."""
        changed, self._changed = self._changed, set()
        return [(key, self._entries[key]) for key in changed if key in self._entries]

    def give_back(self, changes: Iterable[tuple[Key, Entry]]) -> None:
        """These could not be written; the next :meth:`take_changes` has them again."""
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
            mean = self._means.get(group)
            if mean is None:
                mean = self._means[group] = _Mean()
            mean.add(entry, sign)
            if not mean.count:
                del self._means[group]
        spread = self._spreads.get(kind)
        if spread is None:
            spread = self._spreads[kind] = _Spread()
        spread.add(entry.seconds, sign)

    def _forget_oldest(self) -> None:
        oldest = sorted(self._entries.items(), key=lambda item: item[1].seen)[: MOST_ENTRIES // 4]
        for key, entry in oldest:
            self._count(key, entry, -1)
            del self._entries[key]


def _late(p95_s: float) -> float:
    return max(_LATE_FACTOR * p95_s, p95_s + _LATE_LEAST_S)


def _directory(target: bytes) -> bytes:
    return target[: target.rfind(b"/") + 1]
