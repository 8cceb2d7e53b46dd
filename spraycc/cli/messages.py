"""Messages to the user, on standard error. Each line begins with "spraycc:"."""

from __future__ import annotations

import sys

from spraycc.ui.printable import printable


def inform(text: str) -> None:
    """Print a message, with control characters escaped. A single write, so that the build's own lines stay whole."""
    lines = [f"spraycc: {printable(line)}\n" for line in text.split("\n")]
    # A standard error that is closed, full or without a reader must not fail a build.
    try:
        sys.stderr.write("".join(lines))
        sys.stderr.flush()
    except OSError:
        # The stream keeps the text and would write it again at the end. If that fails, Python's exit status is 120.
        sys.stderr = None
    except (ValueError, AttributeError):
        pass


def warn(text: str) -> None:
    inform(f"warning: {text}")
