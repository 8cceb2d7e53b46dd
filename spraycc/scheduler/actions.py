"""What the scheduler wants done. The shell carries each out in order; none may fail (a failure becomes an event)."""

from __future__ import annotations

from dataclasses import dataclass

from spraycc.model import BuildId, ExecutorId, TaskId


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Send the task to this executor. ``attempt`` counts from 1; a ``second`` one is beside another that still runs."""

    task: TaskId
    executor: ExecutorId
    attempt: int
    second: bool = False


@dataclass(frozen=True, slots=True)
class RunHere:
    """Tell the runner to execute the command in its own place.

    ``why`` is "placement", "no-executor", "attempts", "refused", "memory", "unfit" (no executor's host is fit for it)
    or "gave-up" (see :class:`GiveUp`).
    """

    task: TaskId
    why: str


@dataclass(frozen=True, slots=True)
class Abort:
    """Tell the executor to kill the task; its AttemptEnded (CANCELLED) or ExecutorLost will follow."""

    executor: ExecutorId
    task: TaskId


@dataclass(frozen=True, slots=True)
class AskExecutors:
    """Have ``count`` more executors started; those asked for earlier are not in it."""

    count: int


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Executors that were asked for and have not joined are not wanted any more. Those that can be taken back are
    reported by SubmissionFailed; the others may come."""


@dataclass(frozen=True, slots=True)
class Release:
    """Let this idle executor go; its ExecutorLost will follow. Nothing is dispatched to it any more."""

    executor: ExecutorId


@dataclass(frozen=True, slots=True)
class SetWidth:
    """So many recipes of this build may run at once now (the tool's implicit slot included, so tokens are one less)."""

    build: BuildId
    width: int


@dataclass(frozen=True, slots=True)
class Fallback:
    """Said once a build, the first time that tasks meant for executors run here as none is connected."""

    build: BuildId


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Said once a build: too many of its tasks fell back, ``fallen`` of the last 100, ``task`` the last of them. Its
    other tasks run here from now on, but for those that must be remote."""

    build: BuildId
    task: TaskId
    fallen: int


Action = Dispatch | RunHere | Abort | AskExecutors | Withdraw | Release | SetWidth | Fallback | GiveUp
