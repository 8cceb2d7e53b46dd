"""Work in a thread, where there can be one; and a thread's own umask."""

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


async def run_in_thread(function: Callable[[*Ts], T], *arguments: *Ts, abandon_on_cancel: bool = False) -> T:
    """``function(*arguments)`` in a thread, so that others go on meanwhile.

    Where no thread can be started (the user's processes are at their limit, or there is no memory), here and now: all
    wait for it then, and it is done.
    """
    began = False

    def work() -> T:
        nonlocal began
        began = True
        _separate_umask()
        return function(*arguments)

    try:
        return await trio.to_thread.run_sync(work, abandon_on_cancel=abandon_on_cancel)
    except RuntimeError:  # "can't start new thread": threading has no kind of its own for it
        if began:
            raise
    return function(*arguments)


@contextmanager
def exact_modes() -> Iterator[None]:
    """Files that this thread makes in the block have the modes that are asked for, whatever the umask. Other threads
    are not concerned. Where the kernel refuses that (a container's filter) the umask counts as ever."""
    if not _separate_umask():
        yield
        return
    umask = os.umask(0)
    try:
        yield
    finally:
        os.umask(umask)


def _separate_umask() -> bool:
    """This thread shares its umask, and its working directory, with no other one from now on. unshare(2), CLONE_FS.

    Each thread of ours does so when it begins: it would share those of the one that started it, in which exact_modes
    may run.
    """
    if not hasattr(_thread, "separate"):
        _thread.separate = ctypes.CDLL(None).unshare(_CLONE_FS) == 0
    return bool(_thread.separate)
