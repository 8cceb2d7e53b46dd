"""Work in a thread, where there can be one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import trio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def run_in_thread(function: Callable[[*Ts], T], *arguments: *Ts, abandon_on_cancel: bool = False) -> T:
    """``function(*arguments)`` in a thread, so that others go on meanwhile.

    Where no thread can be started (the user's processes are at their limit, or there is no memory), here and now: all
    wait for it then, and it is done.
    """
    began = False

    def work() -> T:
        nonlocal began
        began = True
        return function(*arguments)

    try:
        return await trio.to_thread.run_sync(work, abandon_on_cancel=abandon_on_cancel)
    except RuntimeError:  # "can't start new thread": threading has no kind of its own for it
        if began:
            raise
    return function(*arguments)
