"""The shim directory: links named gcc, g++, ar and so on, to a copy of the runner. First on PATH inside a build.

The shims stay in the user's data directory for good, because CMake, libtool and meson write the programs that they
find on PATH into the build tree. A shim whose compiler is gone, or without a server, behaves as if the shim did not
exist. For the same reason the links point to a copy of the runner: the Python environment with the installed runner may
be removed.

Every build refreshes the shims at its start. If nothing has changed, a refresh costs one stat for each directory of
PATH. Many refreshes may run at once: links and files appear whole, under their final names.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from spraycc.build_tools import SHIMMED
from spraycc.errors import ConfigError, SprayccError

RUNNER = "spraycc-run"
#: From the shim directory to the copy of the runner.
_TARGET = os.path.join("..", "bin", RUNNER)
#: A link to the spraycc command, beside the copy of the runner. The shims of build tools start it.
COMMAND = "spraycc"
#: Make's SHELL with `--wrap-shell`. Lies beside the copy of the runner, as it must not be on PATH.
_RECIPE_SHELL = "spraycc-shell"
#: Holds the state of the last refresh. If the state is the same now, no refresh is needed.
_STAMP = "shims.stamp"


class NoRunner(SprayccError):
    """There is no runner to link to, so no task can go to an executor."""


@dataclass(frozen=True, slots=True)
class Shims:
    """The places of the shims and the runner."""

    #: absolute; the first element of PATH, spelled exactly like this
    directory: bytes
    #: absolute path of the copy of the runner
    runner: bytes

    @property
    def shell(self) -> bytes:
        """A shell for make's recipe lines."""
        return os.path.join(os.path.dirname(self.runner), os.fsencode(_RECIPE_SHELL))


def data_dir() -> str:
    """The user's data directory for SprayCC."""
    import platformdirs

    return os.path.abspath(platformdirs.user_data_dir("spraycc"))


def refresh(wrap: Sequence[str], path: str, data: str | None = None, runner: str | None = None) -> Shims:
    """Bring the shim directory up to date.

    Args:
        wrap: names to be wrapped beside the known ones.
        path: the PATH whose compilers get shims.
        data: in place of :func:`data_dir`.
        runner: in place of :func:`installed_runner`.

    Raises:
        ConfigError: a name in ``wrap`` can't be a program's.
        NoRunner: no runner is installed, or the copy can't be written.
    """
    for name in wrap:
        if "/" in name or name in ("", ".", "..", RUNNER):
            raise ConfigError(
                f"wrap: {name!r} is not the name of a program that could be wrapped; give a name without directory"
            )
    data = data_dir() if data is None else data
    runner = installed_runner() if runner is None else runner
    directory = os.path.join(data, "shims")
    shims = Shims(os.fsencode(directory), runner_in(os.fsencode(directory)))
    elements = [element for element in dict.fromkeys(path.split(os.pathsep)) if os.path.isabs(element)]
    try:
        shell = os.fsdecode(shims.shell)
        watched = (runner, os.fsdecode(shims.runner), shell, directory, *elements)
        stamp = _stamp(watched, wrap)
        stamp_path = os.path.join(data, _STAMP)
        if _read(stamp_path) == stamp:
            return shims
        for name in (data, directory, os.path.join(data, "bin")):
            _make_directory(name)
        _copy_program(runner, os.fsdecode(shims.runner))
        _copy_program(os.path.join(os.path.dirname(__file__), "runner", "recipe-shell"), shell)
        _link(os.path.join(data, "bin", COMMAND), os.path.join(os.path.dirname(runner), COMMAND))
        for name in {*_names_on(elements, directory), *wrap}:
            _link(os.path.join(directory, name))
        # Computed again, with the copy and the links in place. At the end, so that an interrupted refresh is repeated.
        _write(stamp_path, _stamp(watched, wrap))
    except OSError as exc:
        raise NoRunner(
            f"{data}: the shims can't be written: {exc.strerror}; "
            "set XDG_DATA_HOME to a directory that you can write to"
        ) from None
    return shims


def link_of(word: bytes, directory: bytes) -> bytes | None:
    """The shim for a command's first word; None if the word is a path, or no wrapped program.

    Such a command must be started by its shim. GCC finds its parts beside its own name on PATH. With the shims first on
    PATH it would look in the shim directory, and find no cc1 (seen: 12.2).
    """
    link = os.path.join(directory, word)
    wrapped = b"/" not in word and os.fsdecode(word) not in SHIMMED and os.path.lexists(link)
    return link if wrapped else None


def runner_in(directory: bytes) -> bytes:
    """The copy of the runner that the shims in ``directory`` link to."""
    return os.path.normpath(os.path.join(directory, os.fsencode(_TARGET)))


def installed_runner() -> str:
    """The runner that was installed with this SprayCC: beside this Python, or beside the command that was called.

    Raises:
        NoRunner: the runner is in neither place.
    """
    # Symbolic links stay: a virtual environment's Python is a link, and its scripts lie beside the link.
    places = [os.path.dirname(sys.executable), os.path.dirname(os.path.abspath(sys.argv[0]))]
    for place in places:
        if os.path.isfile(os.path.join(place, RUNNER)):
            return os.path.join(place, RUNNER)
    import sysconfig

    for scheme in (None, "posix_user"):
        place = sysconfig.get_path("scripts") if scheme is None else sysconfig.get_path("scripts", scheme)
        if place not in places and os.path.isfile(os.path.join(place, RUNNER)):
            return os.path.join(place, RUNNER)
        places.append(place)
    raise NoRunner(
        f"no {RUNNER} in {', '.join(dict.fromkeys(places))}; install SprayCC again (pip install, or pip install -e .)"
    )


def without(path: str, directory: str) -> str:
    """A PATH without the shim directory."""
    return os.pathsep.join(e for e in path.split(os.pathsep) if e.rstrip("/") != directory.rstrip("/"))


def _stamp(watched: Sequence[str], wrap: Sequence[str]) -> bytes:
    """The state that a refresh depends on. A directory's time changes with each new or removed name."""
    lines = [f"{name}\t{_identity(name)}" for name in watched]
    return "\n".join([*lines, *sorted(wrap), ""]).encode(errors="surrogateescape")


def _identity(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return "-"
    size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    return f"{status.st_dev}:{status.st_ino}:{size}:{status.st_mtime_ns}"


def _names_on(elements: Sequence[str], shim_directory: str) -> set[str]:
    from spraycc.commands.names import is_shim_name

    names: set[str] = set()
    for element in elements:
        if os.path.realpath(element) == os.path.realpath(shim_directory):
            continue
        # The shell skips missing and unreadable directories on PATH, too.
        with contextlib.suppress(OSError):
            names.update(name for name in os.listdir(element) if name in SHIMMED or is_shim_name(os.fsencode(name)))
    return names


def _make_directory(path: str) -> None:
    """Make a directory to which no other user can write, whatever the umask: the shims are the first on PATH."""
    os.makedirs(path, exist_ok=True)
    status = os.stat(path)
    if status.st_mode & 0o022 and status.st_uid == os.geteuid():
        os.chmod(path, status.st_mode & 0o7755)


def _link(path: str, target: str = _TARGET) -> None:
    with contextlib.suppress(OSError):
        if os.readlink(path) == target:
            return
    try:
        os.symlink(target, path)
    except FileExistsError:
        # Another file, or the link of a concurrent refresh: the last link wins, with the same content.
        temporary = _temporary(path)
        os.symlink(target, temporary)
        os.replace(temporary, path)


def _copy_program(source: str, target: str) -> None:
    import shutil
    import tempfile

    wanted = os.stat(source)
    with contextlib.suppress(FileNotFoundError):
        found = os.stat(target)
        if (found.st_size, found.st_mtime_ns, found.st_mode & 0o777) == (wanted.st_size, wanted.st_mtime_ns, 0o755):
            return
    fd, temporary = tempfile.mkstemp(prefix=os.path.basename(target) + ".", dir=os.path.dirname(target))
    try:
        with os.fdopen(fd, "wb") as to, open(source, "rb") as from_:
            shutil.copyfileobj(from_, to)
        os.chmod(temporary, 0o755)
        os.utime(temporary, ns=(wanted.st_atime_ns, wanted.st_mtime_ns))
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def _temporary(path: str) -> str:
    """A unique name beside ``path``. Not from the process id: hosts may share the directory."""
    return f"{path}.{os.urandom(6).hex()}.new"


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _write(path: str, data: bytes) -> None:
    temporary = _temporary(path)
    with open(temporary, "wb") as file:
        file.write(data)
    os.replace(temporary, path)
