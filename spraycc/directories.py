"""The directories in which SprayCC keeps its files: runtime, state, data and configuration.

State is what servers write: logs, records of builds, the history. Data are the programs that builds execute: copies of
the runner and of the library, and shims. For both there are several places. The first that can be used counts:

1. the variable XDG_STATE_HOME or XDG_DATA_HOME. The XDG Base Directory Specification says to ignore a relative path.
2. the home directory: HOME, or else the passwd entry's. Containers may have neither.
3. below the runtime directory, which is on this host's own disk, so executors on other hosts can't read it.

A directory of somebody else is passed over. After ``sudo -E``, HOME is the directory of the user who called sudo: files
of root there would lock that user out, and a configuration there would let that user decide what root executes.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from spraycc.errors import RuntimeDirError
from spraycc.jobserver.makeflags import is_plain_path
from spraycc.notices import starting

_NAME = "spraycc"
#: kind -> its variable, and its directory below a home directory
_KINDS = {
    "state": ("XDG_STATE_HOME", ".local/state"),
    "data": ("XDG_DATA_HOME", ".local/share"),
    "config": ("XDG_CONFIG_HOME", ".config"),
}


@dataclass(frozen=True, slots=True)
class Place:
    """A directory for one kind of files. It may not exist yet; see :func:`make`."""

    path: str
    #: why the directory is not one that the user would expect, and what to do; empty: it is, or there is no home
    problem: str = ""
    #: it is below the runtime directory
    is_last_resort: bool = False


# --- the runtime directory ---


def base(environ: dict[str, str] | os._Environ[str] | None = None) -> bytes:
    """The directory that holds all of this user's servers on this host. It may not exist."""
    environ = os.environ if environ is None else environ
    chosen = environ.get("SPRAYCC_RUNTIME_DIR")
    if chosen:
        path = os.fsencode(chosen)
        if not os.path.isabs(path):
            raise RuntimeDirError(starting.RUNTIME_DIR_IS_RELATIVE.text(value=chosen))
        if not is_plain_path(path):
            raise RuntimeDirError(starting.RUNTIME_DIR_IS_NOT_PLAIN.text(value=chosen))
        return os.path.normpath(path)
    path = os.fsencode(f"/tmp/spraycc-{os.getuid()}")
    if not _is_strangers(path):
        return path
    own = next((place for place in _own_places("state") if not _obstacle(place)), None)
    if own is None:
        return os.fsencode(f"/var/tmp/spraycc-{os.getuid()}")
    return os.fsencode(os.path.join(own, f"run-{os.uname().nodename}"))


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
            os.chmod(directory, 0o700)  # whatever the umask
        except FileExistsError:
            pass
        except OSError as exc:
            raise RuntimeDirError(
                starting.DIRECTORY_NOT_MADE.text(directory=os.fsdecode(directory), cause=exc.strerror)
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
        kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "no directory"
        raise RuntimeDirError(starting.NOT_A_DIRECTORY.text(path=shown, kind=kind))
    if status.st_uid != os.getuid():
        raise RuntimeDirError(
            starting.DIRECTORY_OF_OTHERS.text(directory=shown, owner=_user(status.st_uid), user=_user(os.getuid()))
        )
    if status.st_mode & 0o077:
        raise RuntimeDirError(starting.DIRECTORY_IS_OPEN.text(directory=shown, mode=status.st_mode & 0o7777))


# --- homes ---


def known_homes() -> tuple[str, ...]:
    """The user's home directories, whoever owns them: HOME, and if that is somebody else's, the passwd entry's."""
    home = os.environ.get("HOME", "")
    # No look at the entry without need: a directory service may take its time.
    entry = "" if _is_own_home(home) else passwd_home()
    return tuple(filter(os.path.isabs, (home, entry)))


def _home() -> str | None:
    """This user's home directory, if there is one: HOME, or else the passwd entry's."""
    return next(filter(_is_own_home, known_homes()), None)


def _is_own_home(path: str) -> bool:
    """True if this user may keep files in the directory.

    ``/`` is no home: containers set HOME to ``/`` for users without an entry, and services have it in their entries.
    """
    if not os.path.isabs(path) or not os.path.normpath(path).strip("/"):
        return False
    try:
        status = os.stat(path)
    except OSError:
        return False
    # The last: HOME=/tmp.
    is_own = status.st_uid == os.getuid() or (status.st_uid == 0 and os.access(path, os.W_OK | os.X_OK))
    return is_own and stat.S_ISDIR(status.st_mode)


def passwd_home() -> str:
    """The home directory in the user's passwd entry; empty without an entry."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""


# --- state, data and configuration ---


def state(*, probe: bool = False) -> Place:
    """The directory for all that servers write. ``probe``: write to it, to notice a full disk."""
    return _first("state", probe)


def data() -> Place:
    """The directory for the programs that builds execute."""
    return _first("data", False)


def usable_data() -> list[Place]:
    """The usable directories for programs, the preferred one first."""
    return list(_usable("data", False))


def site_configurations() -> list[str]:
    """The directories of the site's configuration, the most important first, as XDG_CONFIG_DIRS lists them."""
    named = list(filter(os.path.isabs, os.environ.get("XDG_CONFIG_DIRS", "").split(os.pathsep)))
    return list(dict.fromkeys(os.path.join(parent, _NAME) for parent in named or ["/etc/xdg"]))


def user_configuration() -> str | None:
    """The directory of the user's own configuration. None: the user has no home directory."""
    return next(iter(_own_places("config")), None)


def make(place: str) -> None:
    """Make a directory of :func:`state` or :func:`data`, closed to others if it is below the runtime directory.

    Raises:
        OSError: it can't be made.
        RuntimeDirError: the runtime directory can't be trusted.
    """
    with contextlib.suppress(RuntimeDirError):
        if os.path.dirname(place) == os.fsdecode(base()):
            ensure(os.fsencode(place))
            return
    os.makedirs(place, mode=0o700, exist_ok=True)


def _first(kind: str, probe: bool) -> Place:
    for place in _usable(kind, probe):
        return place
    raise RuntimeDirError(starting.NO_PLACE.text(variable=_KINDS[kind][0]))


def _usable(kind: str, probe: bool) -> Iterator[Place]:
    problem = ""
    own = set(_own_places(kind))
    for path in places(kind):
        obstacle = _obstacle(path) or (_cannot_take_a_file(path) if probe else "")
        if not obstacle:
            meanwhile = starting.OTHER_PLACE.text(problem=problem, directory=path) if problem else ""
            yield Place(path, meanwhile, path not in own)
        # The message names the first place, which the user expects to be used.
        problem = problem or starting.PLACE_OR_VARIABLE.text(obstacle=obstacle, variable=_KINDS[kind][0])


def places(kind: str) -> list[str]:
    """All directories for "state", "data" or "config" files, the preferred one first. They may not be usable.

    Earlier files may be in any of them: the preferred one may have been full for some time.
    """
    found = list(_own_places(kind))
    with contextlib.suppress(RuntimeDirError):
        found.append(os.path.join(os.fsdecode(base()), kind))
    return list(dict.fromkeys(found))


def _own_places(kind: str) -> Iterator[str]:
    variable, below = _KINDS[kind]
    given = os.environ.get(variable, "")
    parents = [given] if os.path.isabs(given) else []
    home = _home()
    parents += [os.path.join(home, below)] if home else []
    yield from (path for path in (os.path.join(parent, _NAME) for parent in parents) if _is_own(path))


def _is_own(path: str) -> bool:
    """True if the path, or else its nearest ancestor that exists, belongs to this user.

    For others than root it may belong to root, who made /tmp and mount points, and can read and change all files.
    """
    _, owner = _nearest(path)
    return owner is not None and owner in (os.getuid(), 0)


def _nearest(path: str) -> tuple[str, int | None]:
    """The path or its nearest ancestor that the user can see, and the owner; None: the disk does not answer."""
    path = os.path.normpath(path)
    while True:
        try:
            return path, os.lstat(path).st_uid
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            path = os.path.dirname(path)
        except OSError:
            return path, None


def _obstacle(path: str) -> str:
    """Why this user can't make files in the directory, and what to do about that; empty if nothing is known."""
    nearest, owner = _nearest(path)
    # Not stat: a link to a directory is a directory, and a dangling link is an obstacle.
    if not os.path.isdir(nearest):
        return starting.PLACE_IS_A_FILE.text(path=nearest)
    if owner != os.getuid() and (nearest == path or not os.access(nearest, os.W_OK | os.X_OK)):
        mend = f"run `sudo chown -R {_account()} {nearest}`" if _is_in_home(nearest) else "have it given to you"
        return starting.PLACE_OF_OTHERS.text(directory=nearest, owner=_user(owner), user=_user(os.getuid()), mend=mend)
    if not os.access(nearest, os.W_OK | os.X_OK):
        try:
            is_read_only = bool(os.statvfs(nearest).f_flag & os.ST_RDONLY)
        except OSError:
            is_read_only = False
        mend = "have its file system mounted for writing" if is_read_only else f"run `chmod u+rwx {nearest}`"
        return starting.PLACE_NOT_WRITABLE.text(directory=nearest, mend=mend)
    return ""


def _cannot_take_a_file(path: str) -> str:
    """Why a file can't be written in the directory, and what to do about that; empty if it can."""
    probe = os.path.join(path, f"probe.{os.urandom(6).hex()}.new")
    try:
        make(path)
        try:
            with open(probe, "xb") as file:
                file.write(bytes(_PROBE_BYTES))
        finally:
            os.unlink(probe)
    except (OSError, RuntimeDirError) as exc:
        return starting.PLACE_IS_FULL.text(directory=path, cause=getattr(exc, "strerror", exc))
    return ""


#: A session file and the first lines of the logs need this much.
_PROBE_BYTES = 64 * 1024


def _is_in_home(path: str) -> bool:
    home = _home()
    return home is not None and f"{path}/".startswith(f"{home.rstrip('/')}/")


def _is_strangers(path: bytes) -> bool:
    """True if ``path`` exists and belongs to another user, so that this user can neither use nor remove it."""
    try:
        return os.lstat(path).st_uid != os.getuid()
    except OSError:
        return False


def _account() -> str:
    """This user as an argument of chown."""
    name = _user(os.getuid())
    return name if " " not in name else str(os.getuid())


def _user(uid: int | None) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name if uid is not None else "another user"
    except KeyError:
        return f"uid {uid}"
