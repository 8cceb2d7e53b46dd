"""Signals that ask a process to end."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator, Iterator

import trio


@contextlib.contextmanager
def receive_signals(*numbers: signal.Signals) -> Iterator[AsyncIterator[int]]:
    """Signals as they arrive. After the end of the context they are ignored.

    For a process that ends after the context. Cluster managers send several signals in turn, and the second one must
    not interrupt the cleanup that the first one started.
    """
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)  # trio restores this at the end
    with trio.open_signal_receiver(*numbers) as received:
        yield received
