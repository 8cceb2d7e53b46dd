"""GitHub and the site's Markdown read the pages the same way, and each page has its first lines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.pages import DOCS, PAGES, SITE_PAGES, TOP, blocks, headings, name_of, without_blocks

_ITEM = re.compile(r"^( *)(?:[-*+]|\d+[.)]) +\S")
#: Languages that blocks have.
LANGUAGES = {
    "sh",
    "toml",
    "text",
    "cmake",
    "make",
    "makefile",
    "meson",
    "yaml",
    "json",
    "tcl",
    "c",
    "csh",
    "fish",
    "python",
    "groovy",
    "jsonc",
    "ini",
}


def list_problems(text: str) -> list[str]:
    """Lists and blocks that the site's Markdown (Python-Markdown) would not read as such, or not at their depth."""
    indents = [(number, re.match(r" *(?=```)", line)) for number, line in enumerate(text.split("\n"), start=1)]
    found = [f"{number}: a block in a list is indented by 4 blanks" for number, at in indents if at and len(at[0]) % 4]
    lines = without_blocks(text).split("\n")
    in_list = False
    for number, (before, line) in enumerate(zip(["", *lines], lines, strict=False), start=1):
        item = _ITEM.match(line)
        if not item:
            if in_list and not before.strip() and re.match(r" {1,3}\S", line):
                found.append(f"{number}: a paragraph in a list is indented by 4 blanks")
            # A list goes on over blank lines and indented lines.
            in_list = in_list and (not line.strip() or line.startswith(" "))
            continue
        if before.strip() and not in_list:
            found.append(f"{number}: a list needs an empty line before it")
        if len(item[1]) % 4:
            found.append(f"{number}: a list in a list is indented by 4 blanks")
        in_list = True
    return found


@pytest.mark.parametrize("page", SITE_PAGES, ids=name_of)
def test_lists_are_lists_on_the_site_too(page: Path) -> None:
    assert not list_problems(page.read_text())


@pytest.mark.parametrize("page", SITE_PAGES, ids=name_of)
def test_a_page_has_one_title_and_begins_with_it(page: Path) -> None:
    found = headings(page)
    assert [level for level, _ in found].count(1) == 1
    assert found[0][0] == 1
    text = without_blocks(page.read_text()).lstrip()
    paragraph = text.partition("\n\n")[2].lstrip()
    assert paragraph[:1] not in ("#", "|", "-", ""), "a page begins with a sentence for the reader"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.parent.name in ("start", "how-to", TOP.name)], ids=name_of
)
def test_all_code_is_in_blocks_with_a_fence(page: Path) -> None:
    """A block that is only indented has no language."""
    if page.name not in ("CHANGELOG.md", "CONTRIBUTING.md"):
        assert not re.findall(r"(?<=\n\n)    (?!\s*(?:[-*|]|\d+\.)).*", without_blocks(page.read_text()))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_block_has_a_language(page: Path) -> None:
    assert not [f"{block.line}: {block.language!r}" for block in blocks(page) if block.language not in LANGUAGES]


def test_the_site_has_every_page() -> None:
    navigation = (TOP / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    named = re.findall(r": (\S+\.md)$", navigation, re.MULTILINE)
    assert sorted(named) == sorted(str(page.relative_to(DOCS)) for page in SITE_PAGES)


def test_bad_lists_are_noticed() -> None:
    good = "Text:\n\n- one\n  more\n- two\n\n    - below\n\n1. first\n2. second\n"
    assert not list_problems(good)
    assert list_problems("Text:\n- one\n") == ["2: a list needs an empty line before it"]
    assert list_problems("- one\n  - below\n") == ["2: a list in a list is indented by 4 blanks"]
    assert list_problems("- one\n\n  text\n") == ["3: a paragraph in a list is indented by 4 blanks"]
    assert list_problems("- one\n\n  ```sh\n  x\n  ```\n")[0] == "3: a block in a list is indented by 4 blanks"
    assert not list_problems("```text\nText:\n- one\n```\n")
