"""Tries which captures work on this host, and puts a task's order into an overlay."""

from __future__ import annotations

import logging
import os
import select
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from spraycc.errors import CaptureError, CaptureRefusal
from spraycc.executor.box import BoxOrder, Ended, Layer, NotStarted, Streams
from spraycc.executor.box_process import run_box
from spraycc.executor.capture_errors import refusal_of
from spraycc.executor.coherence import make_record
from spraycc.executor.overlay_plan import plan_overlays
from spraycc.executor.prepare import Identity, Prepared
from spraycc.executor.produced_files import produced_messages
from spraycc.executor.recorder import LIBRARY_NAME, environment, find_recorder
from spraycc.executor.scratch import Scratch, Slot, candidates, remove_tree
from spraycc.model import TaskId
from spraycc.stamps import FILE
from spraycc.system.filesystems import mounts
from spraycc.system.memory import Memory
from spraycc.wire.executor import MadeFile

_log = logging.getLogger(__name__)

#: The contents that ``spraycc-box --touch`` writes.
_TOUCHED = b"spraycc\n"


class MountTable:
    """The mount points of this process's namespace, read again only when they have changed (proc(5): poll)."""

    def __init__(self) -> None:
        self._file = open("/proc/self/mountinfo", "rb", buffering=0)  # noqa: SIM115 - open as long as this process runs
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLPRI | select.POLLERR)
        self._points: frozenset[bytes] | None = None

    def close(self) -> None:
        self._file.close()

    def points(self) -> frozenset[bytes]:
        if self._points is None or self._poll.poll(0):
            self._file.seek(0)
            self._points = frozenset(mounts(self._file.readall()))
        return self._points


@dataclass(slots=True)
class Host:
    """The means to run commands on this host. ``scratch`` is None if no directory was found."""

    box: bytes
    #: open descriptor of /dev/null, the stdin of every command
    null: int
    identity: Identity = field(default_factory=Identity.own)
    mounts: MountTable = field(default_factory=MountTable)
    memory: Memory = field(default_factory=Memory.explore)
    scratch: Scratch | None = None
    #: the real path of the directory that all tasks need
    workspace: bytes = b"/"
    #: the recorder's library (spraycc/native/recorder/), if it is installed and works on this host
    recorder: bytes | None = None
    #: True if overlays work on this host
    overlays: bool = True
    pid_namespace: bool = True
    captures: tuple[str, ...] = ()
    refusals: dict[str, str] = field(default_factory=dict)

    def plan(self, required: Sequence[bytes], optional: Sequence[bytes], needed: Sequence[bytes]) -> tuple[bytes, ...]:
        """The roots of a task's overlays.

        Raises:
            CaptureError: a required root can't be captured.
        """
        if self.scratch is None or not self.overlays:
            raise CaptureError(CaptureRefusal.HOST, self.refusals.get("overlay", "no overlay on this host"))
        return plan_overlays(
            dict.fromkeys(map(os.path.realpath, required)),
            dict.fromkeys(os.path.realpath(root) for root in optional if os.path.isdir(root)),
            needed,
            self.mounts.points(),
            self.scratch.path,
        )

    def overlaid(self, order: BoxOrder, slot: Slot, layers: tuple[Layer, ...]) -> BoxOrder:
        """``order`` in these layers, with TMPDIR in the slot."""
        return replace(
            order.with_temporary(slot.temporary),
            layers=layers,
            writable=(slot.temporary,),
            pid_namespace=self.pid_namespace,
        )


async def explore(host: Host, workspace: bytes, scratch_dir: str | None, name: str) -> None:
    """Try the capture modes, and fill in ``host``.

    Args:
        host: a fresh Host, which this function fills in.
        workspace: the directory that all tasks need.
        scratch_dir: the setting for scratch directories, or None.
        name: the name of the scratch directory.
    """
    host.workspace = workspace = os.path.realpath(workspace)
    if not os.path.isdir(workspace):
        host.refusals = {"workspace": f"{os.fsdecode(workspace)} is not a directory on this host"}
        return
    captures = []
    for base in candidates(scratch_dir, os.environ.get("TMPDIR"), workspace):
        try:
            host.scratch = Scratch.create(base, name)
            await _try_overlay(host, workspace, name)
        except (CaptureError, OSError) as exc:
            _log.info("no overlay with scratch files in %s: %s", base, exc)
            reasons = [r for r in (host.refusals.get("overlay"), f"with scratch files in {base}: {exc}") if r]
            host.refusals["overlay"] = "; ".join(reasons)
            if host.scratch is not None:
                host.scratch.remove()
                host.scratch = None
        else:
            _log.info("scratch %s, pid namespace %s", os.fsdecode(host.scratch.path), host.pid_namespace)
            host.refusals.clear()
            captures += ["overlay", "predict"]
            break
    if host.scratch is None:
        _scratch_for_prediction(host, workspace, scratch_dir, name)
        captures += ["predict"] if host.scratch is not None else []
    try:
        end = await _run(host, BoxOrder(host.box, (host.box,), (), workspace, in_place=True))
    except OSError as exc:
        host.refusals["in-place"] = str(exc)
    else:
        if isinstance(end, Ended):  # with any status
            captures.append("in-place")
        else:
            host.refusals["in-place"] = str(end)
    host.captures = tuple(captures)
    await _find_recorder(host)


async def _find_recorder(host: Host) -> None:
    """Set ``host.recorder``, if the library records a trial on this host. The C library may be too old for it."""
    library = find_recorder()
    try:
        if library is None:
            reason = f"{LIBRARY_NAME} is not installed on the executor's host"
        elif host.scratch is None:
            reason = "the executor has no scratch directory for the recorder's file"
        elif not (reason := await _try_recorder(host, library, host.scratch.path)):
            host.recorder = library
            return
    except OSError as exc:
        reason = str(exc)
    _log.info("no recorder: %s", reason)
    host.refusals["recorder"] = reason


async def _try_recorder(host: Host, library: bytes, scratch: bytes) -> str:
    """The reason why the recorder does not work; empty if it does.

    Raises:
        OSError: the trial can't be made.
    """
    record = make_record(scratch)
    try:
        words = (b"sh", b"-c", b": <" + host.box)
        env = environment((b"PATH=/usr/bin:/bin",), library, record.path)
        said = bytearray()
        end = await _run(host, BoxOrder(b"/bin/sh", words, env, b"/", in_place=True), said)
        reads = record.read()
    finally:
        record.close()
    if not isinstance(end, Ended) or end.code or end.signal or said:
        return f"a trial of {LIBRARY_NAME} ended with {end}, output {bytes(said[:200])!r}"
    if not reads.complete or all(lookup != FILE + host.box for lookup, _, _ in reads.entries):
        return f"a trial of {LIBRARY_NAME} did not record a file that was read"
    return ""


def _scratch_for_prediction(host: Host, workspace: bytes, scratch_dir: str | None, name: str) -> None:
    """Make the scratch directory on a host without overlays. Any directory outside the workspace will do."""
    host.overlays = False
    for base in candidates(scratch_dir, os.environ.get("TMPDIR"), workspace):
        try:
            host.scratch = Scratch.create(base, name)
        except OSError as exc:
            host.refusals["predict"] = f"with scratch files in {base}: {exc}"
        else:
            host.refusals.pop("predict", None)
            return


async def _try_overlay(host: Host, workspace: bytes, name: str) -> None:
    """Write a file in an overlay over the workspace, and check that it is captured.

    Raises:
        CaptureError, OSError: the overlay does not work.
    """
    assert host.scratch is not None
    reasons: list[str] = []
    for host.pid_namespace in (True, False):
        slot = host.scratch.take()
        try:
            roots = host.plan([workspace], [], [workspace])
            target = workspace.rstrip(b"/") + b"/.spraycc-probe-" + name.encode()
            began_ns = time.time_ns()
            order = host.overlaid(
                BoxOrder(host.box, (host.box, b"--touch", target), (), workspace), slot, slot.layers(roots)
            )
            # The mode of the workspace itself does not matter: a read-only source tree is a good workspace.
            prepared = Prepared()
            for layer in order.layers:
                prepared.directories[layer.root] = stat.S_IMODE(os.stat(layer.upper).st_mode)
            _check(await _run(host, order))
            messages = list(produced_messages(TaskId(0), order.layers, prepared, (), began_ns, time.time_ns()))
            if not (len(messages) == 1 and isinstance(messages[0], MadeFile) and messages[0].data == _TOUCHED):
                raise CaptureError(CaptureRefusal.HOST, f"the capture of a written file gave {messages!r}"[:500])
            return
        except OSError as exc:
            reasons.append(str(refusal_of(exc)))
        except CaptureError as exc:
            reasons.append(str(exc))
        finally:
            remove_tree(slot.path)
    raise CaptureError(CaptureRefusal.HOST, "; without a pid namespace: ".join(dict.fromkeys(reasons)))


async def _run(host: Host, order: BoxOrder, said: bytearray | None = None) -> Ended | NotStarted:
    async def keep(descriptor: int, data: bytes) -> None:
        if said is not None:
            said.extend(data)

    return await run_box(host.box, order, stdin=host.null, streams=Streams(one=True), on_output=keep)


def _check(end: Ended | NotStarted) -> None:
    if isinstance(end, NotStarted):
        raise CaptureError(CaptureRefusal.HOST, str(end))
    if end.signal or end.code:
        what = f"signal {end.signal}" if end.signal else os.strerror(end.code)
        raise CaptureError(CaptureRefusal.HOST, f"the trial command failed: {what}")
