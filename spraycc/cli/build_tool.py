"""Runs the build tool as a child in the same terminal, and ends as the tool ended.

The tool is in our process group, so the terminal sends it the signals of Ctrl-C, Ctrl-\\ and Ctrl-Z. This process
outlives the first two, and stops with the tool on the third. SIGTERM and SIGHUP reach one process only, so this process
passes them on. So it does with a SIGINT or SIGQUIT that no terminal has sent to the group, as from an IDE or from CI.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import sys
import time
import types
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NoReturn

from spraycc.cli import caller_environment
from spraycc.cli.messages import warn
from spraycc.errors import ServerUnavailable, SprayccError
from spraycc.notices import ending, starting
from spraycc.runner_files import RUNNER, is_runner

if TYPE_CHECKING:
    from spraycc.cli.progress import Display
    from spraycc.cli.server_connection import ServerConnection
    from spraycc.cli.suspended_server import SuspendedServerCheck

_PASSED_ON = (signal.SIGTERM, signal.SIGHUP)
_OUTLIVED = (signal.SIGINT, signal.SIGQUIT)
#: The signals that Python ignores and our caller does not. A tool that inherited this would write into a closed pipe
#: for ever. An option of native/launcher/main.c names those that the caller ignores.
_IGNORED_BY_PYTHON = tuple(
    number
    for number in (signal.SIGPIPE, signal.SIGXFSZ)
    if str(int(number)) not in str(sys._xoptions.get("spraycc_ignored", "")).split(",")
)


class ToolNotFound(SprayccError):
    """The program does not exist or can't be executed; ``status`` is the exit status of a shell in that case."""

    def __init__(self, name: str, problem: int) -> None:
        missing = problem == errno.ENOENT
        words = "command not found" if missing and "/" not in name else os.strerror(problem)
        super().__init__(f"{name}: {words}")
        self.status = 127 if missing else 126


def find_program(name: bytes, path: bytes) -> bytes:
    """The file that execvp(3) would find for ``name`` in ``path`` without our shims.

    Raises:
        ToolNotFound: no such file can be executed.
    """
    if b"/" in name:
        if not _is_shim(name):
            return name
        name = os.path.basename(name)
    problem = errno.ENOENT
    for element in path.split(b":"):
        candidate = os.path.join(element, name)
        if os.path.isfile(candidate) and not _is_shim(candidate):
            if os.access(candidate, os.X_OK):
                return candidate
            problem = errno.EACCES
    raise ToolNotFound(os.fsdecode(name), problem)


def _is_shim(path: bytes) -> bool:
    return os.path.basename(path) != os.fsencode(RUNNER) and is_runner(path)


def environ_path(env: Mapping[bytes, bytes]) -> bytes:
    """PATH, or the default of execvp(3)."""
    return env.get(b"PATH", b"/bin:/usr/bin")


class ToolRun:
    """One run of the build tool. As a context manager, owns the signal handlers from before the tool's start."""

    def __init__(self) -> None:
        self.pid = 0
        #: the status from waitpid(2), once the tool has ended
        self._status: int | None = None
        #: signals that arrived before the tool was started
        self._early: list[int] = []

    def __enter__(self) -> ToolRun:
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._old_wakeup = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._old = {}
        for number in (*_PASSED_ON, *_OUTLIVED):
            # If our parent ignores the signal (nohup, a shell's background), this process and the tool ignore it too.
            if signal.getsignal(number) != signal.SIG_IGN:
                # A handler, not SIG_IGN, which the tool would inherit.
                self._old[number] = signal.signal(number, self._handle)
        self._old[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, self._handle)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_wakeup)
        os.close(self._wake_read)
        os.close(self._wake_write)

    def start(self, program: bytes, argv: tuple[bytes, ...], env: Mapping[bytes, bytes]) -> None:
        """Start the tool, with our standard streams and all inheritable descriptors.

        Raises:
            ToolNotFound: the program can't be executed.
            SprayccError: the words and variables are too long together.
        """
        try:
            self.pid = _spawn(program, argv, env)
        except OSError as exc:
            if exc.errno == errno.E2BIG:  # perhaps because of our own variables
                raise SprayccError(starting.ENVIRONMENT_IS_FULL.text()) from None
            raise ToolNotFound(os.fsdecode(argv[0]), exc.errno or errno.EINVAL) from None
        # Our caller may have blocked it. The tool has inherited the caller's mask, but wait() needs the signal.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        for number in self._early:
            self._pass_on(number)

    def wait(
        self,
        connection: ServerConnection | None,
        on_lost: Callable[[], None] = lambda: None,
        server_check: SuspendedServerCheck | None = None,
        display: Display | None = None,
    ) -> bool:
        """Wait for the tool's end, and show notices and progress meanwhile. False if the server went away.

        Args:
            connection: to the server; None without one.
            on_lost: called once, when the server goes away.
            server_check: called at its interval while the server lives.
            display: shows the progress. The caller has entered it.
        """
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        lives = connection is not None
        if connection is not None:
            poll.register(connection.fileno(), select.POLLIN)
        pause_s = server_check.check_interval_s if server_check is not None else None
        check_at = time.monotonic() + (pause_s or 0)
        while not self._ended():
            due = []
            if server_check is not None and pause_s is not None and lives:
                if time.monotonic() >= check_at:
                    server_check.check()
                    check_at = time.monotonic() + pause_s
                due.append(check_at)
            if display is not None:
                try:
                    if connection is not None and lives:
                        display.take(connection.progress)
                    due.append(display.run(time.monotonic()))
                except Exception as exc:
                    display = None
                    cause = starting.INTERNAL_ERROR.text(kind=type(exc).__name__, text=exc)
                    warn(ending.NO_PROGRESS.text(cause=cause))
            wait_ms = 1000 * max(0.0, min(due) - time.monotonic()) + 1 if due else None
            for fd, _ in poll.poll(wait_ms):
                if fd == self._wake_read:
                    with contextlib.suppress(BlockingIOError):
                        numbers = os.read(self._wake_read, 512)
                        if display is not None:
                            display.signalled(numbers)
                elif connection is not None:
                    try:
                        connection.read_notices()
                    except ServerUnavailable:
                        poll.unregister(fd)
                        lives = False
                        if display is not None:
                            display.take(None)
                        on_lost()
        return lives

    @property
    def shell_status(self) -> int:
        """The tool's exit status, as ``$?`` shows it."""
        code = self._code()
        return 128 - code if code < 0 else code

    def end_alike(self) -> int:
        """The status to exit with. If a signal killed the tool, this process kills itself by the same signal.

        So the shell or make around this process learns of the Ctrl-C, and stops as well.
        """
        code = self._code()
        if code >= 0:
            return code
        import resource

        # The tool has dumped its core. A core of this process would be of no use.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        with contextlib.suppress(OSError, ValueError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
        return 128 - code  # the signal is blocked

    def _code(self) -> int:
        assert self._status is not None, "it has not ended yet"
        return os.waitstatus_to_exitcode(self._status)

    def _ended(self) -> bool:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = status
        return self._status is not None

    def _handle(self, number: int, frame: types.FrameType | None) -> None:
        if number == signal.SIGCHLD:
            return
        if not self.pid:
            self._early.append(number)
        elif number in _PASSED_ON or not _is_in_foreground():
            self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _is_in_foreground() -> bool:
    """True if the terminal's Ctrl-C reaches this process's group, and so the tool."""
    try:
        fd = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # ENXIO: there is no controlling terminal
        return False
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(fd)


def execute(program: bytes, argv: tuple[bytes, ...], env: Mapping[bytes, bytes]) -> NoReturn:
    """Become the program.

    Raises:
        ToolNotFound: the program can't be executed.
    """
    for number in _IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    try:
        try:
            caller_environment.execve(program, argv, env)
        except OSError as exc:
            if exc.errno != errno.ENOEXEC:
                raise
        caller_environment.execve(b"/bin/sh", (b"/bin/sh", program, *argv[1:]), env)
    except OSError as exc:
        raise ToolNotFound(os.fsdecode(argv[0]), exc.errno or errno.EINVAL) from None


def _spawn(program: bytes, argv: tuple[bytes, ...], env: Mapping[bytes, bytes]) -> int:
    try:
        return caller_environment.posix_spawn(program, argv, env, _IGNORED_BY_PYTHON)
    except OSError as exc:
        if exc.errno != errno.ENOEXEC:
            raise
    # A script without #!: execvp(3) and all shells run it by /bin/sh.
    return caller_environment.posix_spawn(b"/bin/sh", (b"/bin/sh", program, *argv[1:]), env, _IGNORED_BY_PYTHON)
