"""The documented schema of ``spraycc status --json`` is the one of the types in the server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.tools import status_schema


def test_the_documented_schema_is_up_to_date() -> None:
    made = "run: python -m tests.tools.status_schema"
    assert status_schema.PATH.read_text() == status_schema.text(), made


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "n": {"type": "number"},
        "list": {"type": "array", "items": {"$ref": "#/$defs/Pair"}},
        "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
    },
    "required": ["n"],
    "additionalProperties": True,
    "$defs": {"Pair": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]}},
}


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ({"n": 1, "list": [["a", 1]], "maybe": None, "map": {"x": 1}}, []),
        ({"n": 1.5, "maybe": "text"}, []),
        ({}, [".n is missing"]),
        ({"n": "1"}, [".n: string for number"]),
        ({"n": True}, [".n: boolean for number"]),
        ({"n": 1, "more": 2}, [".more is not in the schema"]),
        ({"n": 1, "maybe": 2}, [".maybe: integer for string"]),
        ({"n": 1, "map": {"x": "1"}}, [".map.x: string for integer"]),
        ({"n": 1, "list": [["a"]]}, [".list[0]: 1 elements for 2"]),
        ({"n": 1, "list": [["a", "b"]]}, [".list[0][1]: string for integer"]),
        ([], [": array for object"]),
    ],
)
def test_the_check_finds_differences(value: Any, wrong: list[str]) -> None:
    assert status_schema.problems(value, SCHEMA) == wrong


def test_every_field_of_a_task_is_explained() -> None:
    fields = json.loads(status_schema.PATH.read_text())["$defs"]["RunningTask"]["properties"]
    assert all("description" in field for field in fields.values())
    assert fields["target"]["description"].startswith("file that the command makes")
