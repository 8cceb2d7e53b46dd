"""Opens records and reads their lines. A full disk, the user or a program may have put anything in their place."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from spraycc.records.format import MOST_BYTES

#: A longer line is left out. The longest that a server writes is a link's command line, escaped.
MOST_LINE_BYTES = 4 * 1024 * 1024
#: A file is read no further than this.
_MOST_READ_BYTES = 2 * MOST_BYTES
#: The end line is looked for in this many bytes at the end of a file.
_END_BYTES = 256 * 1024


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading. Never waits for a FIFO's writer, and follows no symbolic link.

    Raises:
        OSError: the file can't be opened, or is no regular file.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    fd = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", os.fspath(path))
        return os.fdopen(fd, "rb")
    except BaseException:
        os.close(fd)
        raise


def lines_of(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a record, unchecked. Leaves out what is no JSON object: a line that was cut or is too long.

    Raises:
        OSError: the file can't be read.
    """
    with open_regular(path) as file:
        left = _MOST_READ_BYTES
        is_begin = True  # of a line
        while left > 0 and (text := file.readline(MOST_LINE_BYTES)):
            left -= len(text)
            if is_begin and (line := _parsed(text)):
                yield line
            is_begin = text.endswith(b"\n")


def last_line_of(path: Path) -> dict[str, Any]:
    """The last line, unchecked; empty if it is no JSON object. Reads the end of the file only.

    Raises:
        OSError: the file can't be read.
    """
    with open_regular(path) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _END_BYTES))
        return _parsed(file.read(_END_BYTES).rstrip(b"\n").rpartition(b"\n")[2])


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        # As text: json.loads takes bytes for UTF-16 or UTF-32 if they look so.
        line = json.loads(text.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return {}
    return line if isinstance(line, dict) else {}


def _refuse(name: str) -> None:
    """Refuse NaN and the infinities: no order of time holds with them, and other readers of JSON refuse them, too."""
    raise ValueError(name)
