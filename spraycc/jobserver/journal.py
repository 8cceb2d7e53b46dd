"""A build's token account as lines of the server's log: one line for each event. Pure."""

from __future__ import annotations

import json
from dataclasses import astuple

from spraycc.jobserver.events import Event, Limits
from spraycc.jobserver.governor import Decision, Governor
from spraycc.jobserver.tokens import TokenAccount


def begin_line(build: str, limits: Limits, width: int, now: float) -> str:
    """The line of a new governor."""
    return _line(build, ["begin", now, [astuple(limits), width]])


def event_line(
    build: str, event: Event, now: float, decision: Decision, governor: Governor, tokens: TokenAccount
) -> str:
    """The line of an event, as soon as the governor has decided.

    Its list is: the event's name, the time, the event's fields, tokens to write, tokens to withdraw, the tasks that are
    released, and the account: tokens issued, top-level tools, recipes with a runner, completions held.
    """
    account = [tokens.issued, governor.tools, governor.recipes, len(governor.held)]
    entry = [type(event).__name__, now, astuple(event), tokens.due, tokens.owed, decision.release, account]
    return _line(build, entry)


def _line(build: str, entry: list[object]) -> str:
    return f"tokens of build {build}: {json.dumps(entry)}"
