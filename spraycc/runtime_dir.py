"""The server's directory: one deterministic place for each user, workspace and host.

``SPRAYCC_RUNTIME_DIR`` or /tmp/spraycc-<uid>, and in it a directory named after the workspace and the host. Not under
XDG_RUNTIME_DIR: cron, ssh and login shells disagree about it, and systemd-logind removes it at the last logout,
builds or not.

/tmp is everybody's, so nothing in it is trusted for its name. Each directory must be a real one, ours, and closed to
others. Where somebody else made /tmp/spraycc-<uid> first, all of a user's programs fall back to the same other place,
in the user's state directory; there is nothing to be agreed on and nothing random about it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat

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
    """Where the server whose directory has this name keeps its log, its session file and its builds' records."""
    import platformdirs

    return os.path.join(platformdirs.user_state_dir("spraycc"), f"{os.uname().nodename}-{name}")


def locate(workspace: bytes, environ: dict[str, str] | os._Environ[str] | None = None) -> bytes:
    """The directory of the server of ``workspace`` (a real path) on this host. It may not exist; see :func:`ensure`.

    Raises:
        RuntimeDirError: SPRAYCC_RUNTIME_DIR is no absolute path, or so long that no socket fits below it.
    """
    name = hashlib.sha256(workspace + b"\0" + os.fsencode(os.uname().nodename)).hexdigest()[:12]
    path = os.path.join(base(environ), name.encode())
    if len(os.path.join(path, SOCKET)) > _MAX_SOCKET_PATH:
        raise RuntimeDirError(
            f"{os.fsdecode(path)}: too long for a socket in it; "
            "set SPRAYCC_RUNTIME_DIR to a shorter path on this host's own disk"
        )
    return path


def ensure(path: bytes) -> None:
    """Make ``path`` and its parent, the base, where they are missing, and check that they can be trusted.

    Raises:
        RuntimeDirError: one can't be made, is no directory, belongs to somebody else or is open to others.
    """
    parent = os.path.dirname(path)
    # What lies above the base is the user's affair (made with the usual modes), as with any path that they name.
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
    """Check that ``path`` is a directory of ours that nobody else can enter.

    Raises:
        RuntimeDirError: it is not; the text says what it is and what to do.
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
    """True where something is there that is not ours, so that we can't use it and can't remove it."""
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
