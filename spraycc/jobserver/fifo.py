"""The pool itself: one FIFO a build, with a token a byte in it.

The FIFO is opened here for reading and writing, so that it always has a writer: without one make 4.4 hangs in open(2),
and with the last end closed the tokens would be gone. The descriptor is of an open file description of its own, so that
its O_NONBLOCK is not seen by the tools (which share one and set the flag as they like).

A byte says nothing about where it comes from: make writes back ``+``, gcc ``G``, ctest ``.``, ninja and cargo what they
read.
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
from spraycc.jobserver.ledger import TokenLedger

#: bytes that one page of a pipe holds
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TOKEN = b"+"
#: Pauses between attempts to open it again.
_PATIENCE_S = (0.0, 0.0, 0.001, 0.01, 0.05)


class JobserverFifo:
    """The FIFO of one build and its token account. Made by :meth:`create`; whoever made it calls :meth:`close`.

    Belongs to one trio thread. :meth:`run` must run as a task for as long as the FIFO is open, else a narrowed width is
    only reached as far as tokens happened to be free.
    """

    def __init__(self, path: bytes, fd: int) -> None:
        """Takes over ``fd``, open for reading and writing without blocking; :meth:`create` is the way to get here."""
        self.path = path
        self._fd = fd
        self._ledger = TokenLedger()
        #: set while something is owed or due; replaced when all is settled
        self._unsettled = trio.Event()

    @classmethod
    def create(cls, path: str | bytes) -> JobserverFifo:
        """Makes the FIFO, mode 0600 and without a token; its directory is one that only this user can write to.

        Raises:
            OSError: from mkfifo(2) or open(2).
            RuntimeDirError: what was opened is not the FIFO that was made.
        """
        path = os.fsencode(path)
        os.mkfifo(path, 0o600)
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            status = os.fstat(fd)
            if not stat.S_ISFIFO(status.st_mode) or status.st_uid != os.geteuid():
                raise RuntimeDirError(f"{os.fsdecode(path)} was replaced while it was made; who else can write there?")
        except BaseException:
            os.close(fd)
            raise
        return cls(path, fd)

    @property
    def issued(self) -> int:
        """Tokens that exist, free or held by somebody."""
        return self._ledger.circulation

    @property
    def owed(self) -> int:
        """Tokens that will be withdrawn when they come back."""
        return self._ledger.owed

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

    @property
    def due(self) -> int:
        """Tokens that will be written when there is room for them."""
        return self._ledger.due

    def adjust(self, tokens: int) -> None:
        """Makes ``tokens`` the number that should exist, and does what can be done about it now.

        Like :meth:`set_width`, for a caller that does not count the implicit slot.
        """
        self.set_width(tokens + 1)

    def is_abandoned(self) -> bool:
        """Whether no other process has the FIFO open: then whatever does not lie in it is lost.

        The last writer's end is seen on a reading end only while we are no writer ourselves. The tokens stay in the
        FIFO, as the reading end keeps it alive; a make 4.4 that opens it in between waits until we are back. Short of
        descriptors we can't tell, so it is not.

        Raises:
            OSError: it could not be opened for writing again; what lies in it can still be read and counted.
        """
        try:
            reader = os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        with contextlib.suppress(RuntimeError):  # outside trio nobody waits
            trio.lowlevel.notify_closing(self._fd)
        os.close(self._fd)
        self._fd = reader
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        abandoned = any(events & select.POLLHUP for _, events in poll.poll(0))
        self._fd = _open_again(reader)
        os.close(reader)
        return abandoned

    def set_width(self, width: int) -> int:
        """Lets ``width`` recipes run at once, the tool's implicit slot included.

        Missing tokens are written at once; surplus ones are taken out at once as far as they are free, and the rest by
        :meth:`run` as they come back.

        Returns:
            The width in force: less than asked for only if the kernel gives the FIFO no room for so many tokens.
        """
        room = self._make_room(width)
        self._ledger.set_width(min(width, room + 1))
        self._settle()
        return self._ledger.target + 1

    async def run(self, on_change: Callable[[], None] = lambda: None) -> None:
        """Withdraws what is owed as it comes back, and calls ``on_change`` then. Returns after :meth:`close`.

        A narrowed width is reached when the tools' demand slackens, not at once: a tool with recipes waiting takes the
        token that it gives back within microseconds, before it can be seen free here. (From 20 to 4 with 80 recipes of
        0.2 s waiting: make 4.3 and 4.4 began 24 to 52 of them before all was paid, ninja 1.13 all.)
        """
        while not self.closed:
            await self._unsettled.wait()
            if self.closed:  # between the event and our turn
                return
            try:
                if self._ledger.owed:
                    await trio.lowlevel.wait_readable(self._fd)
                elif self._ledger.due:
                    await trio.lowlevel.wait_writable(self._fd)
            except trio.ClosedResourceError:
                continue  # closed for good, or by is_abandoned, which has opened it again
            if not self.closed:
                self._settle()
                on_change()

    def recount(self) -> int:
        """At the end, when no process of the build is left: tokens that were lost (negative: forged)."""
        return self._ledger.recount(self.free())

    def write_off(self, count: int) -> None:
        """Replaces ``count`` tokens that are known to be lost."""
        self._ledger.write_off(count)
        self._settle()

    def forget(self, count: int) -> None:
        """``count`` tokens are known to be lost; the next :meth:`adjust` says whether they are replaced."""
        self._ledger.write_off(count)

    def surplus(self) -> int:
        """Tokens that lie in the FIFO beyond all that exist by the account; they are added to it."""
        count = max(0, self.free() - self._ledger.circulation)
        self._ledger.found(count)
        return count

    def close(self) -> None:
        """Closes and unlinks the FIFO; tools that have it open keep the tokens in it. May be called twice."""
        if self.closed:
            return
        fd, self._fd = self._fd, -1
        with contextlib.suppress(RuntimeError):  # outside trio nobody waits
            trio.lowlevel.notify_closing(fd)
        os.close(fd)
        self._unsettled.set()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def _settle(self) -> None:
        """Writes what is due and takes out what is owed, as far as that goes without waiting."""
        while self._ledger.due:
            try:
                written = os.write(self._fd, _TOKEN * min(self._ledger.due, _PAGE_BYTES))
            except BlockingIOError:
                break
            self._ledger.issued(written)
        while self._ledger.owed:
            try:
                taken = len(os.read(self._fd, self._ledger.owed))
            except BlockingIOError:
                break
            self._ledger.withdrawn(taken)
        if self._ledger.due or self._ledger.owed:
            self._unsettled.set()
        elif self._unsettled.is_set():
            self._unsettled = trio.Event()

    def _make_room(self, tokens: int) -> int:
        """Tokens that the FIFO holds in the worst case, after making it larger for ``tokens`` if the kernel lets us.

        A page whose first bytes have been read stays taken until its last byte is read, so one page counts for nothing.
        A tool that gives a token back must never find the FIFO full: make would wait for ever.
        """
        size = fcntl.fcntl(self._fd, fcntl.F_GETPIPE_SZ)
        if size - _PAGE_BYTES < tokens:
            try:
                size = fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, tokens + _PAGE_BYTES)
            except OSError as error:
                # EPERM: above fs.pipe-max-size, or the user has too many pipes (fs.pipe-user-pages-soft, -hard).
                if error.errno not in (errno.EPERM, errno.EINVAL, errno.ENOMEM):
                    raise
        return size - _PAGE_BYTES


def _open_again(reader: int) -> int:
    """The FIFO that ``reader`` reads, open for reading and writing. Another process may have taken the last descriptor
    of the host's a moment ago, so it is tried more than once."""
    for patience_s in _PATIENCE_S:
        try:
            return os.open(f"/proc/self/fd/{reader}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            time.sleep(patience_s)
    return os.open(f"/proc/self/fd/{reader}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
