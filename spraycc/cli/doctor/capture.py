"""Whether an executor on this host could capture a command's outputs, by the executor's own trial."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

from spraycc.cli.doctor.capture_reasons import KNOBS, HostState, explain
from spraycc.cli.doctor.finding import Finding, failed, passed
from spraycc.executor.host import Host
from spraycc.settings import Settings
from spraycc.system.filesystems import FileSystems

_SEE_NFS = 'executors on other hosts need it: see the page "Builds on NFS" of the documentation'


def capture(root: bytes | None, settings: Settings) -> Iterator[Finding]:
    """The captures that work here, why an overlay does not, and whether the recorder works.

    Args:
        root: the workspace; None: a new directory stands in for it.
        settings: for the scratch directory, and to tell whether executors run on other hosts.
    """
    from spraycc.executor.box import find_box

    try:
        program = find_box()
    except FileNotFoundError as exc:
        yield failed("capture", str(exc), "compiles run on this host only, unless an executor's host can capture")
        return
    is_elsewhere = settings.cluster != "local" or bool(settings.executor_prefix)
    needs_recorder = is_elsewhere or (root is not None and FileSystems().is_shared(root))
    with explored(program, root, settings.scratch_dir) as host:
        where = f"; scratch files in {os.fsdecode(os.path.dirname(host.scratch.path))}" if host.scratch else ""
        captures = " and ".join(host.captures) or "nothing"
        if "overlay" in host.captures:
            yield passed("capture", f"{', '.join(host.captures)}{where}")
        else:
            reason, remedy = explain(host.refusals.get("overlay", host.refusals.get("workspace", "")), _own_state())
            yield failed("capture", f"no overlay, only {captures}{where}: {reason}", remedy)
        if host.recorder is not None:
            yield passed("recorder", os.fsdecode(host.recorder))
        elif needs_recorder and (missing := host.refusals.get("recorder")):
            yield failed("recorder", missing, _SEE_NFS)


@contextlib.contextmanager
def explored(program: bytes, root: bytes | None, scratch_dir: str | None) -> Iterator[Host]:
    """This host after the executor's trial, whose files are removed at the end. ``root`` None: in a new directory."""
    import trio

    from spraycc.executor.host import explore

    with contextlib.ExitStack() as stack:
        if root is None:
            root = os.fsencode(stack.enter_context(tempfile.TemporaryDirectory(prefix="spraycc-doctor-")))
        host = Host(program, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        stack.callback(os.close, host.null)
        stack.callback(host.mounts.close)
        try:
            trio.run(explore, host, root, scratch_dir, f"doctor-{os.getpid()}")
            yield host
        finally:
            if host.scratch is not None:
                host.scratch.remove()


def _own_state() -> HostState:
    knobs = {path: text for path in KNOBS if (text := _text(path))}
    return HostState.parsed(os.geteuid(), _text("/proc/self/status"), os.uname().release, knobs)


def _text(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""
