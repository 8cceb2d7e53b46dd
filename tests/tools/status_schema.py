"""Makes ``docs/reference/status.schema.json`` from :mod:`spraycc.status_reply`, and checks values against such a schema.

``python -m tests.tools.status_schema`` writes the file.
"""

from __future__ import annotations

import inspect
import json
import re
import types
import typing
from pathlib import Path
from typing import Any

from spraycc import status_reply

PATH = Path(__file__).resolve().parents[2] / "docs/reference/status.schema.json"
_SCALARS: dict[Any, str] = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}
_FIELD = re.compile(r"^    (\w+): .*?(?:  #: (.*))?$", re.MULTILINE)


def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of the reply. Further keys are allowed, as a later version may add some."""
    definitions: dict[str, Any] = {}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "spraycc status --json",
        **_of(status_reply.StatusReply, definitions),
        "$defs": dict(sorted(definitions.items())),
    }


def text() -> str:
    """The contents of the file."""
    return json.dumps(schema(), indent=2) + "\n"


def problems(value: Any, known: dict[str, Any], where: str = "", whole: dict[str, Any] | None = None) -> list[str]:
    """The differences between a value of JSON and its schema. A key that the schema lacks is one, too."""
    whole = whole or known
    if "$ref" in known:
        return problems(value, whole["$defs"][known["$ref"].rpartition("/")[2]], where, whole)
    if "anyOf" in known:
        tries = [problems(value, choice, where, whole) for choice in known["anyOf"]]
        return min(tries, key=len)
    kind = {dict: "object", list: "array", int: "integer", float: "number", str: "string", bool: "boolean"}
    found = kind.get(type(value), "null")
    if found != known["type"] and not (found == "integer" and known["type"] == "number"):
        return [f"{where}: {found} for {known['type']}"]
    if found == "array":
        items = known.get("prefixItems") or [known["items"]] * len(value)
        if len(items) != len(value):
            return [f"{where}: {len(value)} elements for {len(items)}"]
        return [
            it
            for n, (item, one) in enumerate(zip(value, items, strict=True))
            for it in problems(item, one, f"{where}[{n}]", whole)
        ]
    if found != "object":
        return []
    fields, others = known.get("properties", {}), known["additionalProperties"]
    wrong = [f"{where}.{key} is missing" for key in known.get("required", ()) if key not in value]
    for key, item in value.items():
        if key in fields:
            wrong += problems(item, fields[key], f"{where}.{key}", whole)
        elif isinstance(others, dict):
            wrong += problems(item, others, f"{where}.{key}", whole)
        else:
            wrong.append(f"{where}.{key} is not in the schema")
    return wrong


def _of(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    hint = getattr(hint, "__supertype__", hint)
    if hint in _SCALARS:
        return {"type": _SCALARS[hint]}
    if typing.is_typeddict(hint):
        return _object(hint, definitions)
    arguments = typing.get_args(hint)
    match typing.get_origin(hint):
        case types.UnionType | typing.Union:
            return {"anyOf": [_reference(argument, definitions) for argument in arguments]}
        case origin if origin is list:
            return {"type": "array", "items": _reference(arguments[0], definitions)}
        case origin if origin is tuple:
            return {"type": "array", "prefixItems": [_reference(argument, definitions) for argument in arguments]}
        case origin if origin is dict:
            return {"type": "object", "additionalProperties": _reference(arguments[1], definitions)}
    raise TypeError(f"no schema for {hint}")


def _reference(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if not typing.is_typeddict(hint):
        return _of(hint, definitions)
    if hint.__name__ not in definitions:
        definitions[hint.__name__] = {}
        definitions[hint.__name__] = _of(hint, definitions)
    return {"$ref": f"#/$defs/{hint.__name__}"}


def _object(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    words = _words(hint)
    fields = {}
    for name, kind in typing.get_type_hints(hint).items():
        fields[name] = _reference(kind, definitions)
        if words.get(name):
            fields[name] = {**fields[name], "description": words[name]}
    return {
        "type": "object",
        "description": inspect.getdoc(hint),
        "properties": fields,
        "required": sorted(hint.__required_keys__),
        "additionalProperties": True,
    }


def _words(hint: Any) -> dict[str, str]:
    """The comments behind the fields, also those of the base."""
    source = inspect.getsource(hint)
    base = getattr(status_reply, re.match(r"class \w+\((\w+)", source)[1])  # type: ignore[index]
    inherited = _words(base) if typing.is_typeddict(base) else {}
    return inherited | dict(_FIELD.findall(source))


if __name__ == "__main__":
    PATH.write_text(text())
