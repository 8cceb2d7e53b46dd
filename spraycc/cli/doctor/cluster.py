"""``spraycc doctor --cluster``: an array of two batch jobs, one compile, and how long each step took."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

from spraycc import config, leftovers, runtime_dir, workspace
from spraycc.cli.doctor.finding import Finding, failed, passed
from spraycc.cli.doctor.probe_build import (
    POLL_S,
    end_server,
    in_queue,
    last_line,
    next_step_for_pending,
    probe_directory,
    reachable,
    running,
    split_advice,
    status,
    trouble_of,
    why_missing,
    with_age,
    without_other_executors,
)
from spraycc.cluster.registry import BATCH
from spraycc.settings import Settings
from spraycc.ui.status import shown_address

#: The build stays open after the compile until it reads a line or the end of its standard input, so that the second
#: batch job can start. Then it ends the compile, which may wait for an executor for ever. The end without a line means
#: that the doctor was killed. The errors of the compile are shown, those of the shell ("Terminated") are not.
_SCRIPT = """\
exec 3<&0 4>&2 2>/dev/null
{line} </dev/null 3<&- 2>&4 4>&- & compile=$!
{{ read word <&3; status=$?; kill $compile 2>/dev/null; exit $status; }} & reader=$!
wait $compile; echo $? >{ended}
wait $reader || rm -rf {directory}
"""
_SOURCE = "int spraycc_doctor(int x) { return x + 1; }\n"


def findings(flags: Mapping[str, Any], patience_s: float) -> Iterator[Finding]:
    """One finding for each step, as soon as the step is done. Ends at the first failure.

    Raises:
        SprayccError: the configuration or the workspace is wrong.
        Stop: the cluster can't be probed.
    """
    root = workspace.find()
    settings = config.load(root, flags=flags).settings
    yield reachable(settings)
    compiler = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    if compiler is None:
        remedy = "install one on this host and on the cluster's"
        yield failed("probe", "no C compiler on PATH", remedy, essential=True)
        return
    yield from without_other_executors(root, settings)
    with probe_directory(root) as directory:
        yield from _probe(root, directory, compiler, flags, patience_s, settings)


def _probe(
    root: bytes, directory: str, compiler: str, flags: Mapping[str, Any], patience_s: float, settings: Settings
) -> Iterator[Finding]:
    """Has a build ask for executors as any build does, compiles one file, and ends all that it has started."""
    source, made, ended = (os.path.join(directory, name) for name in ("probe.c", "probe.o", "status"))
    with open(source, "w") as file:
        file.write(_SOURCE)
    line = [os.path.basename(compiler), "-c", source, "-o", made]
    executors = batch_jobs(settings) * settings.cpus_per_executor
    before = status(root)
    executors_before = {executor["id"] for executor in before.get("executors", ())}
    watch = _Watch(settings, patience_s, set(before.get("submissions", ())), executors_before)
    try:
        with tempfile.TemporaryFile() as said:
            script = _SCRIPT.format(line=shlex.join(line), ended=shlex.quote(ended), directory=shlex.quote(directory))
            with running(root, flags, executors, ["/bin/sh", "-c", script], said, said) as build:
                while build.poll() is None and not watch.is_over:
                    time.sleep(POLL_S)
                    watch.is_compiled = os.path.exists(ended)
                    yield from watch.findings(status(root))
            said.seek(0)
            words = said.read()
    finally:
        if not before:
            end_server(root)
    if not before and leftovers.has_batch_jobs(runtime_dir.state_directory_of(root)):
        remedy = "`spraycc server stop --force` cancels them"
        yield failed("ended", "batch jobs may be left in the cluster", remedy, essential=True)
    yield from watch.missing(words)
    call = " ".join(line[:2])
    by_hand = f"try it by hand: spraycc --cluster {settings.cluster} --wait-for-cluster build -- {call} FILE"
    if os.path.exists(made):
        yield passed("compile", f"{call} done after {watch.compiled_s:.1f} s")
    elif watch.is_compiled or (watch.connected and not watch.is_over):
        yield failed("compile", last_line(words) or f"status {build.returncode}", by_hand, essential=True)
    elif watch.connected:
        yield failed("compile", f"not done within {patience_s:.0f} s", by_hand, essential=True)


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
        self._cluster = settings.cluster
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
        #: the server's last status
        self._status: Mapping[str, Any] = {}
        self._is_told_of_earlier = False
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
        self._status = status or self._status
        for host, port in status.get("listens", ()):
            if not self._listens:
                self._listens = True
                yield passed("server", f"listens for executors on port {port} of {shown_address(host)}")
        new = [job for job in map(str, status.get("submissions", ())) if job not in self._known]
        if new and not self._submitted:
            self._submitted = True
            jobs = f"batch jobs {new[-1]}[1-{self._wanted}]" if self._in_array else f"batch job {new[-1]}"
            yield passed("submitted", f"{jobs}, accepted after {self._elapsed_s:.1f} s")
        for executor in status.get("executors", ()):
            batch_job = executor["batch_job"]
            if executor["id"] in self._known_executors and executor["id"] not in self.connected:
                self.connected.add(executor["id"])
                if not self._is_told_of_earlier:
                    self._is_told_of_earlier = True
                    text = "is of an earlier build; `spraycc server stop` before a probe shows whether new ones start"
                    yield passed("executor", f"{executor['host']}: {text}")
                continue
            if (batch_job or executor["id"]) in self.connected or len(self.connected) >= self._wanted:
                continue
            which = "the second connected" if self.connected else "connected"
            self.connected.add(batch_job or executor["id"])
            where = f"batch job {batch_job} on " if batch_job else ""
            text = f"{where}{executor['host']}, outputs captured by {executor['capture']}"
            yield passed("executor", f"{which} after {self._elapsed_s:.1f} s: {text}")
        self._trouble = trouble_of(status, self._elapsed_s) or self._trouble
        self._asked = status.get("scheduler", {}).get("executors", {}).get("asked", 0)

    def missing(self, said: bytes) -> Iterator[Finding]:
        """The fate of the batch jobs that have not connected. ``said``: the errors of the build."""
        trouble, remedy = split_advice(self._trouble, self._cluster)
        if trouble:
            remedy = with_age(remedy, self._status, self._elapsed_s)
        waiting = in_queue(self._status)
        why = "; ".join(filter(None, (why_missing(self._status, said) if waiting or not trouble else "", trouble)))
        waited = f"within {self._elapsed_s:.0f} s" + (f": {why}" if why else "")
        if not self.connected and trouble and not waiting:
            subject = "submitted" if self._submits and not self._submitted else "executor"
            yield failed(subject, trouble, remedy, essential=True)
        elif not self.connected:
            remedy = next_step_for_pending(self._status, f"{remedy}; or wait longer: --patience")
            yield failed("executor", f"none connected {waited}", remedy, essential=True)
        elif len(self.connected) < self._wanted and trouble:
            yield failed("executor", f"the second has not connected: {trouble}", remedy)
        elif len(self.connected) < self._wanted:
            yield passed("executor", f"the second has not started {waited}; the cluster may be full")
