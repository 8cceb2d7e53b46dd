"""The connection to the server: TCP, TLS 1.3, the executor's proof, then frames (docs/reference/protocol.md)."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import trio

from spraycc.errors import ProtocolError, ServerUnavailable, VersionMismatch
from spraycc.executor.file_piece import FilePiece, part_buffer
from spraycc.executor.packer import Packer
from spraycc.system.tls import TlsSocket
from spraycc.wire.executor import (
    CHALLENGE_BYTES,
    FROM_EXECUTOR,
    TO_EXECUTOR,
    FileContents,
    MadeFile,
    proof,
    read_challenge,
)
from spraycc.wire.framing import FrameReader, encode_frame
from spraycc.wire.schema import Message
from spraycc.wire.session_file import Session

#: Limits for the TCP connection to one address, and for the handshake after it.
CONNECT_TIMEOUT_S = 10.0
HANDSHAKE_TIMEOUT_S = 20.0
#: Seconds between the first attempt at an address and the first attempt at the next one.
HEAD_START_S = 1.0

_RECEIVE_BYTES = 64 * 1024
#: trio's errors if a peer is gone.
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


class LinkLost(Exception):
    """The server is gone, or has sent invalid data. All methods of the link then raise this."""


class Link:
    """Messages over a connection to a server that has proved its identity. Owns the connection."""

    def __init__(self, connection: TlsSocket) -> None:
        self._connection = connection
        self._reader = FrameReader()
        self._send_lock = trio.Lock()
        self.packer = Packer(None if connection.is_within_host else connection.tcp_info)
        #: time of the last received data (trio's clock)
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
        """Send whole frames. Waits as long as the network needs, so that the caller produces no faster."""
        async with self._sending(len(frames)):
            await self._connection.send(frames)

    def small_file(self, made: MadeFile) -> bytes:
        """The frames of a file whose contents are in its message, for :meth:`send_frames`. On a slow link the contents
        are compressed behind the message."""
        if self.packer.wants(len(made.data)) and (packed := self.packer.pack(made.data)) is not None:
            piece = FileContents(made.task, made.size_bytes, len(packed))
            return frame_of(replace(made, data=b"")) + frame_of(piece) + packed
        return frame_of(made)

    async def send_piece(self, piece: FilePiece, frames: bytes | bytearray = b"") -> None:
        """Send whole frames, and then a piece of a file: compressed if the link is slow.

        Raises:
            LinkLost: the server is gone.
            OSError: the piece can't be read. The server got zeros in its place, and the link is as good as before.
        """
        if (packed := self._packed(piece)) is not None:
            await self.send_frames(frames + frame_of(FileContents(piece.task, piece.size_bytes, len(packed))) + packed)
            return
        sent, error = 0, None
        async with self._sending(piece.size_bytes):
            await self._connection.send(frames + frame_of(FileContents(piece.task, piece.size_bytes)))
            with part_buffer() as buffer:
                while sent < piece.size_bytes:
                    try:
                        part = buffer[: piece.read(sent, buffer)]
                    except OSError as exc:
                        # The server counts on all of the announced bytes.
                        error = exc
                        part = buffer[: piece.size_bytes - sent]
                        part[:] = bytes(len(part))
                    await self._connection.send(part)
                    sent += len(part)
        if error is not None:
            raise error

    def _packed(self, piece: FilePiece) -> bytes | None:
        """The compressed piece; None if it goes plain."""
        if not self.packer.wants(piece.size_bytes):
            return None
        contents = bytearray(piece.size_bytes)
        read = 0
        try:
            while read < piece.size_bytes:
                read += piece.read(read, memoryview(contents)[read:])
        except OSError:
            return None  # without compression the same error is reported
        return self.packer.pack(contents)

    @asynccontextmanager
    async def _sending(self, size_bytes: int) -> AsyncIterator[None]:
        try:
            async with self._send_lock:
                with self.packer.measured(size_bytes):
                    yield
        except _GONE as exc:
            raise LinkLost("the server closed the connection") from exc

    async def receive(self) -> Message:
        """The next message.

        Raises:
            LinkLost: the server is gone, or sent an invalid message.
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
            raise LinkLost(f"the server sent an invalid message: {exc}") from exc


def frame_of(message: Message) -> bytes:
    """An executor's message as a frame."""
    return encode_frame(FROM_EXECUTOR.pack(message))


def tls_context(certificate: str) -> ssl.SSLContext:
    """A client's context that trusts this one certificate (PEM) and no other.

    Raises:
        ServerUnavailable: ``certificate`` is no certificate.
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
    """A link to the session's server, at the first of its addresses that answers. Each side has proved itself.

    The attempts start one second after each other, so an address that drops all packets costs one second only.

    Raises:
        ServerUnavailable: no address answers; the text has the reason for each.
    """
    attempts = [_Attempt(f"{host}:{port}", host, port) for host, port in session.addresses]
    context = tls_context(session.certificate)
    links: list[Link] = []
    one_by_one = trio.Lock()  # the server must get one proof only

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
    """An attempt to connect at one address."""

    name: str
    host: str
    port: int
    #: why the attempt failed
    reason: str = ""
    over: trio.Event = field(default_factory=trio.Event)

    async def run(self, session: Session, context: ssl.SSLContext, executor_id: str, one_by_one: trio.Lock) -> Link:
        """The link.

        Raises:
            ServerUnavailable: no answer, or another server.
        """
        try:
            with trio.fail_after(CONNECT_TIMEOUT_S):
                tcp = await trio.open_tcp_stream(self.host, self.port)
        except (OSError, trio.TooSlowError) as exc:
            raise ServerUnavailable(f"{self.name}: {_cause(exc) or 'no answer'}") from None
        plain = socket.socket(fileno=os.dup(tcp.socket.fileno()))  # without trio's wrappers
        connection = TlsSocket(plain, context, server_side=False)
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


def first_of(error: BaseException) -> BaseException:
    """The error, or the first error in it if it is a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _cause(exc: BaseException) -> str:
    """The system's error text: trio wraps the errors of all addresses of a name."""
    inner = first_of(exc.__cause__ or exc)
    # Errors of name resolution have their own numbers.
    if isinstance(inner, OSError) and not isinstance(inner, socket.gaierror) and inner.errno:
        return os.strerror(inner.errno)
    return str(inner)


async def _shake_hands(connection: TlsSocket, session: Session, executor_id: str) -> None:
    await connection.shake_hands()
    # Up to this line, a certificate signed by the pinned one would pass.
    if connection.peer_certificate() != ssl.PEM_cert_to_DER_cert(session.certificate):
        raise ServerUnavailable("its certificate is not the session's")
    nonce = read_challenge(await connection.receive_exactly(CHALLENGE_BYTES))
    await connection.send(proof(session.secret, nonce, executor_id.encode()))
