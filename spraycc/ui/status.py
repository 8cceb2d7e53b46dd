"""Shows the server's status on a terminal. Every key is optional: a server of another version may send others."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from spraycc.notices import status as notices
from spraycc.ui.printable import printable
from spraycc.ui.summary import counted, size

#: Names of waiting tasks that are shown.
_MOST_WAITING = 5
#: Longer names are cut on a terminal; their end says more than their beginning.
_NAME_CHARACTERS = 50


def _run_s(row: Mapping[str, Any]) -> float:
    return -float((row.get("running") or {}).get("run_s") or 0.0)


def _text_of(key: str) -> Callable[[Mapping[str, Any]], Any]:
    """Sort by a text of the running task; idle executors come last."""
    return lambda row: (row.get("running") is None, str((row.get("running") or {}).get(key, "")))


#: --sort -> the key of a row of the table of executors
SORTS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "host": lambda row: (str(row.get("host")), str(row.get("id"))),
    "time": _run_s,
    "age": lambda row: -float(row.get("age_s", 0.0)),
    "task": _text_of("target"),
    "kind": _text_of("kind"),
}


def render(
    figures: Mapping[str, Any], sort: str = "host", *, most_rows: int | None = None, whole_names: bool = True
) -> Iterator[RenderableType]:
    """The parts, top to bottom. All text comes as :class:`~rich.text.Text`, so that no name is taken for markup.

    Args:
        figures: the map of ``spraycc status --json``.
        sort: order of the executors, a key of SORTS.
        most_rows: show this many executors; None: all.
        whole_names: show the whole names of tasks.
    """
    server = figures.get("server", {})
    peak = size(int(server.get("peak_rss_bytes", 0)))
    yield Text(
        f"server {server.get('release', '?')}, process {server.get('pid', '?')}, "
        f"up {duration(server.get('uptime_s', 0))}, {round(server.get('cpu_s', 0), 3)} s of CPU, "
        f"{peak} of memory at most\n"
        f"workspace {server.get('workspace', '?')}\n"
        f"log       {server.get('state_dir', '?')}/server.log"
    )
    builds = figures.get("builds", [])
    yield _builds(builds) if builds else Text("no build is open")
    if stale := sum(build.get("stale", 0) for build in builds):
        yield _text(notices.STALE.text(count=stale))
    for host, port in figures.get("listens", []):
        yield _text(f"listens for executors on port {port} of {shown_address(host)}")
    shown = _Names(whole_names)
    here = figures.get("submit_host", {}).get("running", [])
    executors = sorted(figures.get("executors", []), key=SORTS[sort])
    if not executors:
        yield _text(_without_executors(server))
    if executors or here:
        yield _tasks(executors, here, most_rows, shown)
    if most_rows is not None and len(executors) > most_rows:
        idle = sum(executor.get("task") is None for executor in executors[most_rows:])
        yield _text(f"and {counted(len(executors) - most_rows, 'more executor')}, {idle:,} of them idle")
    if waiting := _waiting(figures, shown):
        yield _text(waiting)
    pending = figures.get("pending", [])
    if pending:
        yield _pending(pending)
    if trouble := figures.get("trouble"):
        age = duration(figures.get("trouble_age_s", 0))
        yield _text(notices.FAILED_TO_START.text(age=age, trouble=trouble))
    if figures.get("scheduler", {}).get("falling_back"):
        yield _text(notices.FALLS_BACK.text())


def _without_executors(server: Mapping[str, Any]) -> str:
    if server.get("starts_executors", True):
        return notices.NO_EXECUTOR.text()
    here = counted(server.get("compile_slots", 0), "compile")
    return notices.WITHOUT_EXECUTORS.text(compiles=here)


def _builds(builds: Sequence[Mapping[str, Any]]) -> Table:
    return _table(
        ("build", "age", "done", "left", "on executors", "on this host", "waiting", "failed", "tokens", "command"),
        [
            (
                build.get("id"),
                duration(build.get("age_s", 0)),
                f"{build.get('done', '?')} of {build.get('expected') or build.get('tasks')}",
                f"about {duration(rest_s)}" if (rest_s := build.get("rest_s")) is not None else "-",
                build.get("running", "-"),
                build.get("running_here", "-"),
                build.get("waiting", "-"),
                build.get("failed", 0),
                _tokens(build.get("tokens", {})),
                shlex.join(build.get("argv", [])),
            )
            for build in builds
        ],
    )


class _Names:
    """The names of tasks, for the table."""

    def __init__(self, whole: bool) -> None:
        self._whole = whole

    def __call__(self, task: Mapping[str, Any]) -> str:
        """The file that a task makes, or else the one that it reads, or its command."""
        name = str(task.get("target") or task.get("source") or task.get("command") or f"task {task.get('id')}")
        if self._whole or len(name) <= _NAME_CHARACTERS:
            return name
        return "…" + name[1 - _NAME_CHARACTERS :]


def _tasks(
    executors: Sequence[Mapping[str, Any]], here: Sequence[Mapping[str, Any]], most: int | None, shown: _Names
) -> Table:
    rows: list[tuple[Any, ...]] = [
        ("this host", "-", "-", shown(task), _kind(task), duration(task.get("run_s") or 0)) for task in here
    ]
    for executor in executors[:most]:
        task = executor.get("running")
        if task is not None:
            cells = shown(task), _kind(task), duration(task.get("run_s") or 0)
        else:  # an older server knows the task's number only
            number = executor.get("task")
            cells = "idle" if number is None else f"task {number}", "", ""
        age = duration(executor.get("age_s", 0))
        rows.append((executor.get("host"), executor.get("id"), age, *cells))
    return _table(("host", "executor", "since", "task", "kind", "for"), rows)


def _kind(task: Mapping[str, Any]) -> str:
    kind = str(task.get("kind", "")).replace("unknown", "command")
    attempt = int(task.get("attempt", 1))
    return f"{kind}, attempt {attempt}{' beside another' if task.get('second') else ''}" if attempt > 1 else kind


def _waiting(figures: Mapping[str, Any], shown: _Names) -> str:
    total = figures.get("scheduler", {}).get("total", {})
    counts = [
        f"{total[key]:,} {words}"
        for key, words in (("queued", "for an executor"), ("waiting_here", "for a slot of this host"))
        if total.get(key)
    ]
    if not counts:
        return ""
    host = figures.get("submit_host", {})
    names = [shown(task) for task in host.get("waiting", [])[:_MOST_WAITING]]
    more = ", …" if host.get("waiting_in_all", 0) > len(names) else ""
    return f"tasks that wait: {', '.join(counts)}{': ' if names else ''}{', '.join(names)}{more}"


def _pending(pending: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for group in pending:
        executors, batch_jobs = int(group.get("executors", 0)), int(group.get("batch_jobs", 0))
        what = counted(executors, "executor")
        if batch_jobs:
            what = f"{counted(batch_jobs, 'batch job')} of {group.get('system', '?')}"
            what += f", {what_executors}" if (what_executors := _if_other(executors, batch_jobs)) else ""
        reason = group.get("reason") or (
            "started, not connected yet" if group.get("started") else "no reason given yet"
        )
        rows.append((what, group.get("queue") or "-", duration(group.get("age_s", 0)), reason))
    return _table(("pending", "queue or host", "for", "why"), rows)


def _if_other(executors: int, batch_jobs: int) -> str:
    return counted(executors, "executor") if executors != batch_jobs else ""


def shown_address(host: str) -> str:
    """The address on which a server listens, in words."""
    return "all addresses" if host in ("::", "0.0.0.0") else host


def _tokens(account: Mapping[str, Any]) -> str:
    """``5 of 9 held, 1 unaccounted, 2 completions held``, without zeros."""
    if "issued" not in account:
        return "-"
    text = f"{account.get('held', '?')} of {account['issued']} held"
    words = (("unaccounted", "unaccounted"), ("completions_held", "completions held"), ("lost", "lost"))
    return ", ".join([text, *(f"{account[key]} {word}" for key, word in words if account.get(key))])


def duration(seconds: float) -> str:
    """``7 s``, ``3:05``, ``2:03:05``."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _text(text: str) -> Text:
    """Text with the names in it escaped: rich gives most control characters to the terminal."""
    return Text(printable(text))


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in head:
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*(_text(str(cell)) for cell in row))
    return table
