"""A build's token account as lines of the log, and the way back: the same governor from the same lines. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import astuple
from typing import Any

from spraycc.jobserver.governor import Decision, Governor, Limits

#: What precedes the JSON in a line of the log; the build's id stands in between.
MARK = "tokens of build"
_LINE = re.compile(rf"{MARK} (\S+): (\[.*\])")


def begin_line(build: str, limits: Limits, total: int, now: float) -> str:
    """The line that stands for a new governor."""
    return f"{MARK} {build}: {json.dumps(['begin', now, [astuple(limits), total]])}"


def event_line(
    build: str, event: str, arguments: tuple[Any, ...], now: float, account: Governor, then: Decision
) -> str:
    """The line of an event: the governor's method, its arguments, what was decided, and the account after it."""
    if event == "set_limits":
        arguments = astuple(arguments[0])
    entry = [event, now, list(arguments), then.issue, then.withdraw, list(then.release), summary(account)]
    return f"{MARK} {build}: {json.dumps(entry)}"


def summary(account: Governor) -> list[int]:
    """Tokens issued, top-level tools, recipes with a runner, completions held."""
    return [account.issued, account.clients, account.recipes, len(account.held)]


def replay(lines: Iterable[str], build: str) -> Governor:
    """The governor of ``build`` as it was after the last of these lines of a log; other lines are skipped.

    Raises:
        ValueError: the build does not begin there, or a line says that something else came of an event.
    """
    governor: Governor | None = None
    for line in lines:
        found = _LINE.search(line)
        if found is None or found[1] != build:
            continue
        event, now, arguments, *outcome = json.loads(found[2])
        if event == "begin":
            values, total = arguments
            governor = Governor(Limits(*values), total, now)
            continue
        if governor is None:
            raise ValueError(f"build {build} does not begin in these lines")
        if event == "set_limits":
            arguments = [Limits(*arguments)]
        then = getattr(governor, event)(*arguments, now)
        seen = [then.issue, then.withdraw, list(then.release), summary(governor)]
        if seen != outcome:
            raise ValueError(f"{line.rstrip()}: {seen} when it is done again")
    if governor is None:
        raise ValueError(f"build {build} is not in these lines")
    return governor
