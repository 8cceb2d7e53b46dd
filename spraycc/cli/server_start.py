"""Connects to the workspace's server, and starts a server if none runs.

The server is ``python -m spraycc.server run --dir D --workspace W --state S``, isolated (spraycc/isolated.py). It reads
its settings from standard input (one line of JSON, then end of file), writes its log to standard output and error, and
is ready when its socket accepts a connection.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from spraycc import directories, isolated, kept_variables, runtime_dir
from spraycc.cli import direct_exec
from spraycc.commands import interception
from spraycc.errors import RuntimeDirError, ServerUnavailable
from spraycc.notices import starting
from spraycc.settings import Settings

if TYPE_CHECKING:
    import subprocess

    from spraycc.cli.server_connection import ServerConnection

#: Seconds until a new server must listen. It takes 0.2 s; on a slow host with a cold NFS, imports alone take 20 s.
START_TIMEOUT_S = 60.0
#: Seconds until the user reads that the command line waits for the server.
TELL_AFTER_S = 5.0
_POLL_S = 0.005
#: A longer log is renamed when a server starts.
_MAX_LOG_BYTES = 8 * 1024 * 1024


def server_command(
    directory: bytes, workspace: bytes, state: str | None = None, *, for_probe: bool = False
) -> list[str]:
    """The server's command line.

    Args:
        directory: the server's runtime directory.
        workspace: the workspace.
        state: in place of :func:`spraycc.directories.state`.
        for_probe: the server ends with the build of ``spraycc doctor``, even if the doctor is killed.
    """
    return isolated.command(
        *("spraycc.server", "run", "--dir", os.fsdecode(directory), "--workspace", os.fsdecode(workspace)),
        *("--state", runtime_dir.state_directory(os.fsdecode(os.path.basename(directory)), state)),
        *(("--for-probe",) if for_probe else ()),
    )


def server_environment(more: Iterable[str] = ()) -> dict[str, str]:
    """The environment for a server: the variables that outlive this build, and the way to this installation.

    Args:
        more: the patterns of the setting `kept_variables`.
    """
    outside = {os.fsdecode(name): os.fsdecode(value) for name, value in interception.without(os.environb).items()}
    environ = kept_variables.for_server(outside, more)
    if _is_found_by(named := os.environ.get("PYTHONPATH", "")):
        environ["PYTHONPATH"] = named  # its other directories may hold the packages that SprayCC needs
    # Empty: it keeps a library of a build around us away from the server.
    name = os.fsdecode(interception.VARIABLE)
    return environ | ({name: outside[name]} if name in outside else {})


def _is_found_by(python_path: str) -> bool:
    """True if PYTHONPATH names this installation's directory."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return root in map(os.path.abspath, filter(None, python_path.split(os.pathsep)))


def settings_line(settings: Settings) -> bytes:
    """The settings as the server reads them from its standard input. Each build brings its allocation itself."""
    import json

    return json.dumps(asdict(replace(settings, allocation=None))).encode("ascii") + b"\n"


def connect(directory: bytes, on_notice: Callable[[str], None], for_build: bool = False) -> ServerConnection | None:
    """A connection to the running server, or None. ``for_build``: a server that must be replaced is not used.

    Raises:
        RuntimeDirError: the server's directory can't be trusted.
        ServerUnavailable: a server runs, but can't be used.
    """
    for known in (os.path.dirname(directory), directory):
        if not os.path.lexists(known):
            return None
        runtime_dir.check(known)
    path = os.path.join(directory, runtime_dir.SOCKET)
    if not os.path.lexists(path):
        return None
    # Imported only if a server may run: a new server should start before this import.
    from spraycc.cli.server_connection import ConnectionEnded, ServerConnection, ServerReplaced

    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError, ConnectionEnded, ServerReplaced):
        return ServerConnection.connect(path, on_notice, for_build)
    return None


def connect_or_start(
    directory: bytes,
    workspace: bytes,
    settings: Settings,
    on_notice: Callable[[str], None],
    *,
    command: Sequence[str] | None = None,
    for_probe: bool = False,
    meanwhile: Callable[[], None] = lambda: None,
) -> ServerConnection:
    """A connection to the workspace's server. Starts a server if none runs.

    Args:
        directory: the server's, from :func:`~spraycc.runtime_dir.locate`.
        workspace: the workspace.
        settings: for a new server.
        on_notice: gets each line that the server wants to show to the user.
        command: in place of :func:`server_command`.
        for_probe: a new server ends with the build of ``spraycc doctor``.
        meanwhile: called once; if a new server starts, then during its start. Its exceptions are passed on.

    Raises:
        RuntimeDirError: the server's directory can't be made or trusted.
        ServerUnavailable: no server could be started, or the running server can't be used.
    """
    if not os.path.exists("/proc/self"):
        raise ServerUnavailable(starting.NO_PROC.text())
    runtime_dir.ensure(directory)
    connection = connect(directory, on_notice, for_build=True)
    if connection is not None:
        try:
            meanwhile()
        except BaseException:
            connection.close()
            raise
        return connection
    if command is None:
        command = server_command(directory, workspace, _state_with_space(on_notice), for_probe=for_probe)
    starter = _Starter(directory, settings, on_notice, command, meanwhile)
    try:
        # A server that ends removes its directory, perhaps between two of these steps. Then start again.
        while connection is None:
            with _start_lock(directory):
                connection = starter.start()
    except OSError as exc:
        raise ServerUnavailable(starting.SERVER_NOT_STARTED.text(cause=exc)) from None
    return connection


def _state_with_space(on_notice: Callable[[str], None]) -> str:
    """The directory for the state of a new server. Tells the user if the usual one is full."""
    usual, place = directories.state(), directories.state(probe=True)
    if place.path != usual.path:
        on_notice(f"warning: {place.problem}")
    return place.path


@dataclass(slots=True)
class _Starter:
    """One caller's attempt to start a server. Used under the start lock."""

    directory: bytes
    settings: Settings
    on_notice: Callable[[str], None]
    command: Sequence[str]
    #: called once, and replaced by a function that does nothing
    meanwhile: Callable[[], None]
    began: float = field(default_factory=time.monotonic)
    told: bool = False

    def start(self) -> ServerConnection | None:
        """A connection to a new server, or to one that another process has started. None: try again."""
        connection = self._wait_for(lambda: not server_lives(self.directory))
        if connection is None and server_lives(self.directory):
            raise ServerUnavailable(
                starting.SERVER_HOLDS_LOCK.text(directory=os.fsdecode(self.directory), log=_log_path(self.directory))
            )
        if connection is not None:
            self._do_meanwhile()
            return connection
        _rotate_log(self.directory)
        log_size = _log_size(self.directory)
        process = _spawn(self.directory, self.settings, self.command)
        try:
            self._do_meanwhile()
            connection = self._wait_for(lambda: process.poll() is not None)
            if connection is not None:
                return connection
            status = process.poll()
            if status == 0 and time.monotonic() < self.began + START_TIMEOUT_S:
                return None  # the new server has found another one, and has ended
            if status is None:
                process.kill()
                process.wait()
        finally:
            # The server outlives this process. Without this line Popen would warn of a running child.
            process.returncode = 0
        last = _last_line(self.directory, log_size)
        log = _log_path(self.directory)
        if status is None:
            raise ServerUnavailable(starting.SERVER_NOT_READY.text(limit_s=START_TIMEOUT_S, last_line=last, log=log))
        raise ServerUnavailable(starting.SERVER_ENDED_AT_START.text(status=status, last_line=last, log=log))

    def _do_meanwhile(self) -> None:
        from spraycc.cli import server_connection  # noqa: F401  # imported while the server starts

        todo, self.meanwhile = self.meanwhile, lambda: None
        todo()

    def _wait_for(self, given_up: Callable[[], bool]) -> ServerConnection | None:
        """A connection as soon as a server listens; None at the deadline, or after ``given_up`` if none listens."""
        while True:
            waited_s = time.monotonic() - self.began
            if waited_s > TELL_AFTER_S and not self.told:
                self.told = True
                self.on_notice(starting.SERVER_IS_SLOW.text(limit_s=START_TIMEOUT_S, log=_log_path(self.directory)))
            last = given_up() or waited_s > START_TIMEOUT_S
            connection = connect(self.directory, self.on_notice, for_build=True)
            if connection is not None or last:
                return connection
            time.sleep(_POLL_S)


@contextlib.contextmanager
def _start_lock(directory: bytes) -> Iterator[None]:
    """Hold the lock under which one process at a time starts a server. Waits for the lock.

    A server that ends removes the file. A lock on a removed file excludes nobody; this function then makes a new file.
    """
    path = os.path.join(directory, runtime_dir.START_LOCK)
    while True:
        runtime_dir.ensure(directory)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            continue  # the directory was removed in between
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if _is_still_at(path, fd):
                yield
                return
        finally:
            os.close(fd)


def _is_still_at(path: bytes, fd: int) -> bool:
    try:
        return os.stat(path).st_ino == os.fstat(fd).st_ino
    except FileNotFoundError:
        return False


def _spawn(directory: bytes, settings: Settings, command: Sequence[str]) -> subprocess.Popen[bytes]:
    import subprocess

    environ = server_environment(settings.kept_variables)
    log = os.path.join(directory, runtime_dir.LOG)
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        # start_new_session: no Ctrl-C and no hangup of this terminal reaches the server. close_fds: the server keeps no
        # pipe open whose end some process waits for. cwd: the server keeps no file system busy.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=fd,
            stderr=fd,
            cwd="/",
            env=environ,
            start_new_session=True,
            close_fds=True,
            preexec_fn=direct_exec.call(command, environ),
        )
    finally:
        os.close(fd)
    assert process.stdin is not None
    # Shorter than a pipe's capacity, so this does not wait for the server. The exit status shows a dead server.
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(settings_line(settings))
        process.stdin.flush()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    return process


def server_lives(directory: bytes) -> bool:
    """True if a server holds the lock, whether or not it listens yet."""
    return runtime_dir.is_locked(os.path.join(directory, runtime_dir.LOCK))


def clean_after_server(directory: bytes, build: str) -> None:
    """Remove the files of a build, and the socket, that a dead server has left. Keeps a living server's socket."""
    import shutil

    shutil.rmtree(os.path.join(directory, runtime_dir.BUILDS, os.fsencode(build)), ignore_errors=True)
    # Under the start lock, so that this does not remove the socket of a new server.
    with contextlib.suppress(OSError, RuntimeDirError), _start_lock(directory):
        if not server_lives(directory):
            os.unlink(os.path.join(directory, runtime_dir.SOCKET))


def _rotate_log(directory: bytes) -> None:
    log = os.path.join(directory, runtime_dir.LOG)
    if _log_size(directory) > _MAX_LOG_BYTES:
        os.replace(log, log + b".old")


def _log_size(directory: bytes) -> int:
    try:
        return os.stat(os.path.join(directory, runtime_dir.LOG)).st_size
    except OSError:
        return 0


def _last_line(directory: bytes, since: int) -> str:
    """The last line of the server's log behind the first ``since`` bytes."""
    with contextlib.suppress(OSError), open(os.path.join(directory, runtime_dir.LOG), "rb") as file:
        file.seek(since)
        lines = file.read().decode(errors="backslashreplace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")
    return "its log can't be read"


def _log_path(directory: bytes) -> str:
    return os.fsdecode(os.path.join(directory, runtime_dir.LOG))
