"""Pseudo-terminals: what a command writes to where the runner's own stream is a terminal, so that it decides by itself.

The command is told the size of the user's window, and its bytes are passed on as they are: what "\\n" means is for the
user's real terminal to say. It is nobody's controlling terminal, so no signal comes of it.
"""

from __future__ import annotations

import os
import termios


def open_terminal(window: tuple[int, int]) -> tuple[int, int]:
    """A pair of descriptors: ours to read from, and the command's.

    Args:
        window: rows and columns; what can't be a size counts as unknown (0).

    Raises:
        OSError: there are no more of them.
    """
    ours, theirs = os.openpty()
    attributes = termios.tcgetattr(theirs)
    attributes[1] &= ~termios.OPOST
    attributes[3] &= ~(termios.ECHO | termios.ISIG)
    termios.tcsetattr(theirs, termios.TCSANOW, attributes)
    rows, columns = (number if 0 <= number < 1 << 16 else 0 for number in window)
    termios.tcsetwinsize(theirs, (rows, columns))
    return ours, theirs
