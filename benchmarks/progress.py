"""*progress*: CPU time of `spraycc` and of the server with the progress line, beside a build without the line."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import subprocess
import termios
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import RUNNER, SPRAYCC, Place, static_true

#: A task each 0.2 s, so that each message and each draw is new.
_SCRIPT = "while :; do {runner} --remote -- {program}; sleep 0.2; done"
#: Seconds of a build before the measurement: start, imports, first draw.
_BEGIN_S = 3.0


def progress(place: Place) -> dict[str, Any]:
    """The share of a core that the two processes use, without and with the line, in a minute of steady building."""
    measured_s = 2.0 if place.quick else 60.0
    program = static_true(place.workspace)
    script = _SCRIPT.format(runner=RUNNER, program=program)
    figures: dict[str, Any] = {"measured_s": measured_s}
    for way in ("none", "auto"):
        figures[way] = _shares(place, script, way, measured_s)
    for name in ("command_line_percent", "server_percent"):
        figures[f"more_{name}"] = round(figures["auto"][name] - figures["none"][name], 3)
    return figures


def _shares(place: Place, script: str, way: str, measured_s: float) -> dict[str, float]:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    drawn = []

    def read() -> None:
        with contextlib.suppress(OSError):  # the terminal was closed
            while data := os.read(ours, 65536):
                drawn.append(data.count(b"spraycc: "))

    reader = threading.Thread(target=read)
    reader.start()
    env = place.env | {"TERM": "xterm", "SPRAYCC_PROGRESS": way, "SPRAYCC_EXECUTORS": "2"}
    process = subprocess.Popen(
        [SPRAYCC, "build", "--", "sh", "-c", script], cwd=place.workspace, env=env, stdin=theirs, stdout=theirs,
        stderr=theirs, start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(theirs)
    try:
        time.sleep(_BEGIN_S)
        processes = {"command_line_percent": process.pid, "server_percent": place.status()["server"]["pid"]}
        before = {name: _cpu_s(pid) for name, pid in processes.items()}
        began, draws = time.monotonic(), sum(drawn)
        time.sleep(measured_s)
        took_s = time.monotonic() - began
        shares = {name: round(100 * (_cpu_s(pid) - before[name]) / took_s, 3) for name, pid in processes.items()}
        return shares | {"draws_per_s": round((sum(drawn) - draws) / took_s, 2)}
    finally:
        os.killpg(process.pid, 15)
        process.wait()
        reader.join()
        os.close(ours)


def _cpu_s(pid: int) -> float:
    """CPU time of a process so far. /proc/PID/stat counts in 10 ms, which is too coarse."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9
