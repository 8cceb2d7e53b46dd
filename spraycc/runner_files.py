"""SprayCC's own programs on the submit host: copies in the user's data directory.

Builds, shells and build trees name these files, perhaps for longer than the Python environment with the installed
files lasts. Every build brings the copies up to date at its start. Many builds may do so at once: files appear whole,
under their final names.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from dataclasses import dataclass

from spraycc import directories
from spraycc.commands.interception import LIBRARY_NAME
from spraycc.errors import RuntimeDirError, SprayccError
from spraycc.notices import starting
from spraycc.system.preload import can_name

RUNNER = "spraycc-run"
#: A link to the spraycc command, beside the copy of the runner. The shims of build tools start it.
COMMAND = "spraycc"
#: Make's SHELL with `--wrap-shell`.
_RECIPE_SHELL = "spraycc-shell"
#: Not in a directory that may be on PATH.
_PROGRAMS = "bin"
_LIBRARIES = "lib"
#: The last bytes of each shim. The runners look for them, too: native/runner/find_program.c, runner/fallback.py.
SHIM_MARK = b"\n# spraycc-shim\n"


class NoRunner(SprayccError):
    """There is no runner, so no task can go to an executor."""


@dataclass(frozen=True, slots=True)
class RunnerFiles:
    """Absolute paths of the copies."""

    #: the user's data directory
    data: str
    runner: bytes
    #: the library that intercepts executions; None if it is not installed, or LD_PRELOAD can't hold the path
    library: bytes | None
    #: why the copies are not where the user would expect them, and what to do; empty: they are
    problem: str = ""

    @property
    def shell(self) -> bytes:
        """A shell for make's recipe lines."""
        return os.path.join(os.path.dirname(self.runner), os.fsencode(_RECIPE_SHELL))


def install(data: str | None = None, runner: str | None = None) -> RunnerFiles:
    """Bring the copies up to date.

    Args:
        data: in place of the first usable directory of :func:`~spraycc.directories.usable_data`.
        runner: in place of :func:`installed_runner`.

    Raises:
        NoRunner: no runner is installed, or a copy can't be written or executed.
    """
    runner = installed_runner() if runner is None else runner
    if data is not None:
        return _install(data, runner)
    problem = ""
    for place in directories.usable_data():
        try:
            files = _install(place.path, runner)
        except NoRunner as exc:
            problem = problem or place.problem or str(exc)
            continue
        if problem:
            return dataclasses.replace(files, problem=starting.OTHER_PLACE.text(problem=problem, directory=files.data))
        return dataclasses.replace(files, problem=place.problem)
    raise NoRunner(problem or starting.NO_RUNNER_DIRECTORY.text())


def _install(data: str, runner: str) -> RunnerFiles:
    programs = os.path.join(data, _PROGRAMS)
    try:
        directories.make(data)
        make_directory(data)
        make_directory(programs)
        _copy(runner, os.path.join(programs, RUNNER), isolated=True)
        _copy(os.path.join(os.path.dirname(__file__), "runner", "recipe-shell"), os.path.join(programs, _RECIPE_SHELL))
        _link(os.path.join(programs, COMMAND), os.path.join(os.path.dirname(runner), COMMAND))
        library = _copy_library(data, runner)
    except (OSError, RuntimeDirError) as exc:
        raise NoRunner(starting.RUNNER_NOT_COPIED.text(directory=data, cause=getattr(exc, "strerror", exc))) from None
    if os.statvfs(programs).f_flag & os.ST_NOEXEC:
        raise NoRunner(starting.RUNNER_NOT_EXECUTABLE.text(directory=data))
    return RunnerFiles(data, os.fsencode(os.path.join(programs, RUNNER)), library)


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
        # Without a home directory the user's scheme is below "~", which is a name in any stranger's source tree.
        if os.path.isabs(place) and place not in places and os.path.isfile(os.path.join(place, RUNNER)):
            return os.path.join(place, RUNNER)
        places.append(place)
    raise NoRunner(starting.NO_RUNNER.text(program=RUNNER, places=", ".join(dict.fromkeys(places))))


def is_runner(path: str | bytes) -> bool:
    """True for a runner under any name: spraycc-run behind symbolic links, or a shim."""
    path = os.fsencode(path)
    if os.path.basename(os.path.realpath(path)) == os.fsencode(RUNNER):
        return True
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            return os.pread(file.fileno(), len(SHIM_MARK), max(0, size - len(SHIM_MARK))) == SHIM_MARK
    except OSError:
        return False


def make_directory(path: str) -> None:
    """Make a directory to which no other user can write, whatever the umask: builds execute what lies there."""
    os.makedirs(path, exist_ok=True)
    status = os.stat(path)
    if status.st_mode & 0o022 and status.st_uid == os.geteuid():
        os.chmod(path, status.st_mode & 0o7755)


def temporary_name(path: str) -> str:
    """A unique name beside ``path``. Not from the process id: hosts may share the directory."""
    return f"{path}.{os.urandom(6).hex()}.new"


def _copy_library(data: str, runner: str) -> bytes | None:
    target = os.path.join(data, _LIBRARIES, LIBRARY_NAME)
    source = os.path.join(os.path.dirname(os.path.dirname(runner)), "lib", "spraycc", LIBRARY_NAME)
    if not can_name(os.fsencode(target)) or not os.path.isfile(source):
        return None
    make_directory(os.path.dirname(target))
    _copy(source, target)
    return os.fsencode(target)


def _copy(source: str, target: str, *, isolated: bool = False) -> None:
    """Copy a program. Does nothing if the copy is there, by its size, time and mode.

    Args:
        source: the program.
        target: the copy.
        isolated: if the program is a script of Python, the copy starts an isolated Python.
    """
    import shutil

    wanted = os.stat(source)
    lines, isolated_lines = _first_lines(source) if isolated else (b"", b"")
    size = wanted.st_size + len(isolated_lines) - len(lines)
    with contextlib.suppress(FileNotFoundError):
        found = os.stat(target)
        if (found.st_size, found.st_mtime_ns, found.st_mode & 0o777) == (size, wanted.st_mtime_ns, 0o755):
            return
    temporary = temporary_name(target)
    try:
        # Exclusive and private until the content is whole.
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as to, open(source, "rb") as from_:
            from_.seek(len(lines))
            to.write(isolated_lines)
            shutil.copyfileobj(from_, to)
        os.chmod(temporary, 0o755)
        os.utime(temporary, ns=(wanted.st_atime_ns, wanted.st_mtime_ns))
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _first_lines(script: str) -> tuple[bytes, bytes]:
    """The lines of a Python script that name the interpreter, as they are and with the options -E and -P.

    The user's Python settings (PYTHONHOME, say) are for the build. See :mod:`spraycc.isolated`. Installers write only
    the interpreter's path. With a long path, or one with blanks, they write a shell script of two lines. A program that
    is no script has no such lines.
    """
    with open(script, "rb") as file:
        if file.read(2) != b"#!":
            return b"", b""
        file.seek(0)
        first, second = file.readline(), file.readline()
    if first == b"#!/bin/sh\n":
        return first + second, first + second.replace(b' "$0" "$@"', b' -EP "$0" "$@"')
    # The kernel passes all words after the path as one.
    return (first, first[:-1] + b" -EP\n") if b" " not in first.rstrip() else (first, first)


def _link(path: str, target: str) -> None:
    with contextlib.suppress(OSError):
        if os.readlink(path) == target:
            return
    temporary = temporary_name(path)
    os.symlink(target, temporary)
    os.replace(temporary, path)
