"""Tasks through the whole executor process and the real box: streams, status, limits, cancelling."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from spraycc.model import TaskId
from spraycc.system.toolchain import identity
from spraycc.wire.executor import PIECE_BYTES, CancelTask, MadeFile, Ping, Pong, TaskEnded, TaskOutput
from tests.system.harness.waiting import HANG_S


@pytest.mark.overlay
def test_all_modes_were_tried_out(executor, who):
    assert executor.ready.captures == ("overlay", "predict", "in-place")
    assert executor.ready.refusals == {}
    assert executor.ready.pid == executor.process.pid
    assert list(executor.workspace.iterdir()) == []


@pytest.mark.parametrize("capture", ["overlay", "in-place"])
def test_streams_and_status(executor, capture):
    result = executor.shell("echo out; echo err >&2; exit 3", capture=capture)
    assert (result.ended.code, result.ended.signal, result.ended.refusal) == (3, 0, "")
    assert (result.stdout, result.stderr, result.made) == (b"out\n", b"err\n", [])


@pytest.mark.parametrize("capture", ["overlay", "in-place"])
def test_a_command_gets_no_descriptor_of_the_executors_or_of_who_started_it(server, launch, capture):
    """Neither the executor's connection, nor descriptors that a batch system has left open."""
    reading, writing = os.pipe()
    try:
        executor = server.running(launch(server.session_file(), pass_fds=(reading, writing)))
        assert str(writing) in os.listdir(f"/proc/{executor.process.pid}/fd")
        result = executor.shell("ls /proc/self/fd", capture=capture)
        assert result.stdout.split() == [b"0", b"1", b"2", b"3"]  # 3 is the directory that ls reads
        executor.leave()
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM])
def test_death_by_signal(executor, number):
    ended = executor.shell(f"kill -{int(number)} $$").ended
    assert (ended.code, ended.signal, ended.refusal, ended.cancelled) == (0, number, "", False)


@pytest.mark.parametrize("first", ["all at once", "the command"])
@pytest.mark.parametrize("script", ["echo; exec sleep 1000", "trap 'exit 3' TERM; echo; while :; do sleep 0.01; done"])
def test_a_signal_to_the_whole_batch_job_is_not_the_commands_end(executor, marker, first, script):
    """Like scancel, qdel and a queue's time limit: a signal to every process of the batch job, in any order."""
    executor.start("sh", "-c", script, env=marker.env)
    executor.peer.expect(TaskOutput)
    if first == "the command":
        for pid in marker.processes():
            with contextlib.suppress(ProcessLookupError):  # the first may have been the parent of the others
                os.kill(pid, signal.SIGTERM)
    os.killpg(executor.process.pid, signal.SIGCONT)
    os.killpg(executor.process.pid, signal.SIGTERM)
    assert executor.process.wait(HANG_S) == 0
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            assert not isinstance(executor.peer.receive(), TaskEnded)
    assert marker.processes() == []


@pytest.mark.parametrize(
    ("script", "killed"),
    [
        ("echo 'gcc: fatal error: Killed signal terminated program cc1' >&2; exit 1", True),
        ("echo 'cc1: out of memory allocating 65536 bytes after a total of 0 bytes' >&2; exit 1", True),
        ("echo \"gcc: fatal error: cannot execute 'cc1': vfork: Resource temporarily unavailable\"; exit 1", True),
        ("echo 'gcc: fatal error: Killed signal terminated program cc1' >&2; exit 0", False),
        ("echo 'a.c:1:1: error: expected declaration' >&2; exit 1", False),
    ],
)
@pytest.mark.parametrize("capture", ["overlay", "in-place"])
def test_a_command_that_says_that_it_was_starved_counts_as_killed(executor, capture, script, killed):
    ended = executor.shell(script, capture=capture).ended
    assert (ended.refusal, ended.signal) == ("", signal.SIGKILL if killed else 0)
    assert bool(ended.text) == killed


def test_the_order_of_one_stream_stays(executor):
    lines = b"".join(b"out %d\nerr %d\n" % (n, n) for n in range(200))
    script = "i=0; while [ $i -lt 200 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done"
    result = executor.shell(script, one_stream=True)
    assert (result.stdout, result.stderr) == (lines, b"")


def test_output_comes_while_it_runs(executor):
    fifo = executor.workspace / "fifo"
    os.mkfifo(fifo)
    fifo.chmod(0o666)
    executor.start("sh", "-c", "echo first; read line < fifo; echo $line", capture="in-place")
    first = executor.peer.expect(TaskOutput)
    fifo.write_text("second\n")  # blocks until it is read
    result = executor.peer.result()
    assert (first.data, result.stdout) == (b"first\n", b"second\n")


def test_stdin_is_empty(executor):
    assert executor.run("cat").ended.code == 0


def test_environment_arguments_and_names_are_verbatim(executor):
    env = (b"PATH=/usr/bin:/bin", b"B\xff=\xfe =x", b"A=1", b"A=2", b"EMPTY=")
    directory = bytes(executor.workspace) + b"/d \xff,:\\"
    os.mkdir(directory)
    os.chown(directory, executor.place.who.uid, executor.place.who.gid)
    result = executor.run(
        b"sh", b"-c", b'tr "\\0" "\\n" < /proc/self/environ; echo "$1" > "$1"', b"sh", b"n\xfd,", env=env, cwd=directory
    )
    *variables, temporary = result.stdout.splitlines()
    assert variables == list(env)
    assert temporary.startswith(b"TMPDIR=" + bytes(executor.server.scratch))
    assert result.files == {directory + b"/n\xfd,": b"n\xfd,\n"}
    assert executor.run(
        "sh", "-c", "tr '\\0' '\\n' < /proc/self/environ", env=env, capture="in-place"
    ).stdout.splitlines() == list(env)


def test_argv0_need_not_be_the_program(executor):
    result = executor.run("cc1", "-c", "echo $0; cat /proc/$$/cmdline", program=b"/bin/sh")
    assert result.stdout == b"cc1\ncc1\0-c\0echo $0; cat /proc/$$/cmdline\0"


def test_umask_limits_and_niceness(executor):
    result = executor.shell(
        "umask; ulimit -Sn; ulimit -Hn; nice; > made",
        umask=0o077,
        nice=5,
        rlimits=((7, 64, 128), (0, 2**64 - 1, 2**64 - 1)),
    )
    assert result.stdout.split() == [b"0077", b"64", b"128", b"5"]
    assert [f.mode for f in result.of(MadeFile)] == [0o600]


def test_temporary_files_are_not_produced(executor):
    result = executor.shell('echo x > "$TMPDIR/t" && cat "$TMPDIR/t"', env=(b"PATH=/usr/bin:/bin", b"TMPDIR=/nowhere"))
    assert (result.ended.code, result.stdout, result.made) == (0, b"x\n", [])


def test_processor_time_is_that_of_the_tree(executor):
    began = time.monotonic()
    ended = executor.shell("(python3 -c 'import time\nwhile time.process_time() < 0.3: pass'); exit 0").ended
    assert 0.25 < ended.user_s + ended.system_s <= _cpus() * ended.wall_s
    assert 0.25 <= ended.wall_s <= time.monotonic() - began
    assert ended.peak_rss_bytes > 1 << 20
    executor.peer.send(Ping(9))
    counters = executor.peer.expect(Pong).counters
    assert counters["cpu_s"] == pytest.approx(ended.user_s + ended.system_s)


def test_counters(executor):
    executor.run("true")
    executor.run("false")
    executor.run("/nowhere/gcc")
    executor.shell("printf 12345; printf 678 > a")
    task = executor.start("sleep", "1000")
    executor.peer.send(CancelTask(task))
    assert executor.peer.result().ended.cancelled
    executor.peer.send(Ping(3))
    pong = executor.peer.expect(Pong)
    assert pong.number == 3
    del pong.counters["cpu_s"]
    assert pong.counters == {
        "tasks": 5,
        "done": 3,
        "refused": 1,
        "cancelled": 1,
        "failed": 1,
        "bytes_returned": 8,
        "packed_bytes": 0,
        "packed_from_bytes": 0,
    }


@pytest.mark.parametrize("capture", ["overlay", "in-place"])
def test_cancel_kills_everything(executor, capture, marker):
    task = executor.start(
        "sh", "-c", "trap '' TERM; setsid sleep 1000 & sleep 1000 & echo ready; wait; wait",
        capture=capture, env=marker.env,
    )  # fmt: skip
    assert executor.peer.expect(TaskOutput).data == b"ready\n"
    assert len(marker.processes()) >= 3
    executor.peer.send(CancelTask(task))
    ended = executor.peer.expect(TaskEnded)
    assert (ended.task, ended.cancelled, ended.refusal) == (task, True, "")
    assert marker.processes() == []
    assert executor.run("true").ended.code == 0


def test_cancel_of_what_is_over_is_answered(executor):
    task = executor.start("true")
    assert not executor.peer.result().ended.cancelled
    executor.peer.send(CancelTask(task), CancelTask(TaskId(77)))
    assert {executor.peer.expect(TaskEnded) for _ in range(2)} == {
        TaskEnded(number, 0, 0, True, "", "", 0.0, 0.0, 0.0, 0) for number in (task, TaskId(77))
    }


def test_cancel_right_behind_the_start(executor):
    task = executor.start("sleep", "1000")
    executor.peer.send(CancelTask(task))
    assert executor.peer.result().ended.cancelled


def test_cancel_while_a_file_comes(executor):
    task = executor.start("sh", "-c", "head -c 200M /dev/zero > big")
    executor.peer.expect(MadeFile)
    executor.peer.send(CancelTask(task))
    result = executor.peer.result()
    assert result.ended.cancelled
    assert executor.run("true").ended.code == 0


def test_pings_are_answered_while_it_runs_and_while_files_come(executor):
    task = executor.start("sleep", "1000")
    executor.peer.send(Ping(1))
    assert executor.peer.expect(Pong).number == 1
    executor.peer.send(CancelTask(task))
    executor.peer.expect(TaskEnded)
    executor.start("sh", "-c", "head -c 100M /dev/zero > big")
    executor.peer.expect(MadeFile)
    executor.peer.send(Ping(2))
    messages = []
    while not isinstance(message := executor.peer.receive(), TaskEnded):
        messages.append(type(message).__name__)
    assert "Piece" in messages[messages.index("Pong") :], "the answer came after the whole file"


def test_a_daemon_does_not_outlive_its_task(executor, marker):
    result = executor.shell(
        "{ setsid sh -c 'echo started; exec sleep 1000' & } | { read line; echo $line; }",
        env=marker.env,
    )
    assert result.stdout == b"started\n"
    assert marker.processes() == []


def test_large_output_is_not_held(executor):
    """50 MB to a server that does not read: the command waits, and the executor stays small."""
    executor.start("sh", "-c", "head -c 50000000 /dev/zero; echo end >&2")
    first = executor.peer.expect(TaskOutput)
    status = Path(f"/proc/{executor.process.pid}/status")
    result = executor.peer.result()
    assert len(first.data) + len(result.stdout) == 50_000_000
    assert result.stderr == b"end\n"
    assert _kib(status, "VmHWM") < 80_000


def test_large_files_are_not_held(executor):
    status = Path(f"/proc/{executor.process.pid}/status")
    before = _kib(status, "VmHWM")
    executor.start("sh", "-c", "head -c 50000000 /dev/urandom > big; head -c 300M /dev/zero > zeros; cksum big")
    sizes: dict[bytes, int] = {}
    while not isinstance(message := executor.peer.receive(), TaskEnded):
        if isinstance(message, MadeFile):
            path = message.path
            sizes[path] = 0
        elif not isinstance(message, TaskOutput):
            assert len(message.data) <= PIECE_BYTES
            sizes[path] += len(message.data)
    assert sorted(sizes.values()) == [50_000_000, 300 << 20]
    assert _kib(status, "VmHWM") - before < 16_000


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"program": b"/nowhere/gcc"}, "host", "/nowhere/gcc: No such file or directory on this host"),
        ({"program": b"/etc/passwd"}, "host", "/etc/passwd: Permission denied on this host"),
        ({"cwd": b"/nowhere"}, "host", "set-up: chdir: No such file or directory"),
        ({"capture": "telepathy"}, "host", "no capture mode 'telepathy' on this host"),
        ({"roots": (b"/nowhere",)}, "host", "No such file or directory"),
        ({"argv": (b"x" * 3_000_000,)}, "host", "Argument list too long"),
    ],
)
def test_what_can_not_start_is_refused(executor, changes, kind, text):
    result = executor.run("true", **changes)
    assert (result.ended.refusal, result.made) == (kind, [])
    assert text in result.ended.text
    assert executor.run("true").ended.refusal == ""


def test_a_second_task_at_once_is_a_breach(executor):
    executor.start("sleep", "1000")
    executor.start("true")
    with pytest.raises(EOFError):
        executor.peer.receive()
    assert executor.process.wait(HANG_S) == 1


def _cpus() -> int:
    return len(os.sched_getaffinity(0))


def _kib(status: Path, field: str) -> int:
    (line,) = [line for line in status.read_text().splitlines() if line.startswith(field + ":")]
    return int(line.split()[1])


SEES = "for fd in 1 2; do test -t $fd && echo tty || echo no; done; stty size <&1 2>/dev/null; printf 'a\\nb'; echo err >&2"


@pytest.mark.parametrize("capture", ["overlay", "in-place"])
@pytest.mark.parametrize(
    ("terminals", "one", "stdout", "stderr"),
    [
        ((), False, b"no\nno\na\nb", b"err\n"),
        ((1,), False, b"tty\nno\n31 97\na\nb", b"err\n"),
        ((2,), False, b"no\ntty\na\nb", b"err\n"),
        ((1, 2), False, b"tty\ntty\n31 97\na\nb", b"err\n"),
        ((1, 2), True, b"tty\ntty\n31 97\na\nberr\n", b""),
    ],
)
def test_terminals(executor, capture, terminals, one, stdout, stderr):
    result = executor.shell(SEES, capture=capture, terminals=terminals, one_stream=one, window=(31, 97))
    assert (result.ended.code, result.stdout, result.stderr) == (0, stdout, stderr)


def test_all_that_is_written_to_a_terminal_arrives(executor):
    result = executor.shell("head -c 1000000 /dev/zero | tr '\\0' x; echo end", terminals=(1,), window=(70000, -1))
    assert result.stdout == b"x" * 1000000 + b"end\n"


@pytest.mark.parametrize("upgraded", ["", "cc", "as"])
def test_a_command_does_not_count_if_its_compiler_was_upgraded_meanwhile(executor, upgraded):
    """The command upgrades the compiler itself, so the upgrade is surely between the executor's two checks."""
    top = executor.workspace
    upgrade = f"mv {top}/new {top}/{upgraded}" if upgraded else ":"
    text = f"#!/bin/sh\ncase $1 in -print-prog-name=as) echo {top}/as ;; run) {upgrade} ;; esac\n: version "
    for name, version in (("as", "1"), ("cc", "1"), ("new", "2")):
        executor.place.file(top / name, f"{text}{version}\n")
        (top / name).chmod(0o755)
    compiler = bytes(top / "cc")
    same = ((compiler, identity(compiler).text),)
    ended = executor.run(compiler, "run", same=same, capture="in-place").ended
    assert (ended.code, ended.refusal) == (0, "different" if upgraded else "")
    assert (top / "new").exists() is (not upgraded)
