"""Restarts a coroutine of the server after a bug, so that the bug does not end all builds.

Expected failures are caught where they arise. Any other exception is a bug: it is logged with its traceback, and the
coroutine is restarted. A coroutine that fails again and again ends the server. Its builds then continue on the submit
host, which is better than waiting for a result that never comes.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

log = logging.getLogger(__name__)

#: Seconds between a fault and the restart.
PAUSE_S = 1.0
#: After this many faults in a row, each less than FORGET_S after the restart, the last one is raised.
MOST_FAULTS = 10
FORGET_S = 60.0


async def keep_going(what: str, function: Callable[[], Awaitable[None]]) -> None:
    """Run ``function``, and restart it whenever it raises. Returns when ``function`` returns.

    Raises:
        Exception: the last of ``MOST_FAULTS`` faults.
    """
    faults = 0
    while True:
        began = trio.current_time()
        try:
            await function()
            return
        except Exception:
            faults = faults + 1 if trio.current_time() < began + FORGET_S else 1
            if faults >= MOST_FAULTS:
                raise
            log.exception("%s: a fault, it is restarted", what)
        await trio.sleep(PAUSE_S)
