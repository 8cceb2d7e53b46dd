"""An audit hook that fails a test which does more than its folder allows.

The events are CPython's (``sys.addaudithook``, table of audit events, 3.11). A hook can't be removed, so it looks at
``_forbidden``, which is empty while no test runs that is bounded. Python before 3.13 has no event for ``time.sleep``, so
that function is replaced meanwhile.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Collection, Iterator
from typing import Any, NoReturn

PROCESSES = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system"})
#: addresses that others may be at; a socket pair is none
NETWORK = frozenset({"socket.bind", "socket.connect", "socket.getaddrinfo"})
SOCKETS = frozenset({"socket.__new__"})
_forbidden: Collection[str] = ()


class NotAllowedHereError(AssertionError):
    """The test does what tests of its folder may not; tests/README.md says which folder is for it."""


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _forbidden:
        raise NotAllowedHereError(f"{event}{arguments!r:.200}: see tests/README.md for the folder of such a test")


def _no_sleep(seconds: float) -> NoReturn:
    raise NotAllowedHereError(f"time.sleep({seconds}): see tests/README.md for the folder of such a test")


sys.addaudithook(_look)


@contextlib.contextmanager
def forbidden(events: Collection[str]) -> Iterator[None]:
    """None of these audit events may happen in this process, and nothing may sleep by ``time.sleep``."""
    global _forbidden
    before, _forbidden = _forbidden, events
    sleep = time.sleep
    setattr(time, "sleep", _no_sleep)  # noqa: B010 - mypy takes no function that never returns
    try:
        yield
    finally:
        _forbidden = before
        time.sleep = sleep
