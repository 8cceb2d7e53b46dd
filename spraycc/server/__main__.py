"""``python -m spraycc.server run --dir D --workspace W --state S``: the server's process.

spraycc.cli starts it, and writes the settings to its stdin.
"""

from __future__ import annotations

import argparse
import fcntl
import gc
import json
import logging
import logging.handlers
import os
import socket
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import trio

from spraycc import directories
from spraycc.errors import RuntimeDirError, SprayccError
from spraycc.notices import starting
from spraycc.server.host.fresh_process import begin_afresh
from spraycc.server.host.surroundings import why_not_linger
from spraycc.server.server import BACKLOG, serve
from spraycc.settings import Settings
from spraycc.system.allocator import keep_freed_memory

_LOG_BYTES = 8 * 1024 * 1024


def main() -> int:
    parser = argparse.ArgumentParser(prog="spraycc-server")
    parser.add_argument("command", choices=["run"])
    parser.add_argument("--dir", required=True, type=Path, help="the runtime directory, which exists and is the user's")
    parser.add_argument("--workspace", required=True)
    parser.add_argument("--state", required=True, type=Path, help="the state directory, which the server makes")
    parser.add_argument("--for-probe", action="store_true", help="end with the build of `spraycc doctor`")
    arguments = parser.parse_args()
    settings = Settings.from_map(json.loads(sys.stdin.readline() or "{}"))
    try:
        directories.check(os.fsencode(arguments.dir))
        state_dir = arguments.state
        _make_state(state_dir)
    except SprayccError as exc:
        sys.stderr.write(f"spraycc server: {exc}\n")
        return 1
    begin_afresh()
    _log_to(state_dir / "server.log")
    shorten(state_dir / "executors.log")
    log = logging.getLogger("spraycc.server")
    runtime_dir: Path = arguments.dir
    lock = take_lock(runtime_dir / "lock")
    if lock is None:
        log.info("another server holds %s", runtime_dir)
        return 0
    path = runtime_dir / "socket"
    try:
        with suppress(FileNotFoundError):
            path.unlink()
        listener = listen(path)
        log.info("process %d serves %s in %s", os.getpid(), arguments.workspace, runtime_dir)
        spare_the_collector()
        keep_freed_memory(64 * 1024 * 1024)
        why = why_not_linger()
        if why:
            log.info("this server ends after its last build: %s", why)
        workspace = os.fsencode(arguments.workspace)
        lifetime = {"lingers": not why, "for_probe": arguments.for_probe}
        trio.run(partial(serve, listener, runtime_dir, state_dir, workspace, settings, **lifetime))
    except SprayccError as exc:
        log.error("%s", exc)
        return 1
    except BaseException:
        log.exception("the server failed")
        raise
    finally:
        if is_held(lock, runtime_dir / "lock"):  # else the directory was removed, and this is another server's
            with suppress(FileNotFoundError):
                path.unlink()
            leave_directory(runtime_dir)
        os.close(lock)
        log.info("ended")
    return 0


def leave_directory(path: Path) -> None:
    """Remove the server's files and the runtime directory.

    If another process holds the start lock, it may start the next server in the directory: then only the server's own
    lock file is removed.
    """
    with suppress(OSError):
        start_lock = os.open(path / "start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(start_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(OSError):
                # The server's stdout and stderr. The file is empty unless something went wrong.
                if (path / "log").stat().st_size == 0:
                    (path / "log").unlink()
            (path / "lock").unlink(missing_ok=True)
            (path / "start.lock").unlink(missing_ok=True)
            path.rmdir()
        except BlockingIOError:
            (path / "lock").unlink(missing_ok=True)
        finally:
            os.close(start_lock)


def spare_the_collector() -> None:
    """Run the cyclic garbage collector rarely: with a thousand executors, a full pass visits all that waits.

    Reference counts free the objects of a task.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def take_lock(path: Path) -> int | None:
    """Take the lock of the running server. Returns its descriptor, or None if another server holds the lock.

    A server that ends may remove the file between our open and our lock. Then the lock is taken on a new file.
    """
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        if is_held(fd, path):
            return fd
        os.close(fd)


def is_held(lock: int, path: Path) -> bool:
    """True if the open file ``lock`` is still the file at ``path``."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(lock))
    except FileNotFoundError:
        return False


def listen(path: Path) -> socket.socket:
    """A listening socket at ``path``. The path may be longer than a socket address allows."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock.bind(f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.close(directory)
    os.chmod(path, 0o600)
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


def _make_state(path: Path) -> None:
    """Make the state directory. Session files and logs lie in it, so other users must not reach it."""
    try:
        directories.make(os.fspath(path.parent))
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as exc:
        raise RuntimeDirError(starting.STATE_NOT_MADE.text(directory=path, cause=exc.strerror)) from None
    directories.check(os.fsencode(path))


def shorten(path: Path) -> None:
    """Begin the file anew if it is long, and keep the old one beside it. Executors of several servers write to it."""
    with suppress(OSError):
        if path.stat().st_size > _LOG_BYTES:
            path.rename(path.with_name(f"{path.name}.1"))


def _log_to(path: Path) -> None:
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8", errors="backslashreplace"
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(os.environ.get("SPRAYCC_LOG_LEVEL", "INFO").upper())


if __name__ == "__main__":
    sys.exit(main())
