"""An audit hook that fails a test which does more than its folder allows.

The events are CPython's (``sys.addaudithook``, table of audit events, 3.11). A hook can't be removed, so it reads
``_forbidden``, which is empty while no restricted test runs. Python before 3.13 has no event for ``time.sleep``, so
``forbidden`` replaces that function.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Collection, Iterator
from typing import Any, NoReturn

PROCESSES = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system"})
#: calls that reach other processes by an address; a socket pair needs none of them
NETWORK = frozenset({"socket.bind", "socket.connect", "socket.getaddrinfo"})
SOCKETS = frozenset({"socket.__new__"})
_forbidden: Collection[str] = ()


class ForbiddenInFolderError(AssertionError):
    """The test does something that its folder forbids. tests/README.md says which folder allows it."""


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _forbidden:
        raise ForbiddenInFolderError(f"{event}{arguments!r:.200}: see tests/README.md for the folder of such a test")


def _no_sleep(seconds: float) -> NoReturn:
    raise ForbiddenInFolderError(f"time.sleep({seconds}): see tests/README.md for the folder of such a test")


sys.addaudithook(_look)


@contextlib.contextmanager
def forbidden(events: Collection[str]) -> Iterator[None]:
    """Inside, these audit events and ``time.sleep`` raise :class:`ForbiddenInFolderError`."""
    global _forbidden
    before, _forbidden = _forbidden, events
    sleep = time.sleep
    setattr(time, "sleep", _no_sleep)  # noqa: B010 - mypy takes no function that never returns
    try:
        yield
    finally:
        _forbidden = before
        time.sleep = sleep
