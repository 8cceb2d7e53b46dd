"""Runs the executor's tasks, one at a time, from StartTask to TaskEnded.

A CancelTask does not cancel a trio scope, because that could cut a frame in the middle. It sets a flag and kills the
task's processes, which ends all coroutines that wait for them. Scopes are cancelled only when the executor leaves.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import trio

from spraycc.errors import CaptureError, CaptureRefusal
from spraycc.executor.box import BoxOrder, BoxProcess, Ended, Layer, NotStarted, Streams
from spraycc.executor.box_process import KILL_GRACE_S, run_box
from spraycc.executor.capture_errors import CaptureErrorScanner, OutputDelay, is_out_of_memory, is_starved, refusal_of
from spraycc.executor.coherence import Coherence
from spraycc.executor.file_piece import FilePiece
from spraycc.executor.host import Host
from spraycc.executor.link import Link, LinkLost, frame_of
from spraycc.executor.predicted_capture import PredictedCapture
from spraycc.executor.prepare import Prepared, prepare_layers
from spraycc.executor.produced_files import ProducedMessage, produced_messages
from spraycc.executor.scratch import Slot, remove_if_small, remove_tree
from spraycc.executor.toolchain_check import ToolchainCheck
from spraycc.executor.view import View
from spraycc.model import TaskId
from spraycc.system.threads import run_in_thread
from spraycc.wire.executor import MadeFile, StartTask, TaskEnded, TaskOutput
from spraycc.wire.framing import CHUNK_BYTES

_log = logging.getLogger(__name__)

#: A batch system sends a signal to the whole batch job, so a command may die of it before this process gets its own.
#: After a command was killed, or seems so, wait this many seconds for our own signal.
_DEATH_PAUSE_S = 0.25
#: After other failures, wait this many seconds.
_FAILURE_PAUSE_S = 0.02
#: A shell's exit status for a command that died of a signal is this plus the signal's number.
_SIGNALLED = 128

#: If a killed task used more than this share of the host's memory, assume the out-of-memory killer.
_NEARLY_ALL = 0.8
#: The last bytes of the output are kept: they may tell why the command failed.
_TAIL_BYTES = 4096
#: Without a task for this time, an executor keeps no layers.
_IDLE_S = 5.0


@dataclass(slots=True)
class Counters:
    """Totals since start, sent in every Pong (seconds, bytes)."""

    tasks: int = 0  #: started
    done: int = 0  #: with a result that counts, whatever the exit status
    refused: int = 0
    cancelled: int = 0
    failed: int = 0  #: of ``done``: with a nonzero status or a signal
    cpu_s: float = 0.0
    bytes_returned: int = 0  #: output and contents of files
    packed_bytes: int = 0  #: compressed contents, as they were sent
    packed_from_bytes: int = 0  #: the same contents before they were compressed

    def as_map(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class _Attempt:
    """The running attempt."""

    start: StartTask
    began: float
    cancelled: bool = False
    #: None unless the command runs
    process: BoxProcess | None = None
    #: set when no process of the command runs any more
    over: trio.Event = field(default_factory=trio.Event)
    #: a directory that must not appear in the output; empty without one
    hidden: bytes = b""
    #: True if ``hidden`` appeared in the output
    showed_hidden: bool = False
    #: scans the output; None without an overlay
    scanner: CaptureErrorScanner | None = None
    #: output that is not passed on yet
    delayed: OutputDelay = field(default_factory=OutputDelay)
    #: the last bytes of the output
    tail: bytes = b""
    #: frames that are not sent yet
    frames: bytearray = field(default_factory=bytearray)
    #: the layers of the view, and the end of the command in them
    layers: tuple[Layer, ...] = ()
    end: Ended | NotStarted | None = None

    def ended(self, end: Ended, refusal: CaptureError | None) -> TaskEnded:
        text = str(refusal) if refusal else ""
        if end.code and is_starved(self.tail, self.start.env):
            last = self.tail.decode(errors="replace").strip().rpartition("\n")[2]
            text = text or f"killed, or this host lacked a resource: {last}"
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


class Tasks:
    """Runs one task at a time and sends its result."""

    def __init__(self, host: Host, link: Link) -> None:
        self._host = host
        self._link = link
        self.counters = Counters()
        self._current: _Attempt | None = None
        self._toolchain_check = ToolchainCheck()
        self._view = View(host)
        self._coherence = Coherence(host.workspace, host.recorder, None if host.scratch is None else host.scratch.path)
        #: the host's count of processes killed for lack of memory, when last read
        self._kills = host.memory.kills()
        self._spent, self._to_remove = trio.open_memory_channel[bytes](math.inf)

    async def clear_away(self) -> None:
        """Remove the directories of ended tasks in the background, and idle layers. Runs until cancelled."""
        while True:
            path, tasks = None, self.counters.tasks
            with trio.move_on_after(_IDLE_S):
                path = await self._to_remove.receive()
            if path is not None:
                await run_in_thread(remove_tree, path, abandon_on_cancel=True)
            elif self._current is None and self.counters.tasks == tasks:
                for spent in self._view.rest():
                    self._spent.send_nowait(spent)

    async def cancel(self, task: TaskId) -> None:
        """Kill the task. If the task does not run (any more), answer with a TaskEnded at once."""
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
                _log.warning("task %d: the box does not end on SIGTERM", task)
                attempt.process.kill(signal.SIGKILL)

    def accept(self, start: StartTask) -> None:
        """Take a task; :meth:`run` follows.

        Raises:
            LinkLost: another task runs; no honest server sends a second one.
        """
        if self._current is not None:
            raise LinkLost("the server sent a task while another one runs")
        self._current = _Attempt(start, time.monotonic())
        self._link.packer.is_allowed = start.may_pack
        self.counters.tasks += 1

    async def run(self) -> None:
        """Run the accepted task to its TaskEnded, which also reports failures.

        Raises:
            LinkLost: the server is gone.
        """
        attempt = self._current
        assert attempt is not None
        slot: Slot | None = None
        end, refusal = Ended(0, 0, 0.0, 0.0, 0), None
        try:
            await self._toolchain_check.check(attempt.start.same)
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
            # If a signal ends this executor, too, it comes during this sleep. The server then sends the task elsewhere.
            await trio.sleep(_DEATH_PAUSE_S if end.signal or end.code > _SIGNALLED else _FAILURE_PAUSE_S)
        # From this line on a CancelTask gets its own answer, and the next task may arrive.
        self._current = None
        ended = attempt.ended(end, refusal)
        if ended.signal == signal.SIGKILL and not ended.cancelled and self._ran_out_of_memory(attempt, ended):
            ended = replace(ended, out_of_memory=True)
        self._count(ended)
        if ended.refusal or ended.cancelled:
            attempt.frames.clear()
        attempt.frames += frame_of(ended)
        await self._link.send_frames(attempt.frames)
        _log_end(attempt, ended)
        self._clean_up(attempt, slot)

    def _clean_up(self, attempt: _Attempt, slot: Slot | None) -> None:
        """Get the scratch directory ready for the next task."""
        for path in self._view.task_ended(attempt.layers, attempt.end):
            if not remove_if_small(path):
                self._spent.send_nowait(path)
        if slot is not None and self._host.scratch is not None and not self._host.scratch.take_again(slot):
            with contextlib.suppress(OSError):  # the next task meets the same error, and is refused with the reason
                self._host.scratch.prepare(0)
            if not remove_if_small(slot.path):
                self._spent.send_nowait(slot.path)

    def close(self) -> None:
        """End the box that keeps layers. No task runs any more."""
        self._view.close()

    async def _attempt(self, attempt: _Attempt, slot: Slot | None) -> Ended:
        start, host = attempt.start, self._host
        command = BoxOrder(start.program, start.argv, start.env, start.cwd, start.umask, start.nice, start.rlimits)
        prepared = Prepared()
        outputs: list[bytes] = []
        directories: list[bytes] = []
        predicted = None
        if start.capture == "overlay":
            directories, outputs = _resolved(start)
            roots = host.plan(start.roots, start.optional_roots, directories)
            assert slot is not None
            attempt.scanner = CaptureErrorScanner(start.env, finds_denials=start.prove and not start.same)
            attempt.layers = self._view.layers(slot, roots)
            order = host.overlaid(command, slot, attempt.layers)
            prepared = prepare_layers(order.layers, directories, outputs, host.identity)
            self._view.check(order.layers)
        elif start.capture == "predict" and slot is not None:
            predicted = PredictedCapture.make(slot.path, start.redirected)
            order = predicted.order(command, slot.temporary)
            attempt.hidden = predicted.directory
        elif start.capture in host.captures:
            order = replace(command, in_place=True)
        else:
            raise CaptureError(CaptureRefusal.HOST, f"no capture mode {start.capture!r} on this host")
        order = self._coherence.recorded(start, order)
        began_ns = time.time_ns()
        end = await self._run(attempt, order)
        if start.prove:
            # Until its record is known to be complete: the command may have had a mount namespace of its own, whose
            # open files the box can't see.
            attempt.end = replace(end, kept=False)
        if attempt.cancelled:
            return end
        await self._toolchain_check.check(start.same)
        originals = prepared.originals
        copied = {
            name: originals[path] for name, path in zip(start.outputs, outputs, strict=False) if path in originals
        }
        reads = await self._coherence.reads(start, copied, failed=bool(end.code or end.signal))
        if reads is not None:
            attempt.frames += frame_of(reads)
            if reads.complete:
                attempt.end = end
        if (scanner := attempt.scanner) is not None:
            if scanner.error is not None:
                raise scanner.error
            self._check_group(start, end, directories)
            for descriptor, data in (*attempt.delayed.all(), *scanner.rest()):
                self.counters.bytes_returned += len(data)
                attempt.frames += frame_of(TaskOutput(start.task, descriptor, data))
            messages = produced_messages(start.task, order.layers, prepared, outputs, began_ns, time.time_ns())
            await self._send(attempt, messages)
        if predicted is not None:
            if attempt.showed_hidden:
                raise CaptureError(CaptureRefusal.UNSUPPORTED, "the command's output names the scratch directory")
            await self._send(attempt, predicted.produced_messages(start.task))
        return end

    def _check_group(self, start: StartTask, end: Ended, directories: list[bytes]) -> None:
        """Raise CaptureError if the command failed and a directory of another group can be the reason.

        In such a tree a write to an existing file fails, and a command may not report that. Compilers do report it, and
        the directories to which they write are prepared.
        """
        if (end.code or end.signal) and not start.outputs:
            for directory in (*start.roots, *directories[:1]):
                if not self._host.identity.is_mapped(os.stat(directory)):
                    text = f"the command failed, and {os.fsdecode(directory)} belongs to another group"
                    raise CaptureError(CaptureRefusal.COPY_UP, text)

    async def _run(self, attempt: _Attempt, order: BoxOrder) -> Ended:
        async def on_output(descriptor: int, data: bytes) -> None:
            if attempt.cancelled:
                return
            attempt.tail = (attempt.tail + data)[-_TAIL_BYTES:]
            attempt.showed_hidden |= bool(attempt.hidden) and attempt.hidden in data
            if attempt.scanner is not None:
                attempt.delayed.add(time.monotonic(), descriptor, attempt.scanner.feed(descriptor, data))
                await pass_on_what_is_due()
            else:
                await send(descriptor, data)

        async def send(descriptor: int, data: bytes) -> None:
            self.counters.bytes_returned += len(data)
            await self._link.send(TaskOutput(attempt.start.task, descriptor, data))

        # Both streams and the ticks pass output on, and a send may wait for the network. Without the lock, one of them
        # would send newer output before the older output that another one has taken.
        passing_on = trio.Lock()

        async def pass_on_what_is_due() -> None:
            async with passing_on:
                if attempt.scanner is not None and attempt.scanner.error is None and not attempt.cancelled:
                    for descriptor, data in attempt.delayed.due(time.monotonic()):
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
                on_tick=pass_on_what_is_due if attempt.scanner is not None else None,
                start=self._view.start if attempt.layers else None,
            )
            attempt.end = end
        finally:
            attempt.process = None
            attempt.over.set()
        if isinstance(end, NotStarted):
            raise _not_started(end, order)
        return end

    async def _send(self, attempt: _Attempt, messages: Iterator[ProducedMessage]) -> None:
        """Send the frames in large pieces. The last piece waits for TaskEnded, and is sent with it."""
        for message in messages:
            if attempt.cancelled:
                return
            if isinstance(message, FilePiece):
                frames, attempt.frames = attempt.frames, bytearray()
                await self._link.send_piece(message, frames)
                self.counters.bytes_returned += message.size_bytes
                continue
            if isinstance(message, MadeFile):
                self.counters.bytes_returned += len(message.data)
                attempt.frames += self._link.small_file(message)
            else:
                attempt.frames += frame_of(message)
            if len(attempt.frames) >= CHUNK_BYTES:
                frames, attempt.frames = attempt.frames, bytearray()
                await self._link.send_frames(frames)

    def _ran_out_of_memory(self, attempt: _Attempt, ended: TaskEnded) -> bool:
        """True if a lack of memory killed the command, or made it fail."""
        kills, before = self._host.memory.kills(), self._kills
        self._kills = kills
        total = self._host.memory.total_bytes
        if is_out_of_memory(attempt.tail, attempt.start.env) or kills > before:
            return True
        return 0 < total * _NEARLY_ALL < ended.peak_rss_bytes

    def _count(self, ended: TaskEnded) -> None:
        self.counters.packed_bytes = self._link.packer.packed_bytes
        self.counters.packed_from_bytes = self._link.packer.packed_from_bytes
        self.counters.cpu_s += ended.user_s + ended.system_s
        if ended.cancelled:
            self.counters.cancelled += 1
        elif ended.refusal:
            self.counters.refused += 1
        else:
            self.counters.done += 1
            self.counters.failed += bool(ended.code or ended.signal)


def _resolved(start: StartTask) -> tuple[list[bytes], list[bytes]]:
    """The known directories (the working directory first) and files of the outputs, with symbolic links resolved."""
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
