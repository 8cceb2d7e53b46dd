"""Shared by the probes of ``spraycc doctor``: a build of the workspace that asks the cluster for executors."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, NoReturn

from spraycc import isolated, runtime_dir
from spraycc.allocation import SYSTEMS
from spraycc.cli import server_start
from spraycc.cli.doctor.finding import Finding, Stop, failed, passed
from spraycc.cli.server_connection import ConnectionEnded
from spraycc.notices.tasks import NO_SERVER
from spraycc.server.fleet.waiting import in_words
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
_HOST = "`spraycc doctor` checks this host"
_REACH = (
    "let the executors' hosts connect to this host: open the port in its firewall (`listen_ports`), or set `listen`; "
    'see the page "Open the way through firewalls" of the documentation'
)
_LOOPBACK = "executors on this host connect by the loopback interface: is it up (`ip link set lo up`)?"
#: The programs that ask a cluster manager and change nothing.
_LISTS = ("squeue", "qstat", "bjobs")


def reachable(settings: Settings) -> Finding:
    """The programs of the cluster manager are on this host.

    Raises:
        Stop: some are not.
    """
    missing = [name for name in _PROGRAMS.get(settings.cluster, ()) if shutil.which(name) is None]
    if missing:
        text = f"{settings.cluster}: not on PATH: {' '.join(missing)}"
        remedy = "is this a submit host, and is the cluster's software set up?"
        raise Stop(failed("cluster", text, remedy, essential=True))
    where = f", {settings.allocation.name}" if settings.allocation else ""
    return passed("cluster", f"{settings.cluster}{where}")


def without_other_executors(root: bytes, settings: Settings) -> Iterator[Finding]:
    """End an idle server whose executors are another cluster's: they would run the probe, and the cluster nothing.

    Raises:
        Stop: the server has an open build.
    """
    others = {executor["cluster"] for executor in status(root).get("executors", ())} - {settings.cluster}
    if not others:
        return
    text = f"its executors are of cluster {' and '.join(map(repr, sorted(others)))}"
    if end_server(root):
        yield passed("server", f"ended, because it was idle and {text}; this probe starts another")
    else:
        remedy = "probe again when the build has ended"
        raise Stop(failed("server", f"a build is open, and {text}", remedy, essential=True))


def split_advice(trouble: str, cluster: str) -> tuple[str, str]:
    """(what went wrong, next step) of the server's words about executors that can't be started.

    The server's words end with advice for a build, in parentheses. "SprayCC tries again" is none for a probe, which
    does not.
    """
    if NO_SERVER.words.partition("{")[0] in trouble and cluster != "local":
        return trouble, _REACH
    text, parenthesis, advice = trouble.removesuffix(")").rpartition(" (")
    if cluster == "local":
        return trouble, _LOOPBACK if "Network is unreachable" in trouble else _HOST
    if not parenthesis or not trouble.endswith(")") or advice.startswith("see /"):
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


def trouble_of(figures: Mapping[str, Any], waited_s: float) -> str:
    """Why the server can't start executors for a probe that has waited so long; empty if the server still tries.

    ``figures``: the server's status. After a refusal the server submits nothing for some time, so an earlier build's
    refusal counts when a task waits and no executor is asked for.
    """
    text = str(figures.get("trouble", ""))
    if not text or figures["trouble_age_s"] < waited_s:
        return text
    asked = figures.get("scheduler", {}).get("executors", {}).get("asked", 0)
    waits = any(build.get("waiting") for build in figures.get("builds", ()))
    return text if waits and not asked else ""


def with_age(remedy: str, figures: Mapping[str, Any], waited_s: float) -> str:
    """The remedy for a trouble; an earlier build's trouble does not show whether the remedy has helped."""
    age_s = figures.get("trouble_age_s", 0.0)
    if not figures.get("trouble") or age_s < waited_s:
        return remedy
    return f"{remedy}; this was {age_s:.0f} s ago: `spraycc server stop`, then another probe tries again"


def in_queue(figures: Mapping[str, Any]) -> bool:
    """True if batch jobs wait in the cluster manager's queue."""
    return any(group["batch_jobs"] and not group["started"] for group in figures.get("pending", ()))


def next_step_for_pending(figures: Mapping[str, Any], remedy: str) -> str:
    """The remedy, or another one if batch jobs are in the queue: then nothing is wrong with their submission."""
    if not in_queue(figures):
        return remedy
    return "the cluster manager has not started them: wait longer (--patience), or choose another queue (`queues`)"


def why_missing(figures: Mapping[str, Any], said: bytes) -> str:
    """The cluster manager's words about the batch jobs that wait, or else the last words of the build."""
    if pending := figures.get("pending"):
        return in_words(pending)
    return last_line(said)


def last_line(said: bytes) -> str:
    """The last line of a build's errors, without our own name; empty if there is none."""
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("spraycc: ").removeprefix("warning: ") if lines else ""


@contextlib.contextmanager
def probe_directory(root: bytes) -> Iterator[str]:
    """A new directory in the workspace, which is removed at the end.

    Raises:
        Stop: the user can't write in the workspace.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix=".spraycc-doctor-", dir=os.fsdecode(root), ignore_cleanup_errors=True)
    except OSError as exc:
        text = f"{os.fsdecode(root)}: the probe's files can't be written: {exc.strerror}"
        remedy = "change into the directory of a project that you may write"
        raise Stop(failed("workspace", text, remedy, essential=True)) from None
    with made as directory:
        yield directory


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
    flags = {**flags, "initial_executors": str(executors), "wait_for_cluster": True, "summary_line": False}
    argv = isolated.command("spraycc.cli.doctor.probe_process", json.dumps(flags), *command)

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
        try:
            if connection.stop_if_idle():
                return True
        except ConnectionEnded:  # a server that a probe has started ends by itself
            return True
        finally:
            connection.close()
        if time.monotonic() > end:
            return False
        time.sleep(POLL_S)
    return True


def status(root: bytes) -> dict[str, Any]:
    """The status of the workspace's server; empty if none runs."""
    connection = server_start.connect(runtime_dir.locate(root), lambda text: None)
    if connection is None:
        return {}
    with contextlib.closing(connection), contextlib.suppress(ConnectionEnded):
        return connection.status()
    return {}
