"""The number of tasks and the end that a build expects, from records of earlier builds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spraycc.model import BuildId
from spraycc.records.read import Task, read
from spraycc.server.builds.expectation import (
    LEAST_TARGETS,
    MOST_TARGETS,
    Earlier,
    Expectation,
    began_alike,
    search,
)
from tests.records import BEGAN, lines_of_a_build, write_record

#: The build that runs: its record has a header only.
OWN = lines_of_a_build(0, build="ffff0000", began=BEGAN + 1000, finished=False)[:1]


def first_of(lines: list[dict[str, Any]], count: int = 15) -> list[str]:
    tasks = sorted((line for line in lines if "target" in line), key=lambda line: float(line["at"]))
    return [task["target"] for task in tasks[:count]]


def found(state_dir: Path, first: list[str]) -> Earlier | None:
    write_record(state_dir, OWN)
    path = next((state_dir / "builds").glob("*ffff0000*"))
    path.rename(path.with_name(path.name.replace("-empty", "")))
    return search(state_dir, BuildId("ffff0000"), first)


def test_the_same_build_before(tmp_path: Path) -> None:
    lines = lines_of_a_build(100)
    write_record(tmp_path, lines)
    earlier = found(tmp_path, first_of(lines))
    assert earlier is not None
    assert earlier.tasks == len(earlier.ends) == 100
    assert list(earlier.ends) == sorted(earlier.ends)
    assert earlier.wall_s == lines[-1]["wall_s"]


def test_the_newest_build_counts(tmp_path: Path) -> None:
    for number, tasks in enumerate((100, 120, 110)):
        write_record(tmp_path, lines_of_a_build(tasks, build=f"b{number}", began=BEGAN + number))
    earlier = found(tmp_path, first_of(lines_of_a_build(100)))
    assert earlier is not None
    assert earlier.tasks == 110


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"argv": "make check"}, "another command line"),
        ({"status": 2}, "it failed"),
        ({"finished": False}, "it was killed"),
        ({"began": BEGAN + 2000}, "it is no earlier build"),
    ],
)
def test_another_build_does_not_count(tmp_path: Path, values: dict[str, Any], why: str) -> None:
    lines = lines_of_a_build(100, **values)
    write_record(tmp_path, lines)
    assert found(tmp_path, first_of(lines)) is None, why


def test_a_build_of_other_files_does_not_count(tmp_path: Path) -> None:
    """After a change of one header, make builds other files first."""
    lines = lines_of_a_build(100)
    write_record(tmp_path, lines)
    assert found(tmp_path, [f"other{number}.o" for number in range(15)]) is None
    assert found(tmp_path, first_of(lines, 90)[70:]) is None


def test_a_record_that_is_damaged_does_not_count(tmp_path: Path) -> None:
    lines = lines_of_a_build(100)
    path = write_record(tmp_path, lines)
    path.write_text("".join(json.dumps(line)[:40] + "\n" for line in lines))
    assert found(tmp_path, first_of(lines)) is None


@pytest.mark.parametrize(
    "figures", [[1], "x", None, {"tasks": "x"}, {"tasks": True}, {"tasks": 10**300}, {"tasks": -1}]
)
def test_a_wrong_number_of_tasks_is_counted_instead(tmp_path: Path, figures: Any) -> None:
    lines = lines_of_a_build(100)
    lines[-1]["figures"] = figures
    write_record(tmp_path, lines)
    earlier = found(tmp_path, first_of(lines))
    assert earlier is not None
    assert earlier.tasks == 100


@pytest.mark.parametrize("wall_s", ["x", [1], None, -1, 1e308, 10**400])
def test_a_wrong_duration_is_read_from_the_tasks_instead(tmp_path: Path, wall_s: Any) -> None:
    lines = lines_of_a_build(100)
    lines[-1]["wall_s"] = wall_s
    path = write_record(tmp_path, lines)
    earlier = found(tmp_path, first_of(lines))
    assert earlier is not None
    assert earlier.wall_s == read(path).ended


def test_a_rest_that_can_not_be_is_left_out() -> None:
    expectation = Expectation()
    expectation.set(Earlier(100, [-1e9] * 100, 60.0))
    assert expectation.of(50, 50, 30.0) == (100, None)


def test_a_build_without_a_record_expects_nothing(tmp_path: Path) -> None:
    write_record(tmp_path, lines_of_a_build(100))
    assert search(tmp_path, BuildId("ffff0000"), first_of(lines_of_a_build(100))) is None


def tasks(*targets: str) -> list[Task]:
    return [Task(target, at=float(at)) for at, target in enumerate(targets)]


def test_builds_begin_alike_if_four_of_five_targets_are_the_same() -> None:
    then = tasks(*map(str, range(100)))
    assert began_alike([str(n) for n in (3, 1, 2, 0, 6, 5, 4, 8, 9, 7)], then)
    assert began_alike(["x", "y", *map(str, range(8))], then)
    assert not began_alike(["x", "y", "z", *map(str, range(7))], then)
    assert not began_alike([], then)


def test_a_search_begins_once_with_the_tenth_task() -> None:
    expectation = Expectation()
    for number in range(LEAST_TARGETS):
        assert not expectation.wants_search
        expectation.arrived(str(number))
    assert expectation.wants_search
    for number in range(100):
        expectation.arrived(str(number))
    assert len(expectation.first) == MOST_TARGETS
    expectation.set(None)
    assert not expectation.wants_search
    assert expectation.of(tasks=110, done=100, elapsed_s=9) == (None, None)


@pytest.mark.parametrize(
    ("arrived", "done", "elapsed_s", "expected"),
    [
        (10, 0, 1.0, (100, None)),
        (60, 50, 50.0, (100, 60)),  # the pace of the earlier build
        (60, 50, 105.0, (100, 120)),  # half its pace
        (100, 100, 100.0, (100, 10)),  # the earlier build ended 10 s after its last task
        (101, 50, 50.0, (None, None)),  # more tasks than the earlier build had
        (20, 1, 0.0, (100, 91)),  # the first task says little
    ],
)
def test_the_rest(arrived: int, done: int, elapsed_s: float, expected: tuple[int | None, int | None]) -> None:
    expectation = Expectation()
    expectation.set(Earlier(100, [float(second) for second in range(1, 101)], 110.0))
    assert expectation.of(arrived, done, elapsed_s) == expected


def test_of_a_long_record_only_the_begin_is_known() -> None:
    expectation = Expectation()
    expectation.set(Earlier(1000, [1.0, 2.0], 110.0))
    assert expectation.of(500, 400, 50.0) == (1000, None)
