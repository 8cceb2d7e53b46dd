"""Standard output of the subcommands. A subcommand writes by click.echo or :func:`say`, and need not look for errors.

:func:`guarded` puts a stream in place of ``sys.stdout``. Its failures are no OSError, so no subcommand takes them for a
failure of another file, and Python does not write the rest again at its end.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

import click

from spraycc.ui.printable import printable


class OutputFailed(Exception):
    """Standard output took no more. ``cause`` is the system's error."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(cause)
        self.cause = cause

    @property
    def has_no_reader(self) -> bool:
        """The reader has ended, as ``head`` does."""
        return isinstance(self.cause, BrokenPipeError)


def say(text: str) -> None:
    """Print a line, with the control characters in it escaped."""
    click.echo(printable(text))


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Raise OutputFailed where a write to standard output fails, and write all at the end.

    Raises:
        OutputFailed: of the last write.
    """
    before = sys.stdout
    if before is not sys.__stdout__:  # a test's
        yield
        return
    raw = _Raw(is_closed=before is None)
    stream = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding if before is not None else "utf-8",
        errors="backslashreplace" if before is None or before.errors == "strict" else before.errors,
        line_buffering=before is not None and before.line_buffering,
    )
    sys.stdout = stream
    try:
        yield
        stream.flush()
    finally:
        raw.is_done = True
        sys.stdout = before
        with contextlib.suppress(ValueError, OSError):
            stream.detach()


class _Raw(io.FileIO):
    def __init__(self, *, is_closed: bool) -> None:
        # Descriptor 1 may be any file by now if standard output was closed at our start.
        super().__init__(os.devnull if is_closed else 1, "w", closefd=is_closed)
        self._is_closed = is_closed
        #: drop what comes: nobody gets the error
        self.is_done = False

    def write(self, data: Any, /) -> int:
        if self.is_done:
            return len(memoryview(data).cast("B"))
        try:
            if self._is_closed:
                raise OSError(errno.EBADF, "it is closed")
            written = super().write(data)
        except OSError as exc:
            self.is_done = True
            raise OutputFailed(exc) from exc
        if written is None:
            self.is_done = True
            raise OutputFailed(BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)))
        return written
