"""One resource requirement of LSF from several. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SECTION = re.compile(r"\s*(\w+)\[([^][{}]*)\]\s*")
#: bsub(1): the order of the sections
_ORDER = ("select", "order", "rusage", "span", "same")


def joined(ours: Sequence[str], users: Sequence[str]) -> str:
    """One requirement that asks for all of them, or empty.

    OpenLava refuses a second ``-R``. Conditions of ``select`` are joined by ``&&``, resources of ``rusage`` by ``:``.
    A resource or another section that the user gives takes the place of ours. A requirement of the user's in an unknown
    form comes last as it is, and the cluster manager judges.

    Args:
        ours: SprayCC's requirements, such as ``rusage[mem=500]``.
        users: the requirements in the user's arguments.
    """
    sections: dict[str, list[str]] = {}
    unknown = []
    for requirement in users:
        if (found := _sections(requirement)) is None:
            unknown.append(requirement)
            continue
        for name, content in found:
            sections.setdefault(name, []).append(content)
    for requirement in ours:
        for name, content in _sections(requirement) or []:
            if name == "rusage" and not _asks_for(content.partition("=")[0], sections.get(name, [])):
                sections[name] = [content, *sections.get(name, [])]
            else:
                sections.setdefault(name, [content])
    names = sorted(sections, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))
    return " ".join([*(f"{name}[{_join(name, sections[name])}]" for name in names), *unknown])


def _sections(requirement: str) -> list[tuple[str, str]] | None:
    """(name, content) of each section; None: an unknown form. Without brackets: a ``select``."""
    if not re.search(r"[][{}]", requirement):
        return [("select", requirement.strip())] if requirement.strip() else []
    if re.fullmatch(rf"(?:{_SECTION.pattern})+", requirement) is None:
        return None
    return [(match[1], match[2]) for match in _SECTION.finditer(requirement)]


def _asks_for(resource: str, contents: Sequence[str]) -> bool:
    return any(re.search(rf"\b{re.escape(resource)}\s*=", content) for content in contents)


def _join(name: str, contents: Sequence[str]) -> str:
    if len(contents) == 1:
        return contents[0]
    if name == "select":
        return " && ".join(f"({content})" for content in contents)
    return ":".join(contents)


def taken_out(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """(the arguments without ``-R``, the values of ``-R``)."""
    rest: list[str] = []
    values: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "-R":
            values.append(next(words, ""))
        elif word.startswith("-R"):
            values.append(word[2:])
        else:
            rest.append(word)
    return rest, values
