"""The runner's request to the server: everything needed to run the command elsewhere with the same result."""

from __future__ import annotations

import ctypes
import os
import pty
import resource
import socket
import termios
from pathlib import Path
from typing import Any

import pytest

from spraycc.wire.runner import RUNNER_PROTOCOL, Exited, Output, RunHere
from tests.system.harness.waiting import HANG_S

DONE = Exited(0, 0)


def test_the_request_is_whole(harness: Any, finish: Any) -> None:
    server = harness.serve()
    gcc = harness.program("gcc")
    harness.env[b"MAKEFLAGS"] = b" -j --jobserver-auth=fifo:/x"
    harness.env[b"LAST"] = b"1"
    expected = [n + b"=" + v for n, v in harness.env.items() if not n.startswith(b"SPRAYCC_")]
    expected[0] = expected[0].replace(os.fsencode(harness.shims) + b":", b"")
    runner = harness.start("gcc", "-c", "", file=harness.shim("gcc"), cwd=harness.work)
    asked = server.accept()
    task = asked.task
    assert task.version == RUNNER_PROTOCOL
    assert task.wish == "auto"
    assert task.build == b"b1"
    assert task.argv == (b"gcc", b"-c", b"")
    assert task.program == os.fsencode(gcc)
    assert task.cwd == os.fsencode(harness.work)
    assert list(task.env) == expected
    assert asked.item[0] == "task"
    assert len(asked.item) == 14
    asked.send(DONE)
    assert finish(runner).returncode == 0
    assert harness.reports() == []  # nothing ran on the submit host


@pytest.mark.parametrize("wish", ["remote", "local"])
def test_the_launchers_wish_and_a_missing_build(harness: Any, finish: Any, wish: str) -> None:
    server = harness.serve(build=None)
    runner = harness.start(f"--{wish}", "probe")
    asked = server.accept()
    assert (asked.task.wish, asked.task.build) == (wish, b"")
    asked.send(DONE)
    assert finish(runner).returncode == 0


def test_large_environments_and_arguments(harness: Any, finish: Any) -> None:
    server = harness.serve()
    harness.env.update({b"V%d" % n: bytes([65 + n % 26]) * 1000 for n in range(200)})
    arguments = [b"%04d" % n + b"x" * 100_000 for n in range(10)] + [b"y"] * 5000
    runner = harness.start("probe", *arguments)
    asked = server.accept()
    assert asked.task.argv == (b"probe", *arguments)
    assert {b"V%d=" % n + bytes([65 + n % 26]) * 1000 for n in range(200)} <= set(asked.task.env)
    asked.send(DONE)
    assert finish(runner).returncode == 0


def test_bytes_that_are_no_text(harness: Any, finish: Any) -> None:
    odd = b"\xff\xfe \xc3( \n"
    place = Path(os.fsdecode(os.fsencode(harness.top) + b"/" + odd))
    program = harness.program("g\udcff\udcc3", directory=place)
    server = harness.serve()
    harness.env[b"\xff"] = odd
    harness.env[b"LC_ALL"] = b"C"
    harness.env[b"PATH"] = b"%s:/bin" % os.fsencode(place)
    runner = harness.start(os.fsencode(program.name), odd, b"", cwd=place)
    task = server.accept().task
    assert task.argv == (b"g\xff\xc3", odd, b"")
    assert task.program == os.fsencode(program)
    assert task.cwd == os.fsencode(place)
    assert b"\xff=" + odd in task.env
    server.conversations[0].send(DONE)
    assert finish(runner).returncode == 0


def test_environment_entries_that_are_odd(harness: Any) -> None:
    server = harness.serve()
    odd = [b"X=1", b"X=2", b"", b"no-equals", b"=nameless"]
    env = [*odd, *(n + b"=" + v for n, v in harness.env.items()), b"SPRAYCC_", b"SPRAYCCX=1"]
    libc = ctypes.CDLL(None)
    argv = [b"spraycc-run", b"probe"]
    vectors = [(ctypes.c_char_p * (len(v) + 1))(*v, None) for v in (argv, env)]
    runner = harness.start("x", preexec_fn=lambda: libc.execve(os.fsencode(harness.runner), *vectors))
    asked = server.accept()
    assert asked.task.env[:5] == tuple(odd)
    assert asked.task.env[-1] == b"SPRAYCCX=1"
    assert not [e for e in asked.task.env if e.startswith(b"SPRAYCC_")]
    asked.send(DONE)
    assert runner.wait(HANG_S) == 0


def test_umask_limits_and_niceness(harness: Any, finish: Any) -> None:
    server = harness.serve()
    under = 'umask 0137; ulimit -c 0; ulimit -Sn 123; ulimit -Sf unlimited; exec nice -n 7 "$@"'
    runner = harness.start("probe", under=under)
    asked = server.accept()
    assert asked.task.umask == 0o137
    assert asked.task.nice == os.getpriority(os.PRIO_PROCESS, 0) + 7
    limits = {number: (soft, hard) for number, soft, hard in asked.task.rlimits}
    assert set(limits) == set(range(16))
    assert limits[resource.RLIMIT_CORE] == (0, 0)
    assert limits[resource.RLIMIT_NOFILE][0] == 123
    for number, (soft, hard) in limits.items():
        ours = [value % 2**64 for value in resource.getrlimit(number)]
        if number not in (resource.RLIMIT_CORE, resource.RLIMIT_NOFILE):
            assert [soft, hard] == ours
    assert 2**64 - 1 in {hard for _, hard in limits.values()}
    asked.send(DONE)
    assert finish(runner).returncode == 0


def test_looking_at_the_umask_does_not_change_it(harness: Any, finish: Any) -> None:
    server = harness.serve()
    harness.program("tool", "umask")
    runner = harness.start("tool", under='umask 0035; exec "$@"')
    server.accept().send(RunHere())
    assert finish(runner).stdout == b"0035\n"


@pytest.mark.root
def test_negative_niceness(harness: Any, finish: Any) -> None:
    server = harness.serve()
    runner = harness.start("probe", preexec_fn=lambda: os.setpriority(os.PRIO_PROCESS, 0, -3))
    asked = server.accept()
    assert asked.task.nice == -3
    asked.send(DONE)
    finish(runner)


def test_kinds_of_streams(harness: Any, finish: Any, tmp_path: Path) -> None:
    server = harness.serve()

    def streams(under: str | None = None, **more: Any) -> list[tuple[str, int, int]]:
        runner = harness.start("probe", under=under, **more)
        asked = server.accept()
        asked.send(DONE)
        finish(runner)
        return list(asked.task.streams)

    def same(fd: int) -> tuple[int, int]:
        st = os.fstat(fd)
        return st.st_dev, st.st_ino

    with (tmp_path / "file").open("wb") as file:
        stdin, stdout, stderr = streams(stdout=file)
        null = os.stat("/dev/null")
        assert stdin == ("null", null.st_dev, null.st_ino)
        assert stdout == ("file", *same(file.fileno()))
        assert stderr[0] == "pipe"
        _, stdout, stderr = streams(stdout=file, stderr=file)
        assert stdout == stderr == ("file", *same(file.fileno()))
    master, slave = pty.openpty()
    assert streams(stdin=slave)[0] == ("tty", *same(slave))
    left, right = socket.socketpair()
    with left, right:
        assert streams(stdin=left)[0] == ("socket", *same(left.fileno()))
    assert streams('exec "$@" 0</dev/zero')[0][0] == "other"
    if harness.native:  # Python can't even start where stdin is a directory
        assert streams('exec "$@" 0</')[0][0] == "other"
    os.close(master)
    os.close(slave)


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_a_closed_stream_stays_closed(harness: Any, finish: Any, closed: str) -> None:
    """The connection must not get the stream's number, or the command's output would go to the server."""
    server = harness.serve()
    numbers = {int(word[0]) for word in closed.split()}
    runner = harness.start("probe", under=f'exec "$@" {closed}')
    asked = server.accept()
    kinds = [kind for kind, _, _ in asked.task.streams]
    assert {n for n, kind in enumerate(kinds) if kind == "closed"} == numbers
    assert all((dev, ino) == (0, 0) for kind, dev, ino in asked.task.streams if kind == "closed")
    asked.send(Output(1, b"text"), Output(2, b"text"), RunHere())
    assert asked.closed_by_peer()
    assert finish(runner).returncode == 0
    assert set(harness.report().fds) == {0, 1, 2} - numbers


def test_the_working_directory_is_spelled_as_the_shell_spells_it(harness: Any, finish: Any) -> None:
    server = harness.serve()
    link = harness.top / "link"
    link.symlink_to(harness.work)

    def cwd(pwd: str) -> bytes:
        runner = harness.start("probe", env={"PWD": pwd}, cwd=link)
        asked = server.accept()
        asked.send(DONE)
        finish(runner)
        return bytes(asked.task.cwd)

    assert cwd(str(link)) == os.fsencode(link)
    for wrong in (str(harness.top), "", "link", "/nowhere"):
        assert cwd(wrong) == os.fsencode(harness.work)


def test_a_relative_program_becomes_absolute(harness: Any, finish: Any) -> None:
    server = harness.serve()
    harness.program("tool", directory=harness.work / "bin")
    for words, path in ((["bin/tool"], "/bin"), (["tool"], "bin:/bin")):
        runner = harness.start(*words, env={"PATH": path})
        asked = server.accept()
        assert asked.task.program == os.fsencode(harness.work / "bin/tool")
        asked.send(DONE)
        finish(runner)


def test_links_of_the_program_are_not_followed(harness: Any, finish: Any) -> None:
    server = harness.serve()
    (harness.real / "cc").symlink_to("probe")
    runner = harness.start("cc", file=harness.shim("cc"))
    asked = server.accept()
    assert asked.task.program == os.fsencode(harness.real / "cc")
    asked.send(DONE)
    finish(runner)


def test_without_a_working_directory_the_command_runs_here(harness: Any) -> None:
    harness.serve()
    harness.slots(1)
    done = harness.run("probe", under='mkdir gone; cd gone; rmdir ../gone; exec "$@"')
    assert (done.returncode, done.stderr) == (0, b"")
    assert harness.report().argv == [b"probe"]


@pytest.mark.parametrize(("stream", "window"), [("stdout", (31, 97)), ("stderr", (7, 300)), ("stdin", (0, 0))])
def test_the_window_is_that_of_the_output_s_terminal(
    harness: Any, finish: Any, stream: str, window: tuple[int, int]
) -> None:
    server = harness.serve()
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, window if stream != "stdin" else (5, 5))
    runner = harness.start("probe", **{stream: slave})
    asked = server.accept()
    assert asked.task.window == window
    assert asked.task.command().terminals == {"stdout": (1,), "stderr": (2,), "stdin": ()}[stream]
    asked.send(DONE)
    finish(runner)
    os.close(master)
    os.close(slave)
