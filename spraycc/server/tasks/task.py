"""A task as the server holds it: the command, its runner, and what came back of it so far."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from spraycc.model import BuildId, Command, Description, ExecutorId, TaskId, Usage
from spraycc.server.coherence.inputs import Expected
from spraycc.server.host.unix_connection import Peer
from spraycc.server.tasks.capture_roots import CapturePlan
from spraycc.wire.runner import FROM_SERVER, Exited, Output, RunHere

#: Output of one task that is held back until it ends, so that an attempt that fails for reasons of ours leaves no
#: trace.
HOLD_BYTES = 1024 * 1024


@dataclass(slots=True, eq=False)
class Attempt:
    """What one attempt of a task has written so far. A task has one at a time, or two."""

    executor: ExecutorId
    #: counts from 1
    number: int
    #: output that was not passed on yet: (descriptor, bytes)
    held: list[tuple[int, bytes]] = field(default_factory=list)
    held_bytes: int = 0
    #: bytes written, by descriptor
    produced: dict[int, int] = field(default_factory=lambda: {1: 0, 2: 0})

    def hold(self, fd: int, data: bytes) -> None:
        """Keep a piece of output."""
        self.produced[fd] += len(data)
        self.held_bytes += len(data)
        if self.held and self.held[-1][0] == fd and len(self.held[-1][1]) < 4096:
            self.held[-1] = (fd, self.held[-1][1] + data)
        else:
            self.held.append((fd, data))

    def take(self, delivered: dict[int, int]) -> list[tuple[int, bytes]]:
        """What is held, without the first ``delivered`` bytes of each descriptor's whole output; those that are in it
        are counted there."""
        pieces = []
        at = dict(self.produced)
        for fd, data in self.held:
            at[fd] -= len(data)
        for fd, data in self.held:
            fresh = data[max(0, delivered[fd] - at[fd]) :]
            at[fd] += len(data)
            if fresh:
                delivered[fd] += len(fresh)
                pieces.append((fd, fresh))
        self.held.clear()
        self.held_bytes = 0
        return pieces


@dataclass(slots=True)
class Task:
    """Mutable; owned by the coroutine that serves its runner, changed by the one that serves its executor."""

    id: TaskId
    build: BuildId
    command: Command
    description: Description
    peer: Peer
    plan: CapturePlan | None
    #: output is passed on as it comes (the user watches it), and not held until the end
    live: bool
    #: what the executor's host must have just as this one
    same: tuple[tuple[bytes, str], ...] = ()
    #: which files it is expected to read; None where executors run on this host and see what it sees
    expected: Expected | None = None
    #: attempts that read something else than the submit host has
    stale: int = 0
    #: the executor that its result is from, or that had it last
    executor: ExecutorId | None = None
    attempts: int = 0
    usage: Usage = field(default_factory=Usage)
    #: the attempt whose result is being written, or was: no other one's is from then on
    chosen: Attempt | None = None
    #: its second attempt, beside another one
    second: Attempt | None = None
    #: bytes that the runner has been given already, by descriptor; another attempt's first bytes are not given again
    delivered: dict[int, int] = field(default_factory=lambda: {1: 0, 2: 0})
    #: kind and target, by which its duration is remembered
    key: tuple[str, bytes] = ("", b"")
    #: when it came (time.monotonic)
    arrived: float = field(default_factory=time.monotonic)
    #: why attempts did not count, in words
    refusals: list[str] = field(default_factory=list)
    #: why it ran here though it could have gone remote; the scheduler's word
    why_here: str = ""
    #: as the shell would say it; None where it ran here, or has not ended
    status: int | None = None
    #: its runner has its last frame
    answered: bool = False
    #: and that was to execute the command itself
    runs_here: bool = False
    #: the scheduler has been told that it is over
    is_gone: bool = False
    #: it stands in its build's record
    is_noted: bool = False
    #: and then to ask before it ends
    stays: bool = False

    def begin_attempt(self, executor: ExecutorId) -> Attempt:
        self.executor = executor
        self.attempts += 1
        return Attempt(executor, self.attempts)

    async def take_output(self, attempt: Attempt, fd: int, data: bytes) -> None:
        """Hold output, or pass it on where it is live or too much. Waits for a runner that reads slowly."""
        attempt.hold(2 if fd == 2 else 1, data)
        if self.live or attempt.held_bytes > HOLD_BYTES:
            await self.peer.send(*self._release(attempt))

    def choose(self, attempt: Attempt) -> bool:
        """Whether this attempt's result may be written; the first one that asks is chosen."""
        if self.chosen is None:
            self.chosen = attempt
            self.executor = attempt.executor
        return self.chosen is attempt

    def reject(self, attempt: Attempt) -> None:
        """Its result could not be written after all."""
        if self.chosen is attempt:
            self.chosen = None

    def answer(self, code: int, signal: int) -> None:
        """Give the runner the rest of the chosen attempt's output and the status, in one piece. Does not wait: what the
        runner does not read at once goes with :meth:`Peer.flush`."""
        frames = self._release(self.chosen) if self.chosen is not None else []
        self.peer.send_now(*frames, FROM_SERVER.pack(Exited(code, signal)))

    def run_here(self, *, stay: bool = False) -> None:
        """Tell the runner to execute the command itself; ``stay``: and to ask before it ends."""
        self.answered = self.runs_here = True
        self.stays = stay
        self.peer.open_pidfd()
        self.peer.send_now(FROM_SERVER.pack(RunHere(self.delivered[1], self.delivered[2], int(stay))))

    def _release(self, attempt: Attempt) -> list[list[object]]:
        return [FROM_SERVER.pack(Output(fd, data)) for fd, data in attempt.take(self.delivered)]
