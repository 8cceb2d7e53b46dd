"""The user's rules: patterns of programs or command lines, and their placements. Pure.

A pattern without a blank is for the program's name; one with a blank is for the whole line, its words joined by blanks,
the program by its name. ``*``, ``?`` and ``[…]`` as in a shell. Rules for this host go before those for executors: a
wrong answer towards *here* costs time, the other one may cost a file.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from spraycc.model import Description, Placement

#: In the order in which they are tried.
_ORDER = (Placement.HERE_HEAVY, Placement.HERE_LIGHT, Placement.REMOTE)


@dataclass(frozen=True, slots=True)
class Policy:
    """The patterns for each placement."""

    remote: tuple[str, ...] = ()
    here_heavy: tuple[str, ...] = ()
    here_light: tuple[str, ...] = ()

    def apply(self, description: Description, argv: Sequence[bytes], program: bytes) -> Description:
        """The description with the placement of the first rule that fits. Probes are quick, so no rule moves them."""
        if description.placement is Placement.HERE_NOW or not (self.remote or self.here_heavy or self.here_light):
            return description
        name = program[program.rfind(b"/") + 1 :]
        called = argv[0][argv[0].rfind(b"/") + 1 :] if argv else name
        for placement, patterns in zip(_ORDER, (self.here_heavy, self.here_light, self.remote), strict=True):
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
