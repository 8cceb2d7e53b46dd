"""Raw bytes behind frames, however the network cuts them, and a thread's patience."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spraycc.model import TaskId
from spraycc.server.fleet import contents
from spraycc.server.fleet.contents import Piece, Receiver
from spraycc.wire.executor import FROM_EXECUTOR, PIECE_BYTES, FileContents, FileHole, Pong
from spraycc.wire.framing import FrameReader, encode_frame
from spraycc.wire.schema import Message

T = TaskId(1)
#: a frame behind contents
NEXT = encode_frame(FROM_EXECUTOR.pack(Pong(1, {})))


class Arriving:
    """A connection that gives its bytes in chosen parts. None is a pause, during which a thread may wait."""

    def __init__(self, parts: Iterator[bytes | None]) -> None:
        self._parts = parts
        self._now = b""
        self._reader = FrameReader()
        self.ahead: Message | None = None
        self.waits = 0

    def take_raw(self, most: int) -> bytes:
        return self._reader.take_raw(most)

    def receive_now(self, into: memoryview) -> int:
        if not self._now:
            self._now = next(self._parts, None) or b""
        size = min(len(into), len(self._now))
        into[:size], self._now = self._now[:size], self._now[size:]
        return size

    def has_bytes_within(self, count: int, seconds: float) -> bool:
        self.waits += 1
        assert self.waits < 1000, "a thread waits for ever"
        return True

    def next_contents(self) -> FileContents | None:
        message = self.next_message()
        if isinstance(message, FileContents):
            return message
        self.ahead = message
        return None

    def next_message(self) -> Message | None:
        message, self.ahead = self.ahead, None
        if message is None and (item := self._reader.next_item()) is not None:
            message = FROM_EXECUTOR.unpack(item)
        return message

    @property
    def missing_bytes(self) -> int:
        return 0 if self.ahead is not None else self._reader.missing_bytes

    def feed(self, data: memoryview) -> None:
        self._reader.feed(data)


def frame(message: Message) -> bytes:
    return encode_frame(FROM_EXECUTOR.pack(message))


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=300) | st.none(), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 2500), max_size=12),
    in_thread=st.booleans(),
)
def test_pieces_and_messages_arrive_however_they_are_cut(
    pieces: list[bytes | None], cuts: list[int], in_thread: bool
) -> None:
    """None in ``pieces`` is another message between two pieces."""
    stream = b""
    for piece in pieces:
        stream += frame(Pong(1, {})) if piece is None else frame(FileContents(T, len(piece))) + piece
    stream += frame(FileHole(T, 5))
    bounds = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    parts = [stream[a:b] for a, b in itertools.pairwise(bounds)]
    source = Arriving(iter(parts))
    got = bytearray()
    messages: list[Message] = []
    buffer = memoryview(bytearray(64))
    while not isinstance(messages[-1] if messages else None, FileHole):
        message = source.next_message()
        if message is None:
            size = source.receive_now(buffer)
            source.feed(buffer[:size])
        elif isinstance(message, FileContents):
            receiver = Receiver(source, lambda announced: Piece(announced, got.extend), message)
            while not receiver.is_done:
                (receiver.take_turn_of_a_thread if in_thread else receiver.take_turn_of_the_loop)()
        else:
            messages.append(message)
    assert bytes(got) == b"".join(piece for piece in pieces if piece is not None)
    assert len(messages) == pieces.count(None) + 1


def test_a_turn_of_the_loop_is_short() -> None:
    source = Arriving(iter([bytes(1 << 20)]))
    receiver = Receiver(source, lambda message: Piece(message, None), FileContents(T, 1 << 20))
    assert receiver.take_turn_of_the_loop() == contents.LOOP_TURN_BYTES
    assert receiver.left_bytes == (1 << 20) - contents.LOOP_TURN_BYTES
    assert not source.waits


def test_a_thread_does_not_wait_for_ever_for_a_peer_that_trickles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wait ends with data, but OpenSSL has no whole record yet, or a single byte."""
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.001
        return now

    monkeypatch.setattr(time, "perf_counter", clock)
    trickle = (part for _ in range(1 << 20) for part in (None, b"x"))
    source = Arriving(trickle)
    receiver = Receiver(source, lambda message: Piece(message, None), FileContents(T, 1 << 20))
    assert receiver.take_turn_of_a_thread() < 20
    assert source.waits < 20


@pytest.mark.parametrize(
    ("size", "receiving", "expected"),
    [
        (contents.LARGE_BYTES, 9, False),
        (contents.LARGE_BYTES + 1, 1, False),
        (contents.LARGE_BYTES + 1, 2, True),
        (PIECE_BYTES, 1, True),
    ],
)
def test_a_thread_receives_long_files_and_many_at_once(size: int, receiving: int, expected: bool) -> None:
    assert contents.is_for_thread(size, receiving) is expected


@pytest.mark.parametrize("size", [contents.LARGE_BYTES, contents.LARGE_BYTES + 1])
def test_a_compressed_piece_is_written_as_a_whole_and_a_large_one_by_a_thread(size: int) -> None:
    written: list[bytes] = []
    source = Arriving(iter([b"pa", None, b"ck", None, b"ed"]))
    piece = Piece(FileContents(T, size, 6), lambda data: written.append(bytes(data)))
    receiver = Receiver(source, lambda _: piece, FileContents(T, size, 6))
    for _ in range(3):
        assert not receiver.wants_thread
        assert written == []
        receiver.take_turn_of_the_loop()
    assert receiver.wants_thread == (size > contents.LARGE_BYTES)
    if receiver.wants_thread:
        assert written == []
        receiver.finish_piece()
    assert written == [b"packed"]
    assert not receiver.wants_thread


def test_a_thread_that_receives_a_large_compressed_piece_also_writes_it() -> None:
    written: list[bytes] = []
    piece = Piece(FileContents(T, 1 << 20, 6), lambda data: written.append(bytes(data)))
    receiver = Receiver(Arriving(iter([b"packed" + NEXT])), lambda _: piece, FileContents(T, 1 << 20, 6))
    receiver.take_turn_of_a_thread()
    assert written == [b"packed"]


def test_compressed_contents_that_nobody_wants_are_not_kept() -> None:
    piece = Piece(FileContents(T, 1 << 20, 6), None)
    piece.take(b"packed")
    assert not piece.left_bytes
    assert not piece.is_laborious
    piece.finish()
