"""One line of ``spraycc doctor``: a part of SprayCC that works, or the problem and the next step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. Make it by :func:`passed` or :func:`failed`."""

    subject: str
    ok: bool
    text: str
    #: the next step for the user; empty if nothing need be done
    remedy: str = ""
    #: True if no task can go to an executor until this is repaired
    essential: bool = False

    def lines(self) -> Iterator[str]:
        """The finding as the user reads it."""
        mark = "ok" if self.ok else "PROBLEM" if self.essential else "note"
        yield f"{mark:<8} {_printable(f'{self.subject}: {self.text}')}"
        if not self.ok:
            yield f"{'':<8}   {_printable(self.remedy)}"


def _printable(text: str) -> str:
    """The text on one line. A host's or a cluster manager's own words may hold any character."""
    return "".join(character if character.isprintable() else " " for character in text)


def passed(subject: str, text: str) -> Finding:
    return Finding(subject, True, text)


class Stop(Exception):
    """Ends the checks of ``spraycc doctor`` with a finding."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.text)
        self.finding = finding


def failed(subject: str, text: str, remedy: str, *, essential: bool = False) -> Finding:
    """A problem. ``remedy``: the next step for this problem, never empty."""
    assert remedy, f"{subject}: {text}: a problem without a next step"
    return Finding(subject, False, text, remedy, essential)
