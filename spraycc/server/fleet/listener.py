"""The TCP side of the server: peers that prove the session's secret become executors (connection.py)."""

from __future__ import annotations

import errno
import logging
import random
import secrets
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

import trio

from spraycc.errors import ConfigError, ProtocolError, VersionMismatch
from spraycc.landmarks import Landmarks
from spraycc.model import ExecutorId
from spraycc.notices import cluster as notices
from spraycc.server.fleet.channel import Channel
from spraycc.server.fleet.connection import ExecutorLink, Registry, Results
from spraycc.server.fleet.credentials import Credentials
from spraycc.system.tls import TlsSocket
from spraycc.wire import executor as wire

log = logging.getLogger(__name__)

#: A peer has this time for TLS and proof together.
HANDSHAKE_S = 20.0
#: Connections without a proof, at most. Further connections wait in the kernel's backlog.
UNPROVED = 64
#: Errors of bind(2) and listen(2) that concern one port: it is in use, or for root only.
_OTHER_PORT = (errno.EADDRINUSE, errno.EACCES)
#: Errors of bind(2) that concern the address: it is no address of this host, or of a family that this host lacks.
_OTHER_ADDRESS = (errno.EADDRNOTAVAIL, errno.EINVAL, errno.EAFNOSUPPORT)
#: Pause after an accept that failed.
ACCEPT_AGAIN_S = 0.1


class NoPort(ConfigError):
    """The server can't listen on any of the ports that the settings allow."""


class NoAddress(ConfigError):
    """The server can't listen on the address in the settings."""


class Acceptor(Protocol):
    """Hands out connections of peers."""

    @property
    def address(self) -> tuple[str, int]:
        """The address and port for peers."""
        ...

    async def accept(self) -> tuple[socket.socket, Any]:
        """The next connection, and its peer's address for the log.

        Raises:
            OSError: this call failed; the next may succeed.
        """
        ...

    def close(self) -> None:
        """Accept no more. May be called twice."""
        ...


class TcpAcceptor:
    """Listens on a port of its own. Owns the listening socket; :meth:`close` closes it."""

    def __init__(self, host: str, ports: Sequence[int] = (0,)) -> None:
        """Listen on the address ``host``, on one of the ports; "::" means all addresses, of IPv4 too; 0 any free port.

        Raises:
            NoPort: none of the ports can be used.
            NoAddress: ``host`` is no address of this host, and no name of such an address.
            OSError: the host can't listen now.
        """
        # In random order: the servers of several users share the ports, and would all begin with the same ones.
        for port in random.sample(ports, len(ports)):
            try:
                self._sock = _listening(host, port)
                break
            except OSError as exc:
                if isinstance(exc, socket.gaierror) or exc.errno in _OTHER_ADDRESS:
                    raise _no_address(host, exc.strerror) from None
                if exc.errno not in _OTHER_PORT:
                    raise
                cause = exc.strerror
            except UnicodeError:  # from the codec for names of hosts
                raise _no_address(host, "no name of a host") from None
        else:
            shown = f"{ports[0]}-{ports[-1]}" if len(ports) > 1 else str(ports[0])
            where = "all addresses" if host in ("::", "0.0.0.0") else host
            step = notices.MORE_PORTS
            if ports[0] < 1024:
                step = notices.PORTS_OF_ROOT
            raise NoPort(notices.NO_PORT.text(ports=shown, address=where, cause=cause, step=step.text()))
        self.address: tuple[str, int] = self._sock.getsockname()[:2]

    async def accept(self) -> tuple[socket.socket, Any]:
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            with suppress(BlockingIOError):
                return self._sock.accept()

    def close(self) -> None:
        with suppress(RuntimeError):  # outside trio no coroutine waits
            trio.lowlevel.notify_closing(self._sock)
        self._sock.close()


def _no_address(host: str, cause: str | None) -> NoAddress:
    return NoAddress(notices.NO_ADDRESS.text(address=host, cause=cause))


def _listening(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        if host == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if port:
            # The connections of a server that has ended keep their port for a minute (TIME_WAIT). On Linux this option
            # does not let two sockets listen on one port (socket(7)).
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Each accepted connection inherits these.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.bind((host, port))
        # If another socket has been bound to the port in the same moment, this call fails, and not bind.
        sock.listen(1024)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


class ExecutorListener:
    """Accepts connections, has each peer prove the session's secret, and runs its link."""

    def __init__(
        self,
        fleet: Registry,
        results: Results,
        credentials: Credentials,
        acceptor: Acceptor,
        links: dict[ExecutorId, ExecutorLink],
        landmarks: Landmarks | None,
        cluster: str = "",
    ) -> None:
        """
        Args:
            fleet: told of executors.
            results: told of tasks.
            credentials: the certificate, and the secret that peers must prove.
            acceptor: accepts connections; :meth:`close` closes it.
            links: the links of all listeners of this server: an executor's id is unique among all of them.
            landmarks: the executors must see these files as the submit host does; None: they run on the submit host.
            cluster: the setting with which the executors are started, for the status.
        """
        self._fleet = fleet
        self._results = results
        self._credentials = credentials
        self._links = links
        self._landmarks = landmarks
        self._cluster = cluster
        self._unproved = trio.Semaphore(UNPROVED)
        self._acceptor = acceptor
        self._is_closed = False
        #: connections that are accepted and not closed: executors, and peers without a proof
        self.connections = 0
        self.address = acceptor.address

    async def run(self) -> None:
        """Accept connections until closed, and serve them. Ends by cancellation, and closes the acceptor."""
        try:
            async with trio.open_nursery() as nursery:
                while not self._is_closed:
                    await self._unproved.acquire()
                    try:
                        sock, address = await self._acceptor.accept()
                    except trio.ClosedResourceError:
                        break
                    except OSError as exc:
                        # A shortage on the host, or an error of the network: both may pass.
                        self._unproved.release()
                        log.warning("accept: %s", exc)
                        await trio.sleep(ACCEPT_AGAIN_S)
                        continue
                    self.connections += 1
                    nursery.start_soon(self._serve, sock, address)
        finally:
            self.close()

    def close(self) -> None:
        """Accept no more. Links go on. May be called even if ``run`` never was."""
        self._is_closed = True
        self._acceptor.close()

    async def _serve(self, sock: socket.socket, address: Any) -> None:
        connection = None
        try:
            try:
                connection = TlsSocket(sock, self._credentials.context, server_side=True)
                with trio.fail_after(HANDSHAKE_S):
                    executor_id = await self._prove(connection)
            except (trio.BrokenResourceError, trio.TooSlowError, ProtocolError, VersionMismatch, OSError) as exc:
                log.warning("connection from %s refused: %s", address, exc.__cause__ or exc)
                return
            finally:
                self._unproved.release()
            log.info("executor %s: connected from %s", executor_id, address)
            channel = Channel(connection)
            link = ExecutorLink(self._fleet, self._results, channel, executor_id, self._landmarks, self._cluster)
            await self._replace(link)
            try:
                await link.serve()
            finally:
                if self._links.get(link.id) is link:
                    del self._links[link.id]
        except Exception:
            log.exception("connection from %s: serving it failed", address)
        finally:
            self.connections -= 1
            if connection is not None:
                connection.close()
            else:
                sock.close()

    async def _replace(self, link: ExecutorLink) -> None:
        """Make this link the only link of its id.

        A connection may break unnoticed. If the cluster manager starts the batch job again, its executor has the same
        id.
        """
        while (older := self._links.get(link.id)) is not None:
            log.warning("executor %s: connected again, the older connection is given up", link.id)
            older.give_up()
            await older.ended.wait()
            if self._links.get(link.id) is older:
                del self._links[link.id]
        self._links[link.id] = link

    async def _prove(self, connection: TlsSocket) -> ExecutorId:
        await connection.shake_hands()
        nonce = secrets.token_bytes(wire.NONCE_BYTES)
        connection.send_now(wire.challenge(nonce))
        await connection.flush()
        answer = await connection.receive_exactly(wire.PROOF_BYTES)
        name = wire.check_proof(self._credentials.secret, nonce, answer)
        if not name or not name.isascii() or not all(c in b"-._" or chr(c).isalnum() for c in name):
            raise ProtocolError(f"executor id {name!r}")
        return ExecutorId(name.decode("ascii"))
