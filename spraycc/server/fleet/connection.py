"""An executor's link: the server's commands to one executor, and the handling of its messages.

One coroutine reads and another one writes. A fault of the peer ends only its own connection: the scheduler gets an
event for each lost executor. The listener (listener.py) decides which peers get a link.
"""

from __future__ import annotations

import dataclasses
import logging
from functools import partial
from typing import Any, Protocol

import trio

from spraycc.errors import ProtocolError, VersionMismatch, WriteBackError
from spraycc.landmarks import Landmarks
from spraycc.model import ExecutorId, Kind, TaskId, Usage
from spraycc.notices import executors
from spraycc.scheduler.events import AttemptEnded, Event, ExecutorJoined, ExecutorLost, MemoryReported, Outcome
from spraycc.server.coherence.inputs import Inputs, Told
from spraycc.server.fleet.channel import Channel
from spraycc.server.fleet.contents import Piece
from spraycc.server.fleet.in_flight import InFlight
from spraycc.server.fleet.verdict import judge
from spraycc.server.host.offload import Disk
from spraycc.server.tasks.capture_roots import remote_environment
from spraycc.server.tasks.names import status_of
from spraycc.server.tasks.predicted_outputs import Predictions
from spraycc.server.tasks.task import LOST, Attempt, Task
from spraycc.server.writeback.commit import WriteBack
from spraycc.server.writeback.staging import Change
from spraycc.settings import Settings
from spraycc.status_reply import ExecutorStatus, RunningTask
from spraycc.system import compression
from spraycc.wire import executor as wire
from spraycc.wire.schema import Message

log = logging.getLogger(__name__)

#: A peer that has proved itself has this time to send Ready.
READY_S = 20.0


class Registry(Protocol):
    """The fleet, as a link uses it."""

    @property
    def settings(self) -> Settings: ...
    def lasts_s(self, link: ExecutorLink) -> float | None:
        """Seconds for which the executor may be given tasks; None: no limit."""
        ...

    async def why_unusable(self, ready: wire.Ready, landmarks: Landmarks) -> str:
        """Why commands on the executor's host may read other files than on the submit host; empty if they can't."""
        ...

    def post(self, event: Event) -> None: ...
    def executor_ready(self, link: ExecutorLink) -> None: ...
    def executor_gone(self, link: ExecutorLink) -> None: ...
    def executor_unfit(self, link: ExecutorLink, text: str) -> None: ...
    def host_differs(self, task: Task, text: str) -> None: ...


class Results(Protocol):
    """The table of tasks, as a link uses it: the needs of a task, and the end of its attempts."""

    @property
    def disk(self) -> Disk: ...
    @property
    def inputs(self) -> Inputs: ...
    @property
    def predictions(self) -> Predictions: ...
    @property
    def write_back(self) -> WriteBack: ...
    def attempt_over(
        self, task: Task, executor: ExecutorId, outcome: Outcome, usage: Usage, returned_bytes: int, ok: bool
    ) -> None: ...
    def finish(self, task: Task, code: int, signal: int) -> None: ...


class ExecutorLink:
    """One executor that has proved itself."""

    def __init__(
        self,
        fleet: Registry,
        results: Results,
        channel: Channel,
        executor_id: ExecutorId,
        landmarks: Landmarks | None,
        cluster: str = "",
    ) -> None:
        """
        Args:
            fleet: told of the executor.
            results: told of its tasks.
            channel: the connection.
            executor_id: the id that the executor has proved.
            landmarks: files that the executor must see as the submit host does; None: the executor runs on it.
            cluster: the setting with which the executor was started, for the status.
        """
        self.id = executor_id
        self.ready: wire.Ready | None = None
        #: the capture of the last task; before the first task, the capture that the settings choose. Empty: not joined.
        self.capture = ""
        self._cluster = cluster
        #: the executor's own counters, as of its last pong
        self.counters: dict[str, Any] = {}
        #: the number of the last ping that the executor has answered
        self.answered_ping = 0
        self.joined_at = trio.current_time()
        #: None: the executor is idle
        self.flight: InFlight | None = None
        #: set when the link has ended, and only its socket is still open
        self.ended = trio.Event()
        self._fleet = fleet
        self._results = results
        self._channel = channel
        #: the files that the executors of its launch must see; each launch has its own
        self.landmarks = landmarks
        self._told = Told()
        self._scope = trio.CancelScope()

    # -- called by the server, never waiting

    def start(self, task: Task, number: int) -> Attempt:
        """Send the task to the executor, which is idle."""
        assert self.flight is None
        assert self.ready is not None
        assert task.plan is not None
        plan, results = task.plan, self._results
        attempt = task.begin_attempt(self.id)
        capture = _capture_for(task.capture, self.ready)
        message = wire.StartTask.of(
            task.id, number, capture, task.command, remote_environment(task.command.env), plan.roots,
            plan.optional_roots, plan.outputs, task.same, compression.is_installed(),
        )  # fmt: skip
        if self.landmarks is not None and task.expected is None:
            # The task's build starts no executors on other hosts; this executor is another build's.
            self._refuse(task, executors.NO_PROOF.text())
            return attempt
        if capture not in self.ready.captures:
            # The executor has joined for a build with another capture.
            self._refuse(task, _no_capture(capture, self.ready))
            return attempt
        self.capture = capture
        if capture != "overlay" and task.description.needs_overlay:
            self._refuse(task, executors.NEEDS_OVERLAY.text())
            return attempt
        if capture == "predict":
            if task.prediction is None:
                self._refuse(task, executors.NOT_PREDICTED.text())
                return attempt
            message = dataclasses.replace(message, argv=task.prediction.argv, redirected=task.prediction.outputs)
        name = b"%d-%d" % (task.id, number)
        is_repeatable = task.description.kind is not Kind.UNKNOWN
        staging = results.write_back.begin((*plan.roots, *plan.optional_roots), name, is_repeatable=is_repeatable)
        flight = self.flight = InFlight(task, attempt, staging)
        if self.landmarks is not None and task.expected is not None:
            inputs = results.inputs
            flight.stamps, flight.version = inputs.tell(task.expected, self._told)
            message = dataclasses.replace(message, prove=True, stamps=flight.stamps)
            if task.description.kind is Kind.UNKNOWN:
                message = dataclasses.replace(
                    message, refresh=inputs.busy_directories(), incomplete=inputs.was_incomplete(task.expected)
                )
        self._send(message)
        return attempt

    def _refuse(self, task: Task, why: str) -> None:
        task.refusals.append(why)
        self._results.attempt_over(task, self.id, Outcome.REFUSED, Usage(), 0, False)
        self._fleet.post(AttemptEnded(self.id, task.id, Outcome.REFUSED))

    def abort(self, task: TaskId) -> None:
        """Have the task killed. The server drops all further messages about it."""
        if self.flight is not None and self.flight.task.id == task:
            self.flight.aborted = True
            self._send(wire.CancelTask(task))

    def leave(self) -> None:
        """Ask the executor to end."""
        self._send(wire.Leave())

    def beat(self, number: int, heartbeat_s: float, lost_after_s: float) -> None:
        """Ping an executor after a heartbeat of its silence or the server's. Give it up after too long a silence.

        While an executor sends a large file over a slow link, its own Ping waits behind the file.
        """
        silent_s = self._channel.silent_s
        # While the server handles a message (a slow runner or disk), the silence is its own.
        if not self._channel.is_handling and silent_s > lost_after_s:
            log.warning("executor %s: silent for %.0f s, given up", self.id, lost_after_s)
            self.give_up()
        elif silent_s >= heartbeat_s / 2 or self._channel.unheard_s >= heartbeat_s:
            self.ping(number)

    def ping(self, number: int) -> None:
        """Ask the executor for its counters."""
        self._send(wire.Ping(number))

    def excuse(self) -> None:
        """Restart the silence: the server was stopped or starved, and has not read the executor's messages yet."""
        self._channel.hear()

    def give_up(self) -> None:
        """End the connection; its task goes elsewhere."""
        self._scope.cancel()

    def _send(self, message: Message) -> None:
        try:
            self._channel.send_now(message)
        except trio.BrokenResourceError as exc:
            log.info("executor %s: connection broken: %r", self.id, exc.__cause__)
            self.give_up()

    # -- its coroutines

    async def serve(self) -> None:
        """Run the connection until it ends. No fault of the peer raises an exception."""
        joined = False
        try:
            with self._scope:
                with trio.fail_after(READY_S):
                    message = await self._channel.receive()
                if not isinstance(message, wire.Ready):
                    raise ProtocolError("the first message of an executor is 'ready'")
                self.ready = message
                unusable = message.refusals.get("workspace", "")
                if self.landmarks is not None and not unusable:
                    unusable = await self._fleet.why_unusable(message, self.landmarks)
                refusal = self._choose_capture(message, unusable)
                if not refusal and _capture_for("auto", message) == "predict":
                    await self._results.predictions.begin()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._channel.flush)
                    if refusal:
                        self._fleet.executor_unfit(self, refusal)
                        self.leave()
                    else:
                        self._fleet.executor_ready(self)
                        joined = True
                        self._fleet.post(self._joined(message))
                    await self._read()
                    nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as exc:
            log.info("executor %s: connection broken: %r", self.id, exc.exceptions[0])
        except* (ProtocolError, VersionMismatch) as exc:
            log.warning("executor %s: %s", self.id, exc.exceptions[0])
        except* Exception:
            # A fault of the server: only this executor is lost, and its task goes elsewhere.
            log.exception("executor %s: serving it failed", self.id)
        finally:
            try:
                self._leave_fleet(joined)
            finally:
                self.ended.set()

    def _leave_fleet(self, joined: bool) -> None:
        flight, self.flight = self.flight, None
        if flight is not None:
            flight.staging.discard()
        if not joined:
            return
        self._fleet.executor_gone(self)
        try:
            if flight is not None:
                flight.task.reject(flight.attempt)
                if not flight.aborted:
                    flight.task.end_attempt(self.id, LOST)
                self._results.attempt_over(flight.task, self.id, Outcome.CANCELLED, Usage(), 0, False)
        finally:
            self._fleet.post(ExecutorLost(self.id))

    def _joined(self, ready: wire.Ready) -> ExecutorJoined:
        return ExecutorJoined(
            self.id,
            self._fleet.lasts_s(self),
            host=ready.host + ready.memory_part,
            memory_bytes=max(0, ready.memory_bytes),
            # Only a task of a build that wants an overlay may run twice.
            holds_all="overlay" in ready.captures,
        )

    def _choose_capture(self, ready: wire.Ready, unusable: str) -> str:
        """Set the capture, or return why there is none. ``unusable``: why no capture helps."""
        if unusable:
            return executors.HOST_UNUSABLE.text(host=ready.host, cause=unusable)
        capture = _capture_for(self._fleet.settings.capture, ready)
        if capture in ready.captures:
            self.capture = capture
            return ""
        log.info("executor %s: no %s: %s", self.id, capture, ready.refusals.get(capture, "not offered"))
        return _no_capture(capture, ready)

    async def _read(self) -> None:
        channel = self._channel
        while (message := await channel.receive()) is not None:
            if isinstance(message, wire.FileContents):
                await channel.receive_contents(message, self._open_piece, self._results.disk)
                continue
            channel.is_handling = True
            try:
                await self._handle(message)
            finally:
                channel.is_handling = False
                channel.hear()

    async def _handle(self, message: Message) -> None:
        flight = self.flight
        if isinstance(message, wire.Pong):
            self.counters = message.counters
            self.answered_ping = message.number
            if message.available_bytes > 0 and self.capture:
                self._fleet.post(MemoryReported(self.id, message.available_bytes))
        elif isinstance(message, wire.Ping):
            self._send(wire.Pong(message.number, {}))
        elif flight is None or getattr(message, "task", None) != flight.task.id:
            pass  # a message about an attempt that has ended
        elif isinstance(message, wire.TaskEnded):
            await self._ended(flight, message)
        elif flight.aborted:
            pass
        elif isinstance(message, wire.TaskOutput):
            await flight.task.take_output(flight.attempt, message.fd, message.data)
        elif isinstance(message, wire.Reads):
            message.check()
            flight.reads = message
        elif isinstance(message, Change):
            await flight.take(message, self._results.write_back)

    def _open_piece(self, message: wire.FileContents) -> Piece:
        """The piece that the executor announces. The bytes of an attempt that has ended are received as well."""
        message.check()
        flight = self.flight
        if flight is None or message.task != flight.task.id or flight.aborted:
            return Piece(message, None)
        flight.expect(message)
        return Piece(message, partial(flight.write_packed, message) if message.packed_bytes else flight.write)

    async def _ended(self, flight: InFlight, ended: wire.TaskEnded) -> None:
        task, staging, results = flight.task, flight.staging, self._results
        if ended.cancelled and not flight.aborted:
            # The executor is leaving: its batch job is cancelled, or its time is over. Do not mark it idle: a new task
            # would be cancelled at once.
            log.info("executor %s: leaves in the middle of task %d", self.id, task.id)
            self.give_up()
            return
        assert self.ready is not None
        returned = staging.bytes_received
        inputs = results.inputs if self.landmarks is not None else None
        outcome, why = await judge(flight, ended, self.ready.host, inputs, self._told)
        if outcome is Outcome.DONE and staging.changes:
            try:
                await results.write_back.commit(staging)
            except (WriteBackError, ProtocolError) as exc:
                # On the submit host the command itself meets the full disk, and reports it in its own words.
                log.warning("task %d: %s; it runs on the submit host", task.id, exc)
                outcome, why = Outcome.REFUSED, str(exc)
                task.reject(flight.attempt)
        else:
            staging.discard()
        if outcome not in (Outcome.DONE, Outcome.CANCELLED):
            task.refusals.append(why)
            log.info("task %d on %s: attempt does not count (%s): %s", task.id, self.id, outcome.value, why)
            if outcome is Outcome.UNFIT:
                self._fleet.host_differs(task, why)
        usage = Usage(ended.user_s, ended.system_s, ended.peak_rss_bytes, ended.wall_s)
        results.attempt_over(task, self.id, outcome, usage, returned, ended.code == 0 and ended.signal == 0)
        self.flight = None
        # Tell the scheduler first: the answer may wait for the runner, and the executor must not.
        try:
            self._fleet.post(AttemptEnded(self.id, task.id, outcome))
            if outcome is Outcome.DONE:
                results.finish(task, ended.code, ended.signal)
        except Exception:
            # A fault of the server, after which nothing else may answer the runner: have it execute the command.
            if outcome is not Outcome.CANCELLED:
                task.peer.dismiss()
            raise

    def status(self, workspace: bytes) -> ExecutorStatus:
        """The executor and its task, for ``spraycc status``."""
        ready = self.ready
        assert ready is not None
        return ExecutorStatus(
            id=self.id,
            host=ready.host,
            pid=ready.pid,
            capture=self.capture,
            cluster=self._cluster,
            batch_job=ready.batch_job,
            task=None if self.flight is None else self.flight.task.id,
            running=None if self.flight is None else self._running(self.flight, workspace),
            age_s=round(trio.current_time() - self.joined_at, 3),
            counters=self.counters,
        )

    def _running(self, flight: InFlight, workspace: bytes) -> RunningTask:
        times = next(run for run in reversed(flight.task.runs) if run.executor == self.id)
        status = status_of(flight.task, workspace, times.began)
        return RunningTask(**status, attempt=flight.attempt.number, second=times.second)


def _capture_for(setting: str, ready: wire.Ready) -> str:
    """The capture on the executor's host for a task of a build with this setting. The host may not offer it."""
    if setting == "auto":
        return "predict" if "overlay" not in ready.captures and "predict" in ready.captures else "overlay"
    return setting


def _no_capture(capture: str, ready: wire.Ready) -> str:
    """Why the executor's host does not offer the capture."""
    why = ready.refusals.get(capture, "not offered")
    # The executor has tried several directories. The first of them is the one that the user expects.
    why = why.partition("; with scratch files in ")[0].partition("; without a pid namespace: ")[0]
    return executors.NO_CAPTURE.text(host=ready.host, capture=capture, cause=why)
