"""Messages to and from one executor, over its connection."""

from __future__ import annotations

import trio

from spraycc.system.tls import TlsSocket
from spraycc.wire import executor as wire
from spraycc.wire.framing import FrameReader, encode_frame
from spraycc.wire.schema import Message


class Channel:
    """One coroutine receives, another runs :meth:`flush`, and any coroutine sends. The caller closes the connection."""

    def __init__(self, connection: TlsSocket) -> None:
        self._connection = connection
        self._reader = FrameReader()
        #: set when some bytes could not be sent at once
        self._behind = trio.Event()
        self._last_heard = trio.current_time()
        #: The server handles a message and reads nothing meanwhile: the executor's silence is the server's own.
        self.is_handling = False

    def send_now(self, message: Message) -> None:
        """Send without waiting. The rest of a full socket goes with :meth:`flush`.

        Raises:
            trio.BrokenResourceError: the connection is broken.
        """
        self._connection.send_now(encode_frame(wire.TO_EXECUTOR.pack(message)))
        if self._connection.is_behind:
            self._behind.set()

    async def flush(self) -> None:
        """Send the bytes that could not be sent at once. Ends by cancellation."""
        while True:
            await self._behind.wait()
            self._behind = trio.Event()
            await self._connection.flush()

    async def receive(self) -> Message | None:
        """The next message; None at the end of the connection.

        Raises:
            ProtocolError, trio.BrokenResourceError
        """
        while (item := self._reader.next_item()) is None:
            data = await self._connection.receive()
            self.hear()
            if not data:
                return None
            self._reader.feed(data)
        return wire.FROM_EXECUTOR.unpack(item)

    def hear(self) -> None:
        """Restart the measurement of the executor's silence."""
        self._last_heard = trio.current_time()

    @property
    def silent_s(self) -> float:
        """Seconds since the executor's last bytes, or since the server was ready to read them."""
        return trio.current_time() - self._last_heard
