"""Builds on simulated executors: the real server, runners, make and ninja. The recipes themselves count."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks import simulated_executors
from tests.system.harness.sandbox import Account, Finished, Sandbox
from tests.system.harness.tools import from_pypi
from tests.system.harness.waiting import HANG_S
from tests.system.jobserver.shapes import Shape, Writer, marks, most_at_once, seconds_above

#: The source of the program that counts itself.
TICK = Path(__file__).with_name("tick.c")


@dataclass(frozen=True)
class Run:
    """The observations of one build."""

    finished: Finished
    wall_s: float
    #: the largest number of local recipes at once, and the seconds with more of them than local slots
    most_local: int
    above_s: float
    #: the largest number of tasks at once on executors, and the seconds from the first task until that number
    most_remote: int
    ramp_s: float
    #: time.monotonic() of the beginning or end of each local recipe
    local_marks: list[tuple[int, int]]
    counters: dict[str, Any]


class Lab:
    """A sandbox with a simulated cluster."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.tick = sandbox.tools / "tick"
        subprocess.run(["cc", "-O1", "-o", self.tick, TICK], check=True)
        script = sandbox.tools / "simulated_executors.py"
        shutil.copy(simulated_executors.__file__, script)
        self.directory = sandbox.aside / "executors"
        self.directory.mkdir()
        sandbox.give(sandbox.aside)
        sandbox.give(sandbox.tools)
        sandbox.settings |= simulated_executors.settings(self.directory)
        # Without an executor a compile would run on the submit host and fail: its source does not exist.
        sandbox.settings["SPRAYCC_WAIT_FOR_CLUSTER"] = "true"
        self._stack = ExitStack()
        self._script = script
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        python = self.sandbox.bin / "python"
        command: list[str | bytes | Path] = [python, self._script, self.directory, *options]
        self.process = self._stack.enter_context(self.sandbox.start(command, stdout=subprocess.PIPE))
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def stop(self) -> dict[str, Any]:
        """Ends the executors; returns their counts."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(HANG_S)
        self._stack.close()
        counters: dict[str, Any] = json.loads((self.directory / simulated_executors.COUNTERS).read_text())
        (self.directory / simulated_executors.COUNTERS).unlink()
        (self.directory / "asked").unlink()
        self.process = None
        return counters

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
        self._stack.close()

    def warm(self, executors: int, local_slots: int) -> None:
        """Starts the server and lets all executors connect, so that the next build finds them."""
        options = ["--release-delay-s", "600"]
        self.sandbox.write(
            {
                "warm.mk": "all: "
                + " ".join(f"w{i}" for i in range(2))
                + "\nw%:\n\t@cc -c -DSIMULATED_S=0 -o $@.o $@.c\n"
            }
        )
        self.sandbox.build("make", "-f", "warm.mk", options=options, executors=executors, local_slots=local_slots).ok()
        self.sandbox.wait_for(
            "all executors are connected", lambda: len(self.sandbox.status()["executors"]) >= executors
        )

    def make(self, name: str) -> None:
        """Makes a file in the simulation's directory: tasks or executors wait for it."""
        (self.directory / name).touch()

    def run(
        self,
        shape: Shape,
        writer: Writer,
        executors: int,
        local_slots: int,
        tool: Path | str | None = None,
        options: tuple[str, ...] = (),
        stop: bool = True,
    ) -> Run:
        """Builds the shape on executors that are connected already.

        Args:
            stop: end the executors, and so have their counters. They count everything since they were started.
        """
        sandbox = self.sandbox
        if self.process is None:
            self.start()
            self.warm(executors, local_slots)
        log = sandbox.aside / "local.log"
        log.unlink(missing_ok=True)
        log.touch()
        log.chmod(0o666)
        words: list[str] = writer(shape, sandbox.workspace, self.tick, log)
        sandbox.give(sandbox.workspace)
        env = {"MAKE": "make"}
        if tool is not None:
            words = [str(tool) if word in ("make", "ninja") else word for word in words]
            env["MAKE"] = str(tool)
        began = time.monotonic()
        finished = sandbox.build(
            *words,
            options=("--release-delay-s", "600", *options),
            executors=executors,
            local_slots=local_slots,
            env=env,
        ).ok()
        wall_s = finished.figures["wall_s"]
        counters = self.stop() if stop else {}
        found = marks(log)
        reached = [at for at in counters.get("reached", []) if at >= began]
        return Run(
            finished, wall_s, most_at_once(found), seconds_above(found, local_slots), counters.get("running_peak", 0),
            reached[-1] - reached[0] if reached else 0.0, found, counters,
        )  # fmt: skip


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Closed in the right order: first the server, then its executors."""
    sandbox = Sandbox(Account.unprivileged())
    made = Lab(sandbox)
    try:
        yield made
    finally:
        try:
            # Not the sandbox's stop: it waits for all processes, and this test owns the executors' process.
            sandbox.run(sandbox.bin / "spraycc", "server", "stop", "--now")
        finally:
            made.close()
            sandbox.close()


@pytest.fixture(scope="session")
def kitware_ninja(cache: Path) -> Path:
    """The ninja that PyPI had before ninja got its own jobserver."""
    found: Path = next(from_pypi(cache, "ninja==1.11.1.*", "ninja-1.11").rglob("bin/ninja"))
    return found


@pytest.fixture(scope="session")
def new_cmake(cache: Path) -> Path:
    """The directory of a cmake and ctest that support jobservers (3.29)."""
    return next(from_pypi(cache, "cmake>=3.29", "cmake").rglob("data/bin"))
