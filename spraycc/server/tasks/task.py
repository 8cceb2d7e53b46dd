"""A task as the server holds it: the command, its runner, its phase, and the output of its attempts so far."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass, field

from spraycc.commands.names import NO_TOOLS, Tools
from spraycc.commands.predict import Prediction
from spraycc.model import BuildId, Command, Description, ExecutorId, TaskId, Usage
from spraycc.server.coherence.inputs import Expected
from spraycc.server.host.unix_connection import Peer
from spraycc.server.tasks.capture_roots import CaptureRoots
from spraycc.wire.runner import FROM_SERVER, Exited, Output, RunHere

#: The server holds this much output of an attempt until the attempt ends. So a failed attempt leaves no trace.
HOLD_BYTES = 1024 * 1024
#: The record's word for an attempt whose executor was lost. The scheduler hears of ExecutorLost instead of an outcome.
LOST = "lost"


class Phase(enum.Enum):
    """The phase of a task. The server's coroutine for the runner (frontend/runner.py) sees each phase end."""

    WAITING = "waiting"  #: the task has no result: it waits for an executor or a local slot, or attempts run
    ANSWERED = "answered"  #: an executor's result is on its way to the runner
    HERE = "here"  #: the runner executes the command on the submit host
    HERE_STAYS = "here-stays"  #: the same, and the runner reports the command's end
    HERE_OVER = "here-over"  #: the runner has reported; its slot is free, and its completion may be held
    CANCELLED = "cancelled"  #: the runner went away before the task had a result


class Stay(enum.IntEnum):
    """The runner's part while the command runs on the submit host. Values of ``RunHere.stay``."""

    NO = 0  #: the command takes the runner's place: the cheapest, but the server hears of no status
    ASK = 1  #: the runner reports the command's end, and asks the server before it ends: its completion may be held
    TELL = 2  #: the runner reports the command's end, and ends


#: The phases that may follow each phase.
NEXT_PHASES: dict[Phase, frozenset[Phase]] = {
    Phase.WAITING: frozenset({Phase.ANSWERED, Phase.HERE, Phase.HERE_STAYS, Phase.CANCELLED}),
    Phase.ANSWERED: frozenset(),
    Phase.HERE: frozenset(),
    Phase.HERE_STAYS: frozenset({Phase.HERE_OVER}),
    Phase.HERE_OVER: frozenset(),
    Phase.CANCELLED: frozenset(),
}


@dataclass(slots=True, eq=False)
class Attempt:
    """The output so far of one attempt of a task. A task has one attempt at a time, or two."""

    executor: ExecutorId
    #: counts from 1
    number: int
    #: output that the runner has not been given: (descriptor, bytes)
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
        """The held output without the first ``delivered`` bytes of each descriptor. Adds the rest to ``delivered``."""
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


@dataclass(slots=True, eq=False)
class AttemptTimes:
    """When an attempt ran, and how it ended: for the build's record. Times by time.monotonic."""

    executor: ExecutorId
    began: float
    #: another attempt of the task ran when this one began
    second: bool
    #: None: the attempt runs
    ended: float | None = None
    #: value of scheduler.events.Outcome; empty: the attempt runs
    outcome: str = ""


@dataclass(slots=True, eq=False)
class Task:
    """Mutable. The coroutine that serves the runner owns it; the coroutines that serve executors change it."""

    id: TaskId
    build: BuildId
    command: Command
    description: Description
    peer: Peer
    #: None: the command runs on the submit host
    plan: CaptureRoots | None
    #: the runner gets output as it comes, because the user watches it; False: at the end
    live: bool
    #: the user's own compilers
    tools: Tools = NO_TOOLS
    #: the setting ``capture`` of the task's build
    capture: str = "auto"
    #: programs (or the CPU) that the executor's host must have exactly as the submit host has them
    same: tuple[tuple[bytes, str], ...] = ()
    #: files that the command is expected to read; None if executors run on this host and see the same files
    expected: Expected | None = None
    #: the command line for executors with capture "predict"; None: not all outputs are certain, or no such executor
    prediction: Prediction | None = None
    #: kind and target, by which the history remembers durations
    key: tuple[str, bytes] = ("", b"")
    #: when the task came (time.monotonic)
    arrived: float = field(default_factory=time.monotonic)
    phase: Phase = Phase.WAITING
    #: the executor that gave the result, or had the task last
    executor: ExecutorId | None = None
    attempts: int = 0
    #: attempts that read other files than the submit host has
    stale: int = 0
    #: why attempts did not count, in words
    refusals: list[str] = field(default_factory=list)
    #: the attempt whose result is or was being written; no other attempt's result is written
    chosen: Attempt | None = None
    #: the second attempt, beside another attempt
    second: Attempt | None = None
    #: bytes that the runner has got, by descriptor: these first bytes of another attempt's output are not sent again
    delivered: dict[int, int] = field(default_factory=lambda: {1: 0, 2: 0})
    usage: Usage = field(default_factory=Usage)
    #: size of the files that the counting attempt returned
    returned_bytes: int = 0
    #: all attempts
    runs: list[AttemptTimes] = field(default_factory=list)
    #: when the runner was told to execute the command, and when the runner said that it had ended (time.monotonic)
    here_began: float | None = None
    here_ended: float | None = None
    #: why a remote task ran on the submit host: ``RunLocally.why`` of the scheduler
    why_here: str = ""
    #: exit status as in ``$?``; None: the task has not ended, or ran on the submit host in the runner's place
    status: int | None = None

    def enter(self, phase: Phase) -> None:
        """Enter the phase."""
        assert phase in NEXT_PHASES[self.phase], f"task {self.id}: {phase.value} after {self.phase.value}"
        self.phase = phase

    @property
    def runs_here(self) -> bool:
        """True if the runner executes the command, or has done so."""
        return self.phase in (Phase.HERE, Phase.HERE_STAYS, Phase.HERE_OVER)

    def begin_attempt(self, executor: ExecutorId) -> Attempt:
        self.executor = executor
        self.attempts += 1
        self.runs.append(AttemptTimes(executor, time.monotonic(), any(run.ended is None for run in self.runs)))
        return Attempt(executor, self.attempts)

    def run_s(self) -> float:
        """Seconds for which the command has run, in all attempts and on the submit host. What runs, runs until now."""
        now = time.monotonic()
        seconds = 0.0 if self.here_began is None else (self.here_ended or now) - self.here_began
        return sum(((run.ended or now) - run.began for run in self.runs), seconds)

    def end_attempt(self, executor: ExecutorId, outcome: str) -> None:
        """Note the end of the attempt that runs on the executor. Only the first call for an attempt counts."""
        for run in reversed(self.runs):
            if run.executor == executor and run.ended is None:
                run.ended, run.outcome = time.monotonic(), outcome
                return

    async def take_output(self, attempt: Attempt, fd: int, data: bytes) -> None:
        """Hold output. Pass it on if the task is live or too much is held. Waits for a runner that reads slowly."""
        attempt.hold(2 if fd == 2 else 1, data)
        if self.live or attempt.held_bytes > HOLD_BYTES:
            await self.peer.send(*self._release(attempt))

    def choose(self, attempt: Attempt) -> bool:
        """True if this attempt's result may be written. The first attempt that asks is chosen."""
        if self.chosen is None:
            self.chosen = attempt
            self.executor = attempt.executor
        return self.chosen is attempt

    def reject(self, attempt: Attempt) -> None:
        """The attempt's result could not be written: another attempt may be chosen."""
        if self.chosen is attempt:
            self.chosen = None

    def answer(self, code: int, signal: int) -> None:
        """Send the runner the rest of the chosen attempt's output, and the status. Does not wait.

        :meth:`Peer.flush` sends the bytes that do not fit into the socket.
        """
        frames = self._release(self.chosen) if self.chosen is not None else []
        self.peer.send_now(*frames, FROM_SERVER.pack(Exited(code, signal)))

    def run_here(self, stay: Stay = Stay.NO, *, holds_slot: bool = False) -> None:
        """Tell the runner to execute the command itself.

        Args:
            stay: the runner's part. With a slot the runner also reports the end that the server could not see.
            holds_slot: the command holds a slot until its end.
        """
        self.peer.open_pidfd()
        if holds_slot and stay is Stay.NO and self.peer.pidfd is None:
            stay = Stay.TELL
        self.enter(Phase.HERE if stay is Stay.NO else Phase.HERE_STAYS)
        self.here_began = time.monotonic()
        self.peer.send_now(FROM_SERVER.pack(RunHere(self.delivered[1], self.delivered[2], stay.value)))

    def _release(self, attempt: Attempt) -> list[list[object]]:
        return [FROM_SERVER.pack(Output(fd, data)) for fd, data in attempt.take(self.delivered)]
