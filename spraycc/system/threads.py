"""Runs work in a thread if one can be started, and gives a thread its own umask."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple

import trio

#: <linux/sched.h>
_CLONE_FS = 0x200
_thread = threading.local()

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def run_in_thread(
    function: Callable[[*Ts], T],
    *arguments: *Ts,
    abandon_on_cancel: bool = False,
    limiter: trio.CapacityLimiter | None = None,
) -> T:
    """``function(*arguments)`` in a thread, so that other coroutines continue meanwhile.

    If no thread can be started (the limit of the user's processes, or no memory), the function runs in this thread, and
    all coroutines wait for its end.

    Args:
        function: called in the thread.
        arguments: its arguments.
        abandon_on_cancel: a cancelled caller does not wait for the thread.
        limiter: bounds the number of threads; None: trio's own for all threads.
    """
    began = False

    def work() -> T:
        nonlocal began
        began = True
        _separate_umask()
        return function(*arguments)

    try:
        return await trio.to_thread.run_sync(work, abandon_on_cancel=abandon_on_cancel, limiter=limiter)
    except RuntimeError:  # "can't start new thread": threading has no class of its own for this
        if began:
            raise
    return function(*arguments)


@contextmanager
def exact_modes() -> Iterator[None]:
    """Files that this thread makes in the block get exactly the requested modes, whatever the umask.

    Other threads are not affected. If the kernel refuses (a container's filter), the umask applies as usual.
    """
    if not _separate_umask():
        yield
        return
    umask = os.umask(0)
    try:
        yield
    finally:
        os.umask(umask)


def _separate_umask() -> bool:
    """Stop sharing umask and working directory with other threads: unshare(2), CLONE_FS. True on success.

    Each of our threads does this at its start. Otherwise it would share the umask of the thread that started it, which
    may be in exact_modes.
    """
    if not hasattr(_thread, "separate"):
        _thread.separate = ctypes.CDLL(None).unshare(_CLONE_FS) == 0
    return bool(_thread.separate)
