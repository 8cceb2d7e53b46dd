"""Words for the user, on standard error, each line with our name before it."""

from __future__ import annotations

import contextlib
import sys


def say(text: str) -> None:
    """One message, with control characters shown as such. A single write, so that the build's lines stay whole."""
    lines = [f"spraycc: {''.join(c if c.isprintable() else _escaped(c) for c in line)}\n" for line in text.split("\n")]
    # Nobody there to read it is no reason to fail a build.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write("".join(lines))
        sys.stderr.flush()


def warn(text: str) -> None:
    say(f"warning: {text}")


def _escaped(character: str) -> str:
    return " " if character == "\t" else character.encode("unicode_escape", "backslashreplace").decode("ascii")
