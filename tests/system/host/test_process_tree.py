"""Recipes and slots in trees of processes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from spraycc.server.host.process_tree import Process, Use, read_process, read_processes, recipe_of, slots_in_use

MAKE, SH, CC = b"make", b"sh", b"cc1"


def tree(*rows: tuple[int, int, bytes] | tuple[int, int, bytes, int]) -> dict[int, Process]:
    found = {}
    for pid, parent, name, *threads in rows:
        found[pid] = Process(pid, parent, name, "S", threads[0] if threads else 1, 1, pid, name == MAKE)
    return found


@pytest.mark.parametrize(
    ("rows", "tops", "slots"),
    [
        pytest.param([(10, 1, MAKE)], [10], 1, id="an idle make has its implicit slot"),
        pytest.param([(10, 1, MAKE), (11, 10, CC), (12, 10, CC)], [10], 2, id="one each"),
        pytest.param([(10, 1, MAKE), (11, 10, SH), (12, 11, CC)], [10], 1, id="a shell and its command"),
        pytest.param([(10, 1, MAKE), (11, 10, SH), (12, 11, CC), (13, 11, CC)], [10], 2, id="two in one recipe, to be safe"),
        pytest.param([(10, 1, MAKE), (11, 10, CC, 4)], [10], 4, id="threads may hold tokens"),
        pytest.param([(10, 1, MAKE), (11, 10, MAKE)], [10], 1, id="a sub-make has its recipe's"),
        pytest.param([(10, 1, MAKE), (11, 10, SH), (12, 11, MAKE), (13, 12, CC), (14, 12, CC), (15, 10, CC)], [10], 3, id="below a sub-make"),
        pytest.param([(9, 1, SH), (10, 9, MAKE), (11, 10, CC), (12, 9, MAKE)], [9], 2, id="two makes of a script"),
        pytest.param([(9, 1, SH), (10, 9, MAKE), (11, 10, CC)], [9, 10], 1, id="a top below another counts once"),
        pytest.param([(9, 1, SH), (10, 1, MAKE), (11, 10, CC), (12, 10, CC)], [9, 10], 3, id="a top elsewhere"),
        pytest.param([(11, 1, CC)], [10], 0, id="a top that has ended"),
    ],
)  # fmt: skip
def test_slots(rows: list[tuple[int, int, bytes]], tops: list[int], slots: int) -> None:
    assert slots_in_use(tree(*rows), tops).slots == slots


def test_cpu_time_and_processes_are_summed() -> None:
    assert slots_in_use(tree((10, 1, MAKE), (11, 10, SH), (12, 11, CC), (20, 1, CC)), [10]) == Use(1, 3, 3)


def test_reading_ourselves() -> None:
    process = read_process(os.getpid())
    assert process is not None
    assert process.parent == os.getppid()
    assert process.threads >= 1
    assert read_processes()[os.getpid()].started == process.started
    assert read_process(1 << 30) is None


def test_a_name_with_blanks_and_parentheses(tmp_path: Path) -> None:
    program = tmp_path / "a) (b"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "100"]) as child:
        process = read_process(child.pid)
        assert process is not None
        assert (process.name, process.parent) == (b"a) (b", os.getpid())
        child.kill()


def test_processes_of_one_recipe_have_one_key_and_those_of_another_another(tmp_path: Path) -> None:
    """make starts two recipes. Two processes of each recipe print their keys."""
    ask = (
        # One write per line, or the lines of two recipes mix (print does that if PYTHONUNBUFFERED is set).
        f"{sys.executable} -c 'import os, sys; from spraycc.server.host.process_tree import recipe_of;"
        ' key = recipe_of(os.getpid(), int(os.environ["TOP"])).key; os.write(1, f"{sys.argv[1]} {key}\\n".encode())\''
    )
    (tmp_path / "Makefile").write_text(
        f"all: a b sub\na b:\n\t@{ask} $@1 & {ask} $@2 & wait\nsub:\n\t@$(MAKE) --no-print-directory c\nc:\n\t@{ask} c1; {ask} c2\n"
    )
    root = Path(__file__).resolve().parents[3]
    # The shell passes on its own process id and then executes make.
    done = subprocess.run(
        ["sh", "-c", "TOP=$$ exec make -j3"], cwd=tmp_path, text=True, capture_output=True, check=True,
        env={**{k: v for k, v in os.environ.items() if "MAKE" not in k}, "PYTHONPATH": str(root)},
    )  # fmt: skip
    keys = dict(line.split() for line in done.stdout.splitlines())
    assert keys["a1"] == keys["a2"]
    assert keys["b1"] == keys["b2"]
    assert keys["c1"] == keys["c2"]
    assert len({keys["a1"], keys["b1"], keys["c1"]}) == 3
    assert not any(key.endswith("?") for key in keys.values())


def test_a_runner_below_no_build_tool() -> None:
    assert recipe_of(1, 0).tool == 0


def test_without_descriptors_nothing_is_said_rather_than_too_little() -> None:
    """Otherwise most processes would seem to have ended, and their tokens to be lost."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
        with pytest.raises(OSError, match="Too many open files"):
            read_processes()
        assert read_process(os.getpid()) is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
