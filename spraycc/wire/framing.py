"""Frames: a 4-byte big-endian length, then that many bytes of one CBOR item (RFC 8949). Sans-IO.

Raw bytes may follow a frame if its item announces them. The caller takes them with :meth:`FrameReader.take_raw`.

Invariant: for any bytes, in any pieces, a :class:`FrameReader` either yields the items that were sent, or raises
:class:`~spraycc.errors.ProtocolError`. The reader never holds more than one frame's limit plus one read.
"""

from __future__ import annotations

import struct
from typing import Any

import cbor2

from spraycc.errors import ProtocolError

#: Size of the largest frame. No honest frame comes near: Linux limits a command line with its environment to 6 MiB
#: (execve(2)), and contents of more than :data:`CHUNK_BYTES` travel outside the frames.
MAX_FRAME_BYTES = 16 * 1024 * 1024
#: A frame holds at most this much of a file or of output.
CHUNK_BYTES = 256 * 1024

_LENGTH = struct.Struct(">I")


def encode_frame(item: Any) -> bytes:
    """One frame that holds ``item``.

    A text may contain a file name that is not UTF-8 (:func:`os.fsdecode`). CBOR can't hold such characters, so they are
    sent as the text ``\\udc..``. Names that programs use travel as bytes.
    """
    try:
        body = cbor2.dumps(item)
    except UnicodeEncodeError:
        body = cbor2.dumps(_sendable(item))
    return _LENGTH.pack(len(body)) + body


def _sendable(item: Any) -> Any:
    if isinstance(item, str):
        return item.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(item, (list, tuple)):
        return [_sendable(part) for part in item]
    if isinstance(item, dict):
        return {_sendable(key): _sendable(value) for key, value in item.items()}
    return item


class FrameReader:
    """Bytes in, decoded items out."""

    __slots__ = ("_buffer", "_max_frame_bytes", "_start")

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._buffer = bytearray()
        self._start = 0
        self._max_frame_bytes = max_frame_bytes

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the bytes of one read."""
        if self._start:
            del self._buffer[: self._start]
            self._start = 0
        self._buffer += data

    def next_item(self) -> Any | None:
        """The next whole item, or None if more bytes are needed. (A frame that holds null is an error.)

        Raises:
            ProtocolError: the length is over the limit, or the body is no CBOR item.
        """
        have = len(self._buffer) - self._start
        if have < 4:
            return None
        (size,) = _LENGTH.unpack_from(self._buffer, self._start)
        if size > self._max_frame_bytes:
            raise ProtocolError(f"frame of {size} bytes, the limit is {self._max_frame_bytes}")
        if have < 4 + size:
            return None
        begin = self._start + 4
        with memoryview(self._buffer) as view:
            body = bytes(view[begin : begin + size])
        self._consume(begin + size)
        return decode_body(body)

    @property
    def missing_bytes(self) -> int:
        """At least this many bytes must come before :meth:`next_item` can return the next item."""
        have = len(self._buffer) - self._start
        if have < 4:
            return 4 - have
        (size,) = _LENGTH.unpack_from(self._buffer, self._start)
        return max(0, 4 + int(size) - have)

    def take_raw(self, most: int) -> bytes:
        """Up to ``most`` of the bytes that came behind the last item, which belong to no frame."""
        end = min(self._start + most, len(self._buffer))
        data = bytes(self._buffer[self._start : end])
        self._consume(end)
        return data

    def _consume(self, end: int) -> None:
        self._start = end
        if end == len(self._buffer):
            # Otherwise each of a thousand idle connections would keep the memory of its largest frame.
            self._buffer.clear()
            self._start = 0


def decode_body(body: bytes) -> Any:
    """The CBOR item at the start of ``body``. Bytes after the item are ignored.

    Call this only on bytes of a peer that has proved itself: CBOR's tags can make a decoder work hard.

    Raises:
        ProtocolError: not a well-formed item, or null.
    """
    try:
        item = cbor2.loads(body)
    except Exception as exc:  # cbor2 raises CBORDecodeError, but also ValueError or OverflowError on odd tags
        raise ProtocolError(f"not CBOR: {exc}") from None
    if item is None:
        raise ProtocolError("null in place of a message")
    return item
