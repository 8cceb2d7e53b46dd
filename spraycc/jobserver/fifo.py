"""The FIFO of one build's jobserver: each byte in it is a token.

The server opens the FIFO for reading and writing, so the FIFO always has a writer. Without a writer make 4.4 hangs in
open(2), and the tokens would be gone when the last process closes the FIFO. The server's descriptor has an open file
description of its own: the tools share another one, and set or clear O_NONBLOCK there as they like.

A byte does not say where it comes from. make writes back ``+``, gcc ``G``, ctest ``.``; ninja and cargo write back what
they read.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import select
import stat
import termios
import time
from collections.abc import Callable

import trio

from spraycc.errors import RuntimeDirError
from spraycc.jobserver.tokens import TokenAccount

#: bytes that one page of a pipe holds
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TOKEN = b"+"
#: pauses between attempts to open the FIFO again
_REOPEN_PAUSES_S = (0.0, 0.0, 0.001, 0.01, 0.05)


class JobserverFifo:
    """The FIFO of one build, and the account of its tokens. The caller of :meth:`create` calls :meth:`close`.

    Belongs to one trio thread. :meth:`run` must run while the FIFO is open: without it only free tokens are withdrawn
    when a build becomes narrower.
    """

    def __init__(self, path: bytes, fd: int) -> None:
        """Takes over ``fd``, open for reading and writing without blocking. Use :meth:`create`."""
        self.path = path
        #: :meth:`settle` carries out what the account asks for
        self.tokens = TokenAccount()
        self._fd = fd
        #: set while tokens are owed or due; replaced when none are
        self._unsettled = trio.Event()

    @classmethod
    def create(cls, path: str | bytes) -> JobserverFifo:
        """Makes the FIFO, mode 0600 and without a token, in a directory that only this user can write to.

        Raises:
            OSError: from mkfifo(2) or open(2).
            RuntimeDirError: another file has taken the FIFO's place.
        """
        path = os.fsencode(path)
        os.mkfifo(path, 0o600)
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            status = os.fstat(fd)
            if not stat.S_ISFIFO(status.st_mode) or status.st_uid != os.geteuid():
                raise RuntimeDirError(f"{os.fsdecode(path)} was replaced while it was made; make its directory private")
        except BaseException:
            os.close(fd)
            raise
        return cls(path, fd)

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def free(self) -> int:
        """Tokens that lie in the FIFO now; none after :meth:`close`."""
        if self.closed:
            return 0
        count = array.array("i", [0])
        fcntl.ioctl(self._fd, termios.FIONREAD, count)
        return count[0]

    def set_tokens(self, count: int) -> None:
        """From now on ``count`` tokens should exist: writes or withdraws tokens as far as possible without waiting."""
        self.tokens.set_tokens(count)
        self.settle()

    def settle(self) -> None:
        """Writes the tokens that are due and withdraws those that are owed, as far as possible without waiting."""
        tokens = self.tokens
        if tokens.due:
            self._make_room()
        while tokens.due:
            try:
                written = os.write(self._fd, _TOKEN * min(tokens.due, _PAGE_BYTES))
            except BlockingIOError:
                break
            tokens.written(written)
        while tokens.owed:
            try:
                withdrawn = len(os.read(self._fd, tokens.owed))
            except BlockingIOError:
                break
            tokens.withdrawn(withdrawn)
        if tokens.due or tokens.owed:
            self._unsettled.set()
        elif self._unsettled.is_set():
            self._unsettled = trio.Event()

    async def run(self, on_withdrawn: Callable[[], None] = lambda: None) -> None:
        """Withdraws owed tokens as they come back, and calls ``on_withdrawn`` then. Returns after :meth:`close`.

        A build becomes narrower when the tools have fewer recipes waiting, not at once. A tool with recipes waiting
        takes the token that it gives back within microseconds, before the server sees the token free. (From 20 to 4
        with 80 recipes of 0.2 s waiting: make 4.3 and 4.4 began 24 to 52 of them before all was paid, ninja 1.13 all.)
        """
        while not self.closed:
            await self._unsettled.wait()
            if self.closed:  # between the event and our turn
                return
            try:
                if self.tokens.owed:
                    await trio.lowlevel.wait_readable(self._fd)
                elif self.tokens.due:
                    await trio.lowlevel.wait_writable(self._fd)
            except trio.ClosedResourceError:
                continue  # closed for good, or by is_abandoned, which has opened the FIFO again
            if not self.closed:
                before = self.tokens.committed
                self.settle()
                if self.tokens.committed < before:
                    on_withdrawn()

    def is_abandoned(self) -> bool:
        """No other process has the FIFO open, so every token that does not lie in the FIFO is lost.

        A reading end sees that the last writer has gone, but only while the server is no writer itself. The reading end
        keeps the FIFO and its tokens alive. A make 4.4 that opens the FIFO in between waits until the server is back.
        Without a free descriptor the answer is False, as the server can't tell.

        Raises:
            OSError: the FIFO could not be opened for writing again. The server can still read and count its tokens.
        """
        try:
            reader = os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        _close(self._fd)
        self._fd = reader
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        abandoned = any(events & select.POLLHUP for _, events in poll.poll(0))
        self._fd = _open_again(reader)
        os.close(reader)
        return abandoned

    def adopt_surplus(self) -> int:
        """Adds tokens to the account that lie in the FIFO beyond all that exist by the account; returns how many."""
        count = max(0, self.free() - self.tokens.issued)
        self.tokens.found(count)
        return count

    def close(self) -> None:
        """Closes and unlinks the FIFO; tools that have it open keep the tokens in it. May be called twice."""
        if self.closed:
            return
        fd, self._fd = self._fd, -1
        _close(fd)
        self._unsettled.set()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def _make_room(self) -> None:
        """Makes the FIFO large enough for all tokens, or tells the account how many it has room for.

        A page whose first bytes have been read stays taken until its last byte is read, so one page counts for nothing.
        A tool that gives a token back must never find the FIFO full: make would wait for ever.
        """
        tokens = self.tokens
        size = fcntl.fcntl(self._fd, fcntl.F_GETPIPE_SZ)
        if size - _PAGE_BYTES < tokens.committed:
            try:
                size = fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, tokens.committed + _PAGE_BYTES)
            except OSError as error:
                # EPERM: above fs.pipe-max-size, or the user has too many pipes (fs.pipe-user-pages-soft, -hard).
                if error.errno not in (errno.EPERM, errno.EINVAL, errno.ENOMEM):
                    raise
                tokens.set_capacity(size - _PAGE_BYTES)


def _close(fd: int) -> None:
    """Closes a descriptor that a trio task may wait for."""
    with contextlib.suppress(RuntimeError):  # outside trio no task waits
        trio.lowlevel.notify_closing(fd)
    os.close(fd)


def _open_again(reader: int) -> int:
    """Opens the FIFO that ``reader`` reads for reading and writing.

    Another process may have taken the host's last descriptor a moment ago, so one failure is not the end.
    """
    for pause_s in _REOPEN_PAUSES_S:
        try:
            return os.open(f"/proc/self/fd/{reader}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            time.sleep(pause_s)
    return os.open(f"/proc/self/fd/{reader}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
