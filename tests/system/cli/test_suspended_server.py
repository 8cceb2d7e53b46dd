"""A stopped server is continued; if it is stopped once more, it is ended. No other process is touched."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import pytest

from spraycc.cli.suspended_server import PATIENCE, SuspendedServerCheck
from tests.system.cli.conftest import wait_until

LOST_AFTER_S = 20.0
PATIENCE_S = PATIENCE * LOST_AFTER_S


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def state(process: subprocess.Popen[bytes]) -> str:
    with open(f"/proc/{process.pid}/stat") as file:
        return file.read().rpartition(") ")[2][0]


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: state(process) == "T")


def check_for(under_test: SuspendedServerCheck, clock: Clock, seconds: float) -> None:
    """Calls the check as often as the check wants."""
    pause_s = under_test.check_interval_s
    assert pause_s is not None
    end = clock.now + seconds
    while clock.now < end:
        clock.now += pause_s
        under_test.check()


@pytest.fixture
def made(server: subprocess.Popen[bytes]) -> Iterator[tuple[SuspendedServerCheck, Clock, list[str]]]:
    clock = Clock()
    told: list[str] = []
    under_test = SuspendedServerCheck(server.pid, LOST_AFTER_S, told.append, clock)
    yield under_test, clock, told
    under_test.close()


Made = tuple[SuspendedServerCheck, Clock, list[str]]


def test_it_goes_on_and_the_second_time_it_ends(server: subprocess.Popen[bytes], made: Made) -> None:
    under_test, clock, told = made
    stop(server)
    check_for(under_test, clock, PATIENCE_S)
    assert (state(server), told) == ("T", [])
    check_for(under_test, clock, PATIENCE_S / 2)
    wait_until(lambda: state(server) == "S")
    assert len(told) == 1
    assert "SprayCC continued it" in told[0]
    stop(server)
    check_for(under_test, clock, 1.5 * PATIENCE_S)
    assert server.wait(60) == -signal.SIGKILL
    assert "SprayCC killed it" in told[1]


def test_one_that_runs_or_was_stopped_for_a_while_only_is_left_alone(
    server: subprocess.Popen[bytes], made: Made
) -> None:
    under_test, clock, told = made
    for _ in range(3):
        check_for(under_test, clock, 2 * PATIENCE_S)
        stop(server)
        check_for(under_test, clock, PATIENCE_S / 2)
        server.send_signal(signal.SIGCONT)
        wait_until(lambda: state(server) == "S")
    check_for(under_test, clock, PATIENCE_S)
    assert told == []


def test_the_time_in_which_nobody_looked_does_not_count(server: subprocess.Popen[bytes], made: Made) -> None:
    """Ctrl-Z, or a host that was suspended."""
    under_test, clock, told = made
    stop(server)
    check_for(under_test, clock, PATIENCE_S / 2)
    clock.now += 100 * PATIENCE_S
    under_test.check()
    check_for(under_test, clock, PATIENCE_S / 2)
    assert (state(server), told) == ("T", [])


def test_one_that_has_ended_or_can_not_be_seen() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    for pid in (process.pid, 0):
        under_test = SuspendedServerCheck(pid, LOST_AFTER_S, lambda text: pytest.fail(text))
        assert under_test.check_interval_s is None
        under_test.check()
        under_test.close()
