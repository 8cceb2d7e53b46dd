"""A scheduler that a test script drives: each step is a time, an event and the exact expected actions."""

from collections.abc import Callable

import pytest

from spraycc.scheduler.actions import Action
from spraycc.scheduler.core import Scheduler
from spraycc.scheduler.events import Event, SchedulingPolicy


class Play:
    """Feeds events to a scheduler and checks its invariants after each."""

    def __init__(self, policy: SchedulingPolicy) -> None:
        self.policy = policy
        self.scheduler = Scheduler(policy)
        self.now = 0.0

    def at(self, now: float, event: Event, *expected: Action) -> None:
        actions = self.do(event, now)
        assert actions == list(expected)

    def do(self, event: Event, now: float | None = None) -> list[Action]:
        if now is not None:
            assert now >= self.now
            self.now = now
        actions = self.scheduler.handle(event, self.now)
        self.scheduler.validate()
        due = self.scheduler.next_deadline()
        assert due is None or due > self.now
        return actions


DEFAULTS = {
    "max_executors": 4,
    "local_slots": 1,
    "light_slots": 2,
    "executors_are_here": False,
    "max_attempts": 3,
    "pending_grace_s": 5.0,
    "wait_for_cluster": False,
    "release_delay_s": 60.0,
}


@pytest.fixture
def start() -> Callable[..., Play]:
    """``start(max_executors=2, ...)``: a scheduler with these settings and small defaults for the rest."""
    return lambda **settings: Play(SchedulingPolicy(**{**DEFAULTS, **settings}))
