"""The page about JSON has each key that the commands print."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from spraycc import status_reply
from spraycc.history.estimates import Entry
from spraycc.records.read import Task
from spraycc.server.tasks.stats import Figures
from spraycc.ui.recorded_builds import BuildRow
from tests.pages import DOCS

TEXT = (DOCS / "reference/json.md").read_text()
#: Sections of the page that list all keys.
KEYS = {
    "Figures of a build": {*Figures().as_map(), "exit_status", "wall_s"} | {*Figures().as_map()["compiles_here"]},
    "State of the server": set(status_reply.StatusReply.__annotations__),
    "Recorded builds": set(BuildRow._fields),
    "Tasks of a build": {"host", *(field.name for field in fields(Task))},
    "History": {"kind", "target", *(field.name for field in fields(Entry))},
}


@pytest.mark.parametrize("title", KEYS)
def test_a_section_has_exactly_the_keys(title: str) -> None:
    section = TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]*`) \|", section, re.MULTILINE)
    assert {key for row in rows for key in re.findall(r"`(\w+)`", row)} == KEYS[title]
