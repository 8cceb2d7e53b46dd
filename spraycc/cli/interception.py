"""How a build's compilers are intercepted: where they are executed, by a preloaded library, or by shims on PATH."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Mapping
from dataclasses import dataclass

from spraycc import runtime_dir, shims
from spraycc.build_tools import SUBCOMMANDS
from spraycc.commands import interception
from spraycc.commands.names import is_launcher, tool_of
from spraycc.runner_files import RunnerFiles, install
from spraycc.settings import Settings
from spraycc.system.preload import can_preload

#: In the build's directory: the configuration of the library, and the names of wrapped programs for `--wrap-shell`.
_CONFIGURATION = b"intercept"
_NAMES = b"names"


@dataclass(frozen=True, slots=True)
class Interception:
    """The files by which a build intercepts its compilers."""

    files: RunnerFiles
    #: the directory of shims that is the first on PATH; None: the library intercepts
    shims: bytes | None = None
    #: patterns of programs that are wrapped beside the known ones
    wrapped: tuple[str, ...] = ()

    def variables(self, env: Mapping[bytes, bytes], file: bytes) -> dict[bytes, bytes]:
        """Variables for the build's tool beside PATH. ``file`` is the library's configuration."""
        if self.shims is not None:
            return {b"SPRAYCC_SHIMS": self.shims}
        assert self.files.library is not None
        return interception.variables(env, self.files.library, file)

    def start_of(self, program: bytes, word: bytes) -> tuple[bytes, dict[bytes, bytes]]:
        """The file to execute for a command, and variables to add: the runner if the program is wrapped.

        Args:
            program: the program's path.
            word: the first word of the command.
        """
        if self.shims is not None:
            return shims.link_of(word, self.shims) or program, {}
        name = os.path.basename(program)
        is_wrapped = tool_of(name) is not None or any(
            fnmatch.fnmatchcase(os.fsdecode(program if "/" in pattern else name), pattern) for pattern in self.wrapped
        )
        if os.fsdecode(name) in SUBCOMMANDS or not is_wrapped or is_launcher(program):
            return program, {}
        return self.files.runner, {interception.PROGRAM: program}


def prepare(settings: Settings, program: bytes | None, path: bytes) -> Interception:
    """Make the files that the build needs.

    Args:
        settings: the build's.
        program: path of the build tool; None: no tool is started, only the runner.
        path: PATH without shims.

    Raises:
        NoRunner: there is no runner, or its copy can't be written.
        ConfigError: a setting names a program that can't be wrapped.
    """
    shims.check_names(settings.wrap)
    files = install()
    if settings.intercept != "path" and files.library and (program is None or can_preload(program)):
        return Interception(files, wrapped=settings.wrapped)
    return Interception(files, shims.of_all_tools(files, os.fsdecode(path), settings.wrapped_names))


def with_library(env: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The variables by which programs below this process load the library, in a build that has one."""
    file = env.get(interception.VARIABLE, b"")
    try:
        with open(file, "rb") as opened:
            library = interception.library_in(opened.read())
    except OSError:  # no file is named, or the build is over
        return {}
    return interception.variables(env, library, file) if library else {}


def write_configuration(files: RunnerFiles, settings: Settings, root: bytes, directory: bytes, build: str) -> bytes:
    """Write the library's configuration; returns its path.

    Args:
        files: the runner and the library.
        settings: the build's.
        root: the workspace.
        directory: the server's directory.
        build: the build's id.

    Raises:
        OSError: the file can't be written.
    """
    assert files.library is not None
    text = interception.configuration(
        runner=files.runner,
        library=files.library,
        workspace=os.path.realpath(root),
        wrap=settings.wrapped,
        below=settings.intercept_below,
    )
    return _write(directory, build, _CONFIGURATION, text)


def write_names(settings: Settings, directory: bytes, build: str) -> None:
    """Write the names of wrapped programs for the shell of `--wrap-shell`.

    Raises:
        OSError: the file can't be written.
    """
    _write(directory, build, _NAMES, interception.shell_function(settings.wrapped))


def _write(directory: bytes, build: str, name: bytes, text: bytes) -> bytes:
    path = os.path.join(directory, runtime_dir.BUILDS, os.fsencode(build), name)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(text)
    return path
