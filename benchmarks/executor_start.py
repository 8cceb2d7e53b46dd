"""The cost of an executor's start: CPU, memory, and the files that it reads from the shared file system.

The executor, the handshake and the server's listener are real. On a cluster hundreds of executors start at
once, and files of SprayCC's installation, the home and the workspace come over NFS.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from benchmarks.harness import Place, spread
from spraycc import landmarks
from spraycc.cluster.executor_command import executor_command
from spraycc.model import ExecutorId
from spraycc.server.fleet.connection import ExecutorLink
from spraycc.server.fleet.credentials import make_credentials, write_session_file
from spraycc.server.fleet.listener import ExecutorListener, TcpAcceptor
from spraycc.server.fleet.pack import ready_pack
from spraycc.settings import Settings
from spraycc.wire.session_file import Session

#: The directory of Python's own library. It does not count, because nearly everywhere each host has its own.
_PYTHON = tuple({os.path.realpath(p) for p in (os.path.dirname(os.__file__), "/lib", "/usr", "/etc")})

_OPENED = re.compile(r'^(?:\d+ +)?(?:openat|open|execve)\((?:AT_FDCWD(?:<[^>]*>)?, )?"([^"]+)".* = (-?\d+)')
_READ = re.compile(r"^(?:\d+ +)?p?read(?:64)?\(\d+<([^>]*)>.* = (\d+)$")


@dataclass
class Start:
    """One executor's start."""

    ready_ms: float
    #: user and system time of the executor and its processes, until it is ready; it ends then
    cpu_ms: float
    rss_kib: int
    pss_kib: int


class _Hub:
    """The part of the fleet and the dispatcher that an executor's start needs."""

    settings = Settings()

    def __init__(self) -> None:
        self.send, self.ready = trio.open_memory_channel[ExecutorLink](16)

    async def why_unusable(self, ready: object) -> str:
        return ""

    def post(self, event: object) -> None: ...
    def lasts_s(self, link: ExecutorLink) -> float | None:
        return None

    def executor_ready(self, link: ExecutorLink) -> None:
        self.send.send_nowait(link)

    def executor_gone(self, link: ExecutorLink) -> None: ...
    def executor_unfit(self, link: ExecutorLink, text: str) -> None:
        raise RuntimeError(text)

    def attempt_over(self, *args: object) -> None: ...
    def finish(self, *args: object) -> None: ...


def executor_start(place: Place) -> dict[str, Any]:
    """The ordinary start and the packed one, each with its files and bytes, CPU time, memory."""
    state = place.root / "state"
    state.mkdir(mode=0o700)
    (place.root / "local").mkdir(mode=0o700)
    pack = trio.run(ready_pack, state)
    if pack is None:
        raise RuntimeError("no pack could be made")
    forms = {"ordinary": None, "packed": pack}
    figures: dict[str, Any] = {"pack_bytes": pack.stat().st_size}
    count = 3 if place.quick else 21
    starts: dict[str, list[Start]] = {name: [] for name in forms}
    for name in forms:
        figures[name] = {"first": _files(place, state, forms[name]), "later": _files(place, state, forms[name])}
    for _ in range(count):  # in turn, so that other load meets both
        for name, form in forms.items():
            starts[name].append(trio.run(_start, place, state, form, ()))
    for name, all_of_it in starts.items():
        figures[name] |= {
            "ready_ms": spread([s.ready_ms for s in all_of_it]),
            "cpu_ms": spread([s.cpu_ms for s in all_of_it]),
            "rss_mib": round(statistics.median(s.rss_kib for s in all_of_it) / 1024, 1),
            "pss_mib": round(statistics.median(s.pss_kib for s in all_of_it) / 1024, 1),
        }
    figures["targets"] = {"cpu_ms": 150, "rss_mib": 30, "packed.later.files": 30}
    return figures


def _files(place: Place, state: Path, pack: Path | None) -> dict[str, int]:
    """Files of SprayCC, the home and the workspace that one start opens and reads, by strace; empty without strace."""
    if shutil.which("strace") is None:
        return {}
    log = place.root / "strace"
    trace = ["strace", "-f", "-y", "-qq", "-s", "0", "-e", "signal=none", "-o", str(log)]
    # Strings of length 0 would hide the paths.
    trace[trace.index("0")] = "1"
    trace += ["-e", "trace=openat,open,execve,read,pread64"]
    trio.run(_start, place, state, pack, trace)
    shared = tuple(os.path.realpath(path) for path in (sys.prefix, state, place.workspace, place.env["HOME"]))
    files, opened, read = set(), 0, 0
    for line in log.read_text(errors="replace").splitlines():
        if (found := _OPENED.match(line)) and int(found[2]) >= 0:
            path = found[1]
            if _is_shared(path, shared):
                opened += 1
                files.add(path)
        elif (found := _READ.match(line)) and _is_shared(found[1], shared):
            read += int(found[2])
    mapped = sum(os.path.getsize(path) for path in files if ".so" in path and os.path.exists(path))
    return {"files": len(files), "opened": opened, "bytes_read": read, "bytes_mapped": mapped}


def _is_shared(path: str, roots: tuple[str, ...]) -> bool:
    path = os.path.normpath(path)
    return any(path == root or path.startswith(root + "/") for root in roots)


async def _start(place: Place, state: Path, pack: Path | None, trace: Sequence[str]) -> Start:
    credentials = make_credentials()
    hub = _Hub()
    listener = ExecutorListener(hub, hub, credentials, TcpAcceptor("127.0.0.1"), {}, None)  # type: ignore[arg-type]
    local = os.fspath(place.root / "local")
    session = Session(
        addresses=(("127.0.0.1", listener.address[1]),), certificate=credentials.certificate, secret=credentials.secret,
        workspace=os.fsencode(place.workspace), scratch_dir=local, heartbeat_s=5, lost_after_s=20, log_dir=str(state),
        landmarks=landmarks.choose(os.fsencode(place.workspace)),
    )  # fmt: skip
    file = write_session_file(session, state)
    argv = [
        *trace,
        *executor_command(file, pack=pack, scratch_dir=local),
        "--id",
        f"bench-{os.urandom(3).hex()}",
    ]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.run)
        began = time.perf_counter()
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, env=place.env)
        with trio.fail_after(60):
            link = await hub.ready.receive()
        ready_ms = (time.perf_counter() - began) * 1e3
        assert link.id != ExecutorId("")
        assert link.ready is not None
        rollup = Path(f"/proc/{link.ready.pid}/smaps_rollup").read_text() if not trace else "Rss: 0 kB\nPss: 0 kB"
        sizes = {k: int(v) for k, v in re.findall(r"^(Rss|Pss):\s+(\d+) kB", rollup, re.M)}
        link.leave()
        _, status, usage = await trio.to_thread.run_sync(os.wait4, process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            raise RuntimeError(f"{argv}: wait status {status:#x}")
        nursery.cancel_scope.cancel()
    file.unlink()
    return Start(ready_ms, (usage.ru_utime + usage.ru_stime) * 1e3, sizes["Rss"], sizes["Pss"])
