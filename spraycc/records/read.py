"""Finds and reads the records of builds. Every line and key may be missing.

Lines that are no JSON, and values that make no sense, count as missing (:mod:`spraycc.records.checked`). A file that
can't be read, or is no regular file, is no record.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from spraycc.errors import SprayccError
from spraycc.records import checked
from spraycc.records.files import last_line_of, lines_of
from spraycc.records.format import DIRECTORY, EMPTY_SUFFIX, NAME, SUFFIX, rank

#: A word of at most this many digits is a number, never the begin of an id.
_DIGITS = 3


class RecordError(SprayccError):
    """No record fits the user's words. The text says which records there are."""


class Found(NamedTuple):
    """A file with a record."""

    path: Path
    #: 1 is the newest of the workspace on this host
    number: int
    build: str
    #: begin of the build, seconds since 1970
    began: float
    #: the file's name says that the build had no task
    is_empty: bool


class Run(NamedTuple):
    """An attempt on an executor."""

    executor: str
    began: float
    ended: float
    #: "done" if it gave the result
    outcome: str
    #: another attempt of the task ran beside it
    second: bool


class Span(NamedTuple):
    """An interval, in seconds since the build's begin."""

    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Task:
    """A task's line, complete. The attributes are those of :class:`spraycc.records.format.TaskLine`."""

    target: str
    source: str = ""
    argv: str = ""
    cwd: str = ""
    kind: str = "unknown"
    placement: str = ""
    reason: str = ""
    ran: str = ""
    why: str = ""
    refusals: tuple[str, ...] = ()
    attempts: int = 0
    stale: int = 0
    executor: str = ""
    status: int | None = None
    s: float = 0.0
    at: float = 0.0
    runs: tuple[Run, ...] = ()
    here: Span | None = None
    user_s: float = 0.0
    system_s: float = 0.0
    rss: int = 0
    wall_s: float = 0.0
    bytes: int = 0

    @property
    def ended(self) -> float:
        """When the task had its result."""
        return round(self.at + self.s, 4)  # as exact as the times of its attempts, so that they compare

    @property
    def run(self) -> Run | None:
        """The attempt that gave the result; None if no attempt did, or in a record of version 1."""
        return next((run for run in reversed(self.runs) if run.outcome == "done"), None)

    @property
    def queued_s(self) -> float:
        """Seconds before the first attempt, or before the submit host ran the command."""
        starts = [run.began for run in self.runs] + ([self.here.began] if self.here else [])
        return max(0.0, min(starts, default=self.ended) - self.at)

    @property
    def cpu_s(self) -> float | None:
        """Seconds of CPU; None if not known: runners on the submit host report only commands in compile slots."""
        cpu_s = self.user_s + self.system_s
        return cpu_s if self.wall_s or cpu_s else None

    @property
    def has_failed(self) -> bool:
        return bool(self.status)


@dataclass(frozen=True, slots=True)
class Executor:
    """An executor of the build."""

    id: str
    host: str = ""
    batch_job: str = ""
    joined: float = 0.0
    #: None: it was still connected at the record's end
    left: float | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """The state at a moment, see :class:`spraycc.records.format.SampleLine`."""

    t: float
    running: int = 0
    here: int = 0
    waiting: int = 0
    executors: int = 0
    asked: int = 0
    tokens: int | None = None


@dataclass(slots=True)
class Record:
    """One build."""

    #: the first line, see :class:`spraycc.records.format.Header`
    header: dict[str, Any] = field(default_factory=dict)
    tasks: list[Task] = field(default_factory=list)
    #: by id, in the order in which they joined
    executors: dict[str, Executor] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    #: the last line, see :class:`spraycc.records.format.EndLine`; empty: the build runs, or its server was killed
    end: dict[str, Any] = field(default_factory=dict)

    @property
    def has_times(self) -> bool:
        """False for a record of version 1: it has no attempts, and no times but ``Task.s``."""
        return "record" in self.header if self.header else any(task.at for task in self.tasks)

    @property
    def is_lost(self) -> bool:
        """The file has no line that can be read."""
        return not (self.header or self.tasks or self.end)

    @property
    def ended(self) -> float:
        """When the build ended; of an open build, the last time in the record."""
        if "ended" in self.end:
            return float(self.end["ended"])
        lasts = [self.tasks[-1].ended] if self.tasks else []
        return max([*lasts, *(sample.t for sample in self.samples[-1:])], default=0.0)

    def host_of(self, executor: str) -> str:
        """The executor's host, or the executor's id if the host is not known."""
        found = self.executors.get(executor)
        return (found.host if found else "") or executor


def found_in(state_directories: Iterable[str | os.PathLike[str]], now: float = math.inf) -> list[Found]:
    """All records in these servers' directories, the newest first.

    ``now``: seconds since 1970. A record from the future counts as the oldest, see :func:`spraycc.records.format.rank`.
    """
    paths = [
        path
        for directory in state_directories
        for path in Path(directory, DIRECTORY).glob("*" + SUFFIX)
        if NAME.fullmatch(path.name) and path.is_file() and not path.is_symlink()
    ]
    paths.sort(key=lambda path: rank(path.name, now), reverse=True)
    return [_found(path, number) for number, path in enumerate(paths, start=1)]


def find(records: list[Found], wanted: str) -> Found:
    """The record that the user means: a number (1 is the newest) or the begin of a build's id.

    ``wanted`` is empty for the newest record with a task.

    Raises:
        RecordError: no record fits, or several do.
    """
    if not wanted:
        for found in records:
            if has_tasks(found):
                return found
        raise RecordError(
            "no build with tasks was recorded" if records else "no build was recorded for this workspace on this host"
        )
    is_number = wanted.isdecimal() and len(wanted) <= _DIGITS
    if is_number:
        fitting = [found for found in records if found.number == int(wanted)]
    else:
        fitting = [found for found in records if found.build.startswith(wanted)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise RecordError(f"several builds have an id that begins with {wanted!r}: give more of it")
    last = f"1 to {len(records)}, or an id" if records else "none is recorded"
    raise RecordError(f"no build {wanted!r}: give a number or an id that 'spraycc builds' lists ({last})")


def passed_over(records: list[Found], chosen: Found) -> list[Found]:
    """Builds that are newer than the chosen one and have lost their tasks: their names do not say that they had none.

    A build that runs and has no task yet is among them; the caller knows which builds run.
    """
    return [found for found in records if found.number < chosen.number and not found.is_empty]


def before(records: list[Found], build: Found) -> Found | None:
    """The newest record with tasks that is older than ``build``, of the same command line and directory."""
    header = read_header(build.path)
    for found in records:
        if found.number > build.number and is_same_build(header, read_header(found.path)) and has_tasks(found):
            return found
    return None


def is_same_build(header: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two headers have the same command line and working directory."""
    return all(header.get(key) == other.get(key) for key in ("argv", "cwd"))


def has_tasks(found: Found) -> bool:
    """Whether the record has at least one task."""
    try:
        return not found.is_empty and any("target" in line for line in lines_of(found.path))
    except OSError:
        return False


def read(path: Path, *, most_tasks: int | None = None) -> Record:
    """The record in a file. ``most_tasks``: read no further than this many tasks.

    Raises:
        OSError: the file can't be read.
    """
    record = Record()
    for line in lines_of(path):
        _take(record, line)
        if most_tasks is not None and len(record.tasks) >= most_tasks:
            break
    return record


def read_header(path: Path) -> dict[str, Any]:
    """The first line; empty if there is none."""
    try:
        line = next(lines_of(path), {})
    except OSError:
        return {}
    return checked.header(line) if "began" in line else {}


def read_end(path: Path) -> dict[str, Any]:
    """The last line if it is the build's end, else empty. Reads the end of the file only."""
    try:
        line = last_line_of(path)
    except OSError:
        return {}
    return checked.end(line) if "ended" in line else {}


def task_of(line: dict[str, Any]) -> Task:
    """A task of a line with a target.

    Raises:
        TypeError, ValueError: a value without which the task makes no sense is missing or wrong.
    """
    known = checked.fitting(_TASK, line)
    checked.text(line["target"])
    if runs := line.get("runs"):
        known["runs"] = tuple(
            Run(checked.text(executor), *checked.pair([began, ended]), checked.text(outcome), bool(second))
            for executor, began, ended, outcome, second in runs
        )
    if (here := line.get("here")) is not None:
        known["here"] = Span(*checked.pair(here))
    if refusals := line.get("refusals"):
        known["refusals"] = tuple(map(checked.text, refusals))
    return Task(**known)


def _take(record: Record, line: dict[str, Any]) -> None:
    """Add a line. A line that makes no sense is left out."""
    try:
        if "target" in line:
            record.tasks.append(task_of(line))
        elif "executor" in line:
            _take_executor(record, line)
        elif "t" in line:
            record.samples.append(Sample(**checked.fitting(_SAMPLE, line)))
        elif "ended" in line:
            record.end = checked.end(line)
        elif "began" in line and not record.header:
            record.header = checked.header(line)
    except (TypeError, ValueError):
        pass


def _take_executor(record: Record, line: dict[str, Any]) -> None:
    name = checked.text(line["executor"])
    known = record.executors.get(name)
    if "joined" in line:
        texts = checked.fitting(_EXECUTOR, line)
        record.executors[name] = Executor(name, **{**texts, "joined": checked.number(line["joined"])})
    elif known is not None and "left" in line:
        left = checked.number(line["left"])
        record.executors[name] = Executor(name, known.host, known.batch_job, known.joined, left)


def _types_of(kind: type[Task] | type[Sample] | type[Executor]) -> checked.Types:
    defaults = {each.name: 0.0 if each.default is MISSING else each.default for each in fields(kind)}
    return checked.types_like({key: default for key, default in defaults.items() if not isinstance(default, tuple)})


_TASK: checked.Types = {**_types_of(Task), "target": (str,), "here": ()}
_SAMPLE = _types_of(Sample)
_EXECUTOR: checked.Types = {**_types_of(Executor), "id": (), "left": ()}


def _found(path: Path, number: int) -> Found:
    is_empty = path.name.endswith(EMPTY_SUFFIX)
    stem = path.name[: -len(EMPTY_SUFFIX if is_empty else SUFFIX)]
    milliseconds, _, build = stem.partition("-")
    return Found(path, number, build, int(milliseconds) / 1000, is_empty)
