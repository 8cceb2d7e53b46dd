"""A description of an executor's host, for ``spraycc doctor --executors N``: one line of JSON.

A command of a build runs ``python -m spraycc.executor.host_report PROBE COMPILER…`` on each executor, in the executor's
capture. The process holds its executor until it is killed, so that no executor reports twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, TypedDict, cast

#: A report is in vain after this time; the process then ends by itself.
_LONGEST_S = 3600.0
_ANSWER_TIMEOUT_S = 30.0


class HostReport(TypedDict):
    """One host."""

    host: str
    #: seconds since the epoch, when the report was made
    clock_s: float
    #: name -> "path: first line of --version"; a name without a program is missing
    compilers: dict[str, str]
    #: the text of the probe file, or the reason why it can't be read
    probe: str
    #: type and source of the file system that holds the workspace: "nfs4 server:/home"
    file_system: str
    cpu: str
    #: digest of the CPU's flags
    cpu_flags: str
    cpus: int
    memory_mb: int
    #: where scratch files lie, and the free space there
    scratch: str
    scratch_free_mb: int
    glibc: str
    kernel: str


def report(probe: str, compilers: Sequence[str]) -> HostReport:
    """This host. ``probe``: a file of the workspace that the submit host has just written."""
    cpu, flags = _cpu()
    scratch = os.environ.get("TMPDIR", "/tmp")
    return HostReport(
        host=os.uname().nodename,
        clock_s=time.time(),
        compilers={name: found for name in compilers if (found := _version(name))},
        probe=_text(probe),
        file_system=file_system_of(probe, _text("/proc/self/mountinfo")),
        cpu=cpu,
        cpu_flags=flags,
        cpus=len(os.sched_getaffinity(0)),
        memory_mb=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20,
        scratch=scratch,
        scratch_free_mb=_free_mb(scratch),
        glibc=_glibc(),
        kernel=os.uname().release,
    )


def parsed(line: bytes) -> HostReport | None:
    """The report in a line of output; None if the line is none."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    is_whole = isinstance(found, dict) and found.keys() == HostReport.__annotations__.keys()
    return cast(HostReport, found) if is_whole else None


def file_system_of(path: str, mountinfo: str) -> str:
    """Type and source of the file system below ``path``, without the overlays of the capture (proc(5): mountinfo)."""
    best = ("", "unknown")
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if not separator or len(fields) < 5 or len(kind) < 2 or (kind[0] == "overlay" and best[0]):
            continue
        point = fields[4].encode().decode("unicode_escape", "replace")
        if (path + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best[0]):
            best = (point, " ".join(kind[:2]))
    return best[1]


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError as exc:
        return f"{exc.strerror}"


def _version(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        return ""
    try:
        done = subprocess.run(
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ANSWER_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return f"{path}: {exc}"
    lines = (done.stdout or done.stderr).splitlines()
    return f"{path}: {lines[0] if lines else 'no answer'}"


def _cpu() -> tuple[str, str]:
    values: dict[str, str] = {}
    for line in _text("/proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        values.setdefault(name.strip(), value.strip())
    flags = values.get("flags", values.get("Features", ""))
    model = values.get("model name", values.get("CPU part", os.uname().machine))
    return model, hashlib.sha256(" ".join(sorted(flags.split())).encode()).hexdigest()[:8]


def _free_mb(path: str) -> int:
    with contextlib.suppress(OSError):
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize // 2**20
    return 0


def _glibc() -> str:
    with contextlib.suppress(ValueError, OSError):
        return os.confstr("CS_GNU_LIBC_VERSION") or "unknown"
    return "unknown"


def _main(words: Sequence[str]) -> None:
    found: dict[str, Any] = dict(report(words[0], words[1:]))
    # A single write, so that the lines of several executors stay whole.
    os.write(1, json.dumps(found).encode() + b"\n")
    time.sleep(_LONGEST_S)


if __name__ == "__main__":
    _main(sys.argv[1:])
