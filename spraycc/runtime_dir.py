"""The server's directory: one deterministic place for each user, workspace, host and context.

The base is ``SPRAYCC_RUNTIME_DIR`` or /tmp/spraycc-<uid>. In the base, two digests name the directory: of the workspace
and the host, and of the context (:mod:`spraycc.context`). XDG_RUNTIME_DIR would not do: cron, ssh and login shells set
it differently, and systemd-logind removes that directory at the last logout, even during a build.

Everybody can write to /tmp, so a name in it proves nothing. Each directory must be a real directory, belong to this
user, and be closed to others. If another user has made /tmp/spraycc-<uid>, all programs of this user take the same
other place, in the user's state directory. The choice is not random, so the programs need not agree on it.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os

from spraycc import context, directories
from spraycc.directories import base as base
from spraycc.directories import check as check
from spraycc.directories import ensure as ensure
from spraycc.errors import RuntimeDirError
from spraycc.notices import starting

#: Names in the server's directory.
SOCKET = b"socket"
LOCK = b"lock"
START_LOCK = b"start.lock"
LOG = b"log"
BUILDS = b"builds"

#: Lengths of the two parts of a directory's name, which must be short. If two contexts have one digest, they share a
#: server, which runs all tasks of the second on the submit host: each runner sends its whole context.
_WORKSPACE_CHARACTERS = 8
_CONTEXT_CHARACTERS = 4
#: sun_path of unix(7) holds 108 bytes with the final zero.
_MAX_SOCKET_PATH = 107


def state_directory(name: str, state: str | None = None) -> str:
    """The directory for the log, the session file and the builds' records of the server with this directory name.

    ``state``: in place of :func:`spraycc.directories.state`.
    """
    return os.path.join(state or directories.state().path, f"{os.uname().nodename}-{name}")


def locate(workspace: bytes, environ: dict[str, str] | os._Environ[str] | None = None) -> bytes:
    """The directory of this process's server of ``workspace`` (a real path). It may not exist; see :func:`ensure`.

    Raises:
        RuntimeDirError: SPRAYCC_RUNTIME_DIR is not an absolute path, or is so long that no socket fits below it.
    """
    name = f"{_workspace_name(workspace)}-{_digest(context.of_this_process().encode(), _CONTEXT_CHARACTERS)}"
    path = os.path.join(base(environ), name.encode())
    if len(os.path.join(path, SOCKET)) > _MAX_SOCKET_PATH:
        raise RuntimeDirError(starting.RUNTIME_DIR_IS_LONG.text(directory=os.fsdecode(path)))
    return path


def locate_all(workspace: bytes) -> list[bytes]:
    """The directories of this user's servers of ``workspace``, in every context that shares the base."""
    top = base()
    try:
        names = os.listdir(top)
    except OSError:
        return []
    return [os.path.join(top, name) for name in sorted(names) if is_of(workspace, os.fsdecode(name))]


def state_directory_of(workspace: bytes) -> str:
    """The state directory of the server of ``workspace`` for this process."""
    return state_directory(os.fsdecode(os.path.basename(locate(workspace))))


def state_directories_of(workspace: bytes) -> list[str]:
    """The state directories of all servers of ``workspace`` on this host, whatever their context.

    Raises:
        OSError: none was found, and a place for them can't be read.
    """
    start = f"{os.uname().nodename}-{_workspace_name(workspace)}-"
    found: list[str] = []
    problem: OSError | None = None
    for place in directories.places("state"):
        try:
            found += [os.path.join(place, name) for name in os.listdir(place) if name.startswith(start)]
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as exc:
            problem = exc
    if not found and problem is not None:
        raise problem
    return found


def is_of(workspace: bytes, name: str) -> bool:
    """True if ``name`` is the name of a server's directory for ``workspace``, in any context."""
    return name.partition("-")[0] == _workspace_name(workspace)


def is_locked(path: bytes) -> bool:
    """True if a process holds the lock of this file."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _workspace_name(workspace: bytes) -> str:
    return _digest(workspace + b"\0" + os.fsencode(os.uname().nodename), _WORKSPACE_CHARACTERS)


def _digest(data: bytes, characters: int) -> str:
    """Of 5 bits for each character."""
    return base64.b32encode(hashlib.sha256(data).digest()).decode("ascii").lower()[:characters]
