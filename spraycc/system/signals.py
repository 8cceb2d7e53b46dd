"""Signals that ask a process to end."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator, Iterator

import trio


@contextlib.contextmanager
def receive_signals(*numbers: signal.Signals) -> Iterator[AsyncIterator[int]]:
    """Signals as they come, and from the end of the context on nothing: they are ignored then.

    For a process that ends with it. Cluster managers send several signals, one after the other, and the second one must
    not cut short what is cleared away because of the first.
    """
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)  # what trio puts back at the end
    with trio.open_signal_receiver(*numbers) as received:
        yield received
