"""A piece of a produced file, which goes to the server as raw bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from spraycc.model import TaskId

#: Contents are read in parts of this size, which fit into the caches of a core.
_PART_BYTES = 256 * 1024
#: Buffers that are not in use.
_spare: list[memoryview] = []


@dataclass(frozen=True, slots=True)
class FilePiece:
    """A piece of a file's contents, which goes to the server as FileContents."""

    task: TaskId
    #: the open file; whoever makes the piece keeps it open until the piece is sent
    descriptor: int
    #: where the piece begins
    offset: int
    #: 1 to PIECE_BYTES
    size_bytes: int

    def read(self, start: int, into: memoryview) -> int:
        """Read contents from ``start`` bytes behind the beginning of the piece. Returns the size, at least 1.

        Raises:
            OSError: the file has become shorter, or its disk fails.
        """
        size = os.preadv(self.descriptor, [into[: self.size_bytes - start]], self.offset + start)
        if not size:
            raise OSError(f"a produced file is {self.size_bytes - start} bytes shorter than it was")
        return size


@contextmanager
def part_buffer() -> Iterator[memoryview]:
    """A buffer for a part of a piece."""
    part = _spare.pop() if _spare else memoryview(bytearray(_PART_BYTES))
    try:
        yield part
    finally:
        _spare.append(part)
