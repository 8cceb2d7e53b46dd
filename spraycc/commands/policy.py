"""The user's rules: patterns of programs or command lines, and their placements. Pure.

A pattern without a blank must match the program's name. A pattern with a blank must match the whole line: the program's
name and the other words, joined by blanks. ``*``, ``?`` and ``[…]`` mean the same as in a shell.

Rules for the submit host are tried before rules for executors. A wrong placement on the submit host costs time, a wrong
placement on an executor may cost a file.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from spraycc.model import Description, Placement


@dataclass(frozen=True, slots=True)
class Policy:
    """The patterns for each placement."""

    remote: tuple[str, ...] = ()
    here_heavy: tuple[str, ...] = ()
    here_light: tuple[str, ...] = ()

    def apply(self, description: Description, argv: Sequence[bytes], program: bytes) -> Description:
        """The description with the placement of the first rule that fits. No rule changes a probe: probes are quick."""
        if description.placement is Placement.HERE_NOW or not (self.remote or self.here_heavy or self.here_light):
            return description
        name = program[program.rfind(b"/") + 1 :]
        called = argv[0][argv[0].rfind(b"/") + 1 :] if argv else name
        for placement, patterns in (
            (Placement.HERE_HEAVY, self.here_heavy),
            (Placement.HERE_LIGHT, self.here_light),
            (Placement.REMOTE, self.remote),
        ):
            for pattern in patterns:
                if _fits(pattern, name, called, argv):
                    reason = f"policy: {placement.value} = {pattern!r}"
                    return replace(description, placement=placement, reason=reason)
        return description


def _fits(pattern: str, name: bytes, called: bytes, argv: Sequence[bytes]) -> bool:
    compiled = _compiled(pattern)
    if " " in pattern:
        return compiled.fullmatch(b" ".join((called, *argv[1:]))) is not None
    return compiled.fullmatch(name) is not None or compiled.fullmatch(called) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[bytes]:
    # The pattern is text, and the words of a command line are bytes in any encoding.
    return re.compile(fnmatch.translate(pattern).encode("utf-8", "surrogateescape"), re.DOTALL)
