"""The Unix socket: accepts connections, and tells runners from command lines."""

from __future__ import annotations

import errno
import logging
import os
import socket

import trio

from spraycc.errors import ProtocolError
from spraycc.server.dispatcher import Dispatcher
from spraycc.server.frontend.command_line import Control, GetStatus
from spraycc.server.frontend.decide import Decider
from spraycc.server.frontend.runner import refuse_version, serve_runner
from spraycc.server.host.unix_connection import Peer
from spraycc.server.lifetime import Lifetime
from spraycc.wire.runner import FROM_SERVER, RUNNER_PROTOCOL, TO_SERVER, Hello, Refused, RunTask

log = logging.getLogger(__name__)

#: If no descriptor is left for a connection, the server tries again after this time, or when a connection has ended.
SHORT_S = 0.1
#: A peer has this time to send its first message.
FIRST_FRAME_S = 30.0
#: Errors of accept(2) for a shortage, or for a peer that has gone. Other errors end the server.
_RETRIED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ECONNABORTED)


class Frontend:
    """Serves all peers of the Unix socket."""

    def __init__(
        self,
        nursery: trio.Nursery,
        dispatcher: Dispatcher,
        lifetime: Lifetime,
        decider: Decider,
        status: GetStatus,
    ) -> None:
        self._nursery = nursery
        self._dispatcher = dispatcher
        self._lifetime = lifetime
        self._decider = decider
        self._status = status
        #: ``accept`` waits in it for the end of a connection
        self._peer_left = trio.lowlevel.ParkingLot()

    async def accept(self, listener: socket.socket) -> None:
        """Accept connections. Ends by cancellation.

        Raises:
            OSError: accept failed for another reason than a shortage.
        """
        is_short = False
        while True:
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                is_short = False
                await trio.lowlevel.wait_readable(listener)
                continue
            except OSError as exc:
                if exc.errno not in _RETRIED:
                    raise
                if not is_short:
                    log.warning("accept: %s; runners wait", exc)
                is_short = True
                self._dispatcher.builds.make_room()
                with trio.move_on_after(SHORT_S):
                    await self._peer_left.park()
                continue
            self._nursery.start_soon(self._serve, sock)

    async def _serve(self, sock: socket.socket) -> None:
        try:
            peer = Peer(sock)
        except OSError as exc:  # the peer has gone already
            log.info("a connection that broke at once: %s", exc)
            sock.close()
            return
        self._lifetime.peers += 1
        try:
            if peer.uid != os.geteuid():
                log.warning("process %d of user %d refused", peer.pid, peer.uid)
            else:
                await self._serve_peer(peer)
        except ProtocolError as exc:
            log.warning("process %d: %s", peer.pid, exc)
            peer.send_now(FROM_SERVER.pack(Refused(str(exc))))
        except Exception:
            # A fault of the server: only this connection is lost. Its runner executes the command.
            log.exception("process %d: serving it failed", peer.pid)
        finally:
            self._lifetime.peers -= 1
            peer.close()
            self._peer_left.unpark_all()

    async def _serve_peer(self, peer: Peer) -> None:
        item = None
        with trio.move_on_after(FIRST_FRAME_S):
            item = await peer.receive()
        if item is None:
            return
        if isinstance(item, list) and item[:1] == ["task"] and item[1:2] != [RUNNER_PROTOCOL]:
            refuse_version(self._dispatcher.builds, peer, item)
            await peer.wait_closed()
            return
        message = TO_SERVER.unpack(item)
        if isinstance(message, RunTask):
            await serve_runner(self._dispatcher, self._decider, peer, message)
        elif isinstance(message, Hello):
            if self._lifetime.is_ending:
                return  # a command line with a build then waits for the server's end, and starts the next server
            await Control(self._dispatcher, self._lifetime, peer, self._status).serve(message)
        else:
            raise ProtocolError(f"a connection does not begin with {message.TAG!r}")
