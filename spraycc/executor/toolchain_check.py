"""Compares this host's compilers and CPU with the submit host's.

Each compiler is examined once, and again if one of its files has changed: an upgrade may come at any time.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable

from spraycc.errors import CaptureError, CaptureRefusal
from spraycc.system.threads import run_in_thread
from spraycc.system.toolchain import CPU, Identity, identity, shown


class ToolchainCheck:
    """Remembers the identities of this host's compilers and CPU."""

    def __init__(self) -> None:
        self._own: dict[bytes, Identity] = {}

    async def check(self, expected: Iterable[tuple[bytes, str]]) -> None:
        """Compare each (name, identity on the submit host) with this host's identity.

        Called before a command and after it: an upgrade may have come between.

        Raises:
            CaptureError: of kind DIFFERENT; the text names host, program and both versions.
        """
        for name, theirs in expected:
            own = self._own.get(name)
            if own is None or not own.is_current():
                own = self._own[name] = await run_in_thread(identity, name)
            if own.text != theirs:
                raise CaptureError(CaptureRefusal.DIFFERENT, _difference(name, own.text, theirs))


def _difference(name: bytes, own: str, theirs: str) -> str:
    what = "the CPU" if name == CPU else os.fsdecode(name)
    mine, other = shown(own), shown(theirs)
    if not (name == CPU or os.path.exists(name)):
        return f"there is no {what} on host {socket.gethostname()}"
    if mine != other:
        return f"{what} on host {socket.gethostname()} is {mine!r}, on the submit host {other!r}"
    return f"{what} on host {socket.gethostname()} is not the submit host's, though both are {mine!r}"
