"""Figures of a record: parallelism, lanes, the chain that the end waited for, totals, comparison."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spraycc.records import timeline
from spraycc.records.read import Executor, Record, Run, Span, Task, read
from spraycc.records.timeline import Interval, Level, Link
from tests.records import lines_of_a_build, write_record


def remote(target: str, at: float, ended: float, argv: str = "", executor: str = "e1", **values: Any) -> Task:
    runs = values.pop("runs", (Run(executor, at, ended, "done", False),))
    return Task(target, argv=argv, cwd="/w", ran="remote", at=at, s=ended - at, executor=executor, runs=runs, **values)


def here(target: str, at: float, ended: float, argv: str = "", **values: Any) -> Task:
    return Task(target, argv=argv, cwd="/w", ran="here", at=at, s=ended - at, here=Span(at, ended), **values)


def record(*tasks: Task, **header: Any) -> Record:
    return Record(header={"record": 2, "began": 1.0, **header}, tasks=list(tasks))


def test_parallelism_is_a_step_for_each_change() -> None:
    build = record(remote("a", 0, 2), remote("b", 1, 3), here("p", 2, 4))
    found = timeline.intervals(build)
    assert timeline.parallelism(found) == [
        Level(0, 1, 0), Level(1, 2, 0), Level(2, 1, 1), Level(3, 0, 1), Level(4, 0, 0),
    ]  # fmt: skip
    assert timeline.mean_parallelism(build) == 6 / 4
    build.end = {"ended": 4.5, "wall_s": 5.0, "figures": {"run_s": 20.0}}  # the record is full
    assert timeline.mean_parallelism(build) == 4
    assert timeline.mean_parallelism(record()) == 0
    assert timeline.parallelism([]) == []


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=40))
def test_lanes_hold_no_overlap_and_are_as_few_as_commands_at_once(spans: list[tuple[int, int]]) -> None:
    found = sorted(Interval(began, began + size, 0, "", "here", False) for began, size in spans)
    lanes = timeline.lanes(found)
    for lane in set(lanes):
        own = [span for span, its in zip(found, lanes, strict=True) if its == lane]
        assert all(before.ended <= after.began for before, after in itertools.pairwise(own))
    long = [span for span in found if span.ended > span.began]
    if len(long) == len(found):
        most = max((level.here for level in timeline.parallelism(found)), default=0)
        assert max(lanes, default=-1) + 1 == most


def test_the_chain_follows_the_files_that_command_lines_name() -> None:
    tasks = [
        remote("gen", 0.0, 1.0, "gcc -o gen gen.c"),
        remote("a.o", 1.5, 2.0, "gcc -c a.c -o a.o"),
        remote("b.o", 1.5, 3.0, "gcc -include /w/gen -c b.c -o b.o"),
        remote("other.o", 1.6, 3.1, "gcc -c other.c -o other.o"),
        here("prog", 3.25, 4.0, "gcc -o prog a.o ./b.o"),
    ]
    assert timeline.chain(record(*tasks)) == [
        Link(0, "first", 0.0), Link(2, "input", 0.5), Link(4, "input", 0.25),
    ]  # fmt: skip


@pytest.mark.parametrize("word", ["-Wl,b.o", "--input=b.o", "@b.o", "b.o", "/w/b.o", "x/../b.o"])
def test_a_name_inside_a_word_is_found(word: str) -> None:
    tasks = [remote("b.o", 0, 1), remote("c.o", 0, 2), here("p", 2.5, 3, f"ld -o p {word}")]
    assert [link.task for link in timeline.chain(record(*tasks))] == [0, 2]


def test_without_a_named_file_the_chain_follows_the_order() -> None:
    tasks = [remote("a", 0, 1), remote("b", 0, 2), remote("c", 2.5, 3), remote("d", 2.5, 4)]
    assert timeline.chain(record(*tasks)) == [Link(1, "first", 0.0), Link(3, "order", 0.5)]


def test_a_file_that_was_made_later_is_no_input() -> None:
    """Such as a target that the build makes twice."""
    tasks = [remote("a", 0, 1), remote("gen", 0, 0.5), here("gen", 3, 5), here("p", 2, 6, "cat gen")]
    assert [link.task for link in timeline.chain(record(*tasks))] == [1, 3]


def test_tasks_without_duration_end_the_chain() -> None:
    tasks = [remote("a", 1, 1), remote("b", 1, 1), remote("c", 1, 1)]
    assert len(timeline.chain(record(*tasks))) == 1


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=20))
def test_each_task_of_a_chain_comes_after_the_end_of_the_one_before(shape: list[tuple[int, int, int]]) -> None:
    tasks = [remote(f"f{n}", at, at + size, f"gcc f{source}") for n, (at, size, source) in enumerate(shape)]
    links = timeline.chain(record(*tasks))
    assert links[0].by == "first"
    assert tasks[links[-1].task].ended == max(task.ended for task in tasks)
    for before, after in itertools.pairwise(links):
        assert tasks[before.task].ended <= tasks[after.task].at
        assert after.by != "first"


def test_totals_by_host_and_directory() -> None:
    lost = (Run("e2", 0, 1, "killed", False), Run("e1", 1, 3, "done", False))
    made = record(
        remote("src/a.o", 0, 3, source="src/a.c", runs=lost, status=1, user_s=1.0, system_s=0.5, bytes=10),
        remote("src/b.o", 0, 1, source="src/b.c", executor="e2"),
        here("prog", 3, 4),
        Task("gone.o", cwd="/w/x", ran="cancelled"),
    )
    made.executors = {"e1": Executor("e1", "north"), "e2": Executor("e2", "south")}
    hosts = {total.name: total for total in timeline.by_host(made)}
    assert list(hosts) == ["north", "south", timeline.SUBMIT_HOST]
    assert (hosts["north"].tasks, hosts["north"].failed, hosts["north"].busy_s, hosts["north"].cpu_s) == (1, 1, 2, 1.5)
    assert (hosts["south"].tasks, hosts["south"].retried, hosts["south"].busy_s) == (1, 1, 2)
    assert (hosts[""].tasks, hosts[""].here, hosts[""].busy_s) == (1, 1, 1)
    directories = {total.name: total for total in timeline.by_directory(made, "/w")}
    assert list(directories) == ["src", ".", "x"]
    assert (directories["src"].tasks, directories["src"].retried, directories["src"].busy_s) == (2, 1, 4)
    assert directories["x"].cancelled == 1
    assert [total.name for total in timeline.by_directory(made)] == ["/w/src", "/w", "/w/x"]
    assert timeline.retries(made) == {("killed", "south"): 1}


def test_a_cancelled_attempt_is_no_retry() -> None:
    runs = (Run("e1", 0, 3, "cancelled", False), Run("e2", 1, 3, "done", True))
    assert not timeline.retries(record(remote("a", 0, 3, runs=runs)))


def test_causes_of_retries_are_counted() -> None:
    made = record(remote("a", 0, 1, refusals=("lost", "killed")), remote("b", 0, 1, refusals=("lost",)))
    assert timeline.retry_causes(made) == {"lost": 2, "killed": 1}


def test_reasons_on_the_submit_host() -> None:
    made = record(
        here("p", 0, 1, reason="link"), here("a", 0, 1, reason="compile", why="no-executor"), remote("b", 0, 1)
    )
    assert timeline.reasons_here(made) == {"link": 1, "compile; no-executor": 1}


def test_a_build_beside_the_one_before() -> None:
    earlier = record(remote("a", 0, 1, user_s=1.0), remote("b", 0, 4), remote("old", 0, 1))
    earlier.end = {"wall_s": 10.0}
    now = record(remote("a", 0, 3, user_s=2.0), remote("b", 0, 4.5), remote("new", 0, 1, status=1), here("p", 1, 2))
    now.end = {"wall_s": 8.0}
    compared = timeline.compare(now, earlier)
    assert (compared.wall_s, compared.tasks, compared.remote) == ((10, 8), (3, 4), (3, 3))
    assert (compared.failed, compared.cpu_s, compared.executors) == ((0, 1), (1, 2), (3, 3))
    assert (compared.new, compared.gone) == (2, 1)
    assert compared.changes == [("/w/a", 1, 3), ("/w/b", 4, 4.5)]


def test_times_of_a_task() -> None:
    lost = (Run("e2", 2, 3, "killed", False), Run("e1", 4, 7, "done", False))
    task = remote("a", 1, 7, runs=lost)
    assert (task.queued_s, timeline.ran_s(task), task.ended) == (1, 3, 7)
    assert (timeline.ran_s(Task("old", s=2.0)), Task("old", at=1.0, s=2.0).queued_s) == (2, 2)
    assert timeline.ran_s(remote("lost", 0, 5, runs=lost[:1])) == 0
    assert timeline.longest(record(remote("a", 0, 1), remote("b", 0, 3), here("c", 0, 2)), 2) == [1, 2]


def test_the_synthetic_build_adds_up(tmp_path: Path) -> None:
    """Other tests rely on its chain, retries and reasons."""
    made = read(write_record(tmp_path, lines_of_a_build(200, 8)))
    found = timeline.intervals(made)
    assert max(level.remote for level in timeline.parallelism(found)) == 8
    links = timeline.chain(made)
    assert (made.tasks[links[-1].task].target, links[-1].by) == ("prog", "input")
    assert len(links) > 5
    assert sum(timeline.retries(made).values()) == 3
    assert timeline.reasons_here(made)["link"] == 1
    assert sum(total.tasks for total in timeline.by_host(made)) == 200
    assert sum(total.tasks for total in timeline.by_directory(made, "/w")) == 200


@given(st.text("/.ab", max_size=4), st.text("/.ab", max_size=6))
def test_paths_have_no_detours(cwd: str, name: str) -> None:
    maker = Task(os.path.normpath(os.path.join(cwd, name)), at=1, s=1)
    found = timeline.compare(record(maker), record(Task(name, cwd=cwd)))
    assert (found.new, found.gone) == (0, 0)
    if os.path.basename(name) not in ("", ".", ".."):  # no task makes a directory
        links = timeline.chain(record(maker, Task("p", argv=name, cwd=cwd, at=3, s=1)))
        assert [link.by for link in links][1:] == ["input"]
