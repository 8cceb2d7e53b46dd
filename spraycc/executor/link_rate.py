"""Decides whether the contents of files are compressed on their way to the server. Pure: the caller reads TCP_INFO.

Compressing a megabyte costs the executor 1.4 ms of CPU and the server 0.7 ms, so it must save many times as much. It
does so only if the *link* is the bottleneck. The kernel tells this apart (tcp(7), ``struct tcp_info`` in
``<linux/tcp.h>``, since Linux 4.10):

- *busy* is the time in which bytes waited for an acknowledgement. An executor that has nothing to send is not busy.
- *receiver-limited* is the part of it in which the server's window was full. The server reads too slowly then, and
  unpacking would make it slower.
- *buffer-limited* is the part in which our own send buffer was too small for the link's delay.

The rest of the busy time belongs to the link. A link that is far away but not full also has a low rate while TCP's
window grows. A full link shows in two ways: packets queue, so the round trip takes longer than the shortest one, or
packets are lost.

The unit of all this is the *window*: from the moment before a piece of contents is sent until the kernel has taken all
of it. Later acknowledgements may be delayed by 40 ms (delayed acknowledgement), so a longer window can show that a link
is fast, but not that it is slow. Compressed pieces often fit into the send buffer, and then their windows show nothing.
So from time to time a piece goes plain, to find out whether the link is fast again.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from spraycc.wire.executor import PIECE_BYTES

#: Smaller pieces always go plain.
LEAST_PIECE_BYTES = 16 * 1024

#: A link below this rate is slow: compressing saves more than 60 ms a megabyte. It is the share of each of ten
#: executors that send at once over 1 Gbit/s. On a host that is short of CPU, faster links are often at this rate.
SLOW_BYTES_PER_S = 12e6
#: A slow link is fast again above this rate: most of 1 Gbit/s is free. The two differ by much, because the link is
#: far from full once all executors compress. With plain contents it would be full at once.
FAST_BYTES_PER_S = 80e6
#: A fast link becomes slow after this many slow windows in a row.
_SLOW_IN_A_ROW = 2
#: A window counts if this many bytes were acknowledged in it: for a slow link, and for a fast one.
_LEAST_SLOW_BYTES = 64 * 1024
_LEAST_FAST_BYTES = 512 * 1024
#: A link or a server is slow only if a window shows this time of it. The kernel counts in ticks of 1 to 10 ms.
_LEAST_SLOW_US = 20_000
#: The server is the bottleneck if its window was full for this share of the busy time.
_RECEIVER_SHARE = 0.25
#: Packets queue on the way if a round trip takes this many times as long as the shortest one.
_QUEUED = 1.25

#: After this many bytes of compressed contents without a verdict, one piece goes plain. The number doubles with each
#: verdict that the link is still slow.
FIRST_PATIENCE_BYTES = 4 * PIECE_BYTES
MOST_PATIENCE_BYTES = 128 * PIECE_BYTES

#: Offsets in ``struct tcp_info``; the fields at the end of the struct are missing on older kernels.
_U32 = struct.Struct("=I")
_U64 = struct.Struct("=Q")
_RTT, _TOTAL_RETRANS, _BYTES_ACKED, _MIN_RTT, _BUSY, _RWND_LIMITED, _SNDBUF_LIMITED = 68, 100, 120, 148, 168, 176, 184
#: Enough for the fields above.
TCP_INFO_BYTES = 192


@dataclass(frozen=True, slots=True)
class Sample:
    """A connection's state, as TCP_INFO has it. Bytes and times of the first three kinds are totals."""

    acked_bytes: int
    busy_us: int
    receiver_limited_us: int
    buffer_limited_us: int
    #: packets that were sent again
    retransmitted: int
    #: the smoothed round trip, and the shortest one
    rtt_us: int
    shortest_rtt_us: int


def sample_of(tcp_info: bytes) -> Sample | None:
    """The fields of ``struct tcp_info``; None if the kernel is too old to have them."""
    if len(tcp_info) < TCP_INFO_BYTES:
        return None

    def total(offset: int) -> int:
        return int(_U64.unpack_from(tcp_info, offset)[0])

    def number(offset: int) -> int:
        return int(_U32.unpack_from(tcp_info, offset)[0])

    return Sample(
        acked_bytes=total(_BYTES_ACKED),
        busy_us=total(_BUSY),
        receiver_limited_us=total(_RWND_LIMITED),
        buffer_limited_us=total(_SNDBUF_LIMITED),
        retransmitted=number(_TOTAL_RETRANS),
        rtt_us=number(_RTT),
        shortest_rtt_us=number(_MIN_RTT),
    )


class LinkRate:
    """Says for each piece of contents whether to compress it. One for each connection.

    Call :meth:`begin` before bytes are sent (after they were compressed), and :meth:`end` when the kernel has taken
    them. A new connection counts as fast. Without samples the link stays what it was.
    """

    def __init__(self) -> None:
        self.is_slow = False
        #: the last window's begin; None if that window had a verdict
        self._began: Sample | None = None
        #: bytes of contents that were to be compressed since the last verdict, or since the last plain piece
        self._blind_bytes = 0
        self._patience_bytes = FIRST_PATIENCE_BYTES
        #: slow windows since the last fast one
        self._slow_in_a_row = 0

    def wants_packed(self, size_bytes: int) -> bool:
        """True if the next piece, of this size, should be compressed. Call this once for each piece."""
        if not self.is_slow or size_bytes < LEAST_PIECE_BYTES:
            return False
        if self._blind_bytes >= self._patience_bytes:
            self._blind_bytes = 0
            return False
        self._blind_bytes += size_bytes
        return True

    def begin(self, sample: Sample | None) -> None:
        """Bytes are about to be sent."""
        if self._began is not None and sample is not None and _is_fast(self._began, sample):
            self._note(is_slow=False)
        self._began = sample

    def end(self, sample: Sample | None) -> None:
        """The kernel has taken the bytes."""
        began = self._began
        if began is None or sample is None:
            return
        if _is_fast(began, sample):
            self._note(is_slow=False)
        elif _is_slow(began, sample):
            self._note(is_slow=True)

    def _note(self, *, is_slow: bool) -> None:
        if not is_slow:
            self._patience_bytes = FIRST_PATIENCE_BYTES
        elif self.is_slow:
            self._patience_bytes = min(2 * self._patience_bytes, MOST_PATIENCE_BYTES)
        self._slow_in_a_row = self._slow_in_a_row + 1 if is_slow else 0
        self.is_slow = self._slow_in_a_row >= _SLOW_IN_A_ROW
        self._blind_bytes = 0
        self._began = None


def _is_fast(began: Sample, ended: Sample) -> bool:
    """True if the link took its bytes fast in this time, or the server was slower than the link."""
    acked = ended.acked_bytes - began.acked_bytes
    if acked < _LEAST_SLOW_BYTES:
        return False
    receiver_us = _receiver_us(began, ended)
    if receiver_us >= _LEAST_SLOW_US and receiver_us > _RECEIVER_SHARE * (ended.busy_us - began.busy_us):
        return True
    return acked >= _LEAST_FAST_BYTES and acked * 1e6 > FAST_BYTES_PER_S * _link_us(began, ended)


def _is_slow(began: Sample, ended: Sample) -> bool:
    """True if the link was full in this time, and took its bytes slowly."""
    acked, link_us = ended.acked_bytes - began.acked_bytes, _link_us(began, ended)
    if acked < _LEAST_SLOW_BYTES or link_us < _LEAST_SLOW_US or acked * 1e6 > SLOW_BYTES_PER_S * link_us:
        return False
    return ended.retransmitted > began.retransmitted or ended.rtt_us > _QUEUED * ended.shortest_rtt_us


def _receiver_us(began: Sample, ended: Sample) -> int:
    return ended.receiver_limited_us - began.receiver_limited_us


def _link_us(began: Sample, ended: Sample) -> int:
    """Microseconds in which bytes waited for the link alone."""
    buffer_us = ended.buffer_limited_us - began.buffer_limited_us
    return ended.busy_us - began.busy_us - _receiver_us(began, ended) - buffer_us
