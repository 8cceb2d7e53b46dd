"""`spraycc builds`, `why` and `trace` after real builds: failures, builds without tasks, builds that run or were cut."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.harness.projects import GatedCompiler, c_project
from tests.system.harness.sandbox import Account, Sandbox
from tests.system.harness.waiting import HANG_S
from tests.trace_format import check_trace

pytestmark = [pytest.mark.e2e, pytest.mark.overlay]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    made = Sandbox(Account.unprivileged())
    yield made
    made.close()


def spraycc(sandbox: Sandbox, *words: str) -> str:
    return sandbox.run(sandbox.bin / "spraycc", *words).ok().out.decode()


def builds(sandbox: Sandbox) -> list[dict[str, Any]]:
    return [json.loads(line) for line in spraycc(sandbox, "builds", "--json").splitlines()]


def test_a_build_that_fails_and_one_without_tasks(sandbox: Sandbox) -> None:
    sandbox.write(c_project(4))
    assert sandbox.run(sandbox.bin / "spraycc", "builds").status == 1
    sandbox.build("make", "-j4", executors=2).ok()
    sandbox.write({"u2.c": "int wrong(void) { return missing; }\n"})
    assert sandbox.build("make", "-j4", executors=2).status == 2
    sandbox.build("make", "-n", "clean", executors=2).ok()

    assert [(build["number"], build["tasks"], build["status"], build["state"]) for build in builds(sandbox)] == [
        (1, 0, 0, "ended"), (2, 1, 2, "ended"), (3, 6, 0, "ended"),
    ]  # fmt: skip
    head, *rows = spraycc(sandbox, "builds").splitlines()
    assert head.split() == ["build", "id", "when", "tasks", "remote", "wall", "status", "command"]
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]

    # The build without tasks does not hide the one that failed.
    heading, failed, task, *reasons = spraycc(sandbox, "why").splitlines()
    assert heading.startswith("build 2, ")
    assert "status 2: make" in heading
    assert failed == "1 task failed:"
    assert task.startswith("  u2.o: status 1 on ")
    assert [line.split() for line in reasons] == [["1", "remote", "compile"]]
    assert "failed" not in spraycc(sandbox, "why", "--build", "3")
    by_id = spraycc(sandbox, "why", "--build", builds(sandbox)[2]["build"], "prog")
    assert by_id == "prog: here: link\n"
    (line,) = spraycc(sandbox, "why", "--json").splitlines()
    assert json.loads(line)["host"]

    refused = sandbox.run(sandbox.bin / "spraycc", "why", "--build", "7")
    assert (refused.status, refused.err) == (
        1,
        b"spraycc: error: no build '7': give a number or an id that 'spraycc builds' lists (1 to 3, or an id)\n",
    )


def test_the_trace_of_a_build(sandbox: Sandbox) -> None:
    sandbox.write(c_project(4))
    sandbox.build("make", "-j4", executors=2).ok()
    written = sandbox.run(sandbox.bin / "spraycc", "trace", "-o", "out.json").ok()
    assert b"build 1 is in out.json" in written.err
    text = (sandbox.workspace / "out.json").read_text()
    assert text == spraycc(sandbox, "trace", "1", "-o", "-")
    events = check_trace(json.loads(text))
    done = {event["name"] for event in events if event["ph"] == "X" and event["args"].get("outcome") == "done"}
    assert done == {"main.o", *(f"u{number}.o" for number in range(1, 5))}
    chain = [event["name"] for event in events if event["ph"] == "X" and event["pid"] == 1]
    assert chain[-1] == "prog"
    out = sandbox.workspace / "out.json"
    assert out.stat().st_mode & 0o777 == 0o600
    spraycc(sandbox, "trace", "-o", "out.json")  # replaces its own kind
    out.write_text('{"displayTimeUnit":"ns"}')
    foreign = sandbox.run(sandbox.bin / "spraycc", "trace", "-o", "out.json")
    assert (foreign.status, foreign.err) == (
        1,
        b"spraycc: error: out.json exists and is no trace of SprayCC. Name another file with -o, or give --force\n",
    )
    spraycc(sandbox, "trace", "-f", "-o", "out.json")
    assert out.read_text() == text
    refused = sandbox.run(sandbox.bin / "spraycc", "trace", "-o", "no/such")
    assert (refused.status, refused.err) == (
        1,
        b"spraycc: error: no/such: No such file or directory. Name another file with -o\n",
    )


def test_whatever_is_among_the_records(sandbox: Sandbox) -> None:
    sandbox.write(c_project(2))
    sandbox.build("make", "-j4", executors=2).ok()
    (directory,) = (sandbox.home / ".local/state/spraycc").glob("**/builds")
    os.mkfifo(directory / "000000000000001-fifo.jsonl")
    (directory / "000000000000002-link.jsonl").symlink_to("/dev/zero")
    (directory / "000000000000003-directory.jsonl").mkdir()
    (directory / "²²-x.jsonl").write_text("{}")
    (build,) = builds(sandbox)
    (record,) = directory.glob(f"*-{build['build']}.jsonl")
    lost = record.with_name(f"{int(record.name[:15]) + 1:015}-lost.jsonl")
    hostile = record.read_text().replace("main.o", "\\u001b[2J\\u202e\\n.o")
    record.write_text(hostile)
    lost.touch()
    sandbox.give(lost)
    done = sandbox.run(sandbox.bin / "spraycc", "why", "--all").ok()
    assert done.err == (
        b"spraycc: note: no task of build 1 is in the record: the disk was full, or the server was killed. "
        b"Build 2 is the newest with tasks\n"
    )
    assert b"\\x1b[2J\\u202e\\n.o: remote: compile" in done.out
    assert done.out.isascii()
    assert b"\033" not in done.out
    unreadable = sandbox.run(sandbox.bin / "spraycc", "why", "--build", "1")
    assert unreadable.own_lines() == [f"spraycc: error: the record of build 1 has no line that can be read: {lost}"]


def test_a_build_that_runs_and_one_whose_server_was_killed(sandbox: Sandbox) -> None:
    sandbox.write(c_project(2))
    compiler = GatedCompiler(sandbox)
    command, _ = sandbox.build_command(["make", "-j4"], executors=2)
    with sandbox.start(command) as process:
        compiler.wait_for_width(2)
        (build,) = builds(sandbox)
        assert (build["state"], build["status"]) == ("running", None)
        assert " runs " in spraycc(sandbox, "builds")
        sandbox.run("kill", "-KILL", str(sandbox.status()["server"]["pid"])).ok()
        compiler.open()
        assert process.wait(HANG_S) == 0
    (build,) = builds(sandbox)
    assert (build["state"], build["tasks"]) == ("cut", 0)
    assert " cut " in spraycc(sandbox, "builds")
    sandbox.build("make", "-j4", executors=2).ok()  # its server removes the files that the killed one has left
