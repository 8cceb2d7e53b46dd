"""The user's rules: patterns of programs or command lines, and their placements. Pure.

- A pattern without a slash and a blank must match the program's name.
- A pattern with a slash must match a path of the program: as the call has it, absolute, or relative to the workspace.
- A pattern with a blank must match the whole line: the program and the other words, joined by blanks. If the pattern's
  first word has a slash, the program stands there by its path, otherwise by its name.

``*``, ``?`` and ``[…]`` mean the same as in Python's fnmatch: ``*`` matches slashes, too.

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

    @property
    def has_paths(self) -> bool:
        """True if a rule is for programs by their paths."""
        return any(map(_is_for_path, (*self.remote, *self.here_heavy, *self.here_light)))

    def apply(
        self, description: Description, argv: Sequence[bytes], program: bytes, paths: Sequence[bytes] = ()
    ) -> Description:
        """The description with the placement of the first rule that fits. No rule changes a probe: probes are quick.

        Args:
            description: from the command line.
            argv: the command's words.
            program: the program's path.
            paths: all paths of the program that a rule may mean, see :func:`paths_of`. Needed if :attr:`has_paths`.
        """
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
                if _fits(pattern, name, called, argv, paths):
                    reason = f"policy: {placement.value} = {pattern!r}"
                    return replace(description, placement=placement, reason=reason)
        return description


def paths_of(called: bytes, absolute: Sequence[bytes], workspace: bytes) -> tuple[bytes, ...]:
    """All paths of a program that a rule may mean.

    Args:
        called: argv[0].
        absolute: the program's absolute paths, with and without symbolic links.
        workspace: absolute path without symbolic links.
    """
    inside = workspace.rstrip(b"/") + b"/"
    relative = [path[len(inside) :] for path in absolute if path.startswith(inside)]
    return tuple(
        dict.fromkeys(
            [*([called] if b"/" in called else []), *absolute, *relative, *(b"./" + path for path in relative)]
        )
    )


def _is_for_path(pattern: str) -> bool:
    return "/" in pattern.partition(" ")[0]


def _fits(pattern: str, name: bytes, called: bytes, argv: Sequence[bytes], paths: Sequence[bytes]) -> bool:
    compiled = _compiled(pattern)
    starts: Sequence[bytes] = (name, called)
    if _is_for_path(pattern):
        starts = paths
    elif " " in pattern:
        starts = (called,)
    if " " in pattern:
        return any(compiled.fullmatch(b" ".join((start, *argv[1:]))) for start in starts)
    return any(map(compiled.fullmatch, starts))


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[bytes]:
    # The pattern is text, and the words of a command line are bytes in any encoding.
    return re.compile(fnmatch.translate(pattern).encode("utf-8", "surrogateescape"), re.DOTALL)
