"""A runner gets each byte of its task's output once and in order, however many attempts did not count."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from spraycc.model import BuildId, Command, Description, ExecutorId, Kind, Placement, TaskId
from spraycc.server.tasks import task as task_module
from spraycc.server.tasks.task import Task
from spraycc.wire.runner import FROM_SERVER, Exited, Output, RunHere

PIECES = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(min_size=1, max_size=40)), max_size=8)


class Runner:
    """In place of a runner's connection: records the frames that it is sent."""

    def __init__(self) -> None:
        self.text = {1: b"", 2: b""}
        self.last: Any = None
        self.pidfd = None

    def send_now(self, *items: Any) -> None:
        for item in items:
            message = FROM_SERVER.unpack(item)
            assert self.last is None, "a frame came after the last one"
            if isinstance(message, Output):
                self.text[message.fd] += message.data
            else:
                self.last = message

    async def send(self, *items: Any) -> None:
        self.send_now(*items)

    def open_pidfd(self) -> None:
        pass


def task_of(runner: Runner, live: bool) -> Task:
    command = Command((b"x",), b"/bin/x", b"/w", (), 0o22, (), 0)
    described = Description(Kind.UNKNOWN, Placement.REMOTE, "--remote")
    return Task(TaskId(1), BuildId("b"), command, described, runner, None, live)  # type: ignore[arg-type]


def streams(pieces: list[tuple[int, bytes]]) -> dict[int, bytes]:
    return {fd: b"".join([data for number, data in pieces if number == fd]) for fd in (1, 2)}


def cut(text: dict[int, bytes], lengths: tuple[int, int], size: int) -> list[tuple[int, bytes]]:
    """The first ``lengths`` bytes of the streams, in pieces of ``size`` bytes, in turns."""
    left = {fd: text[fd][:length] for fd, length in zip((1, 2), lengths, strict=True)}
    pieces: list[tuple[int, bytes]] = []
    for fd in itertools.cycle((1, 2)):
        if not left[1] and not left[2]:
            return pieces
        if left[fd]:
            pieces.append((fd, left[fd][:size]))
            left[fd] = left[fd][size:]
    raise AssertionError


@pytest.mark.parametrize("live", [True, False], ids=["live", "held"])
@pytest.mark.parametrize("hold_bytes", [20, 1 << 20], ids=["more-than-is-held", "all-is-held"])
@given(
    output=PIECES,
    thrown_away=st.lists(
        st.tuples(st.tuples(st.integers(0, 200), st.integers(0, 200)), st.integers(1, 50)), max_size=3
    ),
    at_last=st.sampled_from(["remote", "here"]),
    size=st.integers(1, 50),
)
def test_each_byte_once(
    live: bool,
    hold_bytes: int,
    output: list[tuple[int, bytes]],
    thrown_away: list[tuple[tuple[int, int], int]],
    at_last: str,
    size: int,
) -> None:
    """Attempts fail after any part of the output. At last one attempt counts, or the command runs on the submit host."""
    whole = streams(output)
    runner = Runner()
    task = task_of(runner, live)
    before, task_module.HOLD_BYTES = task_module.HOLD_BYTES, hold_bytes

    async def run() -> None:
        for lengths, piece_size in thrown_away:
            attempt = task.begin_attempt(ExecutorId("e"))
            for fd, data in cut(whole, lengths, piece_size):
                await task.take_output(attempt, fd, data)
        if at_last == "here":
            task.run_here()
            return
        attempt = task.begin_attempt(ExecutorId("f"))
        for fd, data in cut(whole, (len(whole[1]), len(whole[2])), size):
            await task.take_output(attempt, fd, data)
        assert task.choose(attempt)
        task.answer(0, 0)

    try:
        trio.run(run)
    finally:
        task_module.HOLD_BYTES = before
    if at_last == "remote":
        assert runner.text == whole
        assert runner.last == Exited(0, 0)
    else:
        assert isinstance(runner.last, RunHere)
        # The runner drops this many bytes of the command's own output.
        skips = {1: runner.last.skip_stdout, 2: runner.last.skip_stderr}
        assert {fd: runner.text[fd] + whole[fd][skips[fd] :] for fd in (1, 2)} == whole
        if not live and hold_bytes > 1000:
            assert runner.text == {1: b"", 2: b""}
