"""A pool, and real build tools that use it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from spraycc.jobserver.descriptor import open_for_tool
from spraycc.jobserver.fifo import JobserverFifo
from spraycc.jobserver.makeflags import compose
from tests.system.harness.tools import find_make, find_ninja
from tests.system.harness.waiting import HANG_S

LAP = Path(__file__).with_name("lap")


@pytest.fixture(scope="session")
def tools() -> Mapping[str, str | None]:
    """The tools by name; None for a tool that this machine does not have."""
    return {"make-old": find_make(modern=False), "make-new": find_make(modern=True), "ninja": find_ninja()}


@dataclass
class Pool:
    """A directory to build in, with the FIFO in it and the log of :file:`lap`."""

    directory: Path
    fifo: JobserverFifo
    tool_fd: int
    #: set by a test that kills processes which hold tokens
    may_lose: bool = False

    def barrier(self, width: int) -> None:
        """Recipes that begin from now on wait for each other until ``width`` recipes have begun in all."""
        (self.directory / "barrier.new").write_text(str(width))
        (self.directory / "barrier.new").rename(self.directory / "barrier")

    def log(self) -> str:
        return (self.directory / "log").read_text()

    def mark(self) -> int:
        """The present end of the log: later entries come after it."""
        return len(self.log())

    def widest(self, since: int = 0) -> int:
        """The largest number of recipes at work at once, from a place in the log on."""
        running = widest = 0
        for position, sign in enumerate(self.log()):
            running += 1 if sign == "+" else -1
            if position >= since:
                widest = max(widest, running)
        return widest

    async def begun(self, count: int) -> None:
        """Waits until ``count`` recipes have begun."""
        with trio.fail_after(HANG_S):
            while self.log().count("+") < count:
                await trio.sleep(0.005)

    def environment(self, user_flags: str = "") -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if "MAKE" not in name and name != "MFLAGS"}
        flags = os.fsdecode(compose(self.fifo.path, self.tool_fd, user_flags.encode()))
        return inherited | {"MAKEFLAGS": flags, "LAP": f"{LAP} {self.directory}", "LC_ALL": "C"}

    async def run(self, *words: str, user_flags: str = "", check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """Runs a tool in the directory, as a client of the pool."""
        with trio.fail_after(HANG_S):
            done = await trio.run_process(
                list(words),
                cwd=self.directory,
                env=self.environment(user_flags),
                pass_fds=[self.tool_fd],
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        if check:
            assert done.returncode == 0, (done.stdout, done.stderr)
        return done


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[Pool]:
    """A pool without tokens. At the end no token may have been lost."""
    fifo = JobserverFifo.create(str(tmp_path / "fifo"))
    tool_fd = open_for_tool(fifo.path)
    made = Pool(tmp_path, fifo, tool_fd)
    (tmp_path / "log").touch()
    made.barrier(1)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fifo.run)
            yield made
            nursery.cancel_scope.cancel()
        assert made.may_lose or (fifo.free(), fifo.tokens.owed) == (fifo.tokens.issued, 0)
    finally:
        os.close(tool_fd)
        fifo.close()
