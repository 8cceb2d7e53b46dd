"""An audit hook that fails a test which does more than its folder allows.

The events are CPython's (``sys.addaudithook``, table of audit events, 3.11). A hook can't be removed, so it looks at
``_forbidden``, which is empty while no test runs that is bounded.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection, Iterator
from typing import Any

PROCESSES = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system"})
#: addresses that others may be at; a socket pair is none
NETWORK = frozenset({"socket.bind", "socket.connect", "socket.getaddrinfo"})
SOCKETS = frozenset({"socket.__new__"})
WAITING = frozenset({"time.sleep"})

_forbidden: Collection[str] = ()


class NotAllowedHereError(AssertionError):
    """The test does what tests of its folder may not; tests/README.md says which folder is for it."""


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _forbidden:
        raise NotAllowedHereError(f"{event}{arguments!r:.200}: see tests/README.md for the folder of such a test")


sys.addaudithook(_look)


@contextlib.contextmanager
def forbidden(events: Collection[str]) -> Iterator[None]:
    """None of these audit events may happen in this process."""
    global _forbidden
    before, _forbidden = _forbidden, events
    try:
        yield
    finally:
        _forbidden = before
