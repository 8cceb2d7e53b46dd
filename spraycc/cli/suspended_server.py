"""What a build does about a server that somebody has stopped (SIGSTOP) and forgotten.

Its runners can't help themselves: a server that goes on later may still write what came back, over what they have made
meanwhile. So it is made to go on, and one that is stopped once more is ended; after that, its runners' connections are
closed and nobody writes but they. Whoever looks for a fault with a debugger has it traced and not stopped.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

#: Of the time for which executors bear silence: they are gone by then.
PATIENCE = 1.5
#: How often it is looked, in parts of that time.
_LOOKS = 4


class StoppedServer:
    """Looks after the server of a build. Owns a descriptor; :meth:`close` closes it."""

    def __init__(
        self,
        pid: int,
        lost_after_s: float,
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            pid: the server's; one that can't be seen from here (another pid namespace) is left alone.
            lost_after_s: executors give a silent server up after so long.
            tell: shows the user a line.
            clock: seconds.
        """
        self._pid = pid
        self._patience_s = PATIENCE * lost_after_s
        self._tell = tell
        self._clock = clock
        self._looked_at = clock()
        self._stopped_since: float | None = None
        self._continued = False
        self._pidfd = -1
        with contextlib.suppress(OSError):
            self._pidfd = os.pidfd_open(pid)

    @property
    def look_every_s(self) -> float | None:
        """How often :meth:`look` should be called; None: it has nothing to look at."""
        return self._patience_s / _LOOKS if self._pidfd >= 0 else None

    def look(self) -> None:
        """See how it is, and do what must be done."""
        now = self._clock()
        gap_s, self._looked_at = now - self._looked_at, now
        # Who did not look for so long was stopped too, and knows nothing of the time between.
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
        what = f"the server (process {self._pid}) was stopped for {self._patience_s:.0f} s"
        with contextlib.suppress(OSError):
            if not self._continued:
                self._continued = True
                signal.pidfd_send_signal(self._pidfd, signal.SIGCONT)
                self._tell(f"{what} and is made to go on")
            else:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
                self._tell(f"{what} once more and is ended")
