"""Many builds with one server: at the end it holds no more than after the first build."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.system.harness.needs import TEST_USER
from tests.system.harness.projects import c_project, output_of
from tests.system.harness.sandbox import Account, Process, Sandbox

pytestmark = [pytest.mark.e2e, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(400)]

UNITS, EXECUTORS, BUILDS, AT_ONCE = 12, 4, 20, 4
MIB = 1 << 20
#: A Python process may grow by this much over time, because of fragmented memory.
GROWTH = 6 * MIB


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox(Account.unprivileged())
    # The same executors from the first build to the last.
    sandbox.settings["SPRAYCC_RELEASE_DELAY_S"] = "600"
    yield sandbox
    sandbox.close()


def ours(sandbox: Sandbox) -> list[Process]:
    return [p for p in sandbox.processes() if re.search(r" -m spraycc\.(server|executor)", p.command)]


def resident(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def held(sandbox: Sandbox) -> dict[str, Any]:
    """Descriptors, files and tokens of the server and its executors while no build runs."""
    sandbox.wait_for("executors are idle", lambda: not sandbox.busy_executors())
    sandbox.wait_for("recipes' processes are gone", lambda: not sandbox.strangers())
    status = sandbox.status()
    assert status["builds"] == []
    # A record of each of the last builds, for `spraycc why`, and the slots' directories of one attempt, which vary.
    files = {
        str(path.relative_to(sandbox.base))
        for top in (sandbox.runtime, sandbox.home, sandbox.scratch, sandbox.temp, sandbox.workspace)
        for path in top.rglob("*")
        if not re.search(r"/why/|/builds/|/executor-[^/]*/|summary-|record", f"/{path.relative_to(sandbox.base)}")
    }
    return {
        "server": status["server"]["pid"],
        "descriptors": status["server"]["descriptors"],
        "executors": {e["pid"]: len(os.listdir(f"/proc/{e['pid']}/fd")) for e in status["executors"]},
        "scheduler": status["scheduler"],
        "files": files,
    }


def build(sandbox: Sandbox, directory: str = ".") -> None:
    sandbox.run("make", "-s", "-C", directory, "clean").ok()
    built = sandbox.build("make", "-s", "-j8", "-C", directory, executors=EXECUTORS, local_slots=2).ok()
    assert built.figures["tokens_issued"] == built.figures["tokens_free_at_end"]
    assert (built.figures["remote"], built.figures["retried"]) == (UNITS + 1, 0)
    assert built.figures["tokens_lost"] == 0


def test_twenty_builds_and_four_at_once_leave_what_one_leaves(sandbox: Sandbox) -> None:
    places = [f"p{number}" for number in range(AT_ONCE)]
    for place in places:
        sandbox.write(c_project(UNITS), sandbox.workspace / place)
    for place in places:
        build(sandbox, place)  # so that the trees exist, and everything that is made only once
    after_first = held(sandbox)
    memory = {p.pid: resident(p.pid) for p in ours(sandbox)}
    for _ in range(BUILDS):
        build(sandbox, places[0])
    after_many = held(sandbox)
    for _ in range(3):
        for place in places:
            sandbox.run("make", "-s", "-C", place, "clean").ok()
        with ExitStack() as stack:
            summaries, processes = [], []
            for place in places:
                words = ["make", "-s", "-j8", "-C", place]
                command, summary = sandbox.build_command(words, executors=EXECUTORS, local_slots=2)
                summaries.append(summary)
                processes.append(stack.enter_context(sandbox.start(command)))
            assert [process.wait(100) for process in processes] == [0] * AT_ONCE
        for summary in summaries:
            figures = sandbox.figures(summary)  # this also checks the tokens
            assert figures["remote"] + figures["local"] == UNITS + 2
            assert figures["tokens_lost"] == 0
    after_all = held(sandbox)
    for place in places:
        assert sandbox.run(sandbox.workspace / place / "prog").out == output_of(UNITS)
    assert after_many == after_first
    assert after_all == after_first
    grown = {p.pid: (resident(p.pid) - memory[p.pid]) / MIB for p in ours(sandbox)}
    print(f"grown by (MiB): {grown}")
    assert max(grown.values()) < GROWTH / MIB


@pytest.mark.root
def test_two_users_on_one_host(make_account: Any) -> None:
    """With the directories that SprayCC chooses itself: each user gets their own server, executors and scratch files."""
    with ExitStack() as stack:
        sandboxes = []
        for account in (Account.unprivileged(), make_account):
            sandbox = Sandbox(account)
            stack.callback(sandbox.close)
            # All users share /tmp, and the directories in it that are named after users.
            del sandbox.settings["SPRAYCC_RUNTIME_DIR"], sandbox.settings["SPRAYCC_SCRATCH_DIR"]
            sandbox.settings["TMPDIR"] = "/var/tmp"
            sandbox.write(c_project(UNITS))
            sandboxes.append(sandbox)
        for _ in range(3):
            with ExitStack() as builds:
                commands = [s.build_command(["make", "-s", "-j8"], executors=EXECUTORS) for s in sandboxes]
                processes = [
                    builds.enter_context(s.start(command)) for s, (command, _) in zip(sandboxes, commands, strict=True)
                ]
                assert [process.wait(100) for process in processes] == [0, 0]
            for sandbox, (_, summary) in zip(sandboxes, commands, strict=True):
                assert sandbox.figures(summary)["remote"] == UNITS + 1
                assert sandbox.run(sandbox.workspace / "prog").out == output_of(UNITS)
                sandbox.run("make", "-s", "clean").ok()
        servers = [s.status()["server"] for s in sandboxes]
        assert servers[0]["runtime_dir"] != servers[1]["runtime_dir"]
        for sandbox, server in zip(sandboxes, servers, strict=True):
            assert os.stat(server["runtime_dir"]).st_uid == sandbox.account.uid
            assert f"spraycc-{sandbox.account.uid}" in server["runtime_dir"]
        for sandbox, server in zip(sandboxes, servers, strict=True):
            sandbox.stop()
            assert not Path(server["runtime_dir"]).exists()
        left = [
            path for uid in (s.account.uid for s in sandboxes) for path in Path("/var/tmp").glob(f"spraycc-{uid}/*")
        ]
        assert [path for path in left if path.name != "lock"] == []


@pytest.fixture
def make_account() -> Account:
    return Account.named(f"{TEST_USER}-2")
