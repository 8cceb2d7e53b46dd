"""Messages to the user, on standard error. Each line begins with "spraycc:"."""

from __future__ import annotations

import contextlib
import sys


def inform(text: str) -> None:
    """Print a message, with control characters escaped. A single write, so that the build's own lines stay whole."""
    lines = [f"spraycc: {''.join(c if c.isprintable() else _escaped(c) for c in line)}\n" for line in text.split("\n")]
    # A closed standard error must not fail a build.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write("".join(lines))
        sys.stderr.flush()


def warn(text: str) -> None:
    inform(f"warning: {text}")


def _escaped(character: str) -> str:
    return " " if character == "\t" else character.encode("unicode_escape", "backslashreplace").decode("ascii")
