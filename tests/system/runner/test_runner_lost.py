"""The server is gone, or can't be trusted: the command runs on the submit host, once, within the slots."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spraycc.wire.framing import MAX_FRAME_BYTES, encode_frame
from spraycc.wire.runner import Exited, Output, Refused

WARNING = "spraycc: the server is gone; the rest of this build runs on this host, at most {} at once (its log: see 'spraycc doctor')\n"


def warning(count: int) -> bytes:
    return WARNING.format("1 command" if count == 1 else f"{count} commands").encode()


def test_no_server_in_a_build(harness: Any) -> None:
    """The socket file exists, but no process listens."""
    harness.serve().die()
    harness.slots(2)
    expected = [n + b"=" + v for n, v in harness.env.items() if not n.startswith(b"SPRAYCC_")]
    expected[0] = expected[0].replace(os.fsencode(harness.shims) + b":", b"")
    first, second = harness.run("probe", "x"), harness.run("probe", "x")
    assert (first.returncode, first.stdout, first.stderr) == (0, b"", warning(2))
    assert (second.returncode, second.stdout, second.stderr) == (0, b"", b"")
    for report in harness.reports():
        assert report.argv == [b"probe", b"x"]
        assert report.env == [*expected, b"SPRAYCC_SLOT=1"]
        assert set(report.fds) == {0, 1, 2}
        assert all(b"0" * 16 in line for line in report.signals)
    mark = harness.runtime / "builds/b1/warned"
    assert mark.stat().st_mode & 0o777 == 0o600


def test_one_warning_of_many_at_once(harness: Any, finish: Any) -> None:
    harness.serve().die()
    harness.slots(4)
    done = [finish(p) for p in [harness.start("probe") for _ in range(12)]]
    assert [d.returncode for d in done] == [0] * 12
    assert sorted(d.stderr for d in done)[-2:] == [b"", warning(4)]
    assert len(harness.report_file.read_bytes()) > 0


@pytest.mark.parametrize("build", ["unknown", ".", "..", "../builds/b1", "b1/"])
def test_no_warning_without_the_builds_directory(harness: Any, build: str) -> None:
    harness.serve().die()
    harness.slots(1)
    assert harness.run("probe", env={"SPRAYCC_BUILD": build}).stderr == b""
    assert harness.report().argv == [b"probe"]
    assert not list(harness.runtime.rglob("warned"))


def test_outside_a_build_there_is_nothing_to_say(harness: Any) -> None:
    server = harness.serve(build=None)
    server.die()
    harness.slots(1)
    expected = [n + b"=" + v for n, v in harness.env.items()]
    expected[0] = expected[0].replace(os.fsencode(harness.shims) + b":", b"")
    done = harness.run("probe")
    assert (done.returncode, done.stderr) == (0, b"")
    assert harness.report().env == expected
    server.path.unlink()
    assert harness.run("probe").stderr == b""


def test_refused_is_no_warning_and_no_failure(harness: Any, finish: Any) -> None:
    server = harness.serve()
    harness.slots(1)
    runner = harness.start("probe")
    server.accept().send(Refused("another version"))
    done = finish(runner)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert b"SPRAYCC_SLOT=1" in harness.report().env


@pytest.mark.parametrize("cut", [0, 1, 3, 4, 20])
def test_lost_before_any_output(harness: Any, finish: Any, cut: int) -> None:
    server = harness.serve()
    harness.slots(1)
    harness.program("tool", "printf abc; printf xyz >&2; exit 5")
    runner = harness.start("tool")
    asked = server.accept()
    asked.sock.sendall(encode_frame(["out", 1, b"something that never arrives whole"])[:cut])
    asked.close()
    done = finish(runner)
    assert (done.returncode, done.stdout) == (5, b"abc")
    assert done.stderr == warning(1) + b"xyz"


def test_lost_while_the_request_is_sent(harness: Any, finish: Any) -> None:
    server = harness.serve()
    harness.slots(1)
    runner = harness.start("probe", *["x" * 100_000] * 10)
    connection, _ = server.listener.accept()
    connection.close()
    done = finish(runner)
    assert (done.returncode, done.stderr) == (0, warning(1))
    assert len(harness.report().argv) == 11


def test_lost_after_output(harness: Any, finish: Any) -> None:
    """Output that was already passed on is not repeated."""
    server = harness.serve()
    harness.slots(1)
    harness.program("tool", "printf abcdef; printf uvwxyz >&2; exit 5")
    runner = harness.start("tool")
    asked = server.accept()
    asked.send(Output(1, b"ab"), Output(2, b"uvw"), Output(1, b"cd"))
    asked.close()
    done = finish(runner)
    assert (done.returncode, done.stdout) == (5, b"abcdef")
    assert done.stderr == b"uvw" + warning(1) + b"xyz"


def test_lost_after_output_outside_a_build(harness: Any, finish: Any) -> None:
    server = harness.serve(build=None)
    harness.program("tool", "printf abcdef; echo $SPRAYCC_SLOT")
    runner = harness.start("tool")
    asked = server.accept()
    asked.send(Output(1, b"ab"))
    asked.close()
    done = finish(runner)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"abcdef\n", b"")


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(frame(b""), id="empty"),
        pytest.param(frame(b"\xff" * 50), id="no CBOR"),
        pytest.param(frame(b"\x80"), id="empty array"),
        pytest.param(encode_frame("exit"), id="no array"),
        pytest.param(encode_frame([b"exit", 0, 0]), id="tag of bytes"),
        pytest.param(encode_frame(["exits", 0, 0]), id="unknown tag"),
        pytest.param(encode_frame(["exit"]), id="too few"),
        pytest.param(encode_frame(["exit", 0]), id="one too few"),
        pytest.param(encode_frame(["exit", -1, 0]), id="negative code"),
        pytest.param(encode_frame(["exit", 256, 0]), id="large code"),
        pytest.param(encode_frame(["exit", 0, 65]), id="no such signal"),
        pytest.param(encode_frame(["exit", 2**64 - 1, 0]), id="huge code"),
        pytest.param(encode_frame(["exit", False, 0]), id="not a number"),
        pytest.param(encode_frame(["exit", 0, 2**70]), id="bignum"),
        pytest.param(encode_frame(["out", 0, b"x"]), id="stdin"),
        pytest.param(encode_frame(["out", 3, b"x"]), id="another descriptor"),
        pytest.param(encode_frame(["out", 1, "x"]), id="text for bytes"),
        pytest.param(frame(b"\x83\x63out\x01\x5f\x41x\xff"), id="indefinite length"),
        pytest.param(frame(b"\x83\x63out\x01\x5b" + b"\xff" * 8), id="length over the end"),
        pytest.param(frame(b"\x83\x63out\x01\x45abcd"), id="one byte short"),
        pytest.param(encode_frame(["here", b"", 0]), id="skip of bytes"),
        pytest.param(frame(b"\x82\x64here"), id="here cut"),
        pytest.param((MAX_FRAME_BYTES + 1).to_bytes(4, "big"), id="frame over the limit"),
        pytest.param(b"\xff\xff\xff\xff", id="largest frame"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n", id="another protocol"),
    ],
)
def test_garbage_is_as_good_as_no_server(harness: Any, finish: Any, garbage: bytes) -> None:
    server = harness.serve()
    harness.slots(1)
    runner = harness.start("probe")
    asked = server.accept()
    asked.sock.sendall(garbage)
    if garbage.startswith(b"HTTP"):
        asked.close()
    done = finish(runner)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", warning(1))
    assert harness.report().argv == [b"probe"]
    if not garbage.startswith(b"HTTP"):
        assert asked.closed_by_peer()


def blocked_on(paths: list[Path]) -> int:
    """The number of processes that wait for a lock on one of these files."""
    inodes = {path.stat().st_ino for path in paths}
    lines = Path("/proc/locks").read_text().splitlines()
    waiting = [re.search(r"-> FLOCK .*:(\d+) 0 EOF", line) for line in lines]
    return sum(1 for match in waiting if match and int(match[1]) in inodes)


@pytest.mark.parametrize("slots", [1, 3])
def test_slots_bound_what_runs(harness: Any, finish: Any, wait_until: Callable[..., Any], slots: int) -> None:
    """The commands log their start and end. The test lets each go on, so that commands overlap if they may."""
    harness.serve().die()
    files = harness.slots(slots)
    log = harness.top / "log"
    gate = harness.top / "gate"
    os.mkfifo(gate)
    harness.program("tool", f"echo + >>{log}; read x <{gate}; echo - >>{log}")
    total = slots + 4

    def signs() -> str:
        return log.read_text().replace("\n", "") if log.exists() else ""

    runners = [harness.start("tool") for _ in range(total)]
    wait_until(lambda: signs() == "+" * slots)
    wait_until(lambda: blocked_on(files) == total - slots)
    assert signs() == "+" * slots
    with open(gate, "r+b", buffering=0) as through:
        for _ in range(total):
            through.write(b"x\n")
        done = [finish(runner) for runner in runners]
    assert [d.returncode for d in done] == [0] * total
    running = most = 0
    for sign in signs():
        running += 1 if sign == "+" else -1
        most = max(most, running)
    assert (running, most, signs().count("+")) == (0, slots, total)


@pytest.mark.parametrize("free", [0, 1, 2])
def test_a_free_slot_is_found(harness: Any, free: int) -> None:
    harness.serve().die()
    held = [path.open("r+b") for path in harness.slots(3)]
    try:
        for number, file in enumerate(held):
            if number != free:
                fcntl.flock(file, fcntl.LOCK_EX)
        assert harness.run("probe").returncode == 0
    finally:
        for file in held:
            file.close()


def test_a_daemon_does_not_keep_the_slot(harness: Any, finish: Any) -> None:
    harness.serve().die()
    (slot,) = harness.slots(1)
    gate = harness.top / "gate"
    os.mkfifo(gate)
    harness.program("tool", f"(read x <{gate}) >/dev/null 2>&1 & exit 0")
    assert harness.run("tool").returncode == 0
    assert harness.run("probe").returncode == 0
    assert subprocess.run(["flock", "-n", slot, "true"], check=False).returncode == 0
    with gate.open("w") as through:
        through.write("x\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_ends_the_command_and_then_the_runner(
    harness: Any, finish: Any, wait_until: Callable[..., Any], number: signal.Signals
) -> None:
    harness.serve().die()
    harness.slots(1)
    started = harness.work / "started"
    cleaned = harness.work / "cleaned"
    name = number.name.removeprefix("SIG")
    gate = harness.work / "gate"
    os.mkfifo(gate)
    harness.program(
        "tool", f"trap 'echo > {cleaned}; trap - {name}; kill -{name} $$' {name}; echo > {started}; read x <{gate}"
    )
    runner = harness.start("tool", under='ulimit -c 0; exec "$@"')
    wait_until(started.exists)
    os.kill(runner.pid, number)
    assert finish(runner).returncode == -number
    assert cleaned.exists()  # like a compiler that removes its temporary files


def ignore(*numbers: signal.Signals) -> None:
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def test_ignored_signals_stay_ignored_for_the_command(harness: Any) -> None:
    harness.serve().die()
    harness.slots(1)
    assert harness.run("probe", preexec_fn=lambda: ignore(signal.SIGHUP, signal.SIGINT, signal.SIGCHLD)).returncode == 0
    (ignored,) = [line for line in harness.report().signals if line.startswith(b"SigIgn")]
    mask = int(ignored.split()[1], 16)
    assert mask & 1 << signal.SIGHUP - 1
    assert mask & 1 << signal.SIGINT - 1
    assert mask & 1 << signal.SIGCHLD - 1


@pytest.mark.parametrize(("code", "script"), [(7, "exit 7"), (-9, "kill -9 $$"), (-11, "ulimit -c 0; kill -11 $$")])
def test_the_commands_end_is_ours(harness: Any, code: int, script: str) -> None:
    harness.serve().die()
    harness.slots(1)
    harness.program("tool", script)
    # with SIGCHLD ignored, a careless parent would get no status
    assert harness.run("tool", preexec_fn=lambda: ignore(signal.SIGCHLD)).returncode == code


def test_without_slot_files_one_at_a_time(harness: Any) -> None:
    harness.serve().die()
    done = harness.run("probe")
    assert (done.returncode, done.stderr) == (0, warning(1))
    resort = harness.top / "last-resort"
    assert resort.stat().st_mode & 0o777 == 0o700
    assert (resort / "fallback-slots").stat().st_mode & 0o777 == 0o700
    assert [p.name for p in (resort / "fallback-slots").iterdir()] == ["0"]
    assert sorted(p.name for p in harness.runtime.iterdir()) == ["builds", "socket"]  # the runner makes nothing in it


@pytest.mark.parametrize("what", ["open to others", "link", "file"])
def test_a_last_resort_that_is_not_ours_alone_is_not_used(harness: Any, what: str) -> None:
    harness.serve().die()
    resort = harness.top / "last-resort"
    if what == "open to others":
        resort.mkdir()
        resort.chmod(0o755)
    elif what == "link":
        (harness.top / "target").mkdir(mode=0o700)
        resort.symlink_to("target")
    else:
        resort.write_text("")
    done = harness.run("probe")
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr == WARNING.replace(", at most {} at once", "").encode()
    assert b"SPRAYCC_SLOT=1" in harness.report().env
    assert not list(harness.top.rglob("fallback-slots"))


@pytest.mark.parametrize("extra", [60, 150, 400])
def test_a_long_path_of_the_socket(harness: Any, finish: Any, extra: int) -> None:
    directory = harness.top
    while extra > 0:
        directory = directory / ("d" * min(extra, 200))
        extra -= 200
    server = harness.serve(directory=directory)
    runner = harness.start("probe")
    server.accept().send(Exited(8, 0))
    assert finish(runner).returncode == 8


@pytest.mark.parametrize("length", [107 - 20, 107, 108, 109])
def test_paths_around_the_length_of_an_address(harness: Any, finish: Any, length: int) -> None:
    """sun_path holds 107 bytes and a NUL."""
    top = Path(tempfile.mkdtemp(dir="/tmp", prefix="r"))
    try:
        directory = top / ("d" * (length - len(str(top)) - len("//socket")))
        server = harness.serve(directory=directory)
        assert len(str(server.path)) == length
        runner = harness.start("probe")
        server.accept().send(Exited(8, 0))
        assert finish(runner).returncode == 8
    finally:
        shutil.rmtree(top)


@pytest.mark.root
def test_another_users_server_is_told_nothing(harness: Any) -> None:
    server = harness.serve()
    harness.slots(1)
    os.seteuid(65534)
    try:
        server.listener.listen(5)  # from now on the socket belongs to that user
    finally:
        os.seteuid(0)
    done = harness.run("probe")
    assert (done.returncode, done.stderr) == (0, b"")  # as after `sudo` in a recipe
    connection, _ = server.listener.accept()
    with connection:
        assert connection.recv(1) == b""
