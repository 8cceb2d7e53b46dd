"""``spraycc doctor --cluster``: one executor, one compile through it, and how long each step took."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

from spraycc import config, runtime_dir, workspace
from spraycc.allocation import SYSTEMS
from spraycc.cli import server_start
from spraycc.cli.doctor_checks import Finding
from spraycc.cluster.registry import BATCH
from spraycc.config.keys import flag

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
    yield Finding("cluster", True, settings.cluster)
    compiler = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    if compiler is None:
        yield Finding("probe", False, "no C compiler on PATH", "install one on this host and on the cluster's", True)
        return
    with tempfile.TemporaryDirectory(prefix=".spraycc-doctor-", dir=os.fsdecode(root)) as directory:
        yield from _probe(root, directory, compiler, flags, patience_s, submits=settings.cluster in BATCH)


def _probe(
    root: bytes, directory: str, compiler: str, flags: Mapping[str, Any], patience_s: float, *, submits: bool
) -> Iterator[Finding]:
    source, made = os.path.join(directory, "probe.c"), os.path.join(directory, "probe.o")
    with open(source, "w") as file:
        file.write(_SOURCE)
    options = [word for key, value in flags.items() for word in _words(key, value)]
    line = [os.path.basename(compiler), "-c", source, "-o", made]
    argv = [
        sys.argv[0],
        *options,
        "--executors",
        "1",
        "--wait-for-cluster",
        "--no-summary-line",
        "build",
        "--",
        "/bin/sh",
        "-c",
        shlex.join(line),
    ]
    began = time.monotonic()
    with tempfile.TemporaryFile() as said, subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=directory
    ) as process:  # fmt: skip
        executor: dict[str, Any] | None = None
        submitted, trouble = "", ""
        while process.poll() is None and time.monotonic() - began < patience_s and executor is None and not trouble:
            time.sleep(_POLL_S)
            status = _status(root)
            executor = next(iter(status.get("executors", ())), None)
            jobs = [str(job) for job in status.get("submissions", ())]
            if jobs and not submitted:
                submitted = jobs[-1]
                yield Finding(
                    "submitted", True, f"batch job {submitted}, accepted after {time.monotonic() - began:.1f} s"
                )
            if status.get("trouble") and status["trouble_age_s"] < time.monotonic() - began:
                trouble = status["trouble"]
        connected_s = time.monotonic() - began
        if executor is not None:
            where = f"batch job {executor['batch_job']} on " if executor["batch_job"] else ""
            text = f"{where}{executor['host']}, outputs captured by {executor['capture']}"
            yield Finding("executor", True, f"connected after {connected_s:.1f} s: {text}")
            try:
                process.wait(patience_s)
            except subprocess.TimeoutExpired:
                process.terminate()
        elif process.poll() is None:
            process.terminate()
        process.wait()
        said.seek(0)
        words = [line.strip() for line in said.read().decode(errors="replace").splitlines() if line.strip()]
    took_s = time.monotonic() - began
    if trouble and executor is None:
        subject = "submitted" if submits and not submitted else "executor"
        yield Finding(subject, False, trouble, "`spraycc cluster show` prints what is submitted", essential=True)
    elif executor is None and not os.path.exists(made):
        text = f"none connected within {took_s:.0f} s" + (f": {words[-1]}" if words else "")
        yield Finding("executor", False, text, "`spraycc cluster show` prints what was submitted", essential=True)
    elif process.returncode or not os.path.exists(made):
        yield Finding("compile", False, words[-1] if words else f"status {process.returncode}", essential=True)
    else:
        yield Finding("compile", True, f"{' '.join(line[:2])} done after {took_s:.1f} s")


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
