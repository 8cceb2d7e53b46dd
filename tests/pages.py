"""The Markdown pages of the project, taken apart for the tests: headings, links, blocks of code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
DOCS = TOP / "docs"
#: All pages. The site has those in docs.
PAGES = [
    *(TOP / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(page for top in ("docs", "examples", "tests", "benchmarks") for page in (TOP / top).rglob("*.md")),
]
SITE_PAGES = [page for page in PAGES if DOCS in page.parents]

_FENCE = re.compile(r"^( *)(```+|~~~+)\s*(\S*)(.*)$")
_HEADING = re.compile(r"^(#{1,6}) +(.*?)(?: +#+)?$")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of code."""

    #: ``sh``, ``toml``, ``text``, …; empty: none
    language: str
    text: str
    #: number of the line with the fence, from 1
    line: int


def name_of(page: Path) -> str:
    """The page's path in the project, as the id of a test."""
    return str(page.relative_to(TOP))


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    return _taken_apart(page.read_text())[0]


def without_blocks(text: str) -> str:
    """The text without fenced blocks and comments. Its lines keep their numbers."""
    return re.sub(r"<!--.*?-->", lambda found: "\n" * found[0].count("\n"), _taken_apart(text)[1], flags=re.DOTALL)


def _taken_apart(text: str) -> tuple[list[Block], str]:
    found: list[Block] = []
    rest: list[str] = []
    fence, indent, language, begin, inside = "", 0, "", 0, list[str]()
    for number, line in enumerate(text.split("\n"), start=1):
        match = _FENCE.match(line)
        if fence:
            rest.append("")
            if line.strip() == fence:
                found.append(Block(language, "\n".join(inside) + "\n", begin))
                fence = ""
            else:
                inside.append(line[indent:] if not line[:indent].strip() else line)
        elif match:
            fence, indent, language, begin, inside = match[2], len(match[1]), match[3], number, []
            rest.append("")
        else:
            rest.append(line)
    assert not fence, f"the block of line {begin} has no end"
    return found, "\n".join(rest)


def headings(page: Path) -> list[tuple[int, str]]:
    """(level, text) of each heading."""
    lines = without_blocks(page.read_text()).split("\n")
    return [(len(match[1]), match[2]) for line in lines if (match := _HEADING.match(line))]


def anchors(page: Path) -> set[str]:
    """The anchors of the headings, as GitHub and the site make them."""
    known: dict[str, int] = {}
    found = set()
    for _, text in headings(page):
        slug = slug_of(text)
        count = known.get(slug, 0)
        known[slug] = count + 1
        found.add(f"{slug}-{count}" if count else slug)
    return found | set(re.findall(r'<a (?:id|name)="([^"]+)"', page.read_text()))


def slug_of(heading: str) -> str:
    """The anchor of a heading: lower case, blanks as dashes, no other signs. (A link in a heading counts by its text.)"""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    text = re.sub(r"<[^>]*>", "", text) if "`" not in text else text
    return re.sub(r"[^\w\- ]", "", text.replace("\\", "").lower()).strip().replace(" ", "-")


def links(page: Path) -> list[tuple[str, int]]:
    """(target, line) of each link and picture, without those in code."""
    found = []
    # Code may stand in a link's text, but not in its target.
    for number, line in enumerate(without_blocks(page.read_text()).split("\n"), start=1):
        plain = re.sub(r"(`+).+?\1", lambda code: "x" * len(code[0]), line)
        found += [(match, number) for match in re.findall(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)", plain)]
        found += [(match, number) for match in re.findall(r"^\[[^\]]+\]: +(\S+)", plain)]
    return found
