"""Continues, and the second time ends, a server that somebody has stopped (SIGSTOP) and forgotten.

The runners must not give up a stopped server and compile by themselves. A server that continues later could write old
results over theirs. So the build sends SIGCONT to a server that was stopped for too long, and SIGKILL the second time.
The kill closes the runners' connections, and they can compile safely. A debugger's process is traced, not stopped.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

from spraycc.notices import ending

#: Patience, in multiples of ``lost_after_s``: the executors have left by then.
PATIENCE = 1.5
#: Checks during the patience.
_CHECKS = 4


class SuspendedServerCheck:
    """Checks the server of one build. Owns a descriptor; :meth:`close` closes it."""

    def __init__(
        self,
        pid: int,
        lost_after_s: float,
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            pid: the server's. A server in another pid namespace is never checked.
            lost_after_s: seconds of silence after which executors leave a server.
            tell: shows a line to the user.
            clock: seconds.
        """
        self._pid = pid
        self._patience_s = PATIENCE * lost_after_s
        self._tell = tell
        self._clock = clock
        self._checked_at = clock()
        self._stopped_since: float | None = None
        self._continued = False
        self._pidfd = -1
        with contextlib.suppress(OSError):
            self._pidfd = os.pidfd_open(pid)

    @property
    def check_interval_s(self) -> float | None:
        """Seconds between two calls of :meth:`check`; None: no calls are needed."""
        return self._patience_s / _CHECKS if self._pidfd >= 0 else None

    def check(self) -> None:
        """Check the server once, and continue or end it if it was stopped for too long."""
        now = self._clock()
        gap_s, self._checked_at = now - self._checked_at, now
        # After such a gap this process was stopped too, and does not know how long the server was stopped.
        if gap_s > self._patience_s / 2 or not self._is_stopped():
            self._stopped_since = None
        elif self._stopped_since is None:
            self._stopped_since = now
        elif now - self._stopped_since >= self._patience_s:
            self._stopped_since = None
            self._act()

    def close(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def _is_stopped(self) -> bool:
        if self._pidfd < 0:
            return False
        try:
            with open(f"/proc/{self._pid}/stat", "rb") as file:
                return file.read(4096).rpartition(b") ")[2][:1] == b"T"
        except OSError:
            return False

    def _act(self) -> None:
        with contextlib.suppress(OSError):
            if not self._continued:
                self._continued = True
                signal.pidfd_send_signal(self._pidfd, signal.SIGCONT)
                self._tell(ending.SERVER_CONTINUED.text(pid=self._pid, seconds=self._patience_s))
            else:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
                self._tell(ending.SERVER_KILLED.text(pid=self._pid, seconds=self._patience_s))
