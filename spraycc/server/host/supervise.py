"""What a fault of ours may cost: the one whom it concerns, and not the server with everybody's builds.

Expected failures are caught where they arise. This is for all others, which are bugs: they are logged whole, and what
was at it begins anew. Something that fails again and again ends the server all the same: its builds then go on here,
which is better than to wait for what never comes.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

log = logging.getLogger(__name__)

#: Between a fault and the next beginning.
PAUSE_S = 1.0
#: After so many faults with less than FORGET_S from one to the next it is given up.
MOST_FAULTS = 10
FORGET_S = 60.0


async def keep_going(what: str, function: Callable[[], Awaitable[None]]) -> None:
    """Run ``function``, which begins anew wherever a fault has ended it. Returns when it returns.

    Raises:
        Exception: the last fault of many.
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
            log.exception("%s: a fault, it begins anew", what)
        await trio.sleep(PAUSE_S)
