"""The executor's one task at a time: from StartTask to TaskEnded.

A task is never ended by cancelling a trio scope: that would cut a frame in the middle. A flag is set and its processes
are killed, which ends everything that waits for them. Only when the executor leaves are scopes cancelled.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import trio

from spraycc.errors import CaptureError, CaptureRefusal
from spraycc.executor.box import BoxOrder, BoxProcess, Ended, Layer, NotStarted, Streams
from spraycc.executor.box_process import KILL_GRACE_S, run_box
from spraycc.executor.capture_errors import Waiting, Watch, is_out_of_memory, is_starved, refusal_of
from spraycc.executor.coherence import Coherence
from spraycc.executor.host import Host
from spraycc.executor.link import Link, LinkLost, frame_of
from spraycc.executor.predicted_capture import Redirection
from spraycc.executor.prepare import Prepared, prepare_layers
from spraycc.executor.produced_files import ProducedMessage, produced
from spraycc.executor.scratch import Slot, remove_tree
from spraycc.executor.toolchain_check import Sameness
from spraycc.model import TaskId
from spraycc.system.threads import run_in_thread
from spraycc.wire.executor import FileData, MadeFile, StartTask, TaskEnded, TaskOutput
from spraycc.wire.framing import CHUNK_BYTES

_log = logging.getLogger(__name__)

#: A batch system's signal goes to the whole batch job, so a command may be seen to die of it before we get ours. Where
#: a command was killed, or seems to have been, so long is waited for it; after any other failure for a moment only.
_DEATH_PAUSE_S = 0.25
_FAILURE_PAUSE_S = 0.02
#: A shell's exit status for a command that died of a signal is this and its number.
_SIGNALLED = 128

#: What used such a share of the host's memory and was killed was killed for that.
_NEARLY_ALL = 0.8
#: So much of the output is kept, for what it says of the command's end.
_TAIL_BYTES = 4096

#: Layers that lie ready: the workspace's, /tmp's and that of /dev/shm.
_USUAL_LAYERS = 3


@dataclass(slots=True)
class Counters:
    """For Pong."""

    tasks: int = 0  #: started
    done: int = 0  #: whose result counts, whatever the exit status
    refused: int = 0
    cancelled: int = 0
    failed: int = 0  #: of those done, by a nonzero status or a signal
    cpu_s: float = 0.0
    bytes_returned: int = 0  #: output and contents of files

    def as_map(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class _Attempt:
    """A task that runs."""

    start: StartTask
    began: float
    cancelled: bool = False
    #: while it runs
    process: BoxProcess | None = None
    #: set when nothing of the command runs any more
    over: trio.Event = field(default_factory=trio.Event)
    #: a directory that the user must not hear of, and whether the command spoke of it
    hidden: bytes = b""
    told_hidden: bool = False
    #: on what it writes; None where nothing is captured
    watch: Watch | None = None
    #: what it said just now
    waiting: Waiting = field(default_factory=Waiting)
    #: the last of its output
    tail: bytes = b""
    #: frames that are not sent yet
    frames: bytearray = field(default_factory=bytearray)

    def ended(self, end: Ended, refusal: CaptureError | None) -> TaskEnded:
        text = str(refusal) if refusal else ""
        if end.code and is_starved(self.tail, self.start.env):
            last = self.tail.decode(errors="replace").strip().rpartition("\n")[2]
            text = text or f"killed, or this host was short of something: {last}"
            end = replace(end, code=0, signal=signal.SIGKILL)
        return TaskEnded(
            self.start.task,
            end.code,
            end.signal,
            self.cancelled,
            refusal.kind.value if refusal and not self.cancelled else "",
            "" if self.cancelled else text,
            end.user_s,
            end.system_s,
            time.monotonic() - self.began,
            end.peak_rss_bytes,
        )

    def says_memory(self) -> bool:
        """A command that failed says that there was not enough memory."""
        return is_out_of_memory(self.tail, self.start.env)


class Tasks:
    """Runs tasks and sends what becomes of them. One at a time."""

    def __init__(self, host: Host, link: Link) -> None:
        self._host = host
        self._link = link
        self.counters = Counters()
        self._current: _Attempt | None = None
        self._sameness = Sameness()
        self._coherence = Coherence(host.workspace, host.recorder, None if host.scratch is None else host.scratch.path)
        #: processes killed for want of memory, as of the last look
        self._kills = host.memory.kills()
        self._spent, self._to_remove = trio.open_memory_channel[bytes](math.inf)

    async def clear_away(self) -> None:
        """Remove the directories of ended tasks, beside whatever else happens. Runs until cancelled."""
        async for path in self._to_remove:
            await run_in_thread(remove_tree, path, abandon_on_cancel=True)

    async def cancel(self, task: TaskId) -> None:
        """Kill the task; answered by its TaskEnded, or by one of its own where it is not running (any more)."""
        attempt = self._current
        if attempt is None or attempt.start.task != task:
            await self._link.send(TaskEnded(task, 0, 0, True, "", "", 0.0, 0.0, 0.0, 0))
            return
        attempt.cancelled = True
        if attempt.process is not None:
            attempt.process.kill()
            with trio.move_on_after(KILL_GRACE_S):
                await attempt.over.wait()
            if attempt.process is not None:
                _log.warning("task %d: its helper does not end on SIGTERM", task)
                attempt.process.kill(signal.SIGKILL)

    def accept(self, start: StartTask) -> None:
        """Take a task; :meth:`run` follows.

        Raises:
            LinkLost: another one is running, which no honest server would do.
        """
        if self._current is not None:
            raise LinkLost("the server sent a task while another one runs")
        self._current = _Attempt(start, time.monotonic())
        self.counters.tasks += 1

    async def run(self) -> None:
        """Run the accepted task to its TaskEnded. No failure of it is raised.

        Raises:
            LinkLost: the server is gone.
        """
        attempt = self._current
        assert attempt is not None
        slot: Slot | None = None
        end, refusal = Ended(0, 0, 0.0, 0.0, 0), None
        try:
            await self._sameness.check(attempt.start.same)
            await self._coherence.fence(attempt.start)
            if attempt.start.capture in ("overlay", "predict") and self._host.scratch is not None:
                slot = self._host.scratch.take()
            end = await self._attempt(attempt, slot)
        except CaptureError as exc:
            refusal = exc
        except OSError as exc:
            refusal = refusal_of(exc)
        except LinkLost:
            raise
        except Exception as exc:
            _log.exception("task %d attempt %d: a fault of the executor", attempt.start.task, attempt.start.attempt)
            refusal = CaptureError(CaptureRefusal.HOST, f"a fault of the executor: {type(exc).__name__}: {exc}")
        if not attempt.cancelled and (end.signal or end.code or refusal is not None):
            # If it is we who are to leave, this is where: without a word about the task, which then goes elsewhere.
            await trio.sleep(_DEATH_PAUSE_S if end.signal or end.code > _SIGNALLED else _FAILURE_PAUSE_S)
        # From here on a CancelTask gets its own answer, and the next task may come.
        self._current = None
        ended = attempt.ended(end, refusal)
        if ended.signal == signal.SIGKILL and not ended.cancelled and self._was_memory(attempt, ended):
            ended = replace(ended, out_of_memory=True)
        self._count(ended)
        if ended.refusal or ended.cancelled:
            attempt.frames.clear()
        attempt.frames += frame_of(ended)
        await self._link.send_frames(attempt.frames)
        _log_end(attempt, ended)
        if slot is not None and self._host.scratch is not None:
            with contextlib.suppress(OSError):  # the next task will meet it, and be refused with the reason
                self._host.scratch.prepare(_USUAL_LAYERS)
            if not slot.remove_if_small():
                self._spent.send_nowait(slot.path)

    async def _attempt(self, attempt: _Attempt, slot: Slot | None) -> Ended:
        start, host = attempt.start, self._host
        command = BoxOrder(start.program, start.argv, start.env, start.cwd, start.umask, start.nice, start.rlimits)
        prepared = Prepared()
        outputs: list[bytes] = []
        directories: list[bytes] = []
        plan = None
        redirection = None
        if start.capture == "overlay":
            directories, outputs = _resolved(start)
            plan = host.plan(start.roots, start.optional_roots, directories)
            assert slot is not None
            attempt.watch = Watch(start.env)
            order = host.order(command, slot, plan)
            prepared = prepare_layers(order.layers, directories, outputs, host.identity)
        elif start.capture == "predict" and slot is not None:
            redirection = Redirection.make(slot.path, start.redirected)
            order = redirection.order(command, slot.temporary)
            attempt.hidden = redirection.directory
        elif start.capture in host.captures:
            order = host.order(command, None, None)
        else:
            raise CaptureError(CaptureRefusal.HOST, f"no capture mode {start.capture!r} on this host")
        order = self._coherence.recorded(start, order)
        began_ns = time.time_ns()
        end = await self._run(attempt, order)
        if attempt.cancelled:
            return end
        if (reads := self._coherence.reads(start, failed=bool(end.code or end.signal))) is not None:
            attempt.frames += frame_of(reads)
        if plan is not None:
            self._judge(attempt, end, directories)
            if attempt.watch is not None:
                for descriptor, data in (*attempt.waiting.all(), *attempt.watch.rest()):
                    self.counters.bytes_returned += len(data)
                    attempt.frames += frame_of(TaskOutput(attempt.start.task, descriptor, data))
            await self._send_produced(attempt, order.layers, prepared, outputs, began_ns)
        if redirection is not None:
            if attempt.told_hidden:
                raise CaptureError(CaptureRefusal.UNSUPPORTED, "it names a rewritten output in its words")
            await self._send(attempt, redirection.produced(start.task))
        return end

    def _judge(self, attempt: _Attempt, end: Ended, directories: list[bytes]) -> None:
        """Raise CaptureError where the capture made the command fail, or may have."""
        if attempt.watch is not None and attempt.watch.error is not None:
            raise attempt.watch.error
        # In a tree of another group a write to what is there fails, and a command may fail of it without a word.
        # Compilers don't, and where they are known to write is prepared.
        if (end.code or end.signal) and not attempt.start.outputs:
            for directory in (*attempt.start.roots, *directories[:1]):
                if not self._host.identity.is_mapped(os.stat(directory)):
                    text = f"it failed where {os.fsdecode(directory)} is another group's"
                    raise CaptureError(CaptureRefusal.COPY_UP, text)

    async def _run(self, attempt: _Attempt, order: BoxOrder) -> Ended:
        async def on_output(descriptor: int, data: bytes) -> None:
            if attempt.cancelled:
                return
            attempt.tail = (attempt.tail + data)[-_TAIL_BYTES:]
            attempt.told_hidden |= bool(attempt.hidden) and attempt.hidden in data
            if attempt.watch is not None:
                attempt.waiting.add(time.monotonic(), descriptor, attempt.watch.feed(descriptor, data))
                await pass_on_what_is_due()
            else:
                await send(descriptor, data)

        async def send(descriptor: int, data: bytes) -> None:
            self.counters.bytes_returned += len(data)
            await self._link.send(TaskOutput(attempt.start.task, descriptor, data))

        async def pass_on_what_is_due() -> None:
            if attempt.watch is not None and attempt.watch.error is None and not attempt.cancelled:
                for descriptor, data in attempt.waiting.due(time.monotonic()):
                    await send(descriptor, data)

        def on_start(process: BoxProcess) -> None:
            attempt.process = process
            if attempt.cancelled:
                process.kill()

        try:
            end = await run_box(
                self._host.box,
                order,
                stdin=self._host.null,
                streams=Streams(attempt.start.one_stream, attempt.start.terminals, attempt.start.window),
                on_output=on_output,
                on_start=on_start,
                on_tick=pass_on_what_is_due if attempt.watch is not None else None,
            )
        finally:
            attempt.process = None
            attempt.over.set()
        if isinstance(end, NotStarted):
            raise _not_started(end, order)
        return end

    async def _send_produced(
        self, attempt: _Attempt, layers: tuple[Layer, ...], prepared: Prepared, outputs: list[bytes], began_ns: int
    ) -> None:
        await self._send(attempt, produced(attempt.start.task, layers, prepared, outputs, began_ns, time.time_ns()))

    async def _send(self, attempt: _Attempt, messages: Iterator[ProducedMessage]) -> None:
        """Send all but the last frames; those wait for TaskEnded, to go with it."""
        for message in messages:
            if attempt.cancelled:
                return
            if isinstance(message, (MadeFile, FileData)):
                self.counters.bytes_returned += len(message.data)
            attempt.frames += frame_of(message)
            if len(attempt.frames) >= CHUNK_BYTES:
                frames, attempt.frames = attempt.frames, bytearray()
                await self._link.send_frames(frames)

    def _was_memory(self, attempt: _Attempt, ended: TaskEnded) -> bool:
        """Whether a command that was killed, or failed as if it were, ran out of memory."""
        kills, before = self._host.memory.kills(), self._kills
        self._kills = kills
        total = self._host.memory.total_bytes
        return attempt.says_memory() or kills > before or 0 < total * _NEARLY_ALL < ended.peak_rss_bytes

    def _count(self, ended: TaskEnded) -> None:
        self.counters.cpu_s += ended.user_s + ended.system_s
        if ended.cancelled:
            self.counters.cancelled += 1
        elif ended.refusal:
            self.counters.refused += 1
        else:
            self.counters.done += 1
            self.counters.failed += bool(ended.code or ended.signal)


def _resolved(start: StartTask) -> tuple[list[bytes], list[bytes]]:
    """Where the command is known to write, symbolic links resolved: directories (the working one first) and files."""
    real: dict[bytes, bytes] = {start.cwd: os.path.realpath(start.cwd)}
    outputs = []
    for output in start.outputs:
        directory, name = os.path.split(output)
        if directory not in real:
            real[directory] = os.path.realpath(directory)
        outputs.append(os.path.join(real[directory], name))
    return list(dict.fromkeys(real.values())), outputs


def _not_started(end: NotStarted, order: BoxOrder) -> CaptureError:
    refusal = refusal_of(OSError(end.errno, os.strerror(end.errno)))
    if end.stage == "exec":
        return CaptureError(CaptureRefusal.HOST, f"{os.fsdecode(order.program)}: {os.strerror(end.errno)} on this host")
    if end.stage in ("lower", "overlay", "attach") and refusal.kind is CaptureRefusal.HOST:
        return CaptureError(CaptureRefusal.ROOT, f"overlay: {end}")
    return CaptureError(refusal.kind, f"set-up: {end}")


def _log_end(attempt: _Attempt, ended: TaskEnded) -> None:
    outcome = (
        "cancelled" if ended.cancelled else f"refused ({ended.refusal}: {ended.text})" if ended.refusal else "done"
    )
    _log.info(
        "task %d attempt %d: %s, status %d, signal %d, %.3f s",
        attempt.start.task, attempt.start.attempt, outcome, ended.code, ended.signal, ended.wall_s,
    )  # fmt: skip
