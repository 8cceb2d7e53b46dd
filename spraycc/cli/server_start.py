"""Connects to the workspace's server, and starts it where there is none.

The server is ``python -m spraycc.server run --dir D --workspace W``. It reads its settings from standard input (one
line of JSON), which is then at its end, writes its log to standard output and error, and is ready when its socket
accepts a connection.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from spraycc import runtime_dir
from spraycc.build_tools import MAKE_VARIABLES
from spraycc.errors import RuntimeDirError, ServerUnavailable
from spraycc.settings import Settings

if TYPE_CHECKING:
    import subprocess

    from spraycc.cli.server_connection import Session

#: A server has so long to listen, in seconds. It takes 0.2 s; on a slow host with a cold NFS its imports take 20 s.
START_TIMEOUT_S = 60.0
#: After so many seconds the user is told what the command line waits for.
TELL_AFTER_S = 5.0
_POLL_S = 0.005
#: A log that is longer is put aside when a server starts.
_MAX_LOG_BYTES = 8 * 1024 * 1024

#: What belongs to one build, or to the make around us, and not into a server that outlives both.
_NOT_FOR_THE_SERVER = (
    "SPRAYCC_SOCKET",
    "SPRAYCC_BUILD",
    "SPRAYCC_SHIMS",
    "SPRAYCC_SLOT",
    *MAKE_VARIABLES,
)


def server_command(directory: bytes, workspace: bytes) -> list[str]:
    """The server's command line. -P: never import from the working directory, which is a stranger's source tree."""
    return [
        *(sys.executable, "-P", "-m", "spraycc.server", "run"),
        *("--dir", os.fsdecode(directory), "--workspace", os.fsdecode(workspace)),
    ]


def server_environment() -> dict[str, str]:
    """The environment for a server: ours without the build around us, and with this very SprayCC importable."""
    environ = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_THE_SERVER}
    # Run from a source tree, SprayCC is found through the working directory, which -P takes away.
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if root not in map(os.path.abspath, sys.path[1:]):
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, (root, environ.get("PYTHONPATH"))))
    return environ


def settings_line(settings: Settings) -> bytes:
    """The settings as the server reads them from its standard input."""
    import json

    return json.dumps(asdict(settings)).encode("ascii") + b"\n"


def connect(directory: bytes, on_notice: Callable[[str], None], for_build: bool = False) -> Session | None:
    """A session with the server that is running, or None. ``for_build``: an idle one of another release is made to end.

    Raises:
        RuntimeDirError: the server's directory can't be trusted.
        ServerUnavailable: one is there that can't be used.
    """
    for known in (os.path.dirname(directory), directory):
        if not os.path.lexists(known):
            return None
        runtime_dir.check(known)
    path = os.path.join(directory, runtime_dir.SOCKET)
    if not os.path.lexists(path):
        return None
    # Not before there is something to talk to: a new server should be on its way while we import this.
    from spraycc.cli.server_connection import ConnectionEnded, ServerReplaced, Session

    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError, ConnectionEnded, ServerReplaced):
        return Session.connect(path, on_notice, for_build)
    return None


def connect_or_start(
    directory: bytes,
    workspace: bytes,
    settings: Settings,
    on_notice: Callable[[str], None],
    *,
    command: Sequence[str] | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> Session:
    """A session with the workspace's server, which is started if none is running.

    Args:
        directory: the server's, from :func:`~spraycc.runtime_dir.locate`.
        workspace: the workspace.
        settings: for a server that is started.
        on_notice: gets each line that the server wants to be shown.
        command: in place of :func:`server_command`.
        meanwhile: called once, and while a new server starts if one does. What it raises is passed on.

    Raises:
        RuntimeDirError: the server's directory can't be made or trusted.
        ServerUnavailable: no server could be started, or the one that is there can't be used.
    """
    runtime_dir.ensure(directory)
    session = connect(directory, on_notice, for_build=True)
    if session is not None:
        try:
            meanwhile()
        except BaseException:
            session.close()
            raise
        return session
    starter = _Starter(directory, settings, on_notice, command or server_command(directory, workspace), meanwhile)
    try:
        # A server that ends takes its directory with it, perhaps between two steps of ours: then from the beginning.
        while session is None:
            with _start_lock(directory):
                session = starter.start()
    except OSError as exc:
        raise ServerUnavailable(f"no server could be started: {exc}") from None
    return session


@dataclass(slots=True)
class _Starter:
    """One caller's attempt to get a server started. Used under the start lock."""

    directory: bytes
    settings: Settings
    on_notice: Callable[[str], None]
    command: Sequence[str]
    #: called once; then it does nothing
    meanwhile: Callable[[], None]
    began: float = field(default_factory=time.monotonic)
    told: bool = False

    def start(self) -> Session | None:
        """A session with a new server, or with one that somebody else has started. None: try again."""
        session = self._wait_for(lambda: not server_lives(self.directory))
        if session is None and server_lives(self.directory):
            raise ServerUnavailable(
                f"{os.fsdecode(self.directory)}: a server holds the lock there and does not listen; "
                f"see {_log_path(self.directory)}"
            )
        if session is not None:
            self._do_meanwhile()
            return session
        _rotate_log(self.directory)
        log_size = _log_size(self.directory)
        process = _spawn(self.directory, self.settings, self.command)
        try:
            self._do_meanwhile()
            session = self._wait_for(lambda: process.poll() is not None)
            if session is not None:
                return session
            status = process.poll()
            if status == 0 and time.monotonic() < self.began + START_TIMEOUT_S:
                return None  # it has found another one
            if status is None:
                process.kill()
                process.wait()
                what = f"was not ready within {START_TIMEOUT_S:g} s"
            else:
                what = f"ended with {status} as soon as it was started"
        finally:
            # It may outlive us; without this its Popen would complain about a child that is still running.
            process.returncode = 0
        last = _last_line(self.directory, log_size)
        raise ServerUnavailable(f"the server {what}: {last}; see {_log_path(self.directory)}")

    def _do_meanwhile(self) -> None:
        from spraycc.cli import server_connection  # noqa: F401  # imported while the server starts

        todo, self.meanwhile = self.meanwhile, lambda: None
        todo()

    def _wait_for(self, given_up: Callable[[], bool]) -> Session | None:
        """A session as soon as a server listens; None at the deadline, or where ``given_up`` and still none listens."""
        while True:
            waited_s = time.monotonic() - self.began
            if waited_s > TELL_AFTER_S and not self.told:
                self.told = True
                what = f"waiting {START_TIMEOUT_S:g} s at most (its log: {_log_path(self.directory)})"
                self.on_notice(f"the server takes long to start; {what}")
            last = given_up() or waited_s > START_TIMEOUT_S
            session = connect(self.directory, self.on_notice, for_build=True)
            if session is not None or last:
                return session
            time.sleep(_POLL_S)


@contextlib.contextmanager
def _start_lock(directory: bytes) -> Iterator[None]:
    """Hold the lock that keeps two from starting a server at once. Waits for whoever holds it.

    The file is removed by a server that ends; a lock on a removed file keeps nobody out, so then another one is made.
    """
    path = os.path.join(directory, runtime_dir.START_LOCK)
    while True:
        runtime_dir.ensure(directory)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            continue  # the directory went in this moment
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

    log = os.path.join(directory, runtime_dir.LOG)
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        # A session of its own, so that no Ctrl-C and no hangup of this terminal reaches it; no descriptor of ours, so
        # that it keeps no pipe open whose end somebody waits for; / as working directory, so that it keeps no file
        # system busy.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=fd,
            stderr=fd,
            cwd="/",
            env=server_environment(),
            start_new_session=True,
            close_fds=True,
        )
    finally:
        os.close(fd)
    assert process.stdin is not None
    # Shorter than a pipe's capacity: this does not wait for the server. One that is dead already is seen by its status.
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(settings_line(settings))
        process.stdin.flush()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    return process


def server_lives(directory: bytes) -> bool:
    """Whether a server holds the lock, listening or not."""
    try:
        fd = os.open(os.path.join(directory, runtime_dir.LOCK), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def clean_after_server(directory: bytes, build: str) -> None:
    """Remove what a dead server has left of a build, and its socket. A living one, perhaps a new one, is left alone."""
    import shutil

    shutil.rmtree(os.path.join(directory, runtime_dir.BUILDS, os.fsencode(build)), ignore_errors=True)
    # Under the start lock, so that nobody's new server gets its socket removed.
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
    """The last line of the server's log, if it was written after the log was ``since`` bytes long."""
    with contextlib.suppress(OSError), open(os.path.join(directory, runtime_dir.LOG), "rb") as file:
        file.seek(since)
        lines = file.read().decode(errors="backslashreplace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")
    return "its log can't be read"


def _log_path(directory: bytes) -> str:
    return os.fsdecode(os.path.join(directory, runtime_dir.LOG))
