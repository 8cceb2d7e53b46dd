"""The TCP port for executors, on this host's real addresses."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack

import pytest
import trio
import trio.testing

from spraycc.server.fleet.listener import NoAddress, NoPort, TcpAcceptor
from tests.system.harness.ports import free_ports


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
    with pytest.raises(NoAddress, match=r"[Aa]ssign"):
        TcpAcceptor("192.0.2.1")


def test_closed_twice_and_outside_trio() -> None:
    acceptor = TcpAcceptor("127.0.0.1")
    acceptor.close()
    acceptor.close()


def test_servers_share_a_range_of_ports() -> None:
    ports = free_ports(3)
    with ExitStack() as stack:
        acceptors = [TcpAcceptor("127.0.0.1", ports) for _ in ports]
        for acceptor in acceptors:
            stack.callback(acceptor.close)
        assert sorted(acceptor.address[1] for acceptor in acceptors) == list(ports)
        with pytest.raises(NoPort) as caught:
            TcpAcceptor("127.0.0.1", ports)
        text = (
            f"no port of listen_ports {ports[0]}-{ports[-1]} is free on 127.0.0.1 (Address already in use); allow more"
        )
        assert str(caught.value).startswith(text)


def test_one_port_that_another_address_uses() -> None:
    (port,) = free_ports(1)
    with socket.create_server(("127.0.0.1", port)), pytest.raises(NoPort, match=rf"listen_ports {port} is free on all"):
        TcpAcceptor("0.0.0.0", [port])


async def test_a_port_whose_connections_linger_is_free() -> None:
    """The server's side closed first, so the kernel keeps the connection for a minute (TIME_WAIT)."""
    (port,) = free_ports(1)
    acceptor = TcpAcceptor("127.0.0.1", [port])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as peer:
        sock, _ = await acceptor.accept()
        sock.close()
        assert peer.recv(1) == b""
    acceptor.close()
    TcpAcceptor("127.0.0.1", [port]).close()


@pytest.mark.parametrize("ports", [[0], range(47000, 47002)])
def test_an_address_of_another_host_is_no_matter_of_ports(ports: Sequence[int]) -> None:
    with pytest.raises(NoAddress, match=r"[Aa]ssign"):
        TcpAcceptor("192.0.2.1", ports)
