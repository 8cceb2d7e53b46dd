"""Compresses contents on their way to the server while the link is slow (:mod:`spraycc.executor.link_rate`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from spraycc.executor.link_rate import LEAST_PIECE_BYTES, LinkRate, sample_of
from spraycc.system import compression


class Packer:
    """Compresses the pieces of one connection, and measures its sends."""

    def __init__(self, tcp_info: Callable[[], bytes] | None) -> None:
        """
        Args:
            tcp_info: reads the connection's ``struct tcp_info``. None: the connection stays within a host, so nothing
                is compressed. If such a host is short of CPU, the connection looks like a slow link.
        """
        self._tcp_info = tcp_info
        self._rate = LinkRate()
        #: True if the server can restore compressed pieces
        self.is_allowed = False
        #: totals: size of the compressed pieces as they were sent, and before they were compressed
        self.packed_bytes = 0
        self.packed_from_bytes = 0

    def wants(self, size_bytes: int) -> bool:
        """True if the next piece, of this size, should be compressed. Call this once for each piece."""
        return self.is_allowed and self._rate.wants_packed(size_bytes)

    def pack(self, contents: bytes | bytearray) -> bytes | None:
        """The compressed piece; None if it goes plain."""
        packed = compression.pack(contents)
        if packed is not None:
            self.packed_bytes += len(packed)
            self.packed_from_bytes += len(contents)
        return packed

    @contextmanager
    def measured(self, size_bytes: int) -> Iterator[None]:
        """The block sends this many bytes and ends when the kernel has them."""
        tcp_info = self._tcp_info
        if tcp_info is None or not self.is_allowed or size_bytes < LEAST_PIECE_BYTES:
            yield
            return
        self._rate.begin(sample_of(tcp_info()))
        yield
        self._rate.end(sample_of(tcp_info()))
