"""The sentences about a build: each with a build that deserves it, and none for a build that does not."""

from __future__ import annotations

from typing import Any

import pytest

from spraycc.records.read import Executor, Record, Run, Sample, Span, Task
from spraycc.ui.findings import Facts, Finding, findings, text_of


def compiled(number: int, at: float, began: float, ended: float, executor: str = "e1", **more: Any) -> Task:
    """A compile that ran on an executor."""
    fields: dict[str, Any] = {
        "target": f"f{number}.o", "kind": "compile", "placement": "remote", "reason": "compile", "ran": "remote",
        "executor": executor, "status": 0, "at": at, "s": ended - at, "runs": (Run(executor, began, ended, "done", False),),
    }  # fmt: skip
    return Task(**{**fields, **more})


def kept_here(target: str, began: float, ended: float, **more: Any) -> Task:
    """A command that ran on the submit host."""
    fields: dict[str, Any] = {
        "target": target, "kind": "link", "placement": "here-heavy", "reason": "link", "ran": "here",
        "at": began, "s": ended - began, "here": Span(began, ended),
    }  # fmt: skip
    return Task(**{**fields, **more})


def build(
    tasks: list[Task], wall_s: float, *, samples: list[Sample] | None = None, joined: float = 0.0, **more: Any
) -> Record:
    """A build with four executors on two hosts."""
    executors = {f"e{i}": Executor(f"e{i}", f"node{(i + 1) // 2}", joined=joined) for i in range(1, 5)}
    header = {"record": 2, "tool": "make", "executors": 4, **more}
    end = {"ended": wall_s, "wall_s": wall_s, "status": 1 if any(task.has_failed for task in tasks) else 0}
    return Record(header, tasks, executors, samples or [], end)


def busy(wall_s: float) -> list[Task]:
    """Compiles that keep four executors busy, one second each."""
    return [compiled(i, i // 4, i // 4, i // 4 + 1, f"e{i % 4 + 1}") for i in range(int(wall_s) * 4)]


def texts(record: Record, earlier: Record | None = None) -> list[str]:
    return [finding.text for finding in findings(Facts.of(record), earlier)]


def the(record: Record, words: str, earlier: Record | None = None) -> Finding:
    """The one finding with these words."""
    [found] = [each for each in findings(Facts.of(record), earlier) if words in each.text]
    return found


def test_a_build_without_a_flaw_gets_its_figures_only() -> None:
    assert texts(build(busy(10), 10)) == [
        "40 tasks in 10.0 s: 40 on 4 executors, 0 on the submit host; 4.0 at once on average, 4 at most."
    ]


def test_the_last_seconds_with_one_task() -> None:
    record = build([*busy(10), compiled(99, 10, 10, 30)], 30)
    found = the(record, "The last")
    assert found.text == (
        "The last 20.0 s (67 % of the build): one task, f99.o (compile, 20.0 s on node1). "
        "Nothing else could run, so a shorter f99.o makes the build shorter."
    )
    assert (found.tone, found.range, found.task) == ("slow", (10, 30), 40)


def test_the_last_seconds_with_few_tasks() -> None:
    record = build([*busy(10), compiled(98, 10, 10, 14), kept_here("prog", 14.1, 20)], 20)
    found = the(record, "The last")
    assert found.text == (
        "The last 10.0 s (50 % of the build): 1.0 tasks at once on average, where 4 ran at other times. "
        "The longest: prog (link, 5.90 s on the submit host)."
    )
    assert found.range == (10, 20)


def test_a_narrow_part_in_the_middle() -> None:
    later = [compiled(100 + i, 14, 14, 20, f"e{i + 1}") for i in range(4)]
    found = the(build([*busy(10), compiled(98, 9, 9, 14), *later], 20), "From ")
    assert found.text.startswith(
        "From 10.0 s on, for 4.00 s (20 % of the build): one task, f98.o (compile, 5.00 s on node1)."
    )


def test_a_short_task_beside_the_one_task_is_not_mentioned() -> None:
    record = build([*busy(10), compiled(99, 10, 10, 30), kept_here("ar", 29.9, 30)], 30)
    assert "one task, f99.o" in the(record, "The last").text


def test_a_short_end_is_no_finding() -> None:
    assert not [text for text in texts(build([*busy(30), kept_here("prog", 30, 30.9)], 31)) if "The last" in text]


def test_targets_are_shown_in_the_workspace() -> None:
    record = build([*busy(10), compiled(99, 10, 10, 30, cwd="/w/lib", target="../lib/a.o")], 30)
    [text] = [each.text for each in findings(Facts.of(record, "/w"), None) if "The last" in each.text]
    assert "one task, lib/a.o (compile" in text
    facts = Facts.of(record, "/w")
    assert facts.name(Task("ar", argv="ar rc libx.a", cwd="/w/lib")) == "ar in lib"
    assert facts.name(Task("/usr/bin/ar", argv="/usr/bin/ar rc libx.a", cwd="/w")) == "ar in ."
    assert facts.name(Task("/tmp/a.o", cwd="/w")) == "/tmp/a.o"
    assert facts.name(Task("a.o", cwd="/wide")) == "/wide/a.o"


def test_failures_name_the_first() -> None:
    failed = [compiled(7, 3, 3, 4, "e3", status=2), compiled(8, 5, 5, 6, status=1)]
    found = the(build([*failed, *busy(10)], 10), "failed")
    assert found.text == "2 tasks failed. The first: f7.o, with status 2 on node2, 4.00 s after the begin."
    assert (found.tone, found.task) == ("bad", 0)


def test_failures_of_a_build_that_succeeded_are_no_alarm() -> None:
    record = build([compiled(7, 3, 3, 4, status=1), *busy(10)], 10)
    record.end["status"] = 0
    assert the(record, "the build succeeded").tone == ""


def test_executors_that_join_late() -> None:
    tasks = [compiled(i, 0.5, 12, 20, f"e{i + 1}") for i in range(4)]
    found = the(build(tasks, 20, joined=12), "joined")
    assert found.text == "The first executor joined 12.0 s after the begin. Until then, compiles waited for it."
    assert found.range == (0.5, 12)


def test_executors_that_never_joined() -> None:
    samples = [Sample(1, 4, 0, 0, 4, 96), Sample(9, 4, 0, 0, 4, 96)]
    assert the(build(busy(10), 10, samples=samples), "asked").text.startswith(
        "96 executors that SprayCC asked for had not"
    )


def test_no_executor_at_all() -> None:
    record = build([kept_here("a.o", 0, 5, placement="remote", kind="compile", why="no executor has joined")], 5)
    record.executors.clear()
    assert "No executor joined: the submit host ran all commands. `spraycc doctor` looks for the cause." in texts(
        record
    )
    assert "1 task for executors ran on the submit host (5.00 s), because: no executor has joined." in texts(record)


def test_executors_that_are_too_few() -> None:
    samples = [Sample(float(t), 4, 0, 30, 4) for t in range(11)]
    found = the(build(busy(10), 10, samples=samples), "all executors (4)")
    assert found.text.startswith(
        "For 10.0 s (100 % of the build) all executors (4) were busy, and 30 tasks waited on average."
    )
    assert found.range == (0, 9)


def test_a_build_tool_that_offers_too_little() -> None:
    samples = [Sample(float(t), 1, 0, 0, 4) for t in range(11)]
    tasks = [compiled(i, i, i, i + 1, f"e{i % 2 + 1}") for i in range(10)]
    assert "dependencies or its -j" in the(build(tasks, 10, samples=samples), "nothing to do").text
    assert the(build(tasks, 10, samples=samples, cap=1), "nothing to do").text.endswith(
        "-j1 allowed no more tasks at once."
    )


def test_times_without_any_task() -> None:
    late = [compiled(i, 6 + i // 4, 6 + i // 4, 7 + i // 4, f"e{i % 4 + 1}") for i in range(16)]
    found = the(build(late, 10), "no task:")
    assert found.text.startswith("For 6.00 s (60 % of the build) there was no task: make read its files")
    assert found.text.endswith("The longest such time is 6.00 s, at the begin.")
    assert found.range == (0, 6)


def test_a_chain_that_is_most_of_the_build() -> None:
    tasks = [compiled(i, i * 2, i * 2, i * 2 + 2) for i in range(5)]
    assert the(build(tasks, 10), "chain").text.startswith(
        "A chain of 5 tasks, each after the one before, ran for 10.0 s (100 % of the build). More executors"
    )


def test_a_chain_of_inputs_counts_while_all_executors_are_busy() -> None:
    step = [
        compiled(i + 100, i + 0.1, i + 0.1, i + 1.05, target=f"g{i}.h", argv=f"make-it g{i - 1}.h") for i in range(10)
    ]
    others = [task for task in busy(10) if task.executor != "e1"]
    assert "A chain of 10 tasks" in the(build([*step, *others], 10.05), "chain").text


def test_attempts_that_did_not_count() -> None:
    runs = (Run("e1", 0, 5, "killed", False), Run("e3", 5, 6, "done", False))
    found = the(build([*busy(10), compiled(99, 0, 0, 6, "e3", runs=runs)], 10), "did not count")
    assert found.text == "1 attempt did not count (5.00 s of executors' time): killed by a signal (1); all on node1."
    runs = (Run("e1", 0, 5, "cancelled", True), Run("e3", 5, 6, "done", False))
    assert not [text for text in texts(build([compiled(99, 0, 0, 6, "e3", runs=runs)], 6)) if "did not count" in text]


def test_commands_that_do_not_compute() -> None:
    tasks = [compiled(i, 0, 0, 10, f"e{i + 1}", wall_s=9.5, user_s=2.0, system_s=0.5) for i in range(4)]
    assert the(build(tasks, 10), "computed").text == (
        "Commands on executors computed for 10.0 s of the 38.0 s for which they ran (26 %): "
        "their hosts run too much at once, or wait for files."
    )
    tasks = [compiled(i, 0, 0, 10, f"e{i + 1}", wall_s=9.5, user_s=8.0) for i in range(4)]
    assert not [text for text in texts(build(tasks, 10)) if "computed" in text]


def test_a_slow_host() -> None:
    tasks = [compiled(i, i, i, i + 0.2, "e1") for i in range(40)]
    tasks += [compiled(i, i, i, i + 0.6, "e3") for i in range(20)]
    found = the(build(tasks, 40), "medians")
    assert found.text == "Compiles on node2 took 3.0 times as long as on all hosts (medians)."


@pytest.mark.parametrize(
    ("before", "text", "tone"),
    [
        (12.5, "The build before took 12.5 s: this build is 2.50 s (20 %) shorter.", "good"),
        (8, "The build before took 8.00 s: this build is 2.00 s (25 %) longer.", "slow"),
        (10.1, "The build before took 10.1 s, about the same.", ""),
    ],
)
def test_the_build_before(before: float, text: str, tone: str) -> None:
    found = the(build(busy(10), 10), "The build before", build(busy(10), before))
    assert (found.text, found.tone) == (text, tone)


def test_another_amount_of_work_is_no_comparison() -> None:
    found = the(build(busy(10), 10), "The build before", build(busy(5), 5))
    assert found.text == "The build before took 5.00 s with 20 tasks, so it had other work to do."


def test_records_that_lack_something() -> None:
    record = build(busy(2), 2)
    record.end = {"ended": 2.0, "wall_s": 2.0, "dropped": 7}
    assert the(record, "full").text == "The record is full: 7 further lines of the build were left out."
    record.end = {}
    assert the(record, "no end").tone == "slow"
    record.header.pop("record")
    assert the(record, "older SprayCC").tone == "slow"
    assert (
        texts(Record(end={"ended": 0.5, "wall_s": 0.5}))[-1] == "No task in 0.50 s: the build had nothing to compile."
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.004, "0.00 s"), (9.99, "9.99 s"), (9.999, "10.0 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (185, "3 min 05 s"), (7500, "2 h 05 min")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert text_of(seconds) == text
