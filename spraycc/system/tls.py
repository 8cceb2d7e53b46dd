"""TLS over a non-blocking socket, without a stream's layers in between.

OpenSSL reads and writes the socket itself. With an in-memory stream each record of 16 KiB costs two more copies and a
pass through the event loop, and each connection keeps the largest burst that it ever had.
"""

from __future__ import annotations

import socket
import ssl

import trio

from spraycc.errors import ProtocolError

#: What is decrypted in one go goes through one buffer, which all connections of this thread share.
_BURST_BYTES = 256 * 1024
_burst = bytearray(_BURST_BYTES)
_burst_view = memoryview(_burst)


class TlsSocket:
    """One end of a connection. Owns the socket; :meth:`close` closes it without a farewell.

    One coroutine may receive while another one flushes. What fails raises trio.BrokenResourceError, with the cause.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, server_side: bool) -> None:
        """Takes over a connected socket. The handshake is still to come."""
        sock.setblocking(False)
        self._sock = context.wrap_socket(sock, server_side=server_side, do_handshake_on_connect=False)
        self._unsent: bytes | bytearray = b""
        #: received since the event loop last had its turn
        self._in_a_row = 0
        #: there was no more to receive at the last look
        self._drained = False

    async def shake_hands(self) -> None:
        """Do the handshake, which says who is at the other end and nothing about what it may do."""
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
        """What has come, up to ``most`` bytes; nothing at the end. Holds only until anything else awaits: copy it."""
        if self._in_a_row >= _BURST_BYTES:  # one that never pauses is not the only one
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
            except ssl.SSLWantWriteError:  # an answer to a change of keys, which the peer has to take first
                if not size:
                    await trio.lowlevel.wait_writable(self._sock)
                    continue
            except (OSError, ValueError) as exc:
                if not size:
                    raise trio.BrokenResourceError from exc
            self._in_a_row += size
            return _burst_view[:size]

    async def receive_exactly(self, size: int) -> bytes:
        """So many bytes.

        Raises:
            ProtocolError: the connection ended before.
        """
        data = b""
        while len(data) < size:
            more = await self.receive(size - len(data))
            if not more:
                raise ProtocolError("the connection was closed in the middle of the handshake")
            data += more
        return data

    def peer_certificate(self) -> bytes | None:
        """The other end's certificate (DER), if it has shown one."""
        return self._sock.getpeercert(binary_form=True)

    @property
    def is_behind(self) -> bool:
        """Something is still to be sent."""
        return bool(self._unsent)

    def send_now(self, data: bytes | bytearray) -> None:
        """Send without waiting; what does not fit goes with :meth:`flush`."""
        self._unsent = self._unsent + data if self._unsent else data
        self._push()

    async def send(self, data: bytes | bytearray) -> None:
        """Send all of it, waiting as long as the peer takes to read. One coroutine at a time."""
        self.send_now(data)
        await self.flush()

    async def flush(self) -> None:
        """Send what :meth:`send_now` could not, waiting as long as the peer takes to read."""
        while self._unsent:
            if self._sock.fileno() < 0:  # closed before it was our turn
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
        """Close the socket; whoever waits for it is woken with trio.ClosedResourceError."""
        trio.lowlevel.notify_closing(self._sock)
        self._sock.close()
