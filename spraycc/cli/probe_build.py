"""What the probes of ``spraycc doctor`` share: a build of the workspace that asks the cluster for executors."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, NoReturn

from spraycc import runtime_dir
from spraycc.allocation import SYSTEMS
from spraycc.cli import server_start
from spraycc.cli.finding import Finding, failed, passed
from spraycc.config.keys import flag
from spraycc.settings import Settings

#: The programs of the cluster manager that SprayCC calls, by the setting ``cluster``.
_PROGRAMS = {
    "slurm": ("sbatch", "squeue", "scancel"),
    "gridengine": ("qsub", "qstat", "qdel"),
    "pbs": ("qsub", "qstat", "qdel", "qselect"),
    "lsf": ("bsub", "bjobs", "bkill"),
    "openlava": ("bsub", "bjobs", "bkill"),
    "ssh": ("ssh",),
    **{f"{manager}-step": (system.program,) for manager, system in SYSTEMS.items()},
}
#: Pause between two looks at the server and the build.
POLL_S = 0.1
#: Processes and the server have this time for each step of their end.
_END_S = 5.0
_SHOW = "`spraycc cluster show` prints what is submitted"
#: The programs that ask a cluster manager and change nothing.
_LISTS = ("squeue", "qstat", "bjobs")


def reachable(settings: Settings) -> Finding:
    """Whether the programs of the cluster manager are on this host."""
    missing = [name for name in _PROGRAMS.get(settings.cluster, ()) if shutil.which(name) is None]
    if missing:
        text = f"{settings.cluster}: not on PATH: {' '.join(missing)}"
        return failed("cluster", text, "is this a submit host, and is the cluster's software set up?", essential=True)
    where = f", {settings.allocation.name}" if settings.allocation else ""
    return passed("cluster", f"{settings.cluster}{where}")


def without_other_executors(root: bytes, settings: Settings) -> Iterator[Finding]:
    """End an idle server whose executors are another cluster's: they would run the probe, and the cluster nothing."""
    others = {executor["cluster"] for executor in status(root).get("executors", ())} - {settings.cluster}
    if not others:
        return
    text = f"its executors are of cluster {' and '.join(map(repr, sorted(others)))}"
    if end_server(root):
        yield passed("server", f"ended, because it was idle and {text}; this probe starts another")
    else:
        yield failed("server", f"a build is open, and {text}", "probe again when the build has ended", essential=True)


def split_advice(trouble: str, cluster: str) -> tuple[str, str]:
    """(what went wrong, next step) of the server's words about executors that can't be started.

    The server's words end with advice for a build, in parentheses. "SprayCC tries again" is none for a probe, which
    does not.
    """
    text, parenthesis, advice = trouble.removesuffix(")").rpartition(" (")
    if not parenthesis or not trouble.endswith(")"):
        return trouble, _SHOW
    if not advice.startswith("SprayCC tries"):
        return text, advice
    programs = _PROGRAMS.get(cluster, ())
    lists = next((name for name in programs if name in _LISTS), None)
    return (
        text,
        f"try `{lists}` by hand: if that fails as well, the cluster or its set-up on this host is down"
        if lists
        else _SHOW,
    )


@contextlib.contextmanager
def running(
    root: bytes,
    flags: Mapping[str, Any],
    executors: int,
    command: Sequence[str],
    out: IO[bytes] | int,
    err: IO[bytes],
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command`` as a build of the workspace that asks for ``executors`` at once, and waits for them.

    The build has a process group of its own, and a pipe as its standard input. It must end when it reads a line, or the
    end of the pipe. All that does not is killed.
    """
    options = [word for key, value in flags.items() for word in _words(key, value)]
    options += ["--initial-executors", str(executors), "--wait-for-cluster", "--no-summary-line"]
    argv = [sys.argv[0], *options, "build", "--", *command]

    def end(number: int, _frame: object) -> NoReturn:
        sys.exit(128 + number)

    old = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=out, stderr=err, cwd=root, process_group=0)
        assert process.stdin is not None
        try:
            yield process
        finally:
            with contextlib.suppress(BrokenPipeError), process.stdin:
                process.stdin.write(b"end\n")
            # While the first process is not waited for, its number stands for this group and no other.
            for number in (signal.SIGTERM, signal.SIGKILL):
                if not _ends_within(process.pid, _END_S):
                    os.killpg(process.pid, number)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _ends_within(pid: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while (over := os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is None and time.monotonic() < end:
        time.sleep(POLL_S)
    return over is not None


def end_server(root: bytes) -> bool:
    """End the workspace's server, with its batch jobs, unless a build uses it; returns False then."""
    end = time.monotonic() + _END_S
    # The server may not have seen the end of the probe's build and of its compile yet.
    while (connection := server_start.connect(runtime_dir.locate(root), lambda text: None)) is not None:
        with contextlib.closing(connection):
            if connection.stop_if_idle():
                return True
        if time.monotonic() > end:
            return False
        time.sleep(POLL_S)
    return True


def status(root: bytes) -> dict[str, Any]:
    """The status of the workspace's server; empty if none runs."""
    connection = server_start.connect(runtime_dir.locate(root), lambda text: None)
    if connection is None:
        return {}
    try:
        return connection.status()
    finally:
        connection.close()


def _words(key: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [flag(key) if value else f"--no-{flag(key)[2:]}"]
    return [flag(key), str(value)]
