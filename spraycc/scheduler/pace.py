"""How fast hosts are at present: the durations of tasks, over the durations that the history expects."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

#: Weight of a new duration in the means of all hosts, and of one host.
_WEIGHT = 0.05
_HOST_WEIGHT = 0.2
#: A host's mean counts as if it had one more duration, of average speed, beside its own: at most this many.
_MOST_COUNT = 10.0
#: A single duration counts as at most this many times longer or shorter than expected (natural logarithm).
_MOST = math.log(10.0)
#: The mean deviation (natural logarithm) before anything is known, and deviations within which a duration is chance.
#: Tasks on a host that hangs are no chance, so a single deviation counts as at most 1.
_FIRST_DEVIATION = 0.25
_MOST_DEVIATION = 1.0
_CHANCE = 4.0
#: The overhead of an attempt, which is no part of the history's durations. Shorter tasks say nothing about a host.
_OVERHEAD_S = 0.05
_LEAST_S = 0.2
#: Hosts that are remembered, the latest.
_MOST_HOSTS = 4096


@dataclass(slots=True)
class _Host:
    mean: float = 0.0
    count: float = 0.0


class Pace:
    """Factors on expected durations. 1: as expected; 2: twice as long."""

    def __init__(self) -> None:
        #: means of the logarithm of duration over expectation
        self._mean = 0.0
        self._hosts: OrderedDict[str, _Host] = OrderedDict()
        #: mean absolute deviation from the host's mean
        self._deviation = _FIRST_DEVIATION

    def note(self, host: str, expected_s: float, seconds: float) -> None:
        """A task has ended on the host."""
        if expected_s < _LEAST_S:
            return
        ratio = math.log(max(seconds, 1e-3) / (expected_s + _OVERHEAD_S))
        ratio = max(-_MOST, min(_MOST, ratio))
        self._deviation += _WEIGHT * (min(abs(ratio - self._log_of(host)), _MOST_DEVIATION) - self._deviation)
        self._mean += _WEIGHT * (ratio - self._mean)
        own = self._hosts.setdefault(host, _Host())
        own.count += 1
        own.mean += max(1 / own.count, _HOST_WEIGHT) * (ratio - own.mean)
        self._hosts.move_to_end(host)
        if len(self._hosts) > _MOST_HOSTS:
            self._hosts.popitem(last=False)

    def of(self, host: str) -> float:
        """The factor of this host; of a host without a duration that of all hosts."""
        return math.exp(self._log_of(host))

    @property
    def overall(self) -> float:
        """The factor of all hosts together."""
        return math.exp(self._mean)

    @property
    def chance(self) -> float:
        """A duration up to this many times its expectation on its host is chance, and says nothing about the host."""
        return math.exp(_CHANCE * self._deviation)

    def _log_of(self, host: str) -> float:
        own = self._hosts.get(host)
        if own is None:
            return self._mean
        count = min(own.count, _MOST_COUNT)
        return (count * own.mean + self._mean) / (count + 1)
