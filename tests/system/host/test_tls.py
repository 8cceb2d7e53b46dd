"""A TLS connection that a thread receives from while the event loop sends, at full speed in both directions."""

from __future__ import annotations

import hashlib
import os
import socket

import pytest
import trio

from spraycc.executor.link import tls_context
from spraycc.server.fleet.credentials import make_credentials
from spraycc.system.tls import TlsSocket
from tests.system.harness.waiting import HANG_S

MIB = 1 << 20
SIZE = 64 * MIB


async def connected() -> tuple[TlsSocket, TlsSocket]:
    """A server's and a client's end of one connection."""
    credentials = make_credentials()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    server = TlsSocket(ours, credentials.context, server_side=True)
    client = TlsSocket(theirs, tls_context(credentials.certificate), server_side=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.shake_hands)
        nursery.start_soon(client.shake_hands)
    return server, client


def test_a_thread_receives_while_the_event_loop_sends() -> None:
    sent, received, echoed = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
    small = hashlib.sha256()

    async def main() -> None:
        server, client = await connected()
        over = False

        async def send_contents() -> None:
            for _ in range(SIZE // MIB):
                data = os.urandom(MIB)
                sent.update(data)
                await client.send(data)

        def receive_some(left: int) -> int:
            buffer = memoryview(bytearray(256 * 1024))
            size = server.receive_now(buffer[:left])
            received.update(buffer[:size])
            if not size:
                server.has_bytes_within(min(left, 32 * 1024), 0.005)
            return size

        async def receive_contents() -> None:
            nonlocal over
            left = SIZE
            while left:
                left -= await trio.to_thread.run_sync(receive_some, left)
            over = True

        async def send_small() -> None:
            while not over:
                data = os.urandom(500)
                small.update(data)
                await server.send(data)
                await trio.sleep(0)
            server.close()

        async def receive_small() -> None:
            while data := await client.receive():
                echoed.update(data)

        with trio.fail_after(HANG_S):
            async with trio.open_nursery() as nursery:
                for part in (send_contents, receive_contents, send_small, receive_small):
                    nursery.start_soon(part)
        client.close()

    trio.run(main)
    assert received.digest() == sent.digest()
    assert echoed.digest() == small.digest()


def test_few_bytes_wait_until_they_are_many_or_old() -> None:
    async def main() -> None:
        server, client = await connected()
        buffer = memoryview(bytearray(MIB))
        assert server.receive_now(buffer) == 0
        with trio.fail_after(HANG_S):
            # The limit of time is the test's own: a large part wakes the receiver long before it.
            await client.send(bytes(MIB // 4))
            await server.wait_for_bytes(32 * 1024, 10 * HANG_S)
            assert server.queued_bytes >= 32 * 1024
            received = 0
            while received < MIB // 4:
                received += server.receive_now(buffer)
            assert server.receive_now(buffer) == 0
            await client.send(b"few")
            await server.wait_for_bytes(32 * 1024, 0.01)
            while not (received := server.receive_now(buffer)):
                await server.wait_readable()
            assert bytes(buffer[:received]) == b"few"
            # The end of the connection ends the wait.
            assert server.receive_now(buffer) == 0
            client.close()
            await server.wait_for_bytes(32 * 1024, 10 * HANG_S)
            with pytest.raises(trio.BrokenResourceError):
                server.receive_now(buffer)
        server.close()

    trio.run(main)


def test_the_rest_of_a_record_needs_no_further_bytes_from_the_network() -> None:
    """A thread's receive may leave the rest of a record in OpenSSL. The socket is empty then."""

    async def main() -> None:
        server, client = await connected()
        buffer = memoryview(bytearray(MIB))
        with trio.fail_after(HANG_S):
            assert server.receive_now(buffer) == 0
            await client.send(bytes(10_000))
            await trio.to_thread.run_sync(server.has_bytes_within, 10_000, HANG_S)
            assert server.receive_now(buffer[:7_000]) == 7_000
            assert server.queued_bytes == 0
            assert len(await server.receive()) == 3_000
        server.close()
        client.close()

    trio.run(main)
