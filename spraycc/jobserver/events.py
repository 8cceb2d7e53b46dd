"""The events of one build that its governor hears of. They carry ids and numbers only."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from spraycc.model import TaskId


@dataclass(frozen=True, slots=True)
class Limits:
    """How many unseen recipes may run on the submit host at once."""

    #: L: this many
    local: int
    #: L_max: probes may go beyond L up to this many
    probing: int
    #: seconds between probes
    probe_s: float = 0.1
    #: stands for L at first. ninja 1.13.0 to 1.13.2 look for new tokens only when one of their recipes ends: with a
    #: small first window and long tasks they widen slowly (200 wide after 13.7 s with 4, after 0.24 s with 16)
    first_window: int = 0
    #: seconds for which ``first_window`` stands for L
    first_window_s: float = 0.0
    #: the user's -j: recipes at once that a stalled build may have. None: any number
    cap: int | None = None

    def __post_init__(self) -> None:
        assert 1 <= self.local <= self.probing, self
        assert self.probe_s > 0, self


@dataclass(frozen=True, slots=True)
class LimitsChanged:
    """Other limits hold from now on. The first window stays as it was."""

    limits: Limits


@dataclass(frozen=True, slots=True)
class WidthChanged:
    """The build may now run ``width`` recipes at once, seen and unseen."""

    width: int


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """A top-level build tool has started. A sub-make does not count: it runs on its parent's token.

    A tool that starts late brings its implicit slot along, so P can be over L until a token comes back.
    """


@dataclass(frozen=True, slots=True)
class ToolEnded:
    """A top-level build tool has ended."""


@dataclass(frozen=True, slots=True)
class RunnerRegistered:
    """A runner has submitted a task."""

    task: TaskId
    #: the same for all runners of one recipe, and for no others: the process that make started
    recipe: Hashable


@dataclass(frozen=True, slots=True)
class TaskDone:
    """The task has its result, and its runner waits for the answer. A decision releases the task, now or later."""

    task: TaskId


@dataclass(frozen=True, slots=True)
class RunnerGone:
    """The runner has ended without an answer: it was killed, or it became the command."""

    task: TaskId


@dataclass(frozen=True, slots=True)
class DescriptorsExhausted:
    """The server has no descriptor for the next runner's connection."""


@dataclass(frozen=True, slots=True)
class TokensChanged:
    """Tokens were withdrawn, lost or found; the account has the new number."""


@dataclass(frozen=True, slots=True)
class BuildStalled:
    """Nothing has happened for long, and the build uses hardly any CPU."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Event = (
    LimitsChanged
    | WidthChanged
    | ToolStarted
    | ToolEnded
    | RunnerRegistered
    | TaskDone
    | RunnerGone
    | DescriptorsExhausted
    | TokensChanged
    | BuildStalled
    | Tick
)
