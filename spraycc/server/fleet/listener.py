"""The TCP side of the server: who may in. What an executor that has proved itself says and hears is in executors.py."""

from __future__ import annotations

import logging
import secrets
import socket
from contextlib import suppress
from typing import Any, Protocol

import trio

from spraycc.errors import ProtocolError, VersionMismatch
from spraycc.model import ExecutorId
from spraycc.server.fleet.connection import ExecutorLink, Hub
from spraycc.server.fleet.credentials import Session
from spraycc.server.writeback.commit import WriteBack
from spraycc.system.tls import TlsSocket
from spraycc.wire import executor as wire

log = logging.getLogger(__name__)

#: Time that a peer has for TLS and proof together.
HANDSHAKE_S = 20.0
#: Connections that have proved nothing yet, at most; further ones wait in the kernel's backlog.
UNPROVED = 64
#: After an accept that failed, the next one is tried after this time.
ACCEPT_AGAIN_S = 0.1


class Acceptor(Protocol):
    """Hands out connections of peers."""

    @property
    def address(self) -> tuple[str, int]:
        """Where peers connect: address and port."""
        ...

    async def accept(self) -> tuple[socket.socket, Any]:
        """The next connection, and its peer's address for the log.

        Raises:
            OSError: this one failed, the next may succeed.
        """
        ...

    def close(self) -> None:
        """Accept no more. May be called twice."""
        ...


class TcpAcceptor:
    """Listens on a port of its own. Owns the listening socket; :meth:`close` closes it."""

    def __init__(self, host: str) -> None:
        """Listen on the address ``host``; "::" is all addresses, of IPv4 too.

        Raises:
            OSError: it can't be listened on.
        """
        self._sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            if host == "::":  # all addresses, of both families
                self._sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            # Linux hands these on to each accepted connection.
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._sock.bind((host, 0))
            self._sock.listen(1024)
            self._sock.setblocking(False)
        except OSError:
            self._sock.close()
            raise
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


class ExecutorListener:
    """Accepts, has each peer prove the session's secret, and runs its link."""

    def __init__(
        self,
        hub: Hub,
        session: Session,
        acceptor: Acceptor,
        write_back: WriteBack,
        links: dict[ExecutorId, ExecutorLink] | None = None,
    ) -> None:
        """
        Args:
            hub: told of executors.
            session: its secret is what peers have to prove.
            acceptor: taken over; :meth:`close` closes it.
            write_back: where results go.
            links: those of all listeners of this server: an id stands for one executor, whichever listener it came by.
        """
        self._hub = hub
        self._session = session
        self._unproved = trio.Semaphore(UNPROVED)
        self._links = links if links is not None else {}
        self._write_back = write_back
        self._acceptor = acceptor
        self.address = acceptor.address

    async def run(self) -> None:
        """Accept for ever. Ends by cancellation; closes the acceptor then."""
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    await self._unproved.acquire()
                    try:
                        sock, address = await self._acceptor.accept()
                    except OSError as exc:
                        # We are short of something, or an error of the network is told here (accept(2)): nothing that
                        # would be better with the server ended.
                        self._unproved.release()
                        log.warning("accept: %s", exc)
                        await trio.sleep(ACCEPT_AGAIN_S)
                        continue
                    nursery.start_soon(self._serve, sock, address)
        finally:
            self.close()

    def close(self) -> None:
        """Accept no more; also for a listener that never ran."""
        self._acceptor.close()

    async def _serve(self, sock: socket.socket, address: Any) -> None:
        connection = None
        try:
            try:
                connection = TlsSocket(sock, self._session.context, server_side=True)
                with trio.fail_after(HANDSHAKE_S):
                    executor_id = await self._prove(connection)
            except (trio.BrokenResourceError, trio.TooSlowError, ProtocolError, VersionMismatch, OSError) as exc:
                log.warning("connection from %s refused: %s", address, exc.__cause__ or exc)
                return
            finally:
                self._unproved.release()
            log.info("executor %s: connected from %s", executor_id, address)
            link = ExecutorLink(self._hub, connection, executor_id, self._write_back)
            await self._replace(link)
            try:
                await link.serve()
            finally:
                if self._links.get(link.id) is link:
                    del self._links[link.id]
        except Exception:
            log.exception("connection from %s: serving it failed", address)
        finally:
            if connection is not None:
                connection.close()
            else:
                sock.close()

    async def _replace(self, link: ExecutorLink) -> None:
        """Make it the one with its id. An older one is a connection that broke without a word: a batch job that the
        cluster manager has started again comes with the id that it had."""
        while (older := self._links.get(link.id)) is not None:
            log.warning("executor %s: connected once more, the older connection is given up", link.id)
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
        name = wire.check_proof(self._session.secret, nonce, answer)
        if not name or not name.isascii() or not all(c in b"-._" or chr(c).isalnum() for c in name):
            raise ProtocolError(f"executor id {name!r}")
        return ExecutorId(name.decode("ascii"))
