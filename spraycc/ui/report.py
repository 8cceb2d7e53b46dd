"""Makes the report of a build: one HTML page with its data, style and script in it, which loads nothing. Pure.

Names in a build are hostile: file names may hold markup, quotes, control characters and bytes that are no UTF-8. The
data is base64 in the page, so it can't end the element that holds it. The script puts names into the page as text only.
The page's Content-Security-Policy allows this one script and this one style, and no request at all.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
import zlib
from collections.abc import Callable
from importlib import resources
from typing import Any

from spraycc import __version__
from spraycc.records import timeline
from spraycc.records.read import Executor, Record
from spraycc.ui.findings import OUTCOMES, Facts, counted, findings, text_of, was_thrown_away
from spraycc.ui.report_tables import tables

#: Begins the content of the page's "generator", by which :func:`is_report` knows a page.
GENERATOR = "SprayCC report"
#: The begin of a page. Another page may quote ours, but not as its own first lines.
_HEAD = re.compile(
    rb'<!doctype html>\n<html lang="en">\n<head>\n(?:<meta [^\n]*>\n)*<meta name="generator" content="%s '
    % GENERATOR.encode("ascii")
)
#: Times in the data are whole numbers of this many seconds.
UNIT_S = 1e-4
#: A build is no longer than this, whatever the record says.
_MOST_S = 1e7
_SCRIPTS = ("report_data.js", "report_plot.js", "report.js")
#: Values of ``runs.state``, see report_data.js.
_GOOD, _FAILED, _THROWN_AWAY = range(3)


def page(record: Record, earlier: Record | None = None, *, root: str = "") -> str:
    """The report of a build, as HTML in UTF-8.

    Args:
        record: the build.
        earlier: the build before with the same command line and directory, to compare with.
        root: the workspace; directories in it are shown relative to it.
    """
    script = "\n".join(['"use strict";', *(_resource(name) for name in _SCRIPTS)])
    style = _resource("report.css")
    packed = zlib.compress(json.dumps(data(record, earlier, root), separators=(",", ":")).encode("ascii"), 6)
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "POLICY": policy,
        "GENERATOR": f"{GENERATOR} {__version__}",
        "TITLE": _html(f"{_command(record)} - SprayCC report"),
        "STYLE": style,
        "DATA": base64.b64encode(packed).decode("ascii"),
        "SCRIPT": script,
    }
    # One pass: no part is searched for the name of another.
    return re.sub("@([A-Z]+)@", lambda match: parts[match[1]], _resource("report.html"))


def is_report(begin: bytes) -> bool:
    """Whether a file that begins with these bytes is a report, which a new report may replace."""
    return _HEAD.match(begin) is not None


def data(record: Record, earlier: Record | None = None, root: str = "") -> dict[str, Any]:
    """The page's data, of lists, maps, numbers and texts. docs/explanation/report.md describes it."""
    facts = Facts.of(record, root)
    texts = _Texts()
    lanes, lane_of, here_lanes = _lanes(facts, texts)
    lasts = [span.ended for span in facts.spans] + [sample.t for sample in record.samples] + [facts.wall_s]
    return {
        "unit_s": UNIT_S,
        "command": _command(record),
        "about": _about(record),
        "began": _finite(record.header.get("began")),
        "foot": f"Made by SprayCC {__version__} from a record of SprayCC {record.header.get('release', '?')}. "
        "This page holds all its data and loads nothing.",
        "end_s": min(max(lasts), _MOST_S),
        "tiles": _tiles(facts),
        "findings": [finding._asdict() for finding in findings(facts, earlier)],
        "commands": [task.argv for task in record.tasks],
        "tasks": _tasks(facts, texts),
        "here_lanes": here_lanes,
        "lanes": lanes,
        "runs": _runs(facts, lane_of, texts),
        "samples": _samples(record),
        "chain": [link.task for link in facts.links],
        "tables": tables(facts, earlier),
        "texts": texts.all,
    }


class _Texts:
    """Numbers texts, so that a text that many tasks share is once in the page."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        return self._numbers.setdefault(text, len(self._numbers))

    @property
    def all(self) -> list[str]:
        return list(self._numbers)


def _lanes(facts: Facts, texts: _Texts) -> tuple[dict[str, Any], list[int], int]:
    """The lanes, the lane of each of ``facts.spans``, and the number of lanes of the submit host, which come first."""
    here = [number for number, span in enumerate(facts.spans) if span.executor == timeline.SUBMIT_HOST]
    given = timeline.lanes([facts.spans[number] for number in here])
    here_lanes = max(given, default=0) + 1
    record = facts.record
    used = {span.executor: Executor(span.executor) for span in facts.spans if span.executor != timeline.SUBMIT_HOST}
    executors = list({**used, **record.executors}.values())
    executors.sort(key=lambda executor: (natural(executor.host or executor.id), executor.joined, natural(executor.id)))
    number_of = {executor.id: here_lanes + number for number, executor in enumerate(executors)}
    lane_of = [number_of.get(span.executor, 0) for span in facts.spans]
    for number, lane in zip(here, given, strict=True):
        lane_of[number] = lane
    host = str(record.header.get("host") or "submit host")
    lanes = {
        "host": [texts(host)] * here_lanes + [texts(executor.host or executor.id) for executor in executors],
        "executor": [texts("")] * here_lanes + [texts(executor.id) for executor in executors],
        "batch_job": [texts("")] * here_lanes + [texts(executor.batch_job) for executor in executors],
        "presence": [[0, None]] * here_lanes + [_presence(executor) for executor in executors],
    }
    return lanes, lane_of, here_lanes


def _presence(executor: Executor) -> list[float | None]:
    """Begin and end of the executor's connection in seconds; an end of None is the build's."""
    left = None if executor.left is None else round(_finite(executor.left), 3)
    return [round(max(0.0, _finite(executor.joined)), 3), left]


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key by which ``node9`` comes before ``node10``."""
    parts = re.split(r"([0-9]{1,15})", name)
    return [(1, int(part), "") if number % 2 else (0, 0, part) for number, part in enumerate(parts)]


def _runs(facts: Facts, lane_of: list[int], texts: _Texts) -> dict[str, list[int]]:
    """The runs as columns, sorted by lane, then by begin."""
    order = sorted(range(len(facts.spans)), key=lambda number: (lane_of[number], facts.spans[number].began))
    spans = [facts.spans[number] for number in order]

    def state_of(span: timeline.Interval) -> int:
        if was_thrown_away(span.outcome):
            return _THROWN_AWAY
        return _FAILED if facts.record.tasks[span.task].has_failed else _GOOD

    begins = [_units(span.began) for span in spans]
    return {
        "lane": [lane_of[number] for number in order],
        "task": [span.task for span in spans],
        "begin": begins,
        "end": [max(begin, _units(span.ended)) for begin, span in zip(begins, spans, strict=True)],
        "state": [state_of(span) for span in spans],
        "outcome": [texts(OUTCOMES.get(span.outcome, span.outcome)) for span in spans],
        "second": [int(span.second) for span in spans],
    }


def _tasks(facts: Facts, texts: _Texts) -> dict[str, list[Any]]:
    """The tasks as columns. Columns of texts hold their numbers."""
    columns: dict[str, Callable[[Any], Any]] = {
        "target": lambda task: texts(facts.name(task)),
        "cwd": lambda task: texts(task.cwd),
        "kind": lambda task: texts(task.kind),
        "reason": lambda task: texts(timeline.reason_of(task)),
        "refusals": lambda task: texts("; ".join(task.refusals)) if task.refusals else None,
        "status": lambda task: task.status,
        "at": lambda task: _units(task.at),
        "ended": lambda task: _units(task.ended),
        "cpu_ms": lambda task: -1 if task.cpu_s is None else round(1000 * _finite(task.cpu_s)),
        "rss_kb": lambda task: round(_finite(task.rss) / 1000),
        "bytes": lambda task: task.bytes,
    }
    return {name: [column(task) for task in facts.record.tasks] for name, column in columns.items()}


def _samples(record: Record) -> dict[str, list[Any]]:
    samples = sorted(record.samples, key=lambda sample: sample.t)
    return {
        "t": [round(_finite(sample.t), 3) for sample in samples],
        "waiting": [sample.waiting for sample in samples],
        "executors": [sample.executors for sample in samples],
        # None: the tool has no jobserver
        "tokens": [sample.tokens for sample in samples],
    }


def _tiles(facts: Facts) -> list[tuple[str, str]]:
    """Pairs of a figure and its meaning, for the head of the page."""
    tasks = facts.record.tasks
    remote = [task for task in tasks if task.ran == "remote"]
    tiles = [
        (text_of(facts.wall_s), "from begin to end"),
        (f"{len(tasks):,}", "tasks"),
        (f"{len(remote):,}", "on executors"),
        (f"{sum(task.ran == 'here' for task in tasks):,}", "on the submit host"),
        (f"{timeline.mean_parallelism(facts.record):.1f}", "at once on average"),
        (text_of(sum(task.user_s + task.system_s for task in tasks)), "of CPU, as far as known"),
    ]
    failed = sum(task.has_failed for task in tasks)
    retried = sum(timeline.retries(facts.record).values())
    return tiles + [(f"{number:,}", words) for number, words in ((failed, "failed"), (retried, "retries")) if number]


def _command(record: Record) -> str:
    # The record has the command line without the user's -j.
    cap = record.header.get("cap")
    return str(record.header.get("argv") or "build") + (f" -j{cap}" if cap is not None else "")


def _about(record: Record) -> str:
    header = record.header
    status = record.end.get("status")
    ended = "has no end yet" if not record.end else "succeeded" if status == 0 else f"ended with status {status}"
    parts = [f"Build {header.get('build', '?')} {ended}", f"in {header.get('cwd', '?')} on {header.get('host', '?')}"]
    if cluster := header.get("cluster"):
        parts.append(f"cluster {cluster}, {counted(len(record.executors), 'executor')}")
    return " · ".join(parts)


def _units(seconds: float) -> int:
    return round(_finite(seconds) / UNIT_S)


def _finite(value: Any) -> float:
    """The number, within bounds; 0 for anything else. Python's reader of JSON takes NaN, and a browser's does not."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return 0.0
    return max(-1e11, min(float(value), 1e11))


def _html(text: str) -> str:
    """Text for an element or an attribute, in ASCII."""
    printable = "".join(c if c.isprintable() else "\ufffd" for c in text)
    return html.escape(printable).encode("ascii", "xmlcharrefreplace").decode("ascii")


def _hash(text: str) -> str:
    """The source of a Content-Security-Policy that allows this text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _resource(name: str) -> str:
    return resources.files("spraycc.ui").joinpath(name).read_text(encoding="utf-8")
