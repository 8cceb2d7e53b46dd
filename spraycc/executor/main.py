"""``python -m spraycc.executor --session FILE --id ID``: runs on a host of the cluster until it is told to leave.

Exit status: 0 if the server or a signal told it to leave, 1 if the server is lost or could not be reached, 2: misuse.
The executor writes to its log, and to stderr only if it can't start or can't reach the server.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import re
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from spraycc import __version__
from spraycc.errors import ConfigError, ServerUnavailable, SprayccError
from spraycc.executor.box import find_box
from spraycc.executor.host import Host, explore
from spraycc.executor.link import Link, LinkLost, connect, first_of
from spraycc.executor.session import read_session
from spraycc.executor.tasks import Tasks
from spraycc.stamps import Stamp
from spraycc.system.allocator import keep_freed_memory
from spraycc.system.file_cache import cached, refresh
from spraycc.system.signals import receive_signals
from spraycc.system.threads import run_in_thread
from spraycc.wire.executor import EXECUTOR_ID_BYTES, CancelTask, Leave, Ping, Pong, Ready, StartTask
from spraycc.wire.session_file import Session

_log = logging.getLogger(__name__)

LEAVING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

_ID = re.compile(rf"[A-Za-z0-9._-]{{1,{EXECUTOR_ID_BYTES}}}")
#: For each cluster manager: the variables of the batch job's id and of the index in its array, and the form of both.
_BATCH_IDS = (
    ("LSB_JOBID", "LSB_JOBINDEX", "{}[{}]"),
    ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "{}_{}"),
    ("SLURM_JOB_ID", "", ""),
    ("PBS_JOBID", "", ""),  # the id includes the index
    ("JOB_ID", "SGE_TASK_ID", "{}.{}"),
)
#: The variables with the index alone.
_ARRAY_INDICES = ("SLURM_ARRAY_TASK_ID", "PBS_ARRAY_INDEX", "SGE_TASK_ID", "LSB_JOBINDEX")


@dataclass(slots=True)
class _Departure:
    """The exit status with which the executor leaves. Only the first call of :meth:`leave` counts."""

    status: int | None = None

    def leave(self, status: int, why: str) -> None:
        if self.status is None:
            self.status = status
            _log.info("leaving: %s", why)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the executor; returns its exit status."""
    parser = argparse.ArgumentParser(prog="spraycc.executor", description="Runs tasks for a SprayCC server.")
    parser.add_argument("--session", required=True, metavar="FILE", help="the server's session file")
    name = parser.add_mutually_exclusive_group(required=True)
    name.add_argument("--id", help="this executor's id: at most 16 letters, digits, . _ -")
    name.add_argument("--id-from-array", metavar="TAG", help="the id is TAG and this batch job's index in its array")
    parser.add_argument("--copy", type=int, metavar="N", help="the number of this executor in its batch job, from 1")
    options = parser.parse_args(arguments)
    if options.id_from_array is not None:
        options.id = f"{options.id_from_array}-{array_index()}" + (f".{options.copy}" if options.copy else "")
    if not _ID.fullmatch(options.id):
        parser.error("--id: at most 16 letters, digits, dots, dashes and underscores")
    _open_standard_descriptors()
    _keep_descriptors_to_ourselves()
    # A core would hold the session's secret. Commands get the runner's limit.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    try:
        session = read_session(options.session)
        _log_to(session.log_dir, options.id)
        box = find_box()
    except (SprayccError, OSError) as exc:
        sys.stderr.write(f"spraycc executor: {exc}\n")
        return 2 if isinstance(exc, ConfigError) else 1
    keep_freed_memory(4 * 1024 * 1024)
    try:
        return trio.run(_run, session, options.id, box)
    except (OSError, MemoryError) as exc:  # this host has no descriptors or memory left
        sys.stderr.write(f"spraycc executor: {exc or 'out of memory'}\n")
        return 1


def _open_standard_descriptors() -> None:
    """Open descriptors 0 to 2. In the box these are the command's, so no other descriptor may have such a number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def _keep_descriptors_to_ourselves() -> None:
    """Keep inherited descriptors from the commands. (All others are close-on-exec anyway.)"""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):  # the descriptor of the listing itself
                os.set_inheritable(int(name), False)


def _log_to(directory: str, executor_id: str) -> None:
    os.makedirs(directory, mode=0o700, exist_ok=True)
    path = os.path.join(directory, f"executor-{executor_id}.log")
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    file = open(descriptor, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115 - open as long as we run
    handler = logging.StreamHandler(file)
    handler.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logger = logging.getLogger("spraycc")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def batch_job() -> str:
    """This batch job's id as the cluster manager's cancel command takes it; empty outside a batch job."""
    for name, index_name, form in _BATCH_IDS:
        if value := os.environ.get(name):
            index = os.environ.get(index_name, "")
            return form.format(value, index) if index not in ("", "0", "undefined") else value
    return ""


def array_index() -> int:
    """This batch job's index in its array, from 1; 1 outside an array (LSF then sets 0, Grid Engine a word)."""
    for name in _ARRAY_INDICES:
        value = os.environ.get(name, "")
        if value.isdecimal() and int(value):
            return int(value)
    return 1


async def _run(session: Session, executor_id: str, box: bytes) -> int:
    departure = _Departure()
    host = Host(box, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(_watch_signals, departure, nursery.cancel_scope)
            await _serve(session, executor_id, host, departure)
            nursery.cancel_scope.cancel()
    except* ServerUnavailable as group:
        departure.leave(1, str(first_of(group)))
        # The server can't tell the user, so this goes to the batch job's output file.
        sys.stderr.write(f"spraycc executor on {socket.gethostname()}: {first_of(group)}\n")
    except* LinkLost as group:
        departure.leave(1, str(first_of(group)))
    except* Exception:
        _log.exception("a fault of the executor")
        departure.leave(1, "a fault of the executor")
    if host.scratch is not None:
        host.scratch.remove()
    assert departure.status is not None
    return departure.status


async def _watch_signals(
    departure: _Departure,
    scope: trio.CancelScope,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    with receive_signals(*LEAVING_SIGNALS) as signals:
        task_status.started()
        async for number in signals:
            departure.leave(0, signal.Signals(number).name)
            scope.cancel()


async def _serve(session: Session, executor_id: str, host: Host, departure: _Departure) -> None:
    """Everything from the connection to Leave."""
    link = await connect(session, executor_id)
    name = f"{socket.gethostname()}-{os.getpid()}-{executor_id}"
    landmarks = await run_in_thread(_stamps_of, session)
    await explore(host, session.workspace, session.scratch_dir, name)
    ready = Ready(
        __version__, socket.gethostname(), os.getpid(), host.captures, host.refusals, batch_job(),
        host.memory.part, host.memory.total_bytes, landmarks,
    )  # fmt: skip
    await link.send(ready)
    _log.info("ready: captures %s, refusals %s, batch job %r", host.captures, host.refusals, ready.batch_job)
    tasks = Tasks(host, link)
    try:
        await _serve_tasks(session, link, host, tasks, departure)
    finally:
        # The executor's own counts, to compare with the server's summary.
        _log.info("counters %s", json.dumps(tasks.counters.as_map()))
        tasks.close()


def _stamps_of(session: Session) -> tuple[Stamp, ...]:
    """The landmarks' stamps, fresh from the file server."""
    refresh([session.workspace, *(lookup[1:] for lookup in session.landmarks)])
    return tuple(cached(lookup) for lookup in session.landmarks)


async def _serve_tasks(session: Session, link: Link, host: Host, tasks: Tasks, departure: _Departure) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tasks.clear_away)
        nursery.start_soon(_watch_silence, link, session)
        while not isinstance(message := await link.receive(), Leave):
            match message:
                case StartTask():
                    tasks.accept(message)
                    nursery.start_soon(tasks.run)
                case CancelTask(task):
                    nursery.start_soon(tasks.cancel, task)
                case Ping(number):
                    pong = Pong(number, tasks.counters.as_map(), host.memory.available_bytes() or 0)
                    nursery.start_soon(link.send, pong)
                case _:
                    pass  # a Pong: receive() has noted the time
        departure.leave(0, "the server says so")
        nursery.cancel_scope.cancel()


async def _watch_silence(link: Link, session: Session) -> None:
    """End the executor after a long silence of the server. Sends a Ping after a shorter silence.

    Raises:
        LinkLost: the server did not answer.
    """
    pings = 0
    async with trio.open_nursery() as nursery:
        while True:
            silent_s = trio.current_time() - link.heard_at
            if silent_s >= session.lost_after_s:
                raise LinkLost(f"nothing was heard from the server for {silent_s:.1f} s")
            if silent_s >= session.heartbeat_s and not nursery.child_tasks:
                pings += 1
                nursery.start_soon(link.send, Ping(pings))
            await trio.sleep(min(session.heartbeat_s, session.lost_after_s - silent_s))


def run_and_exit() -> None:
    """Entry point of the module."""
    status = main()
    with contextlib.suppress(OSError):
        logging.shutdown()
    # Skip the interpreter's own shutdown, which takes longer on a busy host than a batch system waits.
    os._exit(status)
