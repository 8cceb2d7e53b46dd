"""A build's progress in words, as long as the terminal is wide. Pure.

``figures`` are those of the message Progress, as docs/reference/protocol.md describes them. Every key is optional: a
server of another version may send others, and an older server sends none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: The parts of the line, in their order.
_ORDER = ("tasks", "executors", "waiting", "here", "failed", "time", "rest", "pending")
#: A line that is too long is shortened by these steps: (part, number of its next form). The last form is no text.
_STEPS = (
    ("executors", 1),
    ("tasks", 1),
    ("here", 1),
    ("rest", 1),
    ("pending", 1),
    ("pending", 2),
    ("here", 2),
    ("waiting", 1),
    ("executors", 2),
    ("pending", 3),
    ("rest", 2),
    ("executors", 3),
    ("failed", 1),
    ("tasks", 2),
    ("time", 1),
)


def line(figures: Mapping[str, Any], elapsed_s: float, width: int) -> str:
    """The text for the pinned line, at most ``width`` characters: less important parts are shortened or left out."""
    forms = _forms(figures, elapsed_s)
    used = dict.fromkeys(_ORDER, 0)
    text = _joined(forms, used)
    for part, number in _STEPS:
        if len(text) <= width:
            break
        used[part] = number
        text = _joined(forms, used)
    return text[: max(0, width)]


def plain(figures: Mapping[str, Any], elapsed_s: float) -> str:
    """The text for a line of a log."""
    return _joined(_forms(figures, elapsed_s), dict.fromkeys(_ORDER, 0), lead="")


def percent(figures: Mapping[str, Any]) -> int | None:
    """The share of the expected tasks that are done, from 0 to 100; None if no number is expected."""
    done, expected = _count(figures, "done"), figures.get("expected")
    return min(100, 100 * done // expected) if isinstance(expected, int) and expected > 0 else None


def clock(seconds: float) -> str:
    """``0:07``, ``3:05``, ``2:03:05``."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _joined(forms: Mapping[str, tuple[str, ...]], used: Mapping[str, int], lead: str = "spraycc: ") -> str:
    parts = []
    for part in _ORDER:
        choices = forms.get(part, ())
        if used[part] < len(choices):
            parts.append(choices[used[part]])
    return lead + ", ".join(filter(None, parts))


def _forms(figures: Mapping[str, Any], elapsed_s: float) -> dict[str, tuple[str, ...]]:
    """The forms of each part that has something to say, the longest first."""
    forms = {"tasks": _tasks(figures), "time": (clock(elapsed_s),)}
    running, executors = _count(figures, "running"), _count(figures, "executors")
    if executors or running:
        forms["executors"] = _executors(running, executors)
    if waiting := _count(figures, "waiting"):
        forms["waiting"] = (f"{waiting:,} waiting",)
    if here := _count(figures, "here"):
        forms["here"] = (f"{here:,} on this host", f"{here:,} here")
    if failed := _count(figures, "failed"):
        forms["failed"] = (f"{failed:,} failed",)
    if isinstance(rest_s := figures.get("rest_s"), int | float):
        forms["rest"] = (f"about {clock(rest_s)} left", f"~{clock(rest_s)} left")
    if pending := _pending(figures, executors):
        forms["pending"] = pending
    return forms


def _tasks(figures: Mapping[str, Any]) -> tuple[str, ...]:
    done = _count(figures, "done")
    share = percent(figures)
    if share is not None:
        expected = figures["expected"]
        return (
            f"{done:,} of {_counted(expected, 'task')} ({share} %)",
            f"{done:,}/{expected:,} ({share} %)",
            f"{share} %",
        )
    if not done:
        return "no task done yet", "0 done", "0"
    return f"{_counted(done, 'task')} done", f"{done:,} done", f"{done:,}"


def _executors(running: int, executors: int) -> tuple[str, ...]:
    of_all = _counted(executors, "executor")
    return f"{running:,} running on {of_all}", f"{running:,} on {of_all}", f"{running:,}/{executors:,}"


def _pending(figures: Mapping[str, Any], executors: int) -> tuple[str, ...]:
    asked = _count(figures, "asked")
    if not asked:
        return ()
    found = figures.get("pending") or {}
    short = f"{asked:,} of {_counted(executors + asked, 'executor')} pending"
    if reason := str(found.get("reason") or ""):
        return f"{short}: {reason}", short, f"{asked:,} pending"
    # Executors that were asked for a moment ago are no news.
    return (short, short, f"{asked:,} pending") if found else ()


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _count(figures: Mapping[str, Any], key: str) -> int:
    value = figures.get(key)
    return value if isinstance(value, int) and value > 0 else 0
