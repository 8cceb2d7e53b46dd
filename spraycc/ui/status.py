"""Shows the server's status on a terminal. Every key is optional: a server of another version may send others."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from spraycc.ui.summary import size


def render(figures: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The parts, top to bottom. All text comes as :class:`~rich.text.Text`, so that no name is taken for markup."""
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
    if builds:
        yield _table(
            ("build", "age", "width", "tasks", "remote", "here", "running", "tokens", "command"),
            [
                (
                    build.get("id"),
                    duration(build.get("age_s", 0)),
                    build.get("width"),
                    build.get("tasks"),
                    build.get("remote"),
                    build.get("local"),
                    build.get("running", "-"),
                    _tokens(build.get("tokens", {})),
                    shlex.join(build.get("argv", [])),
                )
                for build in builds
            ],
        )
    else:
        yield Text("no build is open")
    stale = sum(build.get("stale", 0) for build in builds)
    if stale:
        yield Text(f"attempts thrown away as their hosts saw other files than the submit host: {stale}")
    for host, port in figures.get("listens", []):
        yield Text(f"listens for executors on port {port} of {shown_address(host)}")
    executors = figures.get("executors", [])
    if executors:
        yield _table(
            ("executor", "host", "process", "age", "capture", "task"),
            [
                (
                    executor.get("id"),
                    executor.get("host"),
                    executor.get("pid"),
                    duration(executor.get("age_s", 0)),
                    executor.get("capture"),
                    "idle" if executor.get("task") is None else executor["task"],
                )
                for executor in executors
            ],
        )
    else:
        yield Text("no executor is connected")
    scheduler = figures.get("scheduler", {})
    total = scheduler.get("total", {})
    waiting = [
        f"{total[key]} {words}"
        for key, words in (("queued", "for an executor"), ("waiting_here", "for a slot of this host"))
        if total.get(key)
    ]
    if waiting:
        yield Text("tasks that wait: " + ", ".join(waiting))
    if scheduler.get("falling_back"):
        yield Text("no executor has connected in time: compiles run on this host")


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


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Table:
    table = Table(*head, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    return table
