"""A real executor behind a cable with a rate limit compresses what it sends; on the server's own host it never does."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from benchmarks.slow_link import LimitedLink, limited_link
from spraycc.wire.executor import PIECE_BYTES, MadeFile, Ping, Pong
from tests.system.executor.conftest import Piece
from tests.system.harness import needs
from tests.system.harness.waiting import HANG_S

#: 2.5 MB/s, as if fifty executors shared 1 Gbit/s.
RATE = "20mbit"
PIECES = 6
LINES = "yes 'a line of an object with debug information' | head -c %d >big"


@pytest.fixture
def cable() -> Iterator[LimitedLink]:
    if os.geteuid() != 0:
        pytest.skip("needs to be root")
    needs.programs({"ip": "iproute2", "tc": "iproute2"})
    try:
        with limited_link(RATE) as link:
            yield link
    except subprocess.CalledProcessError as exc:
        pytest.skip(f"no network with a rate limit on this host: {exc.stderr.strip()}")


def pieces_of(executor) -> list[Piece]:
    executor.start(
        "sh", "-c", LINES % (PIECES * PIECE_BYTES), may_pack=True, outputs=(bytes(executor.workspace / "big"),)
    )
    result = executor.peer.result()
    assert result.ended.refusal == ""
    assert result.ended.code == 0
    assert [made.size_bytes for made in result.of(MadeFile)] == [PIECES * PIECE_BYTES]
    (contents,) = result.files.values()
    line = b"a line of an object with debug information\n"
    assert contents == (line * (len(contents) // len(line) + 1))[: PIECES * PIECE_BYTES]
    return result.of(Piece)


def counters_of(executor) -> dict[str, int]:
    executor.peer.send(Ping(1))
    return executor.peer.expect(Pong).counters


@pytest.mark.root
@pytest.mark.overlay
def test_contents_are_compressed_on_a_slow_link(server, launch, cable):
    server.listener.close()
    server.listener = socket.create_server((cable.near, 0))
    server.listener.settimeout(HANG_S)
    executor = server.running(launch(server.session_file(), enter=cable.enter))
    pieces = pieces_of(executor)
    packed = [piece for piece in pieces if piece.packed_bytes]
    assert pieces[0].packed_bytes == 0  # nothing is known of a new connection
    assert pieces[-1].packed_bytes
    counters = counters_of(executor)
    assert counters["packed_bytes"] == sum(piece.packed_bytes for piece in packed)
    assert counters["packed_from_bytes"] == sum(len(piece.data) for piece in packed)
    executor.leave()


@pytest.mark.overlay
def test_within_a_host_nothing_is_compressed(executor):
    assert not any(piece.packed_bytes for piece in pieces_of(executor))
    counters = counters_of(executor)
    assert (counters["packed_bytes"], counters["packed_from_bytes"]) == (0, 0)
