"""Messages to and from one executor, over its connection."""

from __future__ import annotations

from collections.abc import Callable

import trio

from spraycc.server.fleet import contents
from spraycc.server.host.offload import Disk
from spraycc.system.tls import TlsSocket
from spraycc.wire import executor as wire
from spraycc.wire.framing import FrameReader, encode_frame
from spraycc.wire.schema import Message

#: Received beyond the frame that is due: a record of TLS. Contents behind the frame are then mostly in the socket.
_AHEAD_BYTES = 16 * 1024
#: The largest record of TLS with its header and tag.
_RECORD_BYTES = 17 * 1024


class Channel:
    """One coroutine receives, another runs :meth:`flush`, and any coroutine sends. The caller closes the connection."""

    def __init__(self, connection: TlsSocket) -> None:
        self._connection = connection
        self._reader = FrameReader()
        #: a message that was received after contents; :meth:`receive` returns it next
        self._ahead: Message | None = None
        #: The last contents came slowly: the event loop receives the next ones as they come.
        self._trickles = False
        #: set when some bytes could not be sent at once
        self._behind = trio.Event()
        self._last_heard = self._last_sent = trio.current_time()
        #: The server handles a message and reads nothing meanwhile: the executor's silence is the server's own.
        self.is_handling = False

    def send_now(self, message: Message) -> None:
        """Send without waiting. The rest of a full socket goes with :meth:`flush`.

        Raises:
            trio.BrokenResourceError: the connection is broken.
        """
        self._last_sent = trio.current_time()
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

        Contents follow a FileContents: call :meth:`receive_contents` next.

        Raises:
            ProtocolError, trio.BrokenResourceError
        """
        while (message := self._next_message()) is None:
            data = await self._connection.receive(self._reader.missing_bytes + _AHEAD_BYTES)
            self.hear()
            if not data:
                return None
            self._reader.feed(data)
        return message

    def _next_message(self) -> Message | None:
        message, self._ahead = self._ahead, None
        if message is not None:
            return message
        item = self._reader.next_item()
        return None if item is None else wire.FROM_EXECUTOR.unpack(item)

    async def receive_contents(
        self, first: wire.FileContents, open_piece: Callable[[wire.FileContents], contents.Piece], disk: Disk
    ) -> None:
        """Receive the contents behind ``first``, and those of the pieces that follow directly.

        Args:
            first: the message that :meth:`receive` has returned.
            open_piece: makes a piece of a message that announces one. A thread may call this.
            disk: where the contents go.

        Raises:
            ProtocolError, trio.BrokenResourceError
        """
        receiver = contents.Receiver(self, open_piece, first)
        disk.receiving += 1
        try:
            await self._receive(receiver, disk, contents.is_for_thread(first.size_bytes, disk.receiving))
        finally:
            disk.receiving -= 1

    async def _receive(self, receiver: contents.Receiver, disk: Disk, is_large: bool) -> None:
        while not receiver.is_done:
            if is_large and self._trickles:
                self._trickles = self._connection.queued_bytes < contents.QUEUED_BYTES
            self.is_handling = True
            try:
                if receiver.wants_thread:
                    size = await disk.do_in_few_threads(receiver.finish_piece)
                elif is_large and not self._trickles:
                    size = await disk.do_in_few_threads(receiver.take_turn_of_a_thread)
                else:
                    size = await disk.do("write", receiver.take_turn_of_the_loop)
            finally:
                self.is_handling = False
            if size:
                self.hear()
            if not receiver.is_done and not receiver.wants_thread:
                self._trickles = self._connection.is_drained
                # OpenSSL may hold the beginning of a record, which comes from the network no more.
                missing = max(1, min(receiver.left_bytes - _RECORD_BYTES, contents.QUEUED_BYTES))
                await self._connection.wait_for_bytes(missing, contents.PAUSE_S)

    def hear(self) -> None:
        """Restart the measurement of the executor's silence."""
        self._last_heard = trio.current_time()

    @property
    def silent_s(self) -> float:
        """Seconds since the executor's last bytes, or since the server was ready to read them."""
        return trio.current_time() - self._last_heard

    @property
    def unheard_s(self) -> float:
        """Seconds since the server's last message."""
        return trio.current_time() - self._last_sent

    # -- contents.Source

    def take_raw(self, most: int) -> bytes:
        """Raw bytes that were received together with a frame."""
        return self._reader.take_raw(most)

    def receive_now(self, into: memoryview) -> int:
        """Receive bytes that are there; 0 without any."""
        return self._connection.receive_now(into)

    def has_bytes_within(self, count: int, seconds: float) -> bool:
        """Wait for this many bytes, in a thread; True also if the connection has ended."""
        return self._connection.has_bytes_within(count, seconds)

    def next_contents(self) -> wire.FileContents | None:
        """The next message if it is here and is FileContents; another message waits for :meth:`receive`."""
        message = self._next_message()
        if isinstance(message, wire.FileContents):
            return message
        self._ahead = message
        return None

    @property
    def missing_bytes(self) -> int:
        """The next message lacks at least this many bytes; 0: another message is here."""
        return 0 if self._ahead is not None else self._reader.missing_bytes

    def feed(self, data: memoryview) -> None:
        """Take bytes of frames."""
        self._reader.feed(data)
