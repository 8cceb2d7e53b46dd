"""Links of all pages lead to files and headings that exist, in the repository and on the site."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.pages import DOCS, PAGES, anchors, links, name_of, slug_of


def problems(page: Path) -> list[str]:
    found = []
    for target, line in links(page):
        parts = urlsplit(target)
        if parts.scheme:
            known = parts.scheme in ("https", "http", "mailto", "file", "chrome")
            found += [] if known else [f"{line}: {target}: unknown scheme"]
            continue
        path = (page.parent / parts.path).resolve() if parts.path else page
        if not path.exists():
            found.append(f"{line}: {target}: no such file")
        elif DOCS in page.parents and path != DOCS and DOCS not in path.parents:
            found.append(f"{line}: {target}: the site does not have this file")
        elif parts.fragment and path.suffix == ".md" and parts.fragment not in anchors(path):
            found.append(f"{line}: {target}: no such heading")
    return found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    assert not problems(page)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_two_headings_of_a_page_have_one_anchor(page: Path) -> None:
    """GitHub and the site number such anchors in different ways. The changelog has the same headings in each release."""
    if page.name != "CHANGELOG.md":
        assert not [anchor for anchor in anchors(page) if anchor[-2:-1] == "-" and anchor[:-2] in anchors(page)]


@pytest.mark.parametrize(
    ("heading", "slug"),
    [
        ("Where a setting stands", "where-a-setting-stands"),
        ("`spraycc config show`", "spraycc-config-show"),
        ("Shims on PATH: `--intercept path`", "shims-on-path---intercept-path"),
        ("What it costs, and why", "what-it-costs-and-why"),
        ("The [site](x.md) of `a_b`", "the-site-of-a_b"),
        ("A - B", "a---b"),
    ],
)
def test_the_anchor_of_a_heading(heading: str, slug: str) -> None:
    assert slug_of(heading) == slug


def test_broken_links_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# Title\n\n## Part one\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n[a](other.md) [b](other.md#part-one) [c](#page) `[code](nowhere.md)`\n"
        "[d](missing.md) [e](other.md#part-two) [f](#nothing) ![g](p.png) [h](ftp2:x)\n"
        "```text\n[i](nowhere.md)\n```\n"
    )
    assert [text.split(": ")[1] for text in problems(page)] == [
        "missing.md",
        "other.md#part-two",
        "#nothing",
        "p.png",
        "ftp2:x",
    ]
