"""Promises about times, on real clocks. They hold only on a machine with two free CPUs.

Tests without real time check the causes: the order of events in tests/system, and a virtual clock in tests/sim.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from spraycc.executor.main import LEAVING_SIGNALS
from spraycc.model import TaskId
from spraycc.wire.executor import CancelTask, Leave, Ping, Pong, TaskEnded, TaskOutput
from tests.system.builds.conftest import make_sandbox, sandbox
from tests.system.builds.test_kills import _LEAVES, sleepers
from tests.system.cluster.conftest import fake, fake_sandbox
from tests.system.cluster.fakes import FakeManager
from tests.system.cluster.test_replayed import build_with_more_executors_than_slots, submit_one_by_one
from tests.system.conftest import cache, make_4_4
from tests.system.executor.conftest import Marker, Running, Server, box, executor, launch, marker, place, server, who
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import HANG_S
from tests.system.jobserver.conftest import Lab, lab
from tests.system.jobserver.test_mishaps import finish_after_an_interrupted_make, widen_and_narrow

__all__ = [
    "box",
    "cache",
    "executor",
    "fake",
    "fake_sandbox",
    "lab",
    "launch",
    "make_4_4",
    "make_sandbox",
    "marker",
    "place",
    "sandbox",
    "server",
    "who",
]

Launch = Callable[..., "subprocess.Popen[bytes]"]


@pytest.mark.parametrize("number", LEAVING_SIGNALS)
@pytest.mark.parametrize("busy", [False, True])
def test_an_executor_leaves_within_three_seconds_of_a_signal(executor: Running, number: int, busy: bool) -> None:
    """A batch system kills a batch job soon after its signal."""
    if busy:
        executor.start("sh", "-c", "trap '' TERM; echo; sleep 1000")
        executor.peer.expect(TaskOutput)
    began = time.monotonic()
    executor.process.send_signal(number)
    assert executor.process.wait(HANG_S) == 0
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("capture", ["overlay", "in-place"])
def test_a_cancelled_command_ends_within_two_seconds(executor: Running, capture: str, marker: Marker) -> None:
    task = executor.start(
        "sh", "-c", "trap '' TERM; setsid sleep 1000 & sleep 1000 & echo ready; wait; wait",
        capture=capture, env=marker.env,
    )  # fmt: skip
    assert executor.peer.expect(TaskOutput).data == b"ready\n"
    began = time.monotonic()
    executor.peer.send(CancelTask(TaskId(task)))
    executor.peer.expect(TaskEnded)
    assert time.monotonic() - began < 2
    assert marker.processes() == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_cancelled_command_has_started_is_gone_within_two_seconds(
    sandbox: Sandbox, number: signal.Signals
) -> None:
    """Like tests/system/builds/test_kills.py, which does not check the time."""
    seconds = 10**6 + os.getpid()
    recipe = f"trap '' TERM HUP INT; {_LEAVES.format(seconds)}; sleep {seconds}"
    sandbox.write({"Makefile": f'all:\n\t@spraycc-run --remote sh -c "{recipe}"\n'})
    command, _ = sandbox.build_command(["make"], executors=1)
    with sandbox.start(command, stderr=subprocess.DEVNULL) as process:
        sandbox.wait_for("all three sleep", lambda: len(sleepers(seconds)) == 3)
        (runner,) = [p for p in sandbox.processes() if p.command.startswith("spraycc-run --remote")]
        os.kill(runner.pid, number)
        sandbox.wait_for("nothing of it runs", lambda: not sleepers(seconds), timeout_s=2)
        assert process.wait(HANG_S) == 2


def test_an_executor_stays_with_a_server_that_answers(server: Server, launch: Launch) -> None:
    process = launch(server.session_file(heartbeat_s=0.1, lost_after_s=2))
    peer, _ = server.welcome()
    peer.answers_pings = False  # the test waits for each ping
    end = time.monotonic() + 6
    while time.monotonic() < end:
        peer.send(Pong(peer.expect(Ping).number, {}))
    peer.send(Leave())
    assert process.wait(HANG_S) == 0


def test_addresses_that_swallow_everything_hold_an_executor_up_for_a_second_each(
    server: Server, launch: Launch
) -> None:
    """If the executor waited for each address in turn, it would take half a minute."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        began = time.monotonic()
        process = launch(server.session_file(addresses=[list(deaf.getsockname())] * 3 + [list(server.address)]))
        peer, _ = server.welcome()
        assert time.monotonic() - began < 9
        peer.send(Leave())
        assert process.wait(HANG_S) == 0
        for filler in fillers:
            filler.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_make_after_an_interrupted_one_has_the_whole_width_soon(lab: Lab, make_4_4: Path, number: int) -> None:
    """80 compiles of 0.5 s take 5 s on eight executors, and 20 s on two."""
    lab.start()
    lab.warm(8, 2)
    assert finish_after_an_interrupted_make(lab, make_4_4, number)["wall_s"] < 25


def test_an_executor_that_joins_has_a_task_within_half_a_second(lab: Lab) -> None:
    counters = widen_and_narrow(lab)
    for number in range(4, 8):
        assert 0 <= counters["reached"][number] - counters["joined"][number] < 0.5


def test_submissions_are_apart(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """A cluster manager that many users share must not be flooded: 0.7 s between two submissions."""
    times = submit_one_by_one(fake_sandbox, fake)
    assert all(later - earlier >= 0.6 for earlier, later in itertools.pairwise(times))


def test_lists_of_batch_jobs_are_apart(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    times = build_with_more_executors_than_slots(fake_sandbox, fake)
    assert all(later - earlier >= 1.5 for earlier, later in itertools.pairwise(times))
