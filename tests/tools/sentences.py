"""Counts the words of each sentence of the pages that users read first. A sentence above the limit is an error.

``python -m tests.tools.sentences`` checks these pages, ``python -m tests.tools.sentences PAGE…`` others. It prints the
long sentences, and ends with 1 if there are any.

A code span counts as one word, a link by its text. Items of lists and cells of tables have sentences of their own.
Blocks of code do not count.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.pages import DOCS, TOP, name_of, without_blocks

MOST_WORDS = 30
#: The first words of sentences that may be longer -> the reason.
EXCEPTIONS: dict[str, str] = {}

_ABBREVIATIONS = ("e.g.", "i.e.", "etc.", "cf.", "vs.", "approx.", "No.", "St.", "Dr.")
#: Stands for the full stop of an abbreviation or a number.
_STOP = "\N{ONE DOT LEADER}"
_ITEM = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+")


def pages() -> list[Path]:
    """The pages that are checked: the README, the site's first page, the tutorials and the how-to pages."""
    below = [page for part in ("start", "how-to") for page in sorted((DOCS / part).glob("*.md"))]
    return [TOP / "README.md", DOCS / "index.md", *below]


def long_sentences(text: str) -> list[str]:
    """The sentences of a page with more than MOST_WORDS words: ``34 words: The first words …``."""
    found = []
    for sentence in sentences(text):
        count = len(words(sentence))
        if count > MOST_WORDS and not any(sentence.startswith(begin) for begin in EXCEPTIONS):
            found.append(f"{count} words: {sentence}")
    return found


def sentences(text: str) -> Iterator[str]:
    """All sentences of a page, without its marks."""
    for part in _parts(without_blocks(text)):
        plain = _plain(part)
        for abbreviation in _ABBREVIATIONS:
            plain = plain.replace(abbreviation, abbreviation.replace(".", _STOP))
        for sentence in re.split(r"(?<=[.!?])[\"')*_]*(?:\s+|$)", plain):
            if cleaned := sentence.replace(_STOP, ".").strip():
                yield cleaned


def words(sentence: str) -> list[str]:
    """The words of a sentence; a dash or a sign that stands alone is none."""
    return [word for word in sentence.split() if re.search(r"\w", word)]


def _parts(text: str) -> Iterator[str]:
    """Paragraphs, headings, items of lists and cells of tables, each of them in one line."""
    part: list[str] = []
    for line in [*text.split("\n"), ""]:
        stripped = line.strip()
        is_row = stripped.startswith("|") and stripped.endswith("|")
        starts_new = not stripped or is_row or stripped.startswith("#") or _ITEM.match(line)
        if starts_new and part:
            yield " ".join(part)
            part = []
        if is_row:
            yield from _cells(stripped)
        elif stripped.startswith("#"):
            yield stripped.lstrip("# ")
        elif stripped:
            part.append(_ITEM.sub("", stripped).removeprefix("> "))


def _cells(row: str) -> Iterator[str]:
    for cell in re.split(r"(?<!\\)\|", row.strip("|")):
        if cell.strip() and not re.fullmatch(r"[\s:-]+", cell):
            yield cell.strip()


def _plain(text: str) -> str:
    """The text with each code span as one word, each link as its text, and without pictures and emphasis."""
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    # The sentence that begins with a code span keeps its first letters for EXCEPTIONS.
    text = re.sub(r"(`+)(.+?)\1", lambda code: _one_word(code[2]), text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"<(https?://[^>]*)>", r"\1", text)
    text = re.sub(r"<[^>]*>", "", text)
    return re.sub(r"\*\*|__|(?<!\w)[*_]|[*_](?!\w)", "", text)


def _one_word(code: str) -> str:
    return (
        "`"
        + re.sub(r"\s+", "\N{NO-BREAK SPACE}", code.strip()).replace(".", _STOP).replace("\N{NO-BREAK SPACE}", "_")
        + "`"
    )


def main(names: list[str]) -> int:
    """Check the pages, and print the long sentences."""
    found = False
    for page in [Path(name).resolve() for name in names] or pages():
        for problem in long_sentences(page.read_text()):
            found = True
            print(f"{name_of(page) if TOP in page.parents else page}: {problem}")
    return int(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
