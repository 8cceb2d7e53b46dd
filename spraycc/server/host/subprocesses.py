"""Starts processes, as the server's only module: the commands of cluster managers, and executors."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import trio

from spraycc.cluster.driver import ClusterError, Reply, Trouble
from spraycc.notices import cluster as notices

log = logging.getLogger(__name__)

#: Seconds from SIGTERM to SIGKILL.
GRACE_S = 3.0
#: The same for a cluster manager's command that did not end in time, and for the maker of the pack.
COMMAND_GRACE_S = 1.0
#: The most output that is read from a command: more than any listing has.
_MOST_BYTES = 64 * 1024 * 1024
#: The host has not enough resources to start a process. The program itself may be in order.
_SHORT_OF = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


async def run_command(argv: Sequence[str], stdin: bytes, env: Mapping[str, str], timeout_s: float) -> Reply:
    """Run a cluster manager's command to its end. Returns its status and output.

    The command's streams are files in memory: with pipes, a process that it leaves behind would keep the server
    waiting. The command inherits no other descriptor, and leads a session of its own. If the command times out or this
    call is cancelled, the whole session is ended.

    Raises:
        ClusterError: there is no such program, or it did not end in time.
    """
    streams: list[int] = []
    try:
        try:
            for name in ("in", "out", "err"):
                streams.append(os.memfd_create(f"spraycc-{name}", os.MFD_CLOEXEC))
        except OSError as exc:
            raise ClusterError(
                Trouble.UNREACHABLE, notices.COMMAND_NOT_STARTED.text(command=argv[0], cause=exc.strerror)
            ) from None
        os.write(streams[0], stdin)
        os.lseek(streams[0], 0, os.SEEK_SET)
        try:
            process = await _open_process(argv, env, streams[0], streams[1], streams[2])
        except OSError as exc:
            trouble = Trouble.UNREACHABLE if exc.errno in _SHORT_OF else Trouble.NO_COMMAND
            raise ClusterError(trouble, f"{argv[0]}: {exc.strerror}") from None
        status: int | None = None
        try:
            with trio.move_on_after(timeout_s):
                status = await process.wait()
        finally:
            if process.returncode is None:
                await _end_session(process)
        reply = Reply(status if status is not None else -1, _contents(streams[1]), _contents(streams[2]))
    finally:
        for stream in streams:
            os.close(stream)
    # A successful listing is too frequent for the log.
    level = logging.INFO if status or stdin else logging.DEBUG
    log.log(level, "%s: status %s, %s", " ".join(argv)[:1000], status, reply.words)
    if status is None:
        said = f" ({reply.words})" if reply.stderr else ""
        text = notices.COMMAND_TOO_SLOW.text(command=argv[0], limit_s=timeout_s, words=said)
        raise ClusterError(Trouble.UNREACHABLE, text, reply)
    return reply


async def start_process(argv: Sequence[str], env: Mapping[str, str], log_path: Path) -> trio.Process:
    """Start an executor, or the command that starts an executor. Its output is appended to ``log_path``.

    The caller must call :func:`see_off`.

    Raises:
        OSError: the process can't be started.
    """
    with open(log_path, "ab") as out:
        return await _open_process(argv, env, subprocess.DEVNULL, out.fileno(), out.fileno())


async def _open_process(
    argv: Sequence[str], env: Mapping[str, str], stdin: int, stdout: int, stderr: int
) -> trio.Process:
    try:
        return await trio.lowlevel.open_process(
            list(argv), stdin=stdin, stdout=stdout, stderr=stderr, cwd="/", env=dict(env), start_new_session=True
        )
    except RuntimeError as exc:  # trio starts it in a thread, and no thread can be started
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from exc


async def see_off(process: trio.Process) -> None:
    """Make sure that the executor's process ends. It usually ends by itself, because its connection is closed."""
    if process.returncode is not None:
        return
    with trio.CancelScope(shield=True):
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        with trio.move_on_after(GRACE_S):
            await process.wait()
        if process.returncode is None:
            await _kill(process)


async def _end_session(process: trio.Process) -> None:
    """End a command and the processes of its session. It may remove its temporary files first."""
    with trio.CancelScope(shield=True):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with trio.move_on_after(COMMAND_GRACE_S):
            await process.wait()
        await _kill(process)


async def _kill(process: trio.Process) -> None:
    with trio.CancelScope(shield=True):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _contents(descriptor: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, "rb", closefd=False) as file:
        return file.read(_MOST_BYTES)
