"""The TCP port for executors, on this host's real addresses."""

from __future__ import annotations

import socket

import pytest
import trio
import trio.testing

from spraycc.server.fleet.listener import TcpAcceptor


@pytest.mark.parametrize(
    ("host", "peers"), [("127.0.0.1", ["127.0.0.1"]), ("0.0.0.0", ["127.0.0.1"]), ("::", ["127.0.0.1", "::1"])]
)
async def test_peers_reach_the_address_and_connections_are_set_up(host: str, peers: list[str]) -> None:
    """Small frames are not delayed, and a host that vanishes is noticed by keepalive."""
    try:
        acceptor = TcpAcceptor(host)
    except OSError as exc:
        pytest.skip(f"{host}: {exc.strerror}")
    try:
        for peer in peers:
            try:
                stream = await trio.open_tcp_stream(peer, acceptor.address[1])
            except OSError as exc:
                pytest.skip(f"{peer}: {exc}")
            with trio.fail_after(60):
                sock, _ = await acceptor.accept()
            with sock:
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            await stream.aclose()
    finally:
        acceptor.close()


async def test_closed_while_a_coroutine_accepts() -> None:
    acceptor = TcpAcceptor("127.0.0.1")
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def accept() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await acceptor.accept()

        await trio.testing.wait_all_tasks_blocked()
        acceptor.close()
    with pytest.raises(OSError, match=r"refused"), socket.create_connection(acceptor.address, timeout=60):
        pass


def test_an_address_that_is_not_this_hosts_is_an_error_and_no_socket_is_left() -> None:
    with pytest.raises(OSError, match=r"[Aa]ssign"):
        TcpAcceptor("192.0.2.1")


def test_closed_twice_and_outside_trio() -> None:
    acceptor = TcpAcceptor("127.0.0.1")
    acceptor.close()
    acceptor.close()
