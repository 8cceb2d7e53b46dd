"""TLS over a non-blocking socket, without the layers of trio's streams.

OpenSSL reads and writes the socket itself. With buffers in memory, as in trio.SSLStream, each record of 16 KiB costs
two more copies and a pass through the event loop, and each connection keeps the memory of its largest burst.
"""

from __future__ import annotations

import socket
import ssl

import trio

from spraycc.errors import ProtocolError

#: Size of the buffer for decrypted data, which all connections of this thread share.
_BURST_BYTES = 256 * 1024
_burst = bytearray(_BURST_BYTES)
_burst_view = memoryview(_burst)


class TlsSocket:
    """One end of a connection. Owns the socket, which :meth:`close` closes without TLS's closing message.

    One coroutine may receive while another one flushes. Failures raise trio.BrokenResourceError with the cause.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, server_side: bool) -> None:
        """Take over a connected socket. :meth:`shake_hands` must follow."""
        sock.setblocking(False)
        self._sock = context.wrap_socket(sock, server_side=server_side, do_handshake_on_connect=False)
        self._unsent: bytes | bytearray = b""
        #: bytes received since the event loop last had its turn
        self._in_a_row = 0
        #: True if the last receive found no more data
        self._drained = False

    async def shake_hands(self) -> None:
        """Do the handshake, which identifies the peer but grants no rights."""
        while True:
            try:
                self._sock.do_handshake()
                return
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(self._sock)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(self._sock)
            except (OSError, ValueError) as exc:
                raise trio.BrokenResourceError from exc

    async def receive(self, most: int = _BURST_BYTES) -> memoryview:
        """Received data, up to ``most`` bytes; empty at the end. Valid until any coroutine awaits: copy it."""
        if self._in_a_row >= _BURST_BYTES:  # let other coroutines run
            self._in_a_row = 0
            await trio.lowlevel.checkpoint()
        most = min(most, _BURST_BYTES)
        while True:
            if self._drained:
                self._drained = False
                self._in_a_row = 0
                await trio.lowlevel.wait_readable(self._sock)
            size = 0
            try:
                while size < most:
                    got = self._sock.recv_into(_burst_view[size:most])
                    if not got:
                        break
                    size += got
            except ssl.SSLWantReadError:
                self._drained = True
                if not size:
                    continue
            except ssl.SSLWantWriteError:  # a reply to a change of keys, which the peer must read first
                if not size:
                    await trio.lowlevel.wait_writable(self._sock)
                    continue
            except (OSError, ValueError) as exc:
                if not size:
                    raise trio.BrokenResourceError from exc
            self._in_a_row += size
            return _burst_view[:size]

    async def receive_exactly(self, size: int) -> bytes:
        """Receive this many bytes.

        Raises:
            ProtocolError: the connection ended before that.
        """
        data = b""
        while len(data) < size:
            more = await self.receive(size - len(data))
            if not more:
                raise ProtocolError("the connection was closed in the middle of the handshake")
            data += more
        return data

    def peer_certificate(self) -> bytes | None:
        """The peer's certificate (DER), or None if the peer has shown none."""
        return self._sock.getpeercert(binary_form=True)

    @property
    def is_behind(self) -> bool:
        """True if data is still unsent."""
        return bool(self._unsent)

    def send_now(self, data: bytes | bytearray) -> None:
        """Send without waiting; :meth:`flush` sends the rest."""
        self._unsent = self._unsent + data if self._unsent else data
        self._push()

    async def send(self, data: bytes | bytearray) -> None:
        """Send all data, as fast as the peer reads. One coroutine at a time."""
        self.send_now(data)
        await self.flush()

    async def flush(self) -> None:
        """Send the unsent rest, as fast as the peer reads."""
        while self._unsent:
            if self._sock.fileno() < 0:  # closed meanwhile
                raise trio.ClosedResourceError
            await trio.lowlevel.wait_writable(self._sock)
            self._push()

    def _push(self) -> None:
        rest = memoryview(self._unsent)  # OpenSSL takes a record of 16 KiB at a time
        try:
            while rest:
                rest = rest[self._sock.send(rest) :]
            self._unsent = b""
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            self._unsent = bytes(rest)
        except (OSError, ValueError) as exc:
            self._unsent = b""
            raise trio.BrokenResourceError from exc

    def close(self) -> None:
        """Close the socket; waiting coroutines get trio.ClosedResourceError."""
        trio.lowlevel.notify_closing(self._sock)
        self._sock.close()
