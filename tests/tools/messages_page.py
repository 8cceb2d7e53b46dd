"""Writes docs/reference/messages.md from the list of notices. Run: ``python -m tests.tools.messages_page``"""

from __future__ import annotations

import importlib
import string
import textwrap
from pathlib import Path

from spraycc.notices import Notice
from tests.pages import slug_of

PAGE = Path(__file__).parents[2] / "docs/reference/messages.md"
#: The headings are too long for a list beside the page. No empty line before the title: tests.pages reads the rest.
_HEAD = """\
---
hide: [toc]
---
# Messages

This page lists the messages of a build: what each means, and what to do about it. Search it for the fixed words of your
message. Words in angle brackets, such as `<host>`, stand for names and numbers.

Each line begins with `spraycc:`. A warning begins with `spraycc: warning:`, an error with `spraycc: error:`. Some
messages consist of several parts, joined by semicolons or parentheses. Then each part is listed here by itself.

`spraycc doctor` checks the submit host, and `spraycc doctor --cluster` tries the cluster. Their findings contain the
next step.

<!-- Made by `python -m tests.tools.messages_page`. -->
"""
#: module of spraycc.notices -> heading and first line, in the order of the page
GROUPS = {
    "starting": ("Start of a build", "A failure here never keeps the build tool from running, with or without executors."),
    "cluster": ("Cluster", "The server tells these to every open build, each once in a build."),
    "executors": ("Executors and captured files", "`spraycc why` shows the same words for single tasks."),
    "tasks": ("Reasons of single tasks, and `executors.log`", "`spraycc why --all` shows why a task ran on the submit host."),
    "status": ("Lines of `spraycc status`", "`spraycc status` also shows the messages above."),
    "interception": ("Compiles that no executor got", "One such line stands at the end of a build that compiled alone."),
    "ending": ("Course and end of a build", "The exit status of the build is the build tool's, whatever fails."),
    "configuration": ("Settings and workspace", "A wrong setting ends the command with exit status 2."),
}  # fmt: skip


def notices(module: str) -> dict[str, Notice]:
    """Name -> notice, in the order of the module."""
    found = vars(importlib.import_module(f"spraycc.notices.{module}"))
    return {name: value for name, value in found.items() if isinstance(value, Notice)}


def shown(notice: Notice) -> str:
    """The words on one line, with ``<name>`` for each field."""
    parts = []
    for fixed, name, _, conversion in string.Formatter().parse(notice.words):
        field = f"<{name.removesuffix('_s').replace('_', ' ')}>" if name else ""
        parts.append(fixed + (f"'{field}'" if conversion == "r" else field))
    return "".join(parts).rpartition("\n")[2].strip(" ;")  # a line that is only a field is not shown


def code(text: str) -> str:
    """The text as Markdown code, which may contain backticks."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _item(title: str, text: str) -> list[str]:
    return textwrap.wrap(
        f"- *{title}*: {text}", 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def page() -> str:
    """The text of the page."""
    lines = [_HEAD, *(f"- [{title}](#{slug_of(title)})" for title, _ in GROUPS.values()), ""]
    for module, (title, lead) in GROUPS.items():
        lines += [f"## {title}", "", lead, ""]
        for notice in notices(module).values():
            lines += [f"### {code(shown(notice))}", ""]
            lines += [*_item("Meaning", notice.means), *_item("What to do", notice.remedy), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
