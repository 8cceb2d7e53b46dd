"""The generators and their judges, with plain make and gcc on a local disk: the machine is not needed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import get_args

from tests.nfs import edits, operations, scenarios

MOUNTSTATS = """\
device rootfs mounted on / with fstype rootfs
device 10.0.1.1:/srv/export mounted on /proj with fstype nfs statvers=1.1
\topts:\trw,vers=3
\tper-op statistics
\t        NULL: 1 1 0 44 24 0 0 0 0
\t     GETATTR: 30 30 0 4000 3000 0 1 1 0
\t      LOOKUP: 8 8 0 1000 900 0 1 1 0
device proc mounted on /proc with fstype proc
"""


def make(directory: Path, *words: str) -> None:
    subprocess.run(["make", "-s", "-j2", *words], cwd=directory, check=True, env={**os.environ, "LC_ALL": "C"})


def test_plain_make_passes_every_scenario(tmp_path: Path) -> None:
    scenarios.write(tmp_path, 1)
    make(tmp_path, "all")
    make(tmp_path, "expected")
    tries = scenarios.judge(tmp_path)
    assert {one.scenario for one in tries} == set(scenarios.SCENARIOS)
    assert [one for one in tries if one.verdict != "ok"] == []
    # A change that does not change the object would prove nothing.
    unchanged = [one.seen for one in tries if one.seen.split("/")[0] == one.seen.split("/")[1]]
    assert unchanged == []


def test_the_judge_sees_a_wrong_object_a_failure_and_a_wrong_depfile(tmp_path: Path) -> None:
    scenarios.write(tmp_path, 4, ["far-replaced"])
    make(tmp_path, "all")
    make(tmp_path, "expected")
    outputs = [tmp_path / "far-replaced" / f"{number:03}" / "obj" for number in range(4)]
    (outputs[0] / "before.o").replace(outputs[0] / "after.o")
    (outputs[1] / "after.o").unlink()
    (outputs[2] / "after.d").write_text("unit.o: src/unit.c\n")
    verdicts = [one.verdict for one in scenarios.judge(tmp_path)]
    assert verdicts == ["wrong", "spurious", "different", "ok"]


def test_the_table_counts(tmp_path: Path) -> None:
    tries = [
        scenarios.Try("far-replaced", 0, "ok", "0/1/1"),
        scenarios.Try("far-replaced", 1, "wrong", "0/0/1"),
        scenarios.Try("source-sed-i", 0, "spurious", "7/none/88", "unit.c: Stale file handle"),
    ]
    table = scenarios.rows(tries, [("far-replaced", 1)])
    assert (table["far-replaced"].tries, table["far-replaced"].bad, table["far-replaced"].remote) == (2, 1, 1)
    text = scenarios.table_text("today", table).splitlines()
    assert text[2].split()[:7] == ["far-replaced", "2", "1", "1", "0", "0", "1"]
    assert text[-1].split()[:7] == ["all", "3", "1", "1", "1", "0", "1"]


def test_two_plain_runs_of_random_edits_are_equal(tmp_path: Path) -> None:
    steps = edits.plan(1, 40)
    first = edits.carry_out(steps, tmp_path / "first", pauses=False)
    second = edits.carry_out(steps, tmp_path / "second", pauses=False)
    assert edits.difference(1, steps, first, second) is None
    # Both outcomes occur, and most compiles give an object that the compile before did not give.
    assert {one.status for one in first} == {0, 1}
    assert len({one.object for one in first}) > len(first) / 3


def test_every_edit_is_possible_and_every_verb_is_drawn() -> None:
    verbs = {step.verb for seed in range(30) for step in edits.plan(seed, 60)}
    assert verbs == set(get_args(edits.Verb))
    assert edits.plan(3, 50) == edits.plan(3, 50)
    assert edits.plan(3, 50) != edits.plan(4, 50)


def test_no_edit_of_a_plan_fails(tmp_path: Path) -> None:
    """A name in memory that is not on the disk would raise OSError."""
    for seed in range(20):
        root = tmp_path / str(seed)
        steps = [step for step in edits.plan(seed, 80) if step.verb != "compile"]
        edits.carry_out(steps, root, pauses=False)


def test_a_difference_names_the_seed_the_step_and_the_edits() -> None:
    steps = edits.plan(5, 10)
    compiles = [number for number, step in enumerate(steps) if step.verb == "compile"]
    plain = [edits.Compiled(number, steps[number].units[0], 0, "aa", "bb", "") for number in compiles]
    ours = [*plain[:-1], edits.Compiled(compiles[-1], plain[-1].unit, 0, "old", "bb", "")]
    text = edits.difference(5, steps, ours, plain) or ""
    assert text.startswith(f"seed 5, step {compiles[-1]}, unit src/u0.c: object 'old' instead of 'aa'")
    assert edits.wrong(ours, plain) == {"compiles": len(plain), "wrong": 1, "spurious": 0, "different": 0}


def test_operations_are_counted_for_each_task() -> None:
    before = operations.counts(MOUNTSTATS, "/proj")
    after = {**before, "GETATTR": 50, "ACCESS": 4}
    assert before == {"NULL": 1, "GETATTR": 30, "LOOKUP": 8}
    assert operations.per_task(before, after, 4) == {"GETATTR": 5.0, "ACCESS": 1.0}
    assert operations.row_text("make", {"GETATTR": 5.0, "ACCESS": 1.0}).split() == ["make", "6.0", "GETATTR", "5.0", "ACCESS", "1.0"]  # fmt: skip
