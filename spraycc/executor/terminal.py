"""Pseudo-terminals. A command whose runner writes to a terminal gets one, so that the command colours its output.

The pseudo-terminal has the size of the user's window, and passes bytes on unchanged: the user's real terminal
interprets "\\n". It is no process's controlling terminal, so it sends no signals.
"""

from __future__ import annotations

import os
import termios


def open_terminal(window: tuple[int, int]) -> tuple[int, int]:
    """A pair of descriptors: the executor's end, to read from, and the command's end.

    Args:
        window: rows and columns; an impossible size counts as unknown (0).

    Raises:
        OSError: the system has no more pseudo-terminals.
    """
    ours, theirs = os.openpty()
    attributes = termios.tcgetattr(theirs)
    attributes[1] &= ~termios.OPOST
    attributes[3] &= ~(termios.ECHO | termios.ISIG)
    termios.tcsetattr(theirs, termios.TCSANOW, attributes)
    rows, columns = (number if 0 <= number < 1 << 16 else 0 for number in window)
    termios.tcsetwinsize(theirs, (rows, columns))
    return ours, theirs
