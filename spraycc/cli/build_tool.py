"""Runs the build tool as a child in the same terminal, and ends as it ended.

What the terminal sends (Ctrl-C, Ctrl-\\, Ctrl-Z) reaches the tool by itself, as it is in our process group: we
outlive the first two and stop with the tool on the third. SIGTERM and SIGHUP come to one process only, so they are
passed on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time
import types
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NoReturn

from spraycc.errors import ServerUnavailable, SprayccError

if TYPE_CHECKING:
    from spraycc.cli.server_connection import Session
    from spraycc.cli.suspended_server import StoppedServer

_PASSED_ON = (signal.SIGTERM, signal.SIGHUP)
_OUTLIVED = (signal.SIGINT, signal.SIGQUIT)
#: Python ignores these at its start; a tool that inherits that writes on for ever into a closed pipe.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


class ToolNotFound(SprayccError):
    """There is no such program, or it can't be executed; ``status`` is what a shell would end with."""

    def __init__(self, name: str, problem: int) -> None:
        missing = problem == errno.ENOENT
        words = "command not found" if missing and "/" not in name else os.strerror(problem)
        super().__init__(f"{name}: {words}")
        self.status = 127 if missing else 126


def find_program(name: bytes, path: bytes) -> bytes:
    """The file that ``name`` stands for, as execvp(3) would find it in ``path`` if no shim of ours were there.

    Raises:
        ToolNotFound: there is none that can be executed.
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
    return os.path.basename(os.path.realpath(path)) == b"spraycc-run" != os.path.basename(path)


def environ_path(env: Mapping[bytes, bytes]) -> bytes:
    """PATH, or what execvp(3) takes in its place."""
    return env.get(b"PATH", b"/bin:/usr/bin")


class Tool:
    """One run of the build tool. As a context manager it owns the handlers of signals, from before its start."""

    def __init__(self) -> None:
        self.pid = 0
        #: wait status of waitpid(2), once it has ended
        self._status: int | None = None
        #: signals that came before there was a process to get them
        self._early: list[int] = []

    def __enter__(self) -> Tool:
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._old_wakeup = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._old = {}
        for number in (*_PASSED_ON, *_OUTLIVED):
            # Ignored since before us (nohup, a shell's background): it stays so, for the tool as well.
            if signal.getsignal(number) != signal.SIG_IGN:
                # A handler, not SIG_IGN: the tool would inherit that.
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
        """Start it. It gets our standard streams and what else is inheritable.

        Raises:
            ToolNotFound: it can't be executed.
        """
        try:
            self.pid = _spawn(program, argv, env)
        except OSError as exc:
            raise ToolNotFound(os.fsdecode(argv[0]), exc.errno or errno.EINVAL) from None
        for number in self._early:
            self._pass_on(number)

    def wait(
        self,
        session: Session | None,
        on_lost: Callable[[], None] = lambda: None,
        look_after: StoppedServer | None = None,
    ) -> bool:
        """Wait until it has ended; meanwhile the server's notices are shown. False where the server went away.

        Args:
            session: the server's, if there is one.
            on_lost: called once, when the server goes away.
            look_after: the server's process.
        """
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        lives = session is not None
        if session is not None:
            poll.register(session.fileno(), select.POLLIN)
        pause_s = look_after.look_every_s if look_after is not None else None
        look_at = time.monotonic() + (pause_s or 0)
        while not self._ended():
            wait_ms = None
            if look_after is not None and pause_s is not None and lives:
                if time.monotonic() >= look_at:
                    look_after.look()
                    look_at = time.monotonic() + pause_s
                wait_ms = 1000 * max(0.0, look_at - time.monotonic()) + 1
            for fd, _ in poll.poll(wait_ms):
                if fd == self._wake_read:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake_read, 512)
                elif session is not None:
                    try:
                        session.read_notices()
                    except ServerUnavailable:
                        poll.unregister(fd)
                        lives = False
                        on_lost()
        return lives

    @property
    def shell_status(self) -> int:
        """How it ended, as ``$?`` shows it."""
        code = self._code()
        return 128 - code if code < 0 else code

    def end_alike(self) -> int:
        """The status to exit with; does not return where the tool was killed by a signal, as then we are too.

        That tells a shell, and a make around us, that it was Ctrl-C, so that they stop as well.
        """
        code = self._code()
        if code >= 0:
            return code
        import resource

        # The tool has dumped its core; nobody needs ours beside it.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        with contextlib.suppress(OSError, ValueError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
        return 128 - code  # only if that signal is blocked

    def _code(self) -> int:
        assert self._status is not None, "it has not ended yet"
        return os.waitstatus_to_exitcode(self._status)

    def _ended(self) -> bool:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self._status = status
        return bool(pid)

    def _handle(self, number: int, frame: types.FrameType | None) -> None:
        if not self.pid:
            if number != signal.SIGCHLD:
                self._early.append(number)
        elif number in _PASSED_ON:
            self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def execute(program: bytes, argv: tuple[bytes, ...], env: Mapping[bytes, bytes]) -> NoReturn:
    """Become the program.

    Raises:
        ToolNotFound: it can't be executed.
    """
    for number in _IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    try:
        try:
            os.execve(program, argv, env)
        except OSError as exc:
            if exc.errno != errno.ENOEXEC:
                raise
        os.execve(b"/bin/sh", [b"/bin/sh", program, *argv[1:]], env)
    except OSError as exc:
        raise ToolNotFound(os.fsdecode(argv[0]), exc.errno or errno.EINVAL) from None


def _spawn(program: bytes, argv: tuple[bytes, ...], env: Mapping[bytes, bytes]) -> int:
    try:
        return os.posix_spawn(program, argv, env, setsigdef=_IGNORED_BY_PYTHON)
    except OSError as exc:
        if exc.errno != errno.ENOEXEC:
            raise
    # A script without #!: every shell runs it by itself, and so does execvp(3).
    return os.posix_spawn(b"/bin/sh", [b"/bin/sh", program, *argv[1:]], env, setsigdef=_IGNORED_BY_PYTHON)
