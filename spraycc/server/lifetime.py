"""The server's end: after a signal, a request or idleness, or because its socket is gone."""

from __future__ import annotations

import logging
import signal
from contextlib import suppress
from pathlib import Path

import trio

from spraycc.server.dispatcher import Dispatcher
from spraycc.system.signals import receive_signals

log = logging.getLogger(__name__)

#: A server that does not linger ends at most this many seconds after its last build.
_SOON_S = 0.1
#: The process that starts such a server connects in milliseconds, or never will (under fakeroot).
_FIRST_PEER_S = 10.0


class Lifetime:
    """Cancels the server's nursery at the end."""

    def __init__(
        self,
        nursery: trio.Nursery,
        dispatcher: Dispatcher,
        socket_path: Path,
        lingers: bool,
        for_probe: bool = False,
    ) -> None:
        self._nursery = nursery
        self._dispatcher = dispatcher
        self._socket_path = socket_path
        #: False: end with the last peer
        self._lingers = lingers and not for_probe
        self._may_linger = lingers
        #: inode of the server's socket: another inode at the path is another server's socket
        self._socket_inode = -1
        with suppress(OSError):
            self._socket_inode = socket_path.stat().st_ino
        #: connections of the Unix socket
        self.peers = 0
        #: the server ends after its last build
        self._is_stopping = False
        #: the server ends now, and opens no build
        self.is_ending = False

    @property
    def is_over(self) -> bool:
        """True if the server does not linger, and no build is open."""
        return not (self._lingers or self._dispatcher.builds.open)

    def build_opened(self, *, probe: bool) -> None:
        """A build begins. After a build of the user's own, a server that a probe has started is like any other."""
        self._lingers = self._lingers or (self._may_linger and not probe)

    def stop(self, now: bool) -> None:
        """End at once, or after the last build."""
        log.info("stopping %s", "now" if now else "after the last build")
        self._is_stopping = True
        if now or not self._dispatcher.builds.open:
            self._begin_end()

    async def watch_signals(self) -> None:
        """Stop on a signal. Ends by cancellation."""
        with receive_signals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
            async for number in received:
                log.info("%s received", signal.Signals(number).name)
                # The first SIGTERM lets open builds end; the second does not.
                self.stop(now=number != signal.SIGTERM or self._is_stopping)

    async def watch_idleness(self) -> None:
        """End the server after its last build, after idleness, or if no process can reach it."""
        fleet = self._dispatcher.fleet
        busy_at = trio.current_time()
        had_peers = False
        while True:
            limit_s = self._dispatcher.settings.idle_shutdown_s
            if not self._lingers:
                limit_s = min(limit_s, _FIRST_PEER_S)
            await trio.sleep(min(1.0 if self._lingers else _SOON_S, max(0.05, limit_s / 4)))
            now = trio.current_time()
            had_peers = had_peers or bool(self.peers)
            if had_peers and not self.peers and self.is_over:
                log.info("the last build has ended")
                self.stop(now=True)
                return
            if self.peers or fleet.links or fleet.has_processes:
                busy_at = now
            if self._is_stopping and not self._dispatcher.builds.open:
                self._begin_end()
                return
            if not self.peers and not self._is_reachable():
                log.warning("the socket %s is no longer ours; ending", self._socket_path)
                self.stop(now=True)
                return
            if now - busy_at >= limit_s:
                log.info("idle for %.1f s", limit_s)
                self.stop(now=True)
                return

    @property
    def is_displaced(self) -> bool:
        """True if another server's socket is at the path: the directory was removed, and made again by that server."""
        return self._socket_path.exists() and not self._is_reachable()

    def _is_reachable(self) -> bool:
        try:
            return self._socket_path.stat().st_ino == self._socket_inode
        except OSError:
            return False

    def _begin_end(self) -> None:
        if not self.is_ending:
            self.is_ending = True
            self._nursery.start_soon(self._end)

    async def _end(self) -> None:
        await self._dispatcher.fleet.close()
        self._nursery.cancel_scope.cancel()
