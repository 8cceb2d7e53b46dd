"""Text for man pages, in roff with the macros of man(7)."""

from __future__ import annotations

import re
import textwrap

_WIDTH = 80
_NAMED = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti"}


def escaped(text: str) -> str:
    """The text as roff shows it: no sign of it is a command, and a hyphen can be copied from the page."""
    return "".join(_NAMED.get(sign) or (sign if sign.isascii() else f"\\[u{ord(sign):04X}]") for sign in text)


def bold(text: str) -> str:
    return f"\\fB{escaped(text)}\\fR"


def italic(text: str) -> str:
    return f"\\fI{escaped(text)}\\fR"


def paragraph(text: str) -> str:
    """A help text of one paragraph, one sentence a line; words in backticks are bold."""
    sentences = re.sub(r"(?<=[.:;]) (?=[A-Z])", "\n", " ".join(text.split()))
    parts = re.split(r"`([^`]+)`", sentences)
    marked = "".join(bold(part) if at % 2 else escaped(part) for at, part in enumerate(parts))
    return _protected(marked)


def wrapped(line: str) -> list[str]:
    """The line in lines of at most 80 bytes, as far as there are blanks. A line with a macro stays whole."""
    if line.startswith(".") or len(line) <= _WIDTH:
        return [line]
    lines = textwrap.wrap(line, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return [_protected(part) for part in lines]


def _protected(text: str) -> str:
    """The text, without a line that roff would read as a macro."""
    return re.sub(r"^\.", r"\\&.", text, flags=re.MULTILINE)


def entry(head: str, *paragraphs: str) -> list[str]:
    """An item of a list: its head, and the indented paragraphs below it, all of them in roff."""
    # roff takes one line as the head. A backslash at its end continues a line.
    lines = [".TP", " \\\n".join(textwrap.wrap(head, _WIDTH - 2, break_long_words=False, break_on_hyphens=False))]
    for at, text in enumerate(filter(None, paragraphs)):
        lines += [".IP", text] if at else [text]
    return lines


def section(title: str) -> str:
    return f".SS {escaped(title)}"
