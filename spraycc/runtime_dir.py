"""The server's directory: one deterministic place for each user, workspace, host and context.

The base is ``SPRAYCC_RUNTIME_DIR`` or /tmp/spraycc-<uid>. In the base, two digests name the directory: of the workspace
and the host, and of the context (:mod:`spraycc.context`). XDG_RUNTIME_DIR would not do: cron, ssh and login shells set
it differently, and systemd-logind removes that directory at the last logout, even during a build.

Everybody can write to /tmp, so a name in it proves nothing. Each directory must be a real directory, belong to this
user, and be closed to others. If another user has made /tmp/spraycc-<uid>, all programs of this user take the same
other place, in the user's state directory. The choice is not random, so the programs need not agree on it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat

from spraycc import context
from spraycc.errors import RuntimeDirError
from spraycc.jobserver.makeflags import is_plain_path

#: Names in the server's directory.
SOCKET = b"socket"
LOCK = b"lock"
START_LOCK = b"start.lock"
LOG = b"log"
BUILDS = b"builds"

#: sun_path of unix(7) holds 108 bytes with the final zero.
_MAX_SOCKET_PATH = 107


def base(environ: dict[str, str] | os._Environ[str] | None = None) -> bytes:
    """The directory that holds all of this user's servers on this host. It may not exist."""
    environ = os.environ if environ is None else environ
    chosen = environ.get("SPRAYCC_RUNTIME_DIR")
    if chosen:
        path = os.fsencode(chosen)
        if not os.path.isabs(path):
            raise RuntimeDirError(
                f"SPRAYCC_RUNTIME_DIR={chosen}: must be an absolute path, as every program must find it"
            )
        if not is_plain_path(path):
            raise RuntimeDirError(
                f"SPRAYCC_RUNTIME_DIR={chosen}: must be of letters, digits and /._+-, as MAKEFLAGS names it"
            )
        return os.path.normpath(path)
    path = os.fsencode(f"/tmp/spraycc-{os.getuid()}")
    if not _is_strangers(path):
        return path
    import platformdirs

    return os.path.join(os.fsencode(platformdirs.user_state_dir("spraycc")), os.fsencode(f"run-{os.uname().nodename}"))


def state_directory(name: str) -> str:
    """The directory for the log, the session file and the builds' records of the server with this directory name."""
    import platformdirs

    return os.path.join(platformdirs.user_state_dir("spraycc"), f"{os.uname().nodename}-{name}")


def locate(workspace: bytes, environ: dict[str, str] | os._Environ[str] | None = None) -> bytes:
    """The directory of this process's server of ``workspace`` (a real path). It may not exist; see :func:`ensure`.

    Raises:
        RuntimeDirError: SPRAYCC_RUNTIME_DIR is not an absolute path, or is so long that no socket fits below it.
    """
    name = f"{_workspace_name(workspace)}-{_digest(context.of_this_process().encode())[:8]}"
    path = os.path.join(base(environ), name.encode())
    if len(os.path.join(path, SOCKET)) > _MAX_SOCKET_PATH:
        raise RuntimeDirError(
            f"{os.fsdecode(path)}: too long for a socket in it; "
            "set SPRAYCC_RUNTIME_DIR to a shorter path on this host's own disk"
        )
    return path


def locate_all(workspace: bytes) -> list[bytes]:
    """The directories of this user's servers of ``workspace``, in every context that shares the base."""
    top, start = base(), f"{_workspace_name(workspace)}-".encode()
    try:
        names = os.listdir(top)
    except OSError:
        return []
    return [os.path.join(top, name) for name in sorted(names) if name.startswith(start)]


def state_directory_of(workspace: bytes) -> str:
    """The state directory of the server of ``workspace`` for this process."""
    return state_directory(os.fsdecode(os.path.basename(locate(workspace))))


def state_directories_of(workspace: bytes) -> list[str]:
    """The state directories of all servers of ``workspace`` on this host, whatever their context."""
    start = state_directory(_workspace_name(workspace))
    parent = os.path.dirname(start)
    try:
        names = os.listdir(parent)
    except OSError:
        return []
    return [os.path.join(parent, name) for name in names if name.startswith(f"{os.path.basename(start)}-")]


def _workspace_name(workspace: bytes) -> str:
    return _digest(workspace + b"\0" + os.fsencode(os.uname().nodename))[:12]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def ensure(path: bytes) -> None:
    """Make ``path`` and its parent, the base, if they are missing, and check that both can be trusted.

    Raises:
        RuntimeDirError: one of the two can't be made, is not a directory, belongs to another user or is open to others.
    """
    parent = os.path.dirname(path)
    # The user is responsible for the directories above the base, so they get the usual modes.
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(parent), exist_ok=True)
    for directory in (parent, path):
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            pass
        except OSError as exc:
            raise RuntimeDirError(
                f"{os.fsdecode(directory)}: can't be made: {exc.strerror}; "
                "set SPRAYCC_RUNTIME_DIR to a directory on this host's own disk that you can write to"
            ) from None
        check(directory)


def check(path: bytes) -> None:
    """Check that ``path`` is a directory of this user that nobody else can enter.

    Raises:
        RuntimeDirError: the check failed; the text says why and what to do.
    """
    shown = os.fsdecode(path)
    try:
        status = os.lstat(path)
    except OSError as exc:
        raise RuntimeDirError(f"{shown}: {exc.strerror}") from None
    if not stat.S_ISDIR(status.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "no directory"
        raise RuntimeDirError(f"{shown}: is {what}; remove it, or set SPRAYCC_RUNTIME_DIR to a directory of your own")
    if status.st_uid != os.getuid():
        raise RuntimeDirError(
            f"{shown}: belongs to {_user(status.st_uid)}, not to {_user(os.getuid())}; "
            "set SPRAYCC_RUNTIME_DIR to a directory of your own"
        )
    if status.st_mode & 0o077:
        raise RuntimeDirError(f"{shown}: is open to others (mode {status.st_mode & 0o7777:04o}); run chmod 700 {shown}")


def _is_strangers(path: bytes) -> bool:
    """True if ``path`` exists and belongs to another user, so that this user can neither use nor remove it."""
    try:
        return os.lstat(path).st_uid != os.getuid()
    except OSError:
        return False


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
