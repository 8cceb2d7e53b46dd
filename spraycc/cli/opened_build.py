"""A build that the server has opened: the connection, the jobserver's descriptor and the tool's environment."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spraycc import directories, runtime_dir
from spraycc.cli import server_start
from spraycc.cli.build_tool import environ_path
from spraycc.cli.interception import Interception, prepare, write_configuration, write_names
from spraycc.cli.messages import inform, warn
from spraycc.cli.tool_environment import in_build, without_build
from spraycc.jobserver.cmdline import Stripped
from spraycc.jobserver.descriptor import open_for_tool
from spraycc.jobserver.makeflags import is_plain_path
from spraycc.notices import ending, starting
from spraycc.runner_files import RunnerFiles
from spraycc.settings import Settings

if TYPE_CHECKING:
    from spraycc.cli.server_connection import ServerConnection


@dataclass(slots=True)
class OpenedBuild:
    """A build that the server has opened. Owns the connection and the descriptor."""

    connection: ServerConnection
    directory: bytes
    build: str
    interception: Interception
    #: the library's configuration; empty without a library
    intercept_file: bytes
    env: dict[bytes, bytes]
    fd: int | None

    def close(self) -> None:
        self.connection.close()
        self.close_fd()

    def close_fd(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The command that a build runs, and how the server must treat it."""

    #: the user's command line without its -j
    stripped: Stripped
    #: the first word of the command line
    name: str
    #: the program; None: the runner, which runs ``stripped.argv`` as one task, after the words ``runner_words``
    program: bytes | None
    runner_words: tuple[bytes, ...] = ()
    jobserver: bool = True
    #: the -j of a build tool that is no client of the jobserver; None: it is a client. Without a server, see plain_argv
    width: int | None = None
    #: the server may withdraw tokens from the tool
    live_tokens: bool = True
    summary: bool = True
    #: started by a shim: the user has not typed "spraycc", so a build without tasks prints nothing
    by_shim: bool = False
    #: the command line with its -j, for the status
    typed: tuple[bytes, ...] = ()
    #: a build of ``spraycc doctor``: it needs the server, and leaves no trace of itself
    probe: bool = False


def open_build(
    plan: Plan, settings: Settings, root: bytes, env: Mapping[bytes, bytes], *, progress_s: float = 0.0
) -> OpenedBuild:
    """Connect to the server, or start one, and open the build; the tool can start then.

    The server sends figures of the progress every ``progress_s``; 0: none.
    """
    from spraycc.cli.server_connection import ConnectionEnded

    try:
        return _open_build(plan, settings, root, env, progress_s)
    except ConnectionEnded:
        # An idle server may end after it has accepted the connection: `spraycc clean`, or idle_shutdown_s.
        return _open_build(plan, settings, root, env, progress_s)


def _open_build(
    plan: Plan, settings: Settings, root: bytes, env: Mapping[bytes, bytes], progress_s: float
) -> OpenedBuild:
    directory = runtime_dir.locate(root)
    path = environ_path(without_build(env))
    found: list[Interception] = []
    # The runner's files are made while a new server starts.
    connection = server_start.connect_or_start(
        directory,
        root,
        settings,
        inform,
        for_probe=plan.probe,
        meanwhile=lambda: found.append(prepare(settings, plan.program, path)),
    )
    fd = None
    try:
        reply = connection.open_build(
            plan.stripped.cap,
            plan.stripped.argv,
            os.getcwdb(),
            dataclasses.asdict(settings),
            plan.jobserver,
            plan.live_tokens,
            progress_s,
            probe=plan.probe,
            typed=plan.typed,
        )
        interception = found[0]
        if not os.path.exists(interception.files.library or interception.files.runner):
            # `spraycc clean` has removed the files before it could see this build.
            interception = prepare(settings, plan.program, path)
        _tell_of_directories(interception.files, settings)
        file = b""
        if interception.files.library is not None:
            file = write_configuration(interception.files, settings, root, directory, reply.build)
        if settings.wrap_shell:
            write_names(settings, directory, reply.build)
        fd = open_for_tool(reply.fifo) if reply.fifo else None
        tool_env = in_build(
            env,
            socket=os.path.join(directory, runtime_dir.SOCKET),
            build=os.fsencode(reply.build),
            path=path,
            fifo=reply.fifo,
            fd=fd,
            intercept=interception.variables(without_build(env), file),
            shell=_recipe_shell(settings, interception.files),
        )
    except BaseException:
        connection.close()
        if fd is not None:
            os.close(fd)
        raise
    return OpenedBuild(connection, directory, reply.build, interception, file, tool_env, fd)


def _tell_of_directories(files: RunnerFiles, settings: Settings) -> None:
    """Warn if SprayCC's files are not where the user would expect them."""
    state = directories.state()
    if text := state.problem or files.problem:
        warn(text)
    elif state.is_last_resort and settings.cluster != "local":
        warn(starting.NO_HOME.text(directory=state.path))


def _recipe_shell(settings: Settings, files: RunnerFiles) -> bytes:
    if not settings.wrap_shell:
        return b""
    if is_plain_path(files.shell):
        return files.shell
    warn(starting.SHELL_NOT_IN_MAKEFLAGS.text(shell=os.fsdecode(files.shell)))
    return b""


def tell_server_is_gone(opened: OpenedBuild) -> None:
    """Warn that the server is gone, unless a runner has warned."""
    if is_first_to_tell(opened):
        warn(ending.SERVER_IS_GONE.text())


def is_first_to_tell(opened: OpenedBuild) -> bool:
    """True if nobody has warned yet that this build's server is gone. Then the caller must warn.

    The runners warn too. The process that creates the mark is the first, so the user reads one warning for each build.
    """
    mark = os.path.join(opened.directory, runtime_dir.BUILDS, os.fsencode(opened.build), b"warned")
    try:
        os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return False
    except OSError:
        pass  # The build's directory is gone, so no runner can create the mark, and none warns.
    return True
