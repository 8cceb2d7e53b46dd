"""An executor's connection: what it is told, and what it sends back.

Each has a coroutine that reads and one that writes. What a peer does wrong ends its own connection and nothing else:
the loss of an executor is an event like any other. Who may in is the listener's business (listener.py).
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any, Protocol

import trio

from spraycc.errors import CaptureRefusal, ProtocolError, SprayccError, VersionMismatch, WriteBackError
from spraycc.model import ExecutorId, Kind, TaskId, Usage
from spraycc.scheduler.events import AttemptEnded, Event, ExecutorJoined, ExecutorLost, MemoryReported, Outcome
from spraycc.server.coherence.inputs import Inputs, Stamps, Told
from spraycc.server.tasks.capture_roots import remote_environment
from spraycc.server.tasks.predicted_outputs import redirect
from spraycc.server.tasks.task import Attempt, Task
from spraycc.server.writeback.commit import WriteBack
from spraycc.server.writeback.staging import Staging
from spraycc.system.tls import TlsSocket
from spraycc.wire import executor as wire
from spraycc.wire.framing import FrameReader, encode_frame
from spraycc.wire.schema import Message

log = logging.getLogger(__name__)

#: Time that a peer has for Ready, once it has proved itself.
READY_S = 20.0
#: A task is tried so often by hosts that see other files than the submit host; then it runs here.
STALE_ATTEMPTS = 2


class Hub(Protocol):
    """What executors' connections need of the server."""

    @property
    def capture(self) -> str:
        """The capture that the settings ask for: "auto", "overlay", "predict" or "in-place"."""
        ...

    @property
    def executor_lasts_s(self) -> float | None:
        """So long an executor that has just started is given tasks; None is no limit."""
        ...

    @property
    def inputs(self) -> Inputs:
        """What tasks read."""
        ...

    async def why_unusable(self, ready: wire.Ready) -> str:
        """Why what a command reads on this host may be something else than here; empty where that would be seen."""
        ...

    def post(self, event: Event) -> None: ...
    def executor_ready(self, link: ExecutorLink) -> None: ...
    def executor_gone(self, link: ExecutorLink) -> None: ...
    def executor_unfit(self, link: ExecutorLink, text: str) -> None: ...
    def host_differs(self, task: Task, text: str) -> None: ...
    def attempt_over(self, task: Task, outcome: Outcome, usage: Usage, returned_bytes: int, ok: bool) -> None: ...
    def finish(self, task: Task, code: int, signal: int) -> None: ...


class ExecutorLink:
    """One executor that has proved itself."""

    def __init__(
        self,
        hub: Hub,
        connection: TlsSocket,
        executor_id: ExecutorId,
        write_back: WriteBack,
    ) -> None:
        self.id = executor_id
        self.ready: wire.Ready | None = None
        self.capture = ""
        #: the executor's own counters, as of its last pong
        self.counters: dict[str, Any] = {}
        #: number of the last ping that it answered
        self.answered_ping = 0
        #: the attempt in flight; stays until its TaskEnded even if nobody wants it any more
        self.task: Task | None = None
        self._attempt: Attempt | None = None
        #: stamps of files that it has been told, and those that went with the task in flight
        self._told = Told()
        self._stamps: Stamps = ()
        #: the version of the table of stamps that the task in flight was sent with
        self._version = 0
        #: what the task in flight has read
        self._reads: wire.Reads | None = None
        self.joined_at = trio.current_time()
        self._hub = hub
        self._connection = connection
        self._write_back = write_back
        self._reader = FrameReader()
        #: set when there is something that could not be sent at once
        self._behind = trio.Event()
        self._aborted = False
        self._staging: Staging | None = None
        self._write_back_failed: SprayccError | None = None
        self._last_heard = trio.current_time()
        self._handling = False
        self._scope = trio.CancelScope()
        #: set when nothing of it is left but the socket
        self.ended = trio.Event()

    # -- called by the server, never waiting

    def start(self, task: Task, attempt: int) -> Attempt:
        """Send the task. The executor is idle."""
        assert self.task is None
        assert task.plan is not None
        plan = task.plan
        self.task = task
        self._aborted = False
        self._staging = self._write_back.begin((*plan.roots, *plan.optional_roots), b"%d-%d" % (task.id, attempt))
        self._write_back_failed = None
        self._attempt = begun = task.begin_attempt(self.id)
        env = remote_environment(task.command.env)
        start = wire.StartTask.of(
            task.id, attempt, self.capture, task.command, env, plan.roots, plan.optional_roots, plan.outputs
        )
        if self.capture == "predict":
            predicted = redirect(task.command)
            if predicted is None:
                self._cannot_predict(task)
                return begun
            start = dataclasses.replace(start, argv=predicted.argv, redirected=predicted.outputs)
        self._reads = None
        if task.expected is not None:
            self._stamps, self._version = self._hub.inputs.tell(task.expected, self._told)
            start = dataclasses.replace(start, prove=True, stamps=self._stamps)
            if task.description.kind is Kind.UNKNOWN:
                made = self._hub.inputs.busy_directories()
                incomplete = self._hub.inputs.was_incomplete(task.expected)
                start = dataclasses.replace(start, refresh=made, incomplete=incomplete)
        self._post(dataclasses.replace(start, same=task.same) if task.same else start)
        return begun

    def _cannot_predict(self, task: Task) -> None:
        task.refusals.append("not all that it writes is certain, and this host has no overlay")
        self.task = self._attempt = None
        self._staging = None
        self._hub.attempt_over(task, Outcome.REFUSED, Usage(), 0, False)
        self._hub.post(AttemptEnded(self.id, task.id, Outcome.REFUSED))

    def abort(self, task: TaskId) -> None:
        """Have the task killed; what it still sends is thrown away."""
        if self.task is not None and self.task.id == task:
            self._aborted = True
            self._post(wire.CancelTask(task))

    def leave(self) -> None:
        """Ask it to end."""
        self._post(wire.Leave())

    def beat(self, number: int, heartbeat_s: float, lost_after_s: float) -> None:
        """Ping it if it has been silent for a heartbeat, and give it up where that has lasted for too long.

        While we don't read (a slow runner or disk holds us up), its silence is our own.
        """
        silent_s = trio.current_time() - self._last_heard
        if not self._handling and silent_s > lost_after_s:
            log.warning("executor %s: silent for %.0f s, given up", self.id, lost_after_s)
            self.give_up()
        elif silent_s >= heartbeat_s / 2:
            self.ping(number)

    def ping(self, number: int) -> None:
        """Have it say how it is."""
        self._post(wire.Ping(number))

    def excuse(self) -> None:
        """We were stopped or starved ourselves: what it said meanwhile was not read yet."""
        self._last_heard = trio.current_time()

    def give_up(self) -> None:
        """End the connection; its task goes elsewhere."""
        self._scope.cancel()

    def _post(self, message: Message) -> None:
        try:
            self._connection.send_now(encode_frame(wire.TO_EXECUTOR.pack(message)))
        except trio.BrokenResourceError as exc:
            log.info("executor %s: connection broken: %r", self.id, exc.__cause__)
            self.give_up()
            return
        if self._connection.is_behind:
            self._behind.set()

    # -- its coroutines

    async def serve(self) -> None:
        """Run the connection until it ends. Raises nothing that the peer can cause."""
        joined = False
        try:
            with self._scope:
                with trio.fail_after(READY_S):
                    message = await self._receive()
                if not isinstance(message, wire.Ready):
                    raise ProtocolError("the first message of an executor is 'ready'")
                self.ready = message
                unusable = message.refusals.get("workspace") or await self._hub.why_unusable(message)
                refusal = self._choose_capture(message, unusable)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    if refusal:
                        self._hub.executor_unfit(self, refusal)
                        self.leave()
                    else:
                        self._hub.executor_ready(self)
                        joined = True
                        self._hub.post(self._joined(message))
                    await self._read()
                    nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as exc:
            log.info("executor %s: connection broken: %r", self.id, exc.exceptions[0])
        except* (ProtocolError, VersionMismatch) as exc:
            log.warning("executor %s: %s", self.id, exc.exceptions[0])
        except* Exception:
            # A fault of ours: it costs this executor, whose task goes elsewhere, and not everybody's server.
            log.exception("executor %s: serving it failed", self.id)
        finally:
            try:
                self._leave_hub(joined)
            finally:
                self.ended.set()

    def _leave_hub(self, joined: bool) -> None:
        if self._staging is not None:
            self._staging.discard()
        if not joined:
            return
        lost, attempt = self.task, self._attempt
        self.task = None
        self._hub.executor_gone(self)
        try:
            if lost is not None and attempt is not None:
                lost.reject(attempt)
                self._hub.attempt_over(lost, Outcome.CANCELLED, Usage(), 0, False)
        finally:
            self._hub.post(ExecutorLost(self.id))

    def _joined(self, ready: wire.Ready) -> ExecutorJoined:
        return ExecutorJoined(
            self.id,
            self._hub.executor_lasts_s,
            host=ready.host + ready.memory_part,
            memory_bytes=max(0, ready.memory_bytes),
            holds_all=self.capture == "overlay",
        )

    def _choose_capture(self, ready: wire.Ready, unusable: str) -> str:
        """Set the capture; the text says why there is none. ``unusable``: why there can't be one."""
        if unusable:
            return f"host {ready.host} can't be used: {unusable}"
        wanted = self._hub.capture
        if wanted == "auto":
            wanted = "predict" if "overlay" not in ready.captures and "predict" in ready.captures else "overlay"
        if wanted in ready.captures:
            self.capture = wanted
            return ""
        why = ready.refusals.get(wanted, "not offered")
        return f"host {ready.host} can't capture outputs by {wanted}: {why}"

    async def _write(self) -> None:
        """Send what could not be sent at once."""
        while True:
            await self._behind.wait()
            self._behind = trio.Event()
            await self._connection.flush()

    async def _read(self) -> None:
        while True:
            message = await self._receive()
            if message is None:
                return
            self._handling = True
            try:
                await self._handle(message)
            finally:
                self._handling = False
                self._last_heard = trio.current_time()

    async def _receive(self) -> Message | None:
        while True:
            item = self._reader.next_item()
            if item is not None:
                return wire.FROM_EXECUTOR.unpack(item)
            data = await self._connection.receive()
            self._last_heard = trio.current_time()
            if not data:
                return None
            self._reader.feed(data)

    async def _handle(self, message: Message) -> None:
        if isinstance(message, wire.Pong):
            self.counters = message.counters
            self.answered_ping = message.number
            if message.available_bytes > 0 and self.capture:
                self._hub.post(MemoryReported(self.id, message.available_bytes))
        elif isinstance(message, wire.Ping):
            self._post(wire.Pong(message.number, {}))
        elif isinstance(message, wire.TaskEnded):
            if self.task is not None and self.task.id == message.task:
                await self._ended(self.task, message)
        elif self.task is None or self._aborted or getattr(message, "task", None) != self.task.id:
            pass  # of an attempt that nobody wants any more
        elif isinstance(message, wire.TaskOutput):
            assert self._attempt is not None
            await self.task.take_output(self._attempt, message.fd, message.data)
        elif isinstance(message, wire.Reads):
            message.check()
            self._reads = message
        else:
            await self._take_change(message)

    async def _take_change(self, message: Any) -> None:
        staging = self._staging
        assert staging is not None
        if self._write_back_failed is not None:
            return
        try:
            staging.take(message)
        except WriteBackError as exc:
            self._fail_write_back(staging, exc)
            return
        if not staging.wants_spill:
            return
        try:
            await self._write_back.spill(staging)
        except (WriteBackError, ProtocolError) as exc:  # also a directory that has become a link here meanwhile
            self._fail_write_back(staging, exc)

    def _fail_write_back(self, staging: Staging, exc: SprayccError) -> None:
        log.warning("executor %s: %s", self.id, exc)
        self._write_back_failed = exc
        staging.discard()

    async def _ended(self, task: Task, ended: wire.TaskEnded) -> None:
        if ended.cancelled and not self._aborted:
            # It is leaving, as its batch job is cancelled or its time is over. Free it is not: what it were given now
            # would be cancelled again, and again.
            log.info("executor %s: leaves in the middle of task %d", self.id, task.id)
            self._scope.cancel()
            return
        staging = self._staging
        assert staging is not None
        usage = Usage(ended.user_s, ended.system_s, ended.peak_rss_bytes, ended.wall_s)
        returned = staging.bytes_received
        attempt = self._attempt
        assert attempt is not None
        why = ended.text or str(self._write_back_failed or f"status {ended.code}, signal {ended.signal}")
        outcome = self._outcome(ended)
        if outcome is Outcome.STALE and self.ready is not None:
            why = f"host {self.ready.host}: {why}"
        if outcome is Outcome.DONE and task.expected is not None:
            outcome, why = await self._proved(task, ended, why)
            if self._aborted:
                outcome = Outcome.CANCELLED
        if outcome is Outcome.STALE:
            if task.expected is not None:
                self._hub.inputs.forget_told(self._stamps, self._told)
            task.stale += 1
            if task.stale >= STALE_ATTEMPTS:
                outcome = Outcome.REFUSED
        if outcome is Outcome.DONE and not task.choose(attempt):
            outcome = Outcome.CANCELLED  # the other attempt's result is being written
        if outcome is Outcome.DONE and not staging.is_empty:
            try:
                await self._write_back.commit(staging)
            except (WriteBackError, ProtocolError) as exc:
                # The command meets the full disk (or whatever it is) in its own words when it runs here.
                log.warning("task %d: %s; it runs here", task.id, exc)
                outcome, why = Outcome.REFUSED, str(exc)
                task.reject(attempt)
        else:
            staging.discard()
        ok = ended.code == 0 and ended.signal == 0
        if outcome not in (Outcome.DONE, Outcome.CANCELLED):
            task.refusals.append(why)
            log.info(
                "task %d on %s: attempt does not count (%s): %s", task.id, self.id, outcome.value, why
            )  # fmt: skip
            if outcome is Outcome.UNFIT:
                self._hub.host_differs(task, ended.text)
        self._hub.attempt_over(task, outcome, usage, returned, ok)
        self.task = self._attempt = None
        self._staging = None
        # First, as the runner's answer may have to wait, and the executor shall not.
        try:
            self._hub.post(AttemptEnded(self.id, task.id, outcome))
            if outcome is Outcome.DONE:
                self._hub.finish(task, ended.code, ended.signal)
        except Exception:
            # A fault of ours, and the task may be over for everybody else: its runner helps itself.
            if outcome is not Outcome.CANCELLED:
                task.peer.dismiss()
            raise

    async def _proved(self, task: Task, ended: wire.TaskEnded, why: str) -> tuple[Outcome, str]:
        """DONE if all that the command read was the submit host's, or need not be proved; else the outcome and why."""
        assert task.expected is not None
        inputs, reads = self._hub.inputs, self._reads
        # A compile's result must be proved. Of other commands a failure may be due to a file that is there by now.
        must_be_complete = task.description.kind is not Kind.UNKNOWN or ended.code != 0
        if reads is None or (must_be_complete and not reads.complete):
            return Outcome.REFUSED, "the executor could not record which files the command read"
        assert self.ready is not None
        mismatch = await inputs.check(task.expected, self._told, self._version, reads.matched, reads.others)
        if mismatch is not None:
            return Outcome.STALE, f"host {self.ready.host} saw other files: {mismatch}"
        if not reads.complete and not reads.refreshed:
            unknown = f"host {self.ready.host} could not record all files that the command read"
            if inputs.was_incomplete(task.expected):
                return Outcome.REFUSED, f"{unknown}, and can't be sure that they are up to date"
            inputs.note_incomplete(task.expected)
            return Outcome.STALE, unknown
        return Outcome.DONE, why

    def _outcome(self, ended: wire.TaskEnded) -> Outcome:
        if ended.cancelled or self._aborted:
            return Outcome.CANCELLED
        if ended.refusal == CaptureRefusal.STALE.value:
            return Outcome.STALE
        if ended.refusal == CaptureRefusal.DIFFERENT.value:
            return Outcome.UNFIT
        if ended.refusal or self._write_back_failed is not None:
            return Outcome.REFUSED
        if ended.signal:
            return Outcome.OUT_OF_MEMORY if ended.out_of_memory else Outcome.KILLED
        return Outcome.DONE

    def status(self) -> dict[str, Any]:
        ready = self.ready
        assert ready is not None
        return {
            "id": self.id,
            "host": ready.host,
            "pid": ready.pid,
            "capture": self.capture,
            "batch_job": ready.batch_job,
            "task": None if self.task is None else self.task.id,
            "age_s": round(trio.current_time() - self.joined_at, 3),
            "counters": self.counters,
        }
