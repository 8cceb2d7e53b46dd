"""A connection that breaks must not break another one: OpenSSL's queue of errors belongs to a thread, not to a connection."""

from __future__ import annotations

import _ssl
import ctypes
import errno
import os
import socket
from typing import Any

import pytest
import trio

from spraycc.executor.link import tls_context
from spraycc.server.fleet.credentials import Credentials, make_credentials
from spraycc.system.tls import TlsSocket


@pytest.fixture(scope="module")
def credentials() -> Credentials:
    return make_credentials()


def ends(credentials: Credentials) -> tuple[TlsSocket, TlsSocket]:
    """The server's and the executor's end of a connection, before the handshake."""
    ours, theirs = socket.socketpair()
    context = tls_context(credentials.certificate)
    return TlsSocket(ours, credentials.context, server_side=True), TlsSocket(theirs, context, server_side=False)


async def connected(credentials: Credentials) -> tuple[TlsSocket, TlsSocket]:
    server, executor = ends(credentials)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.shake_hands)
        nursery.start_soon(executor.shake_hands)
    return server, executor


async def receive(connection: TlsSocket) -> None:
    # An end without TLS's closing message counts as the end, or as an error if OpenSSL can't send its alert.
    assert not await connection.receive()
    raise trio.BrokenResourceError


async def receive_now(connection: TlsSocket) -> None:
    connection.receive_now(memoryview(bytearray(100)))


async def send(connection: TlsSocket) -> None:
    await connection.send(b"x")


async def send_now(connection: TlsSocket) -> None:
    connection.send_now(b"x")


async def shake_hands(connection: TlsSocket) -> None:
    await connection.shake_hands()


async def works(server: TlsSocket, executor: TlsSocket) -> None:
    """Fails if the server's end does not wait for data, or does not receive the data that comes then."""
    buffer = memoryview(bytearray(100))
    assert server.receive_now(buffer) == 0
    await executor.send(b"data")
    assert bytes(buffer[: server.receive_now(buffer)]) == b"data"


@pytest.mark.parametrize("use", [receive, receive_now, send, send_now])
async def test_a_peer_that_is_gone_breaks_no_other_connection(credentials: Credentials, use: Any) -> None:
    broken, gone = await connected(credentials)
    others = await connected(credentials)
    gone.close()
    with pytest.raises(trio.BrokenResourceError):
        await use(broken)
    await works(*others)
    for connection in (broken, *others):
        connection.close()


@pytest.mark.parametrize("use", [receive, receive_now, send, send_now, shake_hands])
async def test_an_error_that_python_leaves_in_the_queue_breaks_no_other_connection(
    credentials: Credentials, monkeypatch: pytest.MonkeyPatch, use: Any
) -> None:
    """With every Python, as Python 3.13 does with OpenSSL 3.5."""
    broken, gone = ends(credentials) if use is shake_hands else await connected(credentials)
    others = await connected(credentials)
    openssl = ctypes.CDLL(_ssl.__file__)  # finds the functions of the library that the module uses

    def fail(*_: object) -> None:
        openssl.ERR_new()
        openssl.ERR_set_error(2, errno.EPIPE, None)  # ERR_LIB_SYS
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    for name in ("do_handshake", "recv_into", "send"):
        monkeypatch.setattr(broken._sock, name, fail)
    with pytest.raises(trio.BrokenResourceError):
        await use(broken)
    await works(*others)
    for connection in (broken, gone, *others):
        connection.close()
