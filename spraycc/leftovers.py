"""Finds and removes the files that servers leave on this host and in the state directories, unless they are in use.

`spraycc clean` removes all that nobody uses. A server that starts removes what nobody has used for long: containers
have a new context, and so new directories, each time that they run.

A removal holds the start lock of the server's directory, so that no server can start meanwhile. The locks show what
processes of this host do. Other hosts, and containers with a /tmp of their own, show no locks: there the log must do.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass

from spraycc import directories, runtime_dir
from spraycc.errors import RuntimeDirError

#: Seconds after which a server without a last word in its log counts as dead.
_SILENT_S = 24 * 3600.0
#: Seconds after which a starting server removes runtime directories and state directories that nobody uses.
RUNTIME_AGE_S = 24 * 3600.0
STATE_AGE_S = 30 * 24 * 3600.0
#: A starting server examines at most so many directories, and removes at most so many.
_MOST_EXAMINED = 500
_MOST_REMOVED = 50
#: First part of the names of the files that alone name the batch jobs that a server may have left in the cluster
#: (server/fleet/stale_jobs.py).
BATCH_MARKER = "batch-jobs"
#: Names of runtime_dir.locate: today's, and those of release 0.1.0.
_NAME = re.compile(r"[a-z2-7]{8}-[a-z2-7]{4}|[0-9a-f]{12}")
_STATE_NAME = re.compile(rf"(?P<host>.+?)-(?P<name>{_NAME.pattern})")


@dataclass(frozen=True, slots=True)
class State:
    """The state directory of one server."""

    path: str
    host: str
    #: name of the server's runtime directory
    name: str


def servers(base: bytes) -> list[str]:
    """Names of all runtime directories of this user on this host."""
    return sorted(name for name in _names(os.fsdecode(base)) if _NAME.fullmatch(name))


def states(place: str) -> list[State]:
    """The state directories of all servers in a directory of ``directories.places("state")``."""
    found = ((name, _STATE_NAME.fullmatch(name)) for name in sorted(_names(place)))
    return [State(os.path.join(place, name), match["host"], match["name"]) for name, match in found if match]


@contextlib.contextmanager
def claimed(directory: bytes) -> Iterator[str]:
    """Hold the start lock of a server's directory, which is made if it is missing.

    Yields the reason why the directory is in use; empty: nobody uses it, and no server can start meanwhile.

    Raises:
        OSError, RuntimeDirError: the directory can't be used.
    """
    runtime_dir.ensure(directory)
    path = os.path.join(directory, runtime_dir.START_LOCK)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield "a server starts"
        else:
            yield _use(directory)
    finally:
        os.close(fd)


def may_live(state: State, now: float) -> bool:
    """True if the server may run where its locks can't be seen: its log has no end yet and is not old."""
    log = os.path.join(state.path, "server.log")
    with contextlib.suppress(OSError), open(log, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 100))
        if file.read().endswith(b": ended\n"):
            return False
    return now - _last_use(state.path) < _SILENT_S


def has_batch_jobs(state_directory: str) -> bool:
    """True if a server may have left batch jobs, which the next server of the workspace cancels."""
    with contextlib.suppress(OSError):
        return any(name.startswith(BATCH_MARKER) for name in os.listdir(state_directory))
    return False


def remove(path: str) -> int:
    """Remove a file or a tree; returns its bytes. What can't be removed stays."""
    size = size_of(path)
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.unlink(path)
    return size if not os.path.lexists(path) else size - size_of(path)


def size_of(path: str) -> int:
    """The bytes of a file, or of all files in a tree. A file with several links, such as a shim, counts once."""
    sizes: dict[tuple[int, int], int] = {}
    files = [path] if not os.path.isdir(path) else []
    files += [os.path.join(place, name) for place, _, names in os.walk(path) for name in names]
    for file in files:
        with contextlib.suppress(OSError):
            status = os.lstat(file)
            sizes[status.st_dev, status.st_ino] = status.st_size
    return sum(sizes.values())


def prune(own: str) -> list[str]:
    """Remove old directories of servers that have ended; returns their paths.

    Args:
        own: name of the runtime directory of the server that calls.
    """
    now = time.time()
    removed: list[str] = []
    with contextlib.suppress(OSError, RuntimeDirError):
        base = directories.base()
        for name in servers(base)[:_MOST_EXAMINED]:
            directory = os.path.join(base, name.encode())
            if name != own and len(removed) < _MOST_REMOVED and now - _last_use(os.fsdecode(directory)) > RUNTIME_AGE_S:
                with claimed(directory) as use:
                    if not use:
                        remove(os.fsdecode(directory))
                        removed.append(os.fsdecode(directory))
        alive = set(servers(base))
        for place in directories.places("state"):
            for state in states(place)[:_MOST_EXAMINED]:
                old = state.name not in alive and now - _last_use(state.path) > STATE_AGE_S
                if old and not has_batch_jobs(state.path) and len(removed) < _MOST_REMOVED:
                    remove(state.path)
                    removed.append(state.path)
    return removed


def clear_builds(runtime_directory: str) -> bool:
    """Remove the builds of an earlier server, except those that may go on. True if none is left."""
    builds = os.path.join(os.fsencode(runtime_directory), runtime_dir.BUILDS)
    is_empty = True
    for name in _names(builds):
        build = os.path.join(builds, os.fsencode(name))
        if _is_open(build):
            is_empty = False
        else:
            shutil.rmtree(build, ignore_errors=True)
    return is_empty


def _use(directory: bytes) -> str:
    if runtime_dir.is_locked(os.path.join(directory, runtime_dir.LOCK)):
        return "a server runs"
    slots = os.path.join(directory, b"slots")
    builds = os.path.join(directory, runtime_dir.BUILDS)
    in_slots = any(runtime_dir.is_locked(os.path.join(slots, name)) for name in map(os.fsencode, _names(slots)))
    if in_slots or any(_is_open(os.path.join(builds, os.fsencode(name))) for name in _names(builds)):
        return "a build goes on without its server"
    return ""


def _is_open(build: bytes) -> bool:
    """True if processes of a build may live: one has the jobserver open, or the build has none and is not old."""
    try:
        os.close(os.open(os.path.join(build, b"fifo"), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW))
    except FileNotFoundError:
        return time.time() - _last_use(os.fsdecode(build)) < _SILENT_S
    except OSError:  # ENXIO: no process reads
        return False
    return True


def _last_use(path: str) -> float:
    """The latest change of a directory or of the files that servers write all the time (seconds since the epoch).

    Not of all files: a state directory has hundreds, and may be on NFS.
    """
    times = [0.0]
    for name in ("", "server.log", "builds", "lock", "start.lock"):
        with contextlib.suppress(OSError):
            times.append(os.lstat(os.path.join(path, name)).st_mtime)
    return max(times)


def _names(path: str | bytes) -> list[str]:
    try:
        return os.listdir(os.fsdecode(path))
    except OSError:
        return []
