"""The connection to the server: TCP, TLS 1.3, proof of who we are, then frames. Handshake: docs/protocol.md."""

from __future__ import annotations

import os
import socket
import ssl
from dataclasses import dataclass, field

import trio

from spraycc.errors import ProtocolError, ServerUnavailable, VersionMismatch
from spraycc.executor.session import Session
from spraycc.system.tls import TlsSocket
from spraycc.wire.executor import CHALLENGE_BYTES, FROM_EXECUTOR, TO_EXECUTOR, proof, read_challenge
from spraycc.wire.framing import FrameReader, encode_frame
from spraycc.wire.schema import Message

#: For the TCP connection to one address, and for everything from there to the proof.
CONNECT_TIMEOUT_S = 10.0
HANDSHAKE_TIMEOUT_S = 20.0
#: An address is tried so long before the next one is tried as well.
HEAD_START_S = 1.0

_RECEIVE_BYTES = 64 * 1024
#: What trio raises where a peer is gone, by its will or not.
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


class LinkLost(Exception):
    """The server is gone, or what it says is no longer to be trusted. Raised by whatever uses the link then."""


class Link:
    """Messages over a connection that has proved who is at its other end. Owns it."""

    def __init__(self, connection: TlsSocket) -> None:
        self._connection = connection
        self._reader = FrameReader()
        self._send_lock = trio.Lock()
        #: when something was last heard (trio's clock)
        self.heard_at = trio.current_time()

    async def send(self, *messages: Message) -> None:
        """Send these messages together, after those of any earlier call.

        Raises:
            LinkLost: the server is gone.
        """
        await self.send_frames(b"".join([frame_of(m) for m in messages]))

    def close(self) -> None:
        """Close the connection, at once."""
        self._connection.close()

    async def send_frames(self, frames: bytes | bytearray) -> None:
        """Send whole frames. Takes as long as the network does: that is the back-pressure."""
        try:
            async with self._send_lock:
                await self._connection.send(frames)
        except _GONE as exc:
            raise LinkLost("the server closed the connection") from exc

    async def receive(self) -> Message:
        """The next message.

        Raises:
            LinkLost: the server is gone, or sent what is not in the grammar.
        """
        try:
            while (item := self._reader.next_item()) is None:
                data = await self._connection.receive(_RECEIVE_BYTES)
                if not data:
                    raise LinkLost("the server closed the connection")
                self.heard_at = trio.current_time()
                self._reader.feed(data)
            return TO_EXECUTOR.unpack(item)
        except _GONE as exc:
            raise LinkLost("the connection broke") from exc
        except ProtocolError as exc:
            raise LinkLost(f"the server sent garbage: {exc}") from exc


def frame_of(message: Message) -> bytes:
    """One message of ours as a frame."""
    return encode_frame(FROM_EXECUTOR.pack(message))


def tls_context(certificate: str) -> ssl.SSLContext:
    """A client's context that trusts this one certificate (PEM) and no other.

    Raises:
        ServerUnavailable: it is no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # the certificate itself is pinned; hosts have many names
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(cadata=certificate)
    except (ssl.SSLError, ValueError) as exc:
        raise ServerUnavailable(f"the session's certificate can't be used: {exc}") from None
    return context


async def connect(session: Session, executor_id: str) -> Link:
    """A link to the session's server, at the first of its addresses that answers; each side has proved itself.

    Each address has a second's start on the next, as one that drops what it gets would else cost all of its time.

    Raises:
        ServerUnavailable: none does; the text has the reason for each address.
    """
    attempts = [_Attempt(f"{host}:{port}", host, port) for host, port in session.addresses]
    context = tls_context(session.certificate)
    links: list[Link] = []
    one_by_one = trio.Lock()  # the server is to see one proof only

    async def attempt(own: _Attempt, scope: trio.CancelScope) -> None:
        try:
            links.append(await own.run(session, context, executor_id, one_by_one))
            scope.cancel()
        except ServerUnavailable as exc:
            own.reason = str(exc)
        finally:
            own.over.set()

    async with trio.open_nursery() as nursery:
        for own in attempts:
            nursery.start_soon(attempt, own, nursery.cancel_scope)
            with trio.move_on_after(HEAD_START_S):
                await own.over.wait()
    if links:
        return links[0]
    raise ServerUnavailable(
        "no server: " + "; ".join([own.reason for own in attempts] or ["the session names no address"])
    )


@dataclass(slots=True)
class _Attempt:
    """At one address."""

    name: str
    host: str
    port: int
    #: why it failed
    reason: str = ""
    over: trio.Event = field(default_factory=trio.Event)

    async def run(self, session: Session, context: ssl.SSLContext, executor_id: str, one_by_one: trio.Lock) -> Link:
        """The link.

        Raises:
            ServerUnavailable: there is nobody, or somebody else.
        """
        try:
            with trio.fail_after(CONNECT_TIMEOUT_S):
                tcp = await trio.open_tcp_stream(self.host, self.port)
        except (OSError, trio.TooSlowError) as exc:
            raise ServerUnavailable(f"{self.name}: {_cause(exc) or 'no answer'}") from None
        connection = TlsSocket(_plain_socket(tcp), context, server_side=False)
        proved = False
        try:
            await trio.aclose_forcefully(tcp)
            async with one_by_one:
                with trio.fail_after(HANDSHAKE_TIMEOUT_S):
                    await _shake_hands(connection, session, executor_id)
            proved = True
        except (*_GONE, ProtocolError, VersionMismatch, ServerUnavailable, trio.TooSlowError) as exc:
            raise ServerUnavailable(f"{self.name}: handshake: {exc.__cause__ or exc or 'no answer'}") from None
        finally:
            if not proved:
                connection.close()
        return Link(connection)


def _cause(exc: BaseException) -> str:
    """The system's words: trio wraps the error of each address that a name stands for."""
    inner = exc.__cause__ or exc
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    # A name that can't be resolved has numbers of its own.
    if isinstance(inner, OSError) and not isinstance(inner, socket.gaierror) and inner.errno:
        return os.strerror(inner.errno)
    return str(inner)


def _plain_socket(tcp: trio.SocketStream) -> socket.socket:
    """Another descriptor of its socket, without trio's wrappers."""
    return socket.socket(fileno=os.dup(tcp.socket.fileno()))


async def _shake_hands(connection: TlsSocket, session: Session, executor_id: str) -> None:
    await connection.shake_hands()
    # A certificate that the pinned one has signed would pass the check so far.
    if connection.peer_certificate() != ssl.PEM_cert_to_DER_cert(session.certificate):
        raise ServerUnavailable("its certificate is not the session's")
    nonce = read_challenge(await connection.receive_exactly(CHALLENGE_BYTES))
    await connection.send(proof(session.secret, nonce, executor_id.encode()))
