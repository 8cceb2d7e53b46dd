"""The terminal of standard error, and a process that restores the terminal if this process is killed."""

from __future__ import annotations

import contextlib
import enum
import errno
import fcntl
import os
import select
import signal
import termios
import time
from collections.abc import Iterator

STDERR = 2
_LOCAL_MODES = 3
_SHELL = "/bin/sh"


class State(enum.Enum):
    """The present use of the terminal."""

    OURS = "ours"  #: its foreground processes are this build, and it reads whole lines
    FULL_SCREEN = "full-screen"  #: a program of the build reads single keys: an editor, a menu, a pager
    OTHERS = "others"  #: another process group has it: this build is in the background, or the tool runs a shell
    GONE = "gone"  #: it was hung up


class Terminal:
    """Owns a descriptor; :meth:`close` closes it. No method raises an error of the terminal, and no write blocks."""

    def __init__(self) -> None:
        """
        Raises:
            OSError: standard error is not the controlling terminal of this process.
        """
        os.tcgetpgrp(STDERR)
        try:
            # A description of our own: O_NONBLOCK on that of standard error would be the tool's, too.
            flags = os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
            self._fd = os.open(f"/proc/self/fd/{STDERR}", flags)
        except OSError:  # the terminal is another user's (su), or /proc is not mounted
            self._fd = fcntl.fcntl(STDERR, fcntl.F_DUPFD_CLOEXEC, 3)
        #: the end of a draw that did not fit
        self._unwritten = b""

    def close(self) -> None:
        os.close(self._fd)

    def size(self) -> tuple[int, int]:
        """Rows and columns; zeros if they are not known."""
        try:
            columns, rows = os.get_terminal_size(self._fd)
        except OSError:
            return 0, 0
        return rows, columns

    def state(self) -> State:
        try:
            if os.tcgetpgrp(self._fd) != os.getpgrp():
                return State.OTHERS
            is_canonical = termios.tcgetattr(self._fd)[_LOCAL_MODES] & termios.ICANON
        except (OSError, termios.error):
            return State.GONE
        return State.OURS if is_canonical else State.FULL_SCREEN

    def claim(self) -> bool:
        """Become the only build that draws on the terminal. False if another build does."""
        with contextlib.suppress(OSError):
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    def give_up(self) -> None:
        """Let another build draw on the terminal."""
        with contextlib.suppress(OSError):
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def write(self, data: bytes, patience_s: float = 0.0) -> bool:
        """Write, in one write(2) where possible. False if the terminal has taken nothing of ``data``.

        Args:
            data: control sequences and text. If a part does not fit, the next write begins with the rest.
            patience_s: seconds to wait for a terminal that the user has stopped by Ctrl-S.
        """
        end = time.monotonic() + patience_s
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        data = self._unwritten + data
        begun = len(self._unwritten)
        written = 0
        while True:
            ready = poll.poll(max(0.0, end - time.monotonic()) * 1000)
            if not ready or ready[0][1] & (select.POLLHUP | select.POLLERR):
                break
            try:
                with _stopped_by_no_output():
                    written += os.write(self._fd, data[written:])
            except OSError as exc:
                if exc.errno != errno.EAGAIN:
                    break
            if written == len(data) or time.monotonic() >= end:
                break
        self._unwritten = data[written:] if written > begun else self._unwritten[written:]
        return written > begun


@contextlib.contextmanager
def _stopped_by_no_output() -> Iterator[None]:
    """With `stty tostop` the kernel stops a background process that writes, unless it has blocked SIGTTOU."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Guard:
    """A shell in a session of its own that restores the terminal when this process has gone without a word.

    Owns the process and a pipe to it. Any failure means that there is no guard.
    """

    def __init__(self, script: str, terminal: int = STDERR) -> None:
        """``script``: see ``spraycc.ui.pinned_line.guard_script``. It writes to ``terminal``, a descriptor."""
        self._terminal = terminal
        self._pid = 0
        self._pipe = -1
        with contextlib.suppress(OSError, NotImplementedError):
            self._start(script)

    def _start(self, script: str) -> None:
        theirs, self._pipe = os.pipe2(os.O_CLOEXEC)
        try:
            keep = (0, 1, 2, theirs)
            # A descriptor of our caller, such as the lock of a script, must not stay open in the guard.
            others = [fd for fd in map(int, os.listdir("/proc/self/fd")) if fd not in keep]
            self._pid = os.posix_spawn(
                _SHELL,
                (_SHELL, "-c", script),
                {},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs, 0),
                    (os.POSIX_SPAWN_DUP2, self._terminal, 1),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                    *((os.POSIX_SPAWN_CLOSE, fd) for fd in others if _is_inherited(fd)),
                ],
                # Neither Ctrl-C nor a kill of the process group reaches another session.
                setsid=True,
                setsigdef=[signal.SIGPIPE],
            )
        finally:
            os.close(theirs)

    def tell(self, row: int) -> None:
        """The line is in this row of the terminal now; 0: there is no line."""
        if self._pipe >= 0:
            with contextlib.suppress(OSError):
                os.write(self._pipe, b"%d\n" % row)

    def close(self, *, restored: bool) -> None:
        """End the guard. Without ``restored`` it stays until it could restore the terminal."""
        if self._pipe >= 0:
            if restored:
                self.tell(0)
            os.close(self._pipe)
            self._pipe = -1
        if self._pid and restored:
            with contextlib.suppress(OSError):
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
        self._pid = 0


def _is_inherited(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False  # it was that of the list
