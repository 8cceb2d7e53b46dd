"""The bytes that pin a line to the bottom of a terminal. Pure.

The terminal scrolls the rows above the line only (a scroll region, as apt uses one). The tool writes to the terminal
directly, and its cursor stays in the region. Control sequences: DEC VT100; xterm's ctlseqs.ms names them.

DECSTBM (``ESC [ top ; bottom r``) moves the cursor to the first row, so DECSC and DECRC stand around it. They save the
colours, too. A draw begins with the full region and makes a free row below the cursor. So a draw is right on any
screen: the first, after the tool has cleared or reset the terminal, and over an earlier line.
"""

from __future__ import annotations

from collections.abc import Mapping

#: With fewer rows the tool's output needs them all.
LEAST_ROWS = 4
#: In fewer columns no text is of use.
LEAST_COLUMNS = 16

_SAVE, _RESTORE = b"\0337", b"\0338"
_FULL_REGION = _SAVE + b"\033[r" + _RESTORE
#: One row down, which scrolls if the cursor is in the last row, and one row up.
_FREE_ROW_BELOW = b"\033D\033[1A"
_CLEAR_BELOW = b"\033[J"
_CLEAR_ROW = b"\033[0m\033[2K"
_REVERSE, _PLAIN = b"\033[7m", b"\033[0m"
_TAB_OFF = b"\033]9;4;0\033\\"


def has_room(rows: int, columns: int) -> bool:
    """Whether a terminal of this size gets a line."""
    return rows >= LEAST_ROWS and columns >= LEAST_COLUMNS


def draw(rows: int, columns: int, text: str) -> bytes:
    """Draw the line, on a screen with or without it. The text is cut to the width, and gets ASCII only.

    The last column stays free: a character in it would make some terminals scroll.
    """
    shown = "".join(sign if " " <= sign <= "~" else "?" for sign in text)[: columns - 1]
    row = b"\033[%d;1H" % rows + _CLEAR_ROW + _REVERSE + shown.encode("ascii") + _PLAIN
    return _FULL_REGION + _FREE_ROW_BELOW + _SAVE + b"\033[1;%dr" % (rows - 1) + row + _RESTORE


def after_resize() -> bytes:
    """Remove the line after a change of the terminal's size, which may have moved the line: it is below the cursor."""
    return _FULL_REGION + _CLEAR_BELOW


def remove(rows: int) -> bytes:
    """Remove the line: all rows scroll again, and the line's row is empty."""
    return _SAVE + b"\033[r\033[%d;1H" % rows + _CLEAR_ROW + _RESTORE


def let_go() -> bytes:
    """Let all rows scroll again, and write nothing: the last row may be another program's by now."""
    return _FULL_REGION


def shows_tab_progress(env: Mapping[bytes, bytes]) -> bool:
    """Whether the terminal is known to show progress in its tab or its title bar (OSC 9;4).

    Others may show the sequence as a notification (OSC 9). tmux and screen do not pass it on.
    """
    if env.get(b"TMUX") or env.get(b"STY") or env.get(b"TERM", b"").startswith((b"screen", b"tmux")):
        return False
    program = env.get(b"TERM_PROGRAM")
    return (
        bool(env.get(b"WT_SESSION"))
        or env.get(b"ConEmuANSI") == b"ON"
        or program in (b"WezTerm", b"ghostty")
        or (program == b"iTerm.app" and _has_feature(env.get(b"TERM_FEATURES", b""), b"P"))
    )


def _has_feature(features: bytes, wanted: bytes) -> bool:
    """Whether iTerm2's TERM_FEATURES, such as ``T3CwP``, has a feature: a capital letter, then small ones or digits."""
    names = []
    for sign in features.decode("ascii", "replace"):
        if sign.isupper():
            names.append("")
        if names:
            names[-1] += sign
    return wanted.decode() in names


def tab_progress(percent: int | None, *, failed: bool = False) -> bytes:
    """Show a share of the build in the terminal's tab; None: the share is not known."""
    if percent is None:
        return b"\033]9;4;3\033\\"
    return b"\033]9;4;%d;%d\033\\" % (2 if failed else 1, percent)


def no_tab_progress() -> bytes:
    """Show no progress in the terminal's tab."""
    return _TAB_OFF


def guard_script(*, tab: bool) -> str:
    """A script for sh(1) that removes the line when its standard input ends.

    Each line of the input is the number of the line's row, or 0 when no line is shown. The script writes to its
    standard output.
    """
    # printf(1) knows octal escapes only; "%%" is none of Python's here.
    after = "\\033]9;4;0\\033\\\\" if tab else ""
    return (
        "rows=0; while read -r word; do rows=$word; done; "
        f"""[ "$rows" = 0 ] || printf '\\0337\\033[r\\033[%s;1H\\033[0m\\033[2K\\0338{after}' "$rows\""""
    )
