"""The status as a user reads it: tables of builds, executors with the files that they work on, and what is pending."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from spraycc.cli import status as command
from spraycc.ui.status import SORTS, render
from spraycc.ui.status_screen import lines


def task(number: int, target: str, **values: Any) -> dict[str, Any]:
    whole = {"id": number, "build": "b1", "target": target, "source": "", "command": "gcc -c", "kind": "compile"}
    return whole | {"age_s": 9.0, "run_s": 3.0, "attempt": 1, "second": False} | values


def executor(name: str, host: str, running: dict[str, Any] | None, age_s: float = 125.0) -> dict[str, Any]:
    return {
        "id": name, "host": host, "pid": 1, "task": running and running["id"], "running": running, "age_s": age_s,
    }  # fmt: skip


FIGURES: dict[str, Any] = {
    "server": {"release": "1.0", "pid": 7, "uptime_s": 200, "workspace": "/w", "state_dir": "/s"},
    "builds": [
        {
            "id": "b1", "argv": ["make", "a b"], "age_s": 61, "tasks": 40, "done": 30, "running": 3,
            "running_here": 1, "waiting": 6, "failed": 0, "tokens": {"issued": 4, "held": 3},
        },
        {
            "id": "b2", "argv": ["ninja"], "age_s": 9, "tasks": 50, "done": 44, "expected": 1284, "rest_s": 250,
            "running": 4, "running_here": 0, "waiting": 2, "failed": 1, "tokens": {},
        },
    ],
    "executors": [
        executor("e1", "node2", task(1, "sub/a.o", run_s=2.0)),
        executor("e2", "node1", None, 10.0),
        executor("e3", "node3", task(2, "", source="b.c", run_s=70.0, attempt=2, second=True)),
        executor("e4", "node4", task(3, "", kind="unknown", command="python gen.py", run_s=4.0)),
    ],
    "submit_host": {
        "running": [task(4, "prog", kind="link", run_s=5.0)],
        "waiting": [task(n, f"w{n}.o") for n in range(7)],
        "waiting_in_all": 1234,
    },
    "pending": [
        {"system": "Slurm", "queue": "fast", "batch_jobs": 94, "executors": 94, "reason": "Resources", "age_s": 185.0},
        {"system": "Slurm", "queue": "", "batch_jobs": 1, "executors": 8, "reason": "", "started": True, "age_s": 4.0},
        {"system": "ssh", "queue": "node9", "batch_jobs": 0, "executors": 2, "reason": "", "started": True, "age_s": 1},
    ],
    "scheduler": {"total": {"queued": 1230, "waiting_here": 4}, "falling_back": False},
}  # fmt: skip


def text(figures: dict[str, Any], sort: str = "host", **options: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=1000, highlight=False)
    for part in render(figures, sort, **options):
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_the_whole_status() -> None:
    assert text(FIGURES)[3:] == [
        "build  age   done        left        on executors  on this host  waiting  failed  tokens       command",
        "b1     1:01  30 of 40    -           3             1             6        0       3 of 4 held  make 'a b'",
        "b2     9 s   44 of 1284  about 4:10  4             0             2        1       -            ninja",
        "host       executor  since  task           kind                               for",
        "this host  -         -      prog           link                               5 s",
        "node1      e2        10 s   idle",
        "node2      e1        2:05   sub/a.o        compile                            2 s",
        "node3      e3        2:05   b.c            compile, attempt 2 beside another  1:10",
        "node4      e4        2:05   python gen.py  command                            4 s",
        "tasks that wait: 1,230 for an executor, 4 for a slot of this host: w0.o, w1.o, w2.o, w3.o, w4.o, …",
        "pending                            queue or host  for   why",
        "94 batch jobs of Slurm             fast           3:05  Resources",
        "1 batch job of Slurm, 8 executors  -              4 s   started, not connected yet",
        "2 executors                        node9          1 s   started, not connected yet",
    ]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("host", ["e2", "e1", "e3", "e4"]),
        ("time", ["e3", "e4", "e1", "e2"]),
        ("age", ["e1", "e3", "e4", "e2"]),
        ("task", ["e3", "e4", "e1", "e2"]),
        ("kind", ["e1", "e3", "e4", "e2"]),
    ],
)
def test_the_order_of_executors(sort: str, order: list[str]) -> None:
    rows = [line.split() for line in text(FIGURES, sort) if line.startswith("node")]
    assert [row[1] for row in rows] == order


def test_the_command_line_offers_each_order() -> None:
    assert list(command._SORTS) == list(SORTS)


def test_without_anything() -> None:
    assert text({})[3:] == ["no build is open", "no executor is connected"]


def test_without_executors_by_the_settings() -> None:
    shown = text({"server": {"starts_executors": False, "compile_slots": 2}})
    assert "no executors, by the settings: this host runs up to 2 compiles at once" in shown


def test_trouble_is_shown_with_its_age() -> None:
    shown = text({"trouble": "Slurm refused: no account", "trouble_age_s": 65.0})
    assert "executors failed to start 1:05 ago: Slurm refused: no account" in shown


def test_an_older_server_knows_numbers_only() -> None:
    rows = text({"executors": [{"id": "e1", "host": "n1", "age_s": 1, "task": 12}]})
    assert rows[-1].split() == ["n1", "e1", "1", "s", "task", "12"]


def test_names_are_no_markup() -> None:
    shown = text({"executors": [executor("e1", "n1", task(1, "[bold]x[/bold].o"))]})
    assert "[bold]x[/bold].o" in shown[-1]


def test_a_screen_has_its_height_and_says_how_many_rows_are_missing() -> None:
    many = FIGURES | {"executors": [executor(f"e{n}", f"node{n:03}", None) for n in range(500)]}
    shown = lines(many, "host", [], 120, 24)
    assert len(shown) == 24
    assert shown[-1] == "q: quit   s: sort (by host)"
    rows = [line for line in shown if "node" in line and "idle" in line]
    assert any(f"and {500 - len(rows)} more executors, {500 - len(rows)} of them idle" in line for line in shown)
    assert "94 batch jobs of Slurm" in "\n".join(shown)


@pytest.mark.parametrize("height", [1, 2, 3, 8])
@pytest.mark.parametrize("width", [1, 20, 80])
def test_a_tiny_screen(width: int, height: int) -> None:
    shown = lines(FIGURES, "time", ["a message"], width, height)
    assert len(shown) <= height


def test_a_screen_without_a_server() -> None:
    assert lines(None, "host", ["no server runs for /w"], 80, 24)[0].startswith("no server runs for /w")


def test_names_are_escaped() -> None:
    hostile = "\x1b[2J\u202e\n"
    build = {"id": "b", "argv": [hostile]}
    executor = {"host": hostile, "id": hostile, "running": {"target": hostile, "kind": hostile}}
    shown = "\n".join(text({"builds": [build], "executors": [executor], "trouble": hostile})[3:])
    assert shown.replace("\n", "").isprintable()
    assert shown.count(r"\x1b[2J\u202e\n") == 6
