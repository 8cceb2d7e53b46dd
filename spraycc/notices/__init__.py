"""The messages of a build to its user: words, meaning and next steps. docs/reference/messages.md is made from them.

Each module has the notices of one subject. A notice is used by its name, so that the page has all of them. The words
name the thing, then the cause, then the next step.
"""

from __future__ import annotations

import string
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Notice:
    """One message."""

    #: the words, with the fields of :meth:`str.format`
    words: str
    #: for the page: why the message comes, and what the build does
    means: str
    #: for the page: the next steps of the user
    remedy: str
    #: the file of the project that prints the words by itself, as a program in C does; empty: our callers print them
    source: str = ""

    @property
    def fields(self) -> frozenset[str]:
        """The names of the fields."""
        return frozenset(name for _, name, _, _ in string.Formatter().parse(self.words) if name)

    def text(self, **fields: object) -> str:
        """The words with these fields. The caller must give each field, and no others."""
        assert fields.keys() == self.fields, f"{self.words!r} has the fields {sorted(self.fields)}"
        return self.words.format(**fields)
