"""Takes only sane values from a record's line: of the right type, finite and bounded. Pure.

All that reads records gets its values from here, so no other code meets a text in place of a number, or a number whose
sum with others is infinite.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spraycc.records.format import EndLine, Header

#: Numbers are less than this in size. Seconds, bytes and counts of real builds are far below it.
MOST = 1e15

_TEXT: tuple[type, ...] = (str,)
_COUNT: tuple[type, ...] = (int,)
_NUMBER: tuple[type, ...] = (int, float)

#: The types that values may have, by key. A bool is no number.
Types = Mapping[str, tuple[type, ...]]


def types_like(defaults: Mapping[str, object]) -> Types:
    """The types of values by the type of each key's default. None is the default of a whole number."""
    return {
        key: _TEXT if isinstance(default, str) else _NUMBER if isinstance(default, float) else _COUNT
        for key, default in defaults.items()
    }


def fitting(types: Types, line: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a line that have sane values. The others count as missing."""
    return {
        key: value
        for key, value in line.items()
        if type(value) in types.get(key, ()) and (type(value) is str or -MOST < value < MOST)
    }


def number(value: object) -> float:
    """
    Raises:
        ValueError: it is no sane number.
    """
    if type(value) in _NUMBER and -MOST < value < MOST:  # type: ignore[operator]
        return float(value)  # type: ignore[arg-type]
    raise ValueError(f"no number: {value!r:.50}")


def text(value: object) -> str:
    """
    Raises:
        ValueError: it is no text.
    """
    if type(value) is str:
        return value
    raise ValueError(f"no text: {value!r:.50}")


def pair(value: object) -> tuple[float, float]:
    """Begin and end of an interval.

    Raises:
        ValueError: it is none.
    """
    if type(value) is list and len(value) == 2:
        began, ended = number(value[0]), number(value[1])
        if began <= ended:
            return began, ended
    raise ValueError(f"no interval: {value!r:.50}")


_HEADER: Types = {
    **dict.fromkeys(("build", "argv", "cwd", "host", "release", "cluster", "tool", "directory"), _TEXT),
    **dict.fromkeys(("record", "executors", "cap"), _COUNT),
    "began": _NUMBER,
}
_END: Types = {"ended": _NUMBER, "wall_s": _NUMBER, "status": _COUNT, "dropped": _COUNT}
assert {*_HEADER, "server"} == Header.__annotations__.keys()
assert {*_END, "figures"} == EndLine.__annotations__.keys()


def header(line: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a header that have sane values."""
    server = line.get("server")
    is_process = type(server) is list and len(server) == 2 and all(type(each) is int for each in server)
    return fitting(_HEADER, line) | ({"server": server} if is_process else {})


def end(line: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of an end line that have sane values, and of its figures those that are numbers.

    ``status`` and ``wall_s`` are there in any case; None is not known.
    """
    figures = line.get("figures")
    figures = figures if isinstance(figures, dict) else {}
    numbers = {key: value for key, value in figures.items() if type(value) in _NUMBER and -MOST < value < MOST}
    return {"status": None, "wall_s": None, **fitting(_END, line), "figures": numbers}
