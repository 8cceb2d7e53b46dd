"""The runner's behaviour for each message of the server."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pty
import signal
import socket
import struct
import subprocess
import termios
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spraycc.wire.framing import FrameReader, encode_frame
from spraycc.wire.runner import TO_SERVER, Done, Exited, Output, RunHere
from tests.system.harness.waiting import HANG_S


def ask(harness: Any, *words: str, **more: Any) -> tuple[Any, Any]:
    if not harness.servers:
        harness.serve()
    runner = harness.start(*(words or ("probe",)), **more)
    return runner, harness.servers[-1].accept()


def report_of(server: Any) -> Done:
    """The runner's report of its command's end."""
    reader = FrameReader()
    reader.feed(server.sock.recv(100))
    report = TO_SERVER.unpack(reader.next_item())
    assert isinstance(report, Done)
    return report


def in_thread(what: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=what)
    thread.start()
    return thread


def test_output_and_status(harness: Any, finish: Any) -> None:
    runner, server = ask(harness)
    server.send(Output(1, b"one "), Output(2, b"\xff\0"), Output(1, b""), Output(1, b"two"), Exited(42, 0))
    done = finish(runner)
    assert (done.returncode, done.stdout, done.stderr) == (42, b"one two", b"\xff\0")
    assert harness.reports() == []


def test_order_on_one_stream(harness: Any, finish: Any) -> None:
    runner, server = ask(harness, stderr=subprocess.STDOUT)
    server.send(*(Output(1 + n % 2, b"%d " % n) for n in range(100)), Exited(0, 0))
    assert finish(runner).stdout == b"".join(b"%d " % n for n in range(100))


@pytest.mark.parametrize("code", [0, 1, 127, 255])
def test_exit_codes(harness: Any, finish: Any, code: int) -> None:
    runner, server = ask(harness)
    server.send(Exited(code, 0))
    assert finish(runner).returncode == code


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, 64])
def test_death_by_signal(harness: Any, finish: Any, number: int, tmp_path: Path) -> None:
    runner, server = ask(harness, under="trap '' TERM; ulimit -c unlimited 2>/dev/null; exec \"$@\"")
    server.send(Exited(0, int(number)))
    assert finish(runner).returncode == -number
    assert list(harness.work.iterdir()) == []  # no core


def test_signals_that_kill_nobody_are_a_status(harness: Any, finish: Any) -> None:
    runner, server = ask(harness)
    server.send(Exited(0, signal.SIGSTOP))
    assert finish(runner).returncode == 128 + signal.SIGSTOP


def test_newer_servers_may_add_elements(harness: Any, finish: Any) -> None:
    runner, server = ask(harness)
    server.sock.sendall(encode_frame(["out", 1, b"x", None]) + encode_frame(["exit", 3, 0, {"a": 1.5}]))
    done = finish(runner)
    assert (done.returncode, done.stdout) == (3, b"x")


def test_frames_arrive_in_any_pieces(harness: Any, finish: Any) -> None:
    runner, server = ask(harness)
    server.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    for byte in encode_frame(["out", 2, b"z" * 2000]) + encode_frame(["exit", 3, 0]):
        server.sock.sendall(bytes([byte]))
    done = finish(runner)
    assert (done.returncode, done.stderr) == (3, b"z" * 2000)


@pytest.mark.parametrize("nonblocking", [False, True])
def test_a_slow_reader_gets_everything(harness: Any, nonblocking: bool) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    if nonblocking:
        os.set_blocking(writer, False)
    runner, server = ask(harness, stdout=writer)
    os.close(writer)
    data = os.urandom(256 * 1024)
    sender = in_thread(lambda: server.send(*[Output(1, data)] * 8, Exited(5, 0)))
    got = bytearray()
    while part := os.read(reader, 1000):
        got += part
    sender.join()
    assert got == data * 8
    assert runner.wait(HANG_S) == 5
    os.close(reader)


def test_a_frame_may_be_large(harness: Any, finish: Any) -> None:
    runner, server = ask(harness, "probe")
    data = os.urandom(9 << 20)
    sender = in_thread(lambda: server.send(Output(1, data), Exited(0, 0)))
    done = finish(runner)
    sender.join()
    assert done.stdout == data


def test_a_reader_that_left_kills_us_as_it_would_the_command(harness: Any, finish: Any) -> None:
    reader, writer = os.pipe()
    runner, server = ask(harness, stdout=writer)
    os.close(writer)
    os.close(reader)
    server.send(Output(1, b"x"))
    assert finish(runner).returncode == -signal.SIGPIPE
    assert server.closed_by_peer()


def test_a_reader_that_left_where_sigpipe_is_ignored(harness: Any, finish: Any) -> None:
    if not harness.native:
        pytest.skip("Python ignores SIGPIPE before a script can check whether it was ignored")
    reader, writer = os.pipe()
    runner, server = ask(harness, stdout=writer, under="trap '' PIPE; exec \"$@\"")
    os.close(writer)
    os.close(reader)
    server.send(Output(1, b"x"), Output(1, b"y"), Output(2, b"error"), Exited(0, 0))
    done = finish(runner)
    assert done.returncode == 1
    assert done.stderr == f"errorspraycc: standard output: {os.strerror(errno.EPIPE)}\n".encode()


@pytest.mark.parametrize(("code", "seen"), [(0, 1), (4, 4)])
def test_a_full_disk_is_never_a_success(harness: Any, finish: Any, code: int, seen: int) -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        runner, server = ask(harness, stdout=full)
    server.send(Output(1, b"x"), Exited(code, 0))
    done = finish(runner)
    assert done.returncode == seen
    assert (b"No space left on device" in done.stderr) == (code == 0)


def test_output_to_a_closed_stream_is_no_error(harness: Any, finish: Any) -> None:
    """Most programs do not check for this error. Programs that do have already failed on the executor."""
    runner, server = ask(harness, under='exec "$@" 1>&-')
    server.send(Output(1, b"x"), Exited(0, 0))
    assert finish(runner).returncode == 0


def test_here_executes_in_our_own_place(harness: Any, finish: Any, tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"line 1\nline 2\n")
    with (tmp_path / "input").open("rb", buffering=0) as stdin:
        stdin.seek(7)
        expected = [n + b"=" + v for n, v in harness.env.items() if not n.startswith(b"SPRAYCC_")]
        expected[0] = expected[0].replace(os.fsencode(harness.shims) + b":", b"")
        keep = os.open("/dev/null", os.O_RDONLY)
        runner, server = ask(harness, "probe", "-i", stdin=stdin, pass_fds=[keep])
        pid = struct.unpack("iii", server.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        assert pid == runner.pid
        server.send(RunHere())
        assert server.closed_by_peer()
        assert finish(runner).returncode == 0
    report = harness.report()
    assert report.argv == [b"probe", b"-i"]
    assert report.stdin == b"line 2\n"
    assert report.env == [*expected, b"SPRAYCC_SLOT=1"]
    assert report.cwd == os.fsencode(harness.work)
    assert set(report.fds) == {0, 1, 2, keep}
    assert all(f"SigIgn:\t{0:016x}".encode() in line for line in report.signals if line.startswith(b"SigIgn"))
    os.close(keep)


def test_here_keeps_the_process(harness: Any, finish: Any) -> None:
    harness.program("pid", "echo $$")
    runner, server = ask(harness, "pid")
    server.send(RunHere())
    assert finish(runner).stdout == b"%d\n" % runner.pid


def test_here_with_output_that_was_passed_on(harness: Any, finish: Any) -> None:
    harness.program("tool", "printf abcdef; printf uvwxyz >&2; exit 9")
    runner, server = ask(harness, "tool")
    server.send(Output(1, b"abc"), Output(2, b"u"), RunHere(3, 1))
    done = finish(runner)
    assert (done.returncode, done.stdout, done.stderr) == (9, b"abcdef", b"uvwxyz")


@pytest.mark.parametrize(("out", "err"), [(3, 0), (0, 2), (100, 0)])
def test_here_skips_one_stream_and_leaves_the_other(harness: Any, finish: Any, out: int, err: int) -> None:
    """The runner does not touch a stream without a skip: the program gets the original descriptor."""
    harness.program("tool", "probe; printf abcdef; printf uvwxyz >&2")
    runner, server = ask(harness, "tool")
    pipes = [f"pipe:[{ino}]".encode() for _, _, ino in server.task.streams[1:]]
    server.send(RunHere(out, err))
    done = finish(runner)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"abcdef"[out:], b"uvwxyz"[err:])
    fds = harness.report().fds
    assert sorted(fds)[:3] == [0, 1, 2]
    assert [fds[1] == pipes[0], fds[2] == pipes[1]] == [out == 0, err == 0]


@pytest.mark.parametrize(("out", "err"), [(3, 0), (2, 1), (0, 3)])
def test_here_with_both_streams_in_one(harness: Any, finish: Any, out: int, err: int) -> None:
    harness.program("tool", "for i in 1 2 3 4 5; do printf o; printf e >&2; done")
    runner, server = ask(harness, "tool", stderr=subprocess.STDOUT)
    server.send(Output(1, b"oeo"), RunHere(out, err))
    assert finish(runner).stdout == b"oeoeoeoeoe"


def test_here_with_a_skip_and_much_output(harness: Any, finish: Any) -> None:
    harness.program("tool", f"head -c 3000000 /dev/zero; kill -{signal.SIGUSR1} $$")
    runner, server = ask(harness, "tool", preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    server.send(RunHere(1000001, 0))
    done = finish(runner)
    assert (done.returncode, len(done.stdout)) == (-signal.SIGUSR1, 1999999)


def test_here_with_a_skip_does_not_wait_for_daemons(harness: Any, finish: Any) -> None:
    """A background process holds the pipe. The reader must see the end of file when the runner ends."""
    harness.program("tool", "(read x <gate) & printf abc")
    os.mkfifo(harness.work / "gate")
    runner, server = ask(harness, "tool")
    server.send(RunHere(1, 0))
    assert runner.stdout.read(10) == b"bc"
    assert runner.wait(HANG_S) == 0
    with (harness.work / "gate").open("w") as gate:
        gate.write("x\n")
    from_daemon = runner.stderr.read()  # ends when the daemon does
    assert from_daemon == b""


def test_here_with_a_skip_where_the_reader_left(harness: Any, finish: Any) -> None:
    harness.program("tool", "yes")
    reader, writer = os.pipe()
    runner, server = ask(harness, "tool", stdout=writer)
    os.close(writer)
    server.send(RunHere(5, 0))
    assert os.read(reader, 1) == b"\n"  # "y\ny\ny|\n"
    os.close(reader)
    assert finish(runner).returncode == -signal.SIGPIPE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_runner_simply_dies(harness: Any, finish: Any, number: int) -> None:
    runner, server = ask(harness)
    os.kill(runner.pid, number)
    assert finish(runner).returncode == -number
    assert server.closed_by_peer()


def test_while_it_waits_a_runner_is_small(harness: Any, finish: Any, wait_until: Callable[..., Any]) -> None:
    if harness.kind != "native":
        pytest.skip("only for the native runner")
    harness.env.update({b"V%d" % n: b"x" * 1000 for n in range(300)})
    runner, server = ask(harness)
    size = 4 << 20
    sender = in_thread(lambda: server.send(Output(1, b"x" * size)))
    assert runner.stdout.read(size) == b"x" * size
    sender.join()

    def rss_kb() -> int:
        rollup = Path(f"/proc/{runner.pid}/smaps_rollup").read_text()
        return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Rss:"))

    # The 300 kB of its environment are on the stack before the runner's first instruction.
    wait_until(lambda: rss_kb() <= 1024 + 320)
    server.send(Exited(0, 0))
    assert finish(runner).returncode == 0


@pytest.mark.parametrize("merged", [True, False])
def test_here_with_a_skip_keeps_the_terminal(harness: Any, finish: Any, merged: bool) -> None:
    """The passed output was written to a terminal: the program must write the same again, so that the cut is at the same place."""
    harness.program(
        "tool", "test -t 1 && printf 'tty '; stty size <&1; head -c 100000 /dev/zero | tr '\\0' x; echo end"
    )
    ours, theirs = pty.openpty()
    modes = termios.tcgetattr(theirs)
    modes[1] &= ~termios.OPOST
    termios.tcsetattr(theirs, termios.TCSANOW, modes)
    termios.tcsetwinsize(theirs, (31, 97))
    runner, server = ask(harness, "tool", stdout=theirs, stderr=theirs if merged else subprocess.PIPE)
    os.close(theirs)
    server.send(Output(1, b"tt"), RunHere(2, 0))
    seen = b""
    with contextlib.suppress(OSError):  # EIO: the end of the terminal
        while data := os.read(ours, 65536):
            seen += data
    os.close(ours)
    assert runner.wait(HANG_S) == 0
    assert seen == b"tty 31 97\n" + b"x" * 100000 + b"end\n"


@pytest.mark.parametrize(
    ("end", "told", "status"),
    [("exit 0", 0, 0), ("exit 23", 23, 23), ("exit 24", 24, 24), ("exit 255", 255, 255), ("kill -9 $$", 137, -9)],
)
def test_one_that_stays_asks_before_it_ends(harness: Any, finish: Any, end: str, told: int, status: int) -> None:
    """Its output has arrived. The build tool gets the status only when the server closes the connection."""
    harness.program("tool", f"probe; printf abc; {end}")
    runner, server = ask(harness, "tool")
    server.send(RunHere(0, 0, 1))
    assert report_of(server).status == told
    assert runner.stdout.read(3) == b"abc"
    assert runner.poll() is None
    assert sorted(harness.report().fds) == [0, 1, 2]
    server.close()
    assert finish(runner).returncode == status


@pytest.mark.parametrize(("end", "told", "status"), [("exit 0", 0, 0), ("exit 24", 24, 24), ("kill -9 $$", 137, -9)])
def test_one_that_tells_ends_with_its_command(harness: Any, finish: Any, end: str, told: int, status: int) -> None:
    """The build tool need not wait for the server, which reads the report afterwards."""
    harness.program("tool", f"printf abc; {end}")
    runner, server = ask(harness, "tool")
    server.send(RunHere(0, 0, 2))
    finished = finish(runner)
    assert (finished.returncode, finished.stdout) == (status, b"abc")
    assert report_of(server).status == told


def test_a_report_has_the_resources_of_the_command(harness: Any, finish: Any) -> None:
    harness.program("tool", "head -c 30000000 /dev/zero | tail -c 20000000 >/dev/null; head -c 1000 /dev/zero | wc -c")
    runner, server = ask(harness, "tool")
    server.send(RunHere(0, 0, 2))
    assert finish(runner).returncode == 0
    report = report_of(server)
    assert report.peak_rss_kib > 20_000_000 >> 10  # of the largest process, below the shell
    assert report.user_us + report.system_us > 0


def test_one_that_stays_ends_with_the_server(harness: Any, finish: Any) -> None:
    harness.program("tool", "read x <gate; exit 3")
    os.mkfifo(harness.work / "gate")
    runner, server = ask(harness, "tool")
    server.send(RunHere(0, 0, 1))
    server.close()
    with (harness.work / "gate").open("w") as gate:
        gate.write("x\n")
    assert finish(runner).returncode == 3


def test_a_signal_ends_one_that_stays(harness: Any, finish: Any) -> None:
    """Before the command's end, the command gets the signal. Afterwards there is nothing to wait for."""
    harness.program("tool", "exit 0")
    runner, server = ask(harness, "tool")
    server.send(RunHere(0, 0, 1))
    assert report_of(server).status == 0
    runner.terminate()
    assert finish(runner).returncode == 0


def test_who_kills_one_that_stays_kills_its_command(harness: Any, finish: Any) -> None:
    harness.program("tool", "echo $$; read x <gate")
    os.mkfifo(harness.work / "gate")
    runner, server = ask(harness, "tool")
    server.send(RunHere(0, 0, 1))
    child = int(runner.stdout.readline())
    assert child != runner.pid
    runner.kill()
    # The output ends only with the command.
    assert finish(runner).returncode == -signal.SIGKILL
