"""Contents are compressed only on a link that is full and slow. Each test is a link's life, in samples of TCP_INFO."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest

from spraycc.executor.link_rate import (
    FIRST_PATIENCE_BYTES,
    LEAST_PIECE_BYTES,
    MOST_PATIENCE_BYTES,
    TCP_INFO_BYTES,
    LinkRate,
    Sample,
    sample_of,
)
from spraycc.wire.executor import PIECE_BYTES

MS = 1000


IDLE = Sample(0, 0, 0, 0, 0, rtt_us=100, shortest_rtt_us=100)


@dataclass
class Connection:
    """A connection to which a test gives its speed. It sends pieces as the executor does."""

    rate: LinkRate
    now: Sample = IDLE

    def send(
        self, bytes_per_s: float, *, receiver: float = 0.0, buffer: float = 0.0, rtt_us: int = 5000, taken: int = 0,
        lost: int = 0, size_bytes: int = PIECE_BYTES, ratio: int = 6,
    ) -> bool:  # fmt: skip
        """Send a piece; returns whether it was compressed.

        ``receiver`` and ``buffer`` are the shares of the busy time that the server and our buffer were the limit. The
        kernel takes the last ``taken`` bytes before they are acknowledged; that happens before the next piece.
        """
        packed = self.rate.wants_packed(size_bytes)
        sent = size_bytes // ratio if packed else size_bytes
        self.rate.begin(self.now)
        self.now = replace(self.now, rtt_us=rtt_us, retransmitted=self.now.retransmitted + lost)
        self._pass(max(0, sent - taken), bytes_per_s, receiver, buffer)
        self.rate.end(self.now)
        self._pass(min(sent, taken), bytes_per_s, receiver, buffer)
        return packed

    def rest(self, busy_us: int) -> None:
        """Time passes in which the last acknowledgement is late."""
        self.now = replace(self.now, busy_us=self.now.busy_us + busy_us)

    def _pass(self, acked: int, bytes_per_s: float, receiver: float, buffer: float) -> None:
        link_us = acked * 1e6 / bytes_per_s
        busy_us = link_us / (1 - receiver - buffer)
        self.now = replace(
            self.now,
            acked_bytes=self.now.acked_bytes + acked,
            busy_us=self.now.busy_us + round(busy_us),
            receiver_limited_us=self.now.receiver_limited_us + round(busy_us * receiver),
            buffer_limited_us=self.now.buffer_limited_us + round(busy_us * buffer),
        )


def make_slow(link: Connection) -> None:
    for _ in range(2):
        link.send(2.5e6)
    assert link.rate.is_slow


@pytest.fixture
def link() -> Connection:
    return Connection(LinkRate())


def test_a_fast_link_never_compresses(link: Connection) -> None:
    assert not any(link.send(110e6) for _ in range(200))


def test_the_first_pieces_of_a_connection_go_plain_and_a_slow_link_compresses_the_third(link: Connection) -> None:
    assert [link.send(2.5e6) for _ in range(4)] == [False, False, True, True]


def test_a_single_slow_window_makes_no_link_slow(link: Connection) -> None:
    assert not any(link.send(rate) for rate in (2.5e6, 110e6) * 20)


def test_a_link_that_fifty_share_compresses_nearly_all(link: Connection) -> None:
    packed = [link.send(2.5e6, taken=400_000) for _ in range(500)]
    assert packed.count(True) > 475


def test_a_slow_server_is_not_a_slow_link(link: Connection) -> None:
    assert not any(link.send(2.5e6, receiver=0.4) for _ in range(50))


def test_a_server_that_becomes_the_bottleneck_ends_compression(link: Connection) -> None:
    make_slow(link)
    link.send(2.5e6, receiver=0.5)
    assert not link.send(2.5e6, receiver=0.5)


def test_a_link_with_a_long_way_is_not_slow_while_nothing_queues(link: Connection) -> None:
    """TCP's window is the limit: 2 MB at 40 ms take eight round trips. The shortest round trip is as long."""
    link.now = replace(link.now, shortest_rtt_us=40 * MS)
    assert not any(link.send(6e6, rtt_us=42 * MS) for _ in range(50))


def test_a_send_buffer_that_is_too_small_is_not_a_slow_link(link: Connection) -> None:
    assert not any(link.send(60e6, buffer=0.95) for _ in range(50))


def test_losses_without_a_queue_show_a_full_link(link: Connection) -> None:
    assert not any(link.send(2.5e6, rtt_us=100) for _ in range(5))
    for _ in range(2):
        link.send(2.5e6, rtt_us=100, lost=3)
    assert link.rate.is_slow


def test_a_link_that_is_fast_again_is_found_by_a_plain_piece(link: Connection) -> None:
    """Compressed pieces fit into the send buffer, so only a plain piece shows the rate."""
    make_slow(link)
    packed = [link.send(110e6, taken=400_000) for _ in range(100)]
    assert packed.index(False) * PIECE_BYTES <= FIRST_PATIENCE_BYTES
    assert not any(link.send(110e6, taken=400_000) for _ in range(20))


def test_a_fast_link_is_also_seen_when_the_send_buffer_takes_a_whole_piece(link: Connection) -> None:
    make_slow(link)
    packed = [link.send(110e6, taken=2 * PIECE_BYTES) for _ in range(20)]
    assert packed[0]
    assert not packed[-1]


def test_plain_pieces_become_rare_while_the_link_stays_slow(link: Connection) -> None:
    make_slow(link)
    packed = [link.send(2.5e6, taken=400_000) for _ in range(2000)]
    plain = [number for number, was_packed in enumerate(packed) if not was_packed]
    gaps = [later - earlier for earlier, later in pairwise(plain)]
    assert plain[0] == FIRST_PATIENCE_BYTES // PIECE_BYTES
    assert gaps == sorted(gaps)
    assert gaps[-1] == MOST_PATIENCE_BYTES // PIECE_BYTES + 1


def test_late_acknowledgements_make_no_link_slow(link: Connection) -> None:
    """A delayed acknowledgement of 40 ms after each small file falls into no window that can show a slow link."""
    for _ in range(100):
        assert not link.send(110e6, size_bytes=300_000, taken=150_000)
        link.rest(40 * MS)


def test_one_tick_of_the_kernels_clock_is_no_slow_link(link: Connection) -> None:
    for _ in range(3):
        link.rate.begin(link.now)
        acked, busy_us = link.now.acked_bytes + 65_536, link.now.busy_us + 10 * MS
        link.now = replace(link.now, acked_bytes=acked, busy_us=busy_us, rtt_us=900)
        link.rate.end(link.now)
    assert not link.rate.is_slow


def test_between_slow_and_fast_the_link_stays_what_it_was(link: Connection) -> None:
    assert not any(link.send(40e6) for _ in range(5))
    make_slow(link)
    assert all(link.send(40e6) for _ in range(FIRST_PATIENCE_BYTES // PIECE_BYTES))


def test_small_pieces_go_plain(link: Connection) -> None:
    make_slow(link)
    assert not link.send(2.5e6, size_bytes=LEAST_PIECE_BYTES - 1)
    assert link.send(2.5e6, size_bytes=LEAST_PIECE_BYTES)


def test_without_tcp_info_nothing_is_compressed() -> None:
    rate = LinkRate()
    for _ in range(5):
        rate.begin(None)
        rate.end(None)
        assert not rate.is_slow
    assert not rate.wants_packed(PIECE_BYTES)


def test_the_fields_of_tcp_info() -> None:
    data = bytearray(256)
    for form, offset, value in (
        ("=I", 68, 5), ("=I", 100, 6), ("=Q", 120, 1 << 40), ("=I", 148, 7), ("=Q", 168, 8), ("=Q", 176, 9), ("=Q", 184, 10),
    ):  # fmt: skip
        struct.pack_into(form, data, offset, value)
    expected = Sample(1 << 40, 8, 9, 10, retransmitted=6, rtt_us=5, shortest_rtt_us=7)
    assert sample_of(bytes(data)) == sample_of(bytes(data[:TCP_INFO_BYTES])) == expected


def test_an_older_kernels_tcp_info_gives_no_sample() -> None:
    assert sample_of(bytes(TCP_INFO_BYTES - 8)) is None
    assert sample_of(b"") is None
