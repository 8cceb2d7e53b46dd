"""Shims: files named make, gcc, ar and so on, each a copy of the runner, in a directory that is the first on PATH.

`spraycc env` puts shims of the build tools on PATH. With `--intercept path`, a build has shims of the compilers, too.

There is one directory for each set of programs. It holds the names that PATH has, and no others: a build script that
looks for ``gcc-13`` must not find a shim of a compiler that is not installed. A directory stays for good, because CMake
and libtool write the programs that they find on PATH into the build tree. A shim without a server behaves as if the
shim did not exist.

A shim is no link: a script that follows all links must not end at a runner that does not know its name. Behind the
runner's bytes, a shim has a line about the program that it stands for. So ccache and sccache, which know a compiler by
its file, tell compilers apart.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Collection, Mapping

from spraycc.build_tools import JOBSERVER_TOOLS, SHIMMED
from spraycc.errors import ConfigError
from spraycc.notices import configuration, starting
from spraycc.runner_files import RUNNER, SHIM_MARK, NoRunner, RunnerFiles, is_runner, make_directory, temporary_name

#: Below the user's data directory.
_DIRECTORY = "paths"


def check_names(wrap: Collection[str]) -> None:
    """Check the names of programs to wrap.

    Raises:
        ConfigError: a name can't be a program's.
    """
    for name in wrap:
        if "/" in name or name in ("", ".", "..", RUNNER):
            raise ConfigError(configuration.BAD_PROGRAM_NAME.text(name=name))


def of_build_tools(files: RunnerFiles, path: str) -> bytes:
    """The directory with shims of the build tools in ``path``.

    Raises:
        NoRunner: the directory can't be written, or PATH can't hold it.
    """
    return _directory(files, _programs(path, SHIMMED.__contains__))


def of_all_tools(files: RunnerFiles, path: str, wrap: Collection[str]) -> bytes:
    """The directory with shims of all programs in ``path`` that are wrapped: the known ones, and the names ``wrap``.

    Raises:
        NoRunner: the directory can't be written, or PATH can't hold it.
    """
    from spraycc.commands.names import is_shim_name

    return _directory(
        files, _programs(path, lambda name: name in JOBSERVER_TOOLS or name in wrap or is_shim_name(os.fsencode(name)))
    )


def link_of(word: bytes, directory: bytes) -> bytes | None:
    """The shim for a command's first word; None if the word is a path, or no wrapped program.

    Such a command must be started by its shim. GCC finds its parts beside its own name on PATH. With the shims first on
    PATH it would look in the shim directory, and find no cc1 (seen: 12.2).
    """
    shim = os.path.join(directory, word)
    wrapped = b"/" not in word and os.fsdecode(word) not in SHIMMED and os.path.lexists(shim)
    return shim if wrapped else None


def _programs(path: str, is_wanted: Callable[[str], bool]) -> dict[str, str]:
    """Name -> file of each wanted program that a shell finds in ``path``, past runners."""
    found: dict[str, str] = {}
    for element in dict.fromkeys(path.split(os.pathsep)):
        names: list[str] = []
        if os.path.isabs(element):
            # The shell skips missing and unreadable directories on PATH, too.
            with contextlib.suppress(OSError):
                names = [name for name in os.listdir(element) if name not in found and is_wanted(name)]
        for name in names:
            file = os.path.join(element, name)
            if os.path.isfile(file) and os.access(file, os.X_OK) and not is_runner(file):
                found[name] = file
    return found


def _directory(files: RunnerFiles, programs: Mapping[str, str]) -> bytes:
    if os.pathsep in files.data:
        raise NoRunner(starting.COLON_IN_DIRECTORY.text(directory=files.data))
    kinds = {name: _kind(name, file) for name, file in programs.items()}
    text = "\n".join(f"{name}\t{line}" for name, (line, _) in sorted(kinds.items()))
    key = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]
    directory = os.path.join(files.data, _DIRECTORY, key)
    try:
        _fill(directory, kinds, os.fsdecode(files.runner))
    except OSError as exc:
        raise NoRunner(starting.SHIMS_NOT_WRITTEN.text(directory=directory, cause=exc.strerror)) from None
    return os.fsencode(directory)


def _kind(name: str, file: str) -> tuple[str, int | None]:
    """The line about the program in its shim, and the shim's time. A cache of compiles looks at no build tool."""
    if name in SHIMMED:
        return "", None
    status = os.stat(file)
    # No device number: hosts may share the directory, and each numbers its mounts by itself.
    return f"{os.path.realpath(file)} {status.st_ino} {status.st_size} {status.st_mtime_ns}", status.st_mtime_ns


def _fill(directory: str, kinds: Mapping[str, tuple[str, int | None]], runner: str) -> None:
    """Write the shims: one file for each kind, with a hard link for each name.

    The directory's time is the runner's when all shims are there.
    """
    version = os.stat(runner)
    with contextlib.suppress(FileNotFoundError):
        if os.stat(directory).st_mtime_ns == version.st_mtime_ns:
            return
    make_directory(os.path.dirname(directory))
    make_directory(directory)
    with open(runner, "rb") as file:
        content = file.read()
    first: dict[str, str] = {}
    for name, (line, time_ns) in kinds.items():
        shim = os.path.join(directory, name)
        temporary = temporary_name(shim)
        try:
            if line not in first or not _hard_link(first[line], temporary):
                _write(temporary, content + _comment(line) + SHIM_MARK, time_ns or version.st_mtime_ns)
            os.replace(temporary, shim)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        first.setdefault(line, shim)
    os.utime(directory, ns=(version.st_mtime_ns, version.st_mtime_ns))


def _comment(line: str) -> bytes:
    """The line as a comment, because the Python runner is a script.

    Its length differs with the line: ccache compares sizes and times, and in some stores all files have one time.
    """
    text = os.fsencode(line).replace(b"\n", b" ")
    return b"\n# " + text + b" " * (int.from_bytes(hashlib.sha256(text).digest()[:2], "big") % 4096 if text else 0)


def _hard_link(source: str, target: str) -> bool:
    """False on a file system without hard links."""
    try:
        os.link(source, target)
    except OSError:
        return False
    return True


def _write(path: str, data: bytes, mtime_ns: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    os.chmod(path, 0o755)
    os.utime(path, ns=(mtime_ns, mtime_ns))
