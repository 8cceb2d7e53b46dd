"""Faults around jobservers in real builds: the build ends with the right result, and regains its width."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.system.harness.waiting import HANG_S
from tests.system.jobserver.shapes import remotes

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def build(lab: Any, makefile: str, *words: str, **options: Any) -> Any:
    lab.sandbox.write({"Makefile": makefile})
    return lab.sandbox.build(*(words or ("make",)), executors=8, local_slots=2, **options)


@pytest.fixture
def ready(lab: Any) -> Any:
    """The lab with eight executors connected."""
    lab.start()
    lab.warm(8, 2)
    return lab


@pytest.mark.parametrize(
    ("makefile", "words"),
    [
        pytest.param("MAKEFLAGS += -j6\nall: r\n" + remotes("r", 12, 0.1), ("make",), id="-j in the makefile"),
        pytest.param(".NOTPARALLEL:\nall: r\n" + remotes("r", 6, 0.05), ("make", "-j8"), id="not parallel"),
        pytest.param(
            "all: r\n-include made.mk\nmade.mk:\n\t@echo 'X = 1' >$@\n" + remotes("r", 12, 0.1),
            ("make",),
            id="remade include",
        ),
        pytest.param("all: r\n" + remotes("r", 12, 0.1), ("make", "-l", "4", "-j"), id="load limit"),
        pytest.param(
            "all: sub r\nsub:\n\t@env -i PATH=/usr/bin:/bin make inner\ninner:\n\t@true\n" + remotes("r", 12, 0.1),
            ("make",),
            id="empty environment",
        ),
        pytest.param(
            "SHELL := /bin/bash\nall: sub r\nsub:\n\t+@exec 198>&-; make inner\ninner:\n\t@true\n"
            + remotes("r", 12, 0.1),
            ("make",),
            id="descriptor closed",
        ),
        pytest.param(
            "all: sub r\nsub:\n\t+@/usr/bin/make -j3 s\n" + remotes("r", 6, 0.1) + remotes("s", 6, 0.1),
            ("make",),
            id="a sub-make with -j",
        ),
    ],
)
def test_it_ends_with_all_tasks_done(ready: Any, makefile: str, words: tuple[str, ...]) -> None:
    finished = build(ready, makefile, *words).ok()
    assert finished.figures["remote"] == finished.figures["tasks"] == makefile.count("SIMULATED_S")
    assert finished.figures["tokens_free_at_end"] == finished.figures["tokens_issued"]


def test_a_make_that_left_the_jobserver_is_named_once(ready: Any) -> None:
    makefile = "all: r\n\t+@$(MAKE) -f own.mk s\n" + remotes("r", 2, 0.1)
    ready.sandbox.write({"own.mk": "MAKEFLAGS += -j3\n" + remotes("s", 6, 0.1)})
    finished = build(ready, makefile).ok()
    assert sum("left the jobserver" in line for line in finished.own_lines()) == 1


def test_a_plain_build_is_told_nothing_of_it(ready: Any) -> None:
    finished = build(ready, "all:\n\t@$(MAKE) s\n" + remotes("s", 6, 0.1)).ok()
    assert not any("left the jobserver" in line for line in finished.own_lines())


def test_tokens_of_a_killed_sub_make_are_replaced(ready: Any) -> None:
    """Then no process owns the tokens of its recipes. Each costs a place until it is written off.

    The first compiles run until the tokens are written off, the others until all eight executors are at work.
    """
    lab = ready
    makefile = (
        "all: s\nsub:\n\t-@$(MAKE) inner\ninner: i kill\ni:\n\t@touch began; sleep 2\n"
        "kill:\n\t@until [ -e began ]; do sleep 0.05; done; kill -9 $$PPID\n"
        + remotes("r", 8, 0, until="written-off", needs="sub")
        + remotes("s", 80, 0.1, together=8, needs="r")
    )
    lab.sandbox.write({"Makefile": makefile})
    command, summary = lab.sandbox.build_command(["make"], executors=8, local_slots=2)
    with lab.sandbox.start(command) as process:
        lab.sandbox.wait_for(
            "tokens are written off", lambda: any(b["tokens"]["lost"] for b in lab.sandbox.status()["builds"])
        )
        lab.make("written-off")
        assert process.wait(HANG_S) == 0
    figures = lab.sandbox.figures(summary)
    assert figures["tokens_free_at_end"] == figures["tokens_issued"]
    assert figures["tokens_lost"] >= 1
    assert figures["remote"] == 88
    assert lab.stop()["together"] == {"s": 8}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_after_an_interrupted_make_the_next_one_in_the_same_build_has_the_whole_width(
    ready: Any, make_4_4: Path, number: int
) -> None:
    """make 4.4.1 forgets its tokens on Ctrl-C. A script goes on with another make on the same pool."""
    finish_after_an_interrupted_make(ready, make_4_4, number)
    assert ready.stop()["together"] == {"s": 8}


def finish_after_an_interrupted_make(lab: Any, make_4_4: Path, number: int) -> dict[str, Any]:
    """A build of two makes, the first of which is ended by a signal; returns the figures."""
    lab.sandbox.write({"Makefile": remotes("r", 16, 0, until="never") + remotes("s", 80, 0.5, together=8)})
    # A new session has no terminal, and SIGINT is not ignored in it as it is for a shell's background processes.
    script = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)  # a background job of a shell's begins without it\n"
        "first = subprocess.Popen([sys.argv[1], 'r'], close_fds=False, start_new_session=True)\n"
        "while not os.path.exists('go'): time.sleep(0.05)\n"
        "os.killpg(first.pid, int(sys.argv[2]))\n"
        "first.wait()\n"
        "os.execv(sys.argv[1], [sys.argv[1], 's'])\n"
    )
    words = ["build", "--", lab.sandbox.bin / "python", "-c", script, str(make_4_4), str(int(number))]
    command, summary = lab.sandbox.build_command(words, executors=8, local_slots=2)
    with lab.sandbox.start(command) as process:
        lab.sandbox.wait_for_busy_executors(8)
        (lab.sandbox.workspace / "go").touch()
        assert process.wait(HANG_S) == 0
    figures: dict[str, Any] = lab.sandbox.figures(summary)
    assert figures["tokens_free_at_end"] == figures["tokens_issued"]
    assert figures["cancelled"] >= 8
    assert figures["remote"] >= 80
    return figures


def test_after_the_servers_death_the_build_ends_and_the_next_is_whole(ready: Any) -> None:
    lab = ready
    lab.sandbox.write(
        {"Makefile": "all: r\n" + remotes("r", 16, 0, until="never")} | {f"r{i}.c": f"int r{i};\n" for i in range(16)}
    )
    command, _ = lab.sandbox.build_command(["make"], executors=8, local_slots=2)
    with lab.sandbox.start(command) as process:
        lab.sandbox.wait_for_busy_executors(4)
        os.kill(lab.sandbox.status()["server"]["pid"], signal.SIGKILL)
        assert process.wait(HANG_S) == 0
    assert all((lab.sandbox.workspace / f"r{i}.o").stat().st_size for i in range(16))
    lab.sandbox.write({"Makefile": "all: r\n" + remotes("r", 16, 0.1)})
    finished = lab.sandbox.build("make", executors=8, local_slots=2).ok()
    assert finished.figures["remote"] == 16


def test_executors_that_come_and_go_widen_and_narrow_the_build(lab: Any) -> None:
    widen_and_narrow(lab)


def widen_and_narrow(lab: Any) -> dict[str, Any]:
    """A build whose tasks all wait, so that each executor that joins gets one task; returns the executors' counters."""
    lab.start("--free", "4", "--leave", "2")
    lab.sandbox.write({"Makefile": "all: r\n" + remotes("r", 24, 0, until="go")})
    command, summary = lab.sandbox.build_command(["make"], executors=8, local_slots=2)

    def wait_for_width(width: int) -> None:
        def reached() -> bool:
            executors = lab.sandbox.status().get("executors", [])
            return len(executors) == width == sum(executor["task"] is not None for executor in executors)

        lab.sandbox.wait_for(f"{width} executors are connected, and each runs a task", reached)

    with lab.sandbox.start(command) as process:
        wait_for_width(4)
        for number in range(1, 5):
            lab.make(f"join-{number}")
            wait_for_width(4 + number)
        lab.make("leave")
        wait_for_width(6)
        lab.make("go")
        assert process.wait(HANG_S) == 0
    figures = lab.sandbox.figures(summary)
    assert figures["remote"] == 24
    assert figures["tokens_free_at_end"] == figures["tokens_issued"]
    counters: dict[str, Any] = lab.stop()
    assert counters["running_peak"] == 8
    return counters
