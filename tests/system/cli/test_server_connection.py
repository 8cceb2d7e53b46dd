"""The control connection with misbehaving peers."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spraycc.cli import server_connection as connection_module
from spraycc.cli.server_connection import ConnectionEnded, ServerConnection
from spraycc.errors import ServerUnavailable
from spraycc.wire.framing import encode_frame
from spraycc.wire.runner import FROM_SERVER, RUNNER_PROTOCOL, Notice, Welcome

WELCOME = encode_frame(FROM_SERVER.pack(Welcome(RUNNER_PROTOCOL, "1", 1)))


@contextmanager
def peer(path: Path, answer: Callable[[socket.socket], object]) -> Iterator[bytes]:
    """Listens at ``path`` and runs ``answer`` on one connection, after its Hello."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            answer(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    yield os.fsencode(path)
    thread.join()
    listener.close()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0",
        b"\xff\xff\xff\xff",
        b"\0\0\0\1\xf6",
        encode_frame([]),
        encode_frame(["nonsense"]),
        encode_frame(["welcome", "x"]),
        encode_frame(["out", 1, b"x"]),
    ],
    ids=["nothing", "cut", "long", "null", "empty", "unknown", "wrong", "unasked"],
)
def test_what_is_no_answer(tmp_path: Path, data: bytes) -> None:
    with peer(tmp_path / "s", lambda connection: connection.sendall(data)) as path, pytest.raises(ConnectionEnded):
        ServerConnection.connect(path, print)


def test_a_server_that_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "ANSWER_TIMEOUT_S", 0.05)
    with (
        peer(tmp_path / "s", lambda connection: connection.recv(1)) as path,
        pytest.raises(ServerUnavailable, match=r"not answered within 0\.05 s"),
    ):
        ServerConnection.connect(path, print)


def test_an_answer_in_single_bytes_with_notices_between(tmp_path: Path) -> None:
    notices: list[str] = []

    def answer(connection: socket.socket) -> None:
        for byte in encode_frame(FROM_SERVER.pack(Notice("now"))) + WELCOME:
            connection.sendall(bytes([byte]))

    with peer(tmp_path / "s", answer) as path:
        connection = ServerConnection.connect(path, notices.append)
        connection.close()
    assert notices == ["now"]
    assert connection.welcome == Welcome(RUNNER_PROTOCOL, "1", 1)


def test_nobody_elses_process_is_talked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bytes] = []
    monkeypatch.setattr(os, "getuid", lambda: 12345)

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    with pytest.raises(ServerUnavailable, match="gets nothing from us"):
        ServerConnection.connect(os.fsencode(tmp_path / "s"), print)
    connection, _ = listener.accept()
    heard.append(connection.recv(100))
    connection.close()
    listener.close()
    assert heard == [b""]


def test_no_server_is_no_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ServerConnection.connect(os.fsencode(tmp_path / "s"), print)
    with peer(tmp_path / "s", lambda connection: None) as path, pytest.raises(ConnectionEnded):
        ServerConnection.connect(path, print)
    with pytest.raises(ConnectionRefusedError):
        ServerConnection.connect(path, print)


def test_reading_notices_never_waits(tmp_path: Path) -> None:
    go = threading.Event()
    notices: list[str] = []

    def answer(connection: socket.socket) -> None:
        connection.sendall(WELCOME)
        go.wait()
        connection.sendall(encode_frame(FROM_SERVER.pack(Notice("late"))))

    with peer(tmp_path / "s", answer) as path:
        connection = ServerConnection.connect(path, notices.append)
        connection._sock.settimeout(None)
        connection.read_notices()
        assert notices == []
        go.set()
    connection.read_notices()
    assert notices == ["late"]
    with pytest.raises(ConnectionEnded):
        connection.read_notices()
    connection.close()
