"""Escapes names and foreign words, so that a terminal shows them and obeys nothing in them. Pure."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text on one line, with control characters, marks of direction and bytes that are no UTF-8 as ``\\\\x1b``."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return " " if character == "\t" else character.encode("unicode_escape", "backslashreplace").decode("ascii")
