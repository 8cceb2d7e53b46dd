"""The tables of the report: failures, the chain, the longest tasks, reasons, retries, totals, comparison. Pure.

A table is a map: ``title``, ``note``, ``columns`` (pairs of a name and a kind), ``rows``, and ``shown``, the number of
rows that stand there at first. Kinds of columns are those of FORMATS in report.js. A cell of the kind "task" is the
index of a task. The page has at most MOST_ROWS rows of a table.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from spraycc.records import timeline
from spraycc.records.read import Record, Task
from spraycc.ui.findings import OUTCOMES, Facts, shown_path, text_of, was_thrown_away

MOST_ROWS = 1000
_SHOWN = 12

Table = dict[str, Any]
Columns = Sequence[tuple[str, str]]

_TOTALS: Columns = (
    ("tasks", "count"), ("on executors", "count"), ("on submit host", "count"), ("failed", "count"),
    ("retries", "count"), ("ran", "seconds"), ("waited", "seconds"), ("CPU", "seconds"), ("returned", "bytes"),
)  # fmt: skip
_LINKS = {"input": "makes an input of the next", "order": "ended last before the next", "first": ""}


def tables(facts: Facts, earlier: Record | None) -> list[Table]:
    """All tables that have rows. ``earlier`` is the build before, of the same command."""
    record = facts.record
    made = [
        _failed(record), _chain(facts), _longest(record), *_submit_host(record), _retries(facts), _tried_again(record),
        _second(record),
        _totals("By directory", "directory", timeline.by_directory(record, facts.root)),
        _totals("By host", "host", timeline.by_host(record)),
    ]  # fmt: skip
    if earlier is not None and earlier.tasks:
        made += _comparison(facts, earlier)
    return [table for table in made if table["rows"]]


def _table(title: str, columns: Columns, rows: Iterable[Sequence[Any]], note: str = "", shown: int = _SHOWN) -> Table:
    kept = [list(row) for row in rows]
    if len(kept) > MOST_ROWS:
        note = f"{note} The first {MOST_ROWS:,} of {len(kept):,} rows.".strip()
    return {"title": title, "note": note, "columns": columns, "rows": kept[:MOST_ROWS], "shown": shown}


def _failed(record: Record) -> Table:
    columns = (("task", "task"), ("where", "text"), ("status", "count"), ("ended at", "seconds"), ("ran", "seconds"))
    rows = [
        (index, place(record, task), task.status, task.ended, timeline.ran_s(task))
        for index, task in enumerate(record.tasks)
        if task.has_failed
    ]
    return _table("Tasks that failed", columns, sorted(rows, key=lambda row: row[3]))


def _chain(facts: Facts) -> Table:
    record = facts.record
    followers = [_LINKS[link.by] for link in facts.links[1:]] + ["ended last in the build"]
    columns = (
        ("came at", "seconds"), ("task", "task"), ("where", "text"), ("build tool", "seconds"), ("waited", "seconds"),
        ("ran", "seconds"), ("why it is here", "text"),
    )  # fmt: skip
    rows = [
        (task.at, link.task, place(record, task), link.idle_s, task.queued_s, timeline.ran_s(task), follower)
        for link, follower in zip(facts.links, followers, strict=False)
        for task in [record.tasks[link.task]]
    ]
    note = (
        "Build tools tell nobody their graph of dependencies, so this chain is guessed from names and times. "
        "While all executors are busy, a task may come after another only because that one freed a token. "
        "“Build tool” is the time between the end of the task before and the arrival of the task."
    )
    return _table("The chain that the end waited for", columns, rows, note)


def _longest(record: Record) -> Table:
    columns = (
        ("task", "task"), ("where", "text"), ("ran", "seconds"), ("waited", "seconds"), ("CPU", "seconds"),
        ("memory", "bytes"), ("returned", "bytes"),
    )  # fmt: skip
    rows = [
        (
            index, place(record, task), timeline.ran_s(task), task.queued_s,
            task.cpu_s, task.rss or None, task.bytes or None,
        )
        for index in timeline.longest(record, 100)
        for task in [record.tasks[index]]
    ]  # fmt: skip
    return _table("The longest tasks", columns, rows)


def _submit_host(record: Record) -> Iterator[Table]:
    seconds: defaultdict[str, float] = defaultdict(float)
    for task in record.tasks:
        if task.ran == "here":
            seconds[timeline.reason_of(task)] += timeline.ran_s(task)
    rows = [(reason, tasks, seconds[reason]) for reason, tasks in timeline.reasons_here(record).most_common()]
    columns = (("reason", "text"), ("tasks", "count"), ("ran", "seconds"))
    yield _table("Why tasks ran on the submit host", columns, rows)


def _retries(facts: Facts) -> Table:
    seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
    for span in facts.spans:
        if was_thrown_away(span.outcome):
            seconds[span.outcome, facts.record.host_of(span.executor)] += span.ended - span.began
    rows = [
        (OUTCOMES.get(outcome, outcome), host, count, seconds[outcome, host])
        for (outcome, host), count in timeline.retries(facts.record).most_common()
    ]
    columns = (("cause", "text"), ("host", "text"), ("attempts", "count"), ("lost", "seconds"))
    return _table("Attempts that did not count", columns, rows)


def _tried_again(record: Record) -> Table:
    def causes(task: Task) -> list[str]:
        """In the server's words where it has some: it has none for a lost executor."""
        failed = [run for run in task.runs if run.outcome not in ("done", "cancelled")]
        silent = [run for run in failed if run.outcome == "lost" or not task.refusals]
        words = [f"{OUTCOMES.get(run.outcome, run.outcome)} ({record.host_of(run.executor)})" for run in silent]
        return [*task.refusals, *words]

    found = [(index, task.attempts, "; ".join(causes(task))) for index, task in enumerate(record.tasks)]
    rows = sorted((row for row in found if row[2]), key=lambda row: -row[1])
    columns = (("task", "task"), ("attempts", "count"), ("causes", "text"))
    return _table("Tasks that were tried again", columns, rows)


def _second(record: Record) -> Table:
    """The second attempts, those that won first. The others cost the cluster CPU for nothing."""
    rows = [
        (
            index, record.host_of(first.executor), first.ended - first.began, record.host_of(run.executor),
            run.ended - run.began, "yes" if run.outcome == "done" else "no",
        )
        for index, task in enumerate(record.tasks)
        for first, run in zip(task.runs, task.runs[1:], strict=False)
        if run.second
    ]  # fmt: skip
    won = sum(row[-1] == "yes" for row in rows)
    columns = (
        ("task", "task"), ("host of the first", "text"), ("first ran", "seconds"),
        ("host of the second", "text"), ("second ran", "seconds"), ("second won", "text"),
    )  # fmt: skip
    note = f"{won:,} of {len(rows):,} won. The first attempt took much longer than expected while executors idled."
    return _table("Second attempts", columns, sorted(rows, key=lambda row: row[-1], reverse=True), note)


def _totals(title: str, head: str, totals: Iterable[timeline.Total]) -> Table:
    rows = [
        (
            total.name or "submit host", total.tasks, total.remote, total.here, total.failed, total.retried,
            total.busy_s, total.queued_s, total.cpu_s, total.bytes,
        )
        for total in totals
    ]  # fmt: skip
    return _table(title, ((head, "text"), *_TOTALS), rows)


def _comparison(facts: Facts, earlier: Record) -> Iterator[Table]:
    found = timeline.compare(facts.record, earlier)
    rows = [("duration", *map(text_of, found.wall_s), _change(found.wall_s))]
    for name, pair in (
        ("tasks", found.tasks), ("on executors", found.remote), ("failed", found.failed), ("retries", found.retried),
        ("executors at once", found.executors),
    ):  # fmt: skip
        rows.append((name, f"{pair[0]:,}", f"{pair[1]:,}", _change(pair)))
    rows.append(("CPU on executors", *map(text_of, found.cpu_s), _change(found.cpu_s)))
    began = earlier.header.get("began")
    note = f"{found.new:,} tasks are new, and {found.gone:,} of the build before are not in this one."
    columns = (("figure", "text"), ("before", "text"), ("now", "text"), ("change", "text"))
    yield _table("The build before, and this one", columns, rows, note if began else "")
    changed = [change for change in found.changes if abs(change.now_s - change.before_s) >= 0.01]
    columns = (("task", "text"), ("before", "seconds"), ("now", "seconds"), ("change", "seconds_change"))
    rows_of_tasks = [
        (shown_path(change.target, facts.root), change.before_s, change.now_s, change.now_s - change.before_s)
        for change in changed
    ]
    yield _table("Tasks that changed most", columns, rows_of_tasks)


def _change(pair: Sequence[float]) -> str:
    before, now = pair
    if before == now:
        return "same"
    return f"{100 * (now - before) / before:+.0f} %" if before else "new"


def place(record: Record, task: Task) -> str:
    """Where a task ran: a host, "submit host", or nothing for a task that never ran."""
    return "submit host" if task.ran == "here" else record.host_of(task.executor)
