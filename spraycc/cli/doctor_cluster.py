"""``spraycc doctor --cluster``: an array of two batch jobs, one compile, and how long each step took."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, NoReturn

from spraycc import config, runtime_dir, workspace
from spraycc.allocation import SYSTEMS
from spraycc.cli import server_start
from spraycc.cli.doctor_checks import Finding
from spraycc.cluster.registry import BATCH
from spraycc.config.keys import flag
from spraycc.settings import Settings
from spraycc.ui.status import shown_address

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
_POLL_S = 0.1
#: Processes and the server have this time for each step of their end.
_END_S = 5.0
_SOURCE = "int spraycc_doctor(int x) { return x + 1; }\n"


def findings(flags: Mapping[str, Any], patience_s: float) -> Iterator[Finding]:
    """One finding for each step, as soon as the step is done. Ends at the first failure.

    Raises:
        SprayccError: the configuration or the workspace is wrong.
    """
    root = workspace.find()
    settings = config.load(root, flags=flags).settings
    missing = [name for name in _PROGRAMS.get(settings.cluster, ()) if shutil.which(name) is None]
    if missing:
        text = f"{settings.cluster}: not on PATH: {' '.join(missing)}"
        yield Finding("cluster", False, text, "is this a submit host, and is the cluster's software set up?", True)
        return
    where = f", {settings.allocation.name}" if settings.allocation else ""
    yield Finding("cluster", True, f"{settings.cluster}{where}")
    compiler = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    if compiler is None:
        yield Finding("probe", False, "no C compiler on PATH", "install one on this host and on the cluster's", True)
        return
    with tempfile.TemporaryDirectory(prefix=".spraycc-doctor-", dir=os.fsdecode(root)) as directory:
        yield from _probe(root, directory, compiler, flags, patience_s, settings)


def _probe(
    root: bytes, directory: str, compiler: str, flags: Mapping[str, Any], patience_s: float, settings: Settings
) -> Iterator[Finding]:
    """Has a build ask for executors as any build does, compiles one file, and ends all that it has started."""
    source, made, ended = (os.path.join(directory, name) for name in ("probe.c", "probe.o", "status"))
    with open(source, "w") as file:
        file.write(_SOURCE)
    line = [os.path.basename(compiler), "-c", source, "-o", made]
    # The build stays open after the compile until its standard input ends, so that the second batch job can start.
    script = f"{shlex.join(line)} </dev/null; status=$?; echo $status >{shlex.quote(ended)}; read end; exit $status"
    executors = batch_jobs(settings) * settings.cpus_per_executor
    options = [word for key, value in flags.items() for word in _words(key, value)]
    options += ["--initial-executors", str(executors), "--wait-for-cluster", "--no-summary-line"]
    argv = [sys.argv[0], *options, "build", "--", "/bin/sh", "-c", script]
    before = _status(root)
    executors_before = {executor["id"] for executor in before.get("executors", ())}
    watch = _Watch(settings, patience_s, set(before.get("submissions", ())), executors_before)
    try:
        with tempfile.TemporaryFile() as said:
            with _running(argv, said, root) as build:
                while build.poll() is None and not watch.is_over:
                    time.sleep(_POLL_S)
                    watch.is_compiled = os.path.exists(ended)
                    yield from watch.findings(_status(root))
            said.seek(0)
            words = [line.strip() for line in said.read().decode(errors="replace").splitlines() if line.strip()]
    finally:
        if not before:
            _end_server(root)
    yield from watch.missing(words[-1] if words else "")
    if os.path.exists(made):
        yield Finding("compile", True, f"{' '.join(line[:2])} done after {watch.compiled_s:.1f} s")
    elif watch.is_compiled or (watch.connected and not watch.is_over):
        yield Finding("compile", False, words[-1] if words else f"status {build.returncode}", essential=True)
    elif watch.connected:
        yield Finding("compile", False, f"not done within {patience_s:.0f} s", essential=True)


def batch_jobs(settings: Settings) -> int:
    """Batch jobs to probe with: an array of two if builds submit arrays, else one."""
    if settings.cluster not in BATCH:
        return 1
    limits = (settings.executors_in_force, settings.keep_pending)
    executors = min(limit for limit in limits if limit is not None)
    return 2 if executors > settings.cpus_per_executor else 1


class _Watch:
    """The fate of the batch jobs, from the server's status."""

    def __init__(self, settings: Settings, patience_s: float, known: set[str], executors: set[str]) -> None:
        """``known``, ``executors``: submissions and executors of earlier builds."""
        self._submits = settings.cluster in BATCH
        self._wanted = batch_jobs(settings)
        self._in_array = self._wanted > 1 and settings.array_limit != 1
        self._patience_s = patience_s
        self._known = known
        self._known_executors = executors
        self._began = time.monotonic()
        self._listens = False
        self._submitted = False
        self._trouble = ""
        #: executors that were asked for and have not connected
        self._asked = 0
        #: batch jobs (without a cluster manager: executors) that have connected
        self.connected: set[str] = set()
        #: the compile has ended
        self.is_compiled = False
        self.compiled_s = 0.0

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began

    @property
    def is_over(self) -> bool:
        if self._elapsed_s >= self._patience_s:
            return True
        all_known = len(self.connected) >= self._wanted or not self._asked
        return all_known and (self.is_compiled if self.connected else bool(self._trouble))

    def findings(self, status: Mapping[str, Any]) -> Iterator[Finding]:
        """The steps that are done since the last status."""
        if self.is_compiled and not self.compiled_s:
            self.compiled_s = self._elapsed_s
        for host, port in status.get("listens", ()):
            if not self._listens:
                self._listens = True
                yield Finding("server", True, f"listens for executors on port {port} of {shown_address(host)}")
        new = [job for job in map(str, status.get("submissions", ())) if job not in self._known]
        if new and not self._submitted:
            self._submitted = True
            jobs = f"batch jobs {new[-1]}[1-{self._wanted}]" if self._in_array else f"batch job {new[-1]}"
            yield Finding("submitted", True, f"{jobs}, accepted after {self._elapsed_s:.1f} s")
        for executor in status.get("executors", ()):
            batch_job = executor["batch_job"]
            if executor["id"] in self._known_executors and executor["id"] not in self.connected:
                self.connected.add(executor["id"])
                text = "is one of an earlier build; `spraycc server stop` before a probe shows whether new ones start"
                yield Finding("executor", True, f"{executor['host']}: {text}")
                continue
            if (batch_job or executor["id"]) in self.connected or len(self.connected) >= self._wanted:
                continue
            which = "the second connected" if self.connected else "connected"
            self.connected.add(batch_job or executor["id"])
            where = f"batch job {batch_job} on " if batch_job else ""
            text = f"{where}{executor['host']}, outputs captured by {executor['capture']}"
            yield Finding("executor", True, f"{which} after {self._elapsed_s:.1f} s: {text}")
        if status.get("trouble") and status["trouble_age_s"] < self._elapsed_s:
            self._trouble = status["trouble"]
        self._asked = status.get("scheduler", {}).get("executors", {}).get("asked", 0)

    def missing(self, last_words: str) -> Iterator[Finding]:
        """The fate of the batch jobs that have not connected. ``last_words``: of the build."""
        show = "`spraycc cluster show`"
        remedy = "" if show in self._trouble else f"{show} prints what is submitted"
        why = self._trouble or last_words
        waited = f"within {self._elapsed_s:.0f} s" + (f": {why}" if why else "")
        if not self.connected and self._trouble:
            subject = "submitted" if self._submits and not self._submitted else "executor"
            yield Finding(subject, False, self._trouble, remedy, essential=True)
        elif not self.connected:
            yield Finding("executor", False, f"none connected {waited}", remedy, essential=True)
        elif len(self.connected) < self._wanted and self._trouble:
            yield Finding("executor", False, f"the second has not connected: {self._trouble}", remedy)
        elif len(self.connected) < self._wanted:
            yield Finding("executor", True, f"the second has not started {waited}; the cluster may be full")


@contextlib.contextmanager
def _running(argv: Sequence[str], said: IO[bytes], directory: bytes) -> Iterator[subprocess.Popen[bytes]]:
    """Run a build in a process group of its own. At the end no process of the group is left."""

    def end(number: int, _frame: object) -> NoReturn:
        sys.exit(128 + number)

    old = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=said, stderr=said, cwd=directory, process_group=0
        )
        assert process.stdin is not None
        try:
            yield process
        finally:
            process.stdin.close()
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
        time.sleep(_POLL_S)
    return over is not None


def _end_server(root: bytes) -> None:
    """End the server that the probe has started, with its batch jobs, unless another build uses it by now."""
    end = time.monotonic() + _END_S
    # The server may not have seen the end of the build and of its compile yet.
    while (connection := server_start.connect(runtime_dir.locate(root), lambda text: None)) is not None:
        with contextlib.closing(connection):
            if connection.stop_if_idle():
                return
        if time.monotonic() > end:
            return
        time.sleep(_POLL_S)


def _status(root: bytes) -> dict[str, Any]:
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
