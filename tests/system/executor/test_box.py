"""The box by itself, as root and as a user."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spraycc.executor.box import BoxOrder, Ended, Layer, NotStarted, parse_report
from tests.system.harness import needs
from tests.system.harness.waiting import HANG_S

RunBox = Callable[..., tuple[Any, str]]


@pytest.fixture
def run(box, who, place):
    """Run the box with these layers over a workspace; return its report and output."""

    def run(script: str, *, program: bytes = b"/bin/sh", **changes: Any) -> tuple[Ended | NotStarted, str]:
        reading, writing = os.pipe()
        if not changes.get("in_place"):
            needs.overlay(who.uid)
        changes.setdefault("cwd", b"/")
        order = BoxOrder(program, (b"sh", b"-c", script.encode()), (b"PATH=/usr/bin:/bin",), **changes)
        words = order.words(os.fsencode(box), os.getpid())
        words[words.index(b"3")] = b"%d" % writing
        done = subprocess.run(
            words, env={"PATH": "/usr/bin:/bin"}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, pass_fds=[writing], timeout=HANG_S, **who.credentials,
        )  # fmt: skip
        os.close(writing)
        with open(reading, "rb") as file:
            return parse_report(file.read()), done.stdout.decode()

    return run


@pytest.fixture
def layer(place) -> Layer:
    paths = [place.directory(name) for name in ("ws", "upper", "work")]
    return Layer(*[bytes(p) for p in paths])


def test_a_status_is_reported(run, layer):
    end, said = run("echo hello; exit 7", layers=(layer,))
    assert (end.code, end.signal, said) == (7, 0, "hello\n")


def test_a_signal_is_reported(run, layer):
    end, _ = run("kill -ABRT $$", layers=(layer,))
    assert (end.code, end.signal) == (0, signal.SIGABRT)


@pytest.mark.parametrize("in_place", [False, True])
def test_time_and_memory_of_the_whole_tree_are_reported(run, in_place):
    burn = "python3 -c 'import time; x = bytearray(60 << 20)\nwhile time.process_time() < 0.3: pass'"
    began = time.monotonic()
    end, _ = run(f"({burn}); true", in_place=in_place)
    most_s = (time.monotonic() - began) * len(os.sched_getaffinity(0))
    assert 0.25 < end.user_s + end.system_s <= most_s
    assert end.peak_rss_bytes > 60 << 20


def test_writes_land_in_the_upper_layer(run, layer):
    end, said = run("echo x > a && cat a", layers=(layer,), cwd=layer.root)
    assert (end.code, said) == (0, "x\n")
    assert not Path(os.fsdecode(layer.root), "a").exists()
    assert Path(os.fsdecode(layer.upper), "a").read_text() == "x\n"


def test_names_with_every_awkward_byte(run, place):
    names = [b"lo,w:e\\r \xff\n", b"up,p:e\\r \xfe", b"wo,r:k\\ \xfd"]
    paths = []
    for name in names:
        path = bytes(place.top) + b"/" + name
        os.mkdir(path)
        os.chown(path, place.who.uid, place.who.gid)
        paths.append(path)
    end, said = run("echo y > made", layers=(Layer(*paths),), cwd=paths[0])
    assert (end.code, said) == (0, "")
    assert os.listdir(paths[1]) == [b"made"]


def test_the_rest_is_read_only_but_for_what_is_writable(run, layer, place):
    outside, scratch = place.directory("outside"), place.directory("scratch")
    end, said = run(
        f"touch {scratch}/s; touch {outside}/o; touch {layer.root.decode()}/w",
        layers=(layer,),
        writable=(bytes(scratch),),
    )
    assert "Read-only file system" in said
    assert said.count("\n") == 1, said
    assert end.code == 0
    assert [p.name for p in scratch.iterdir()] == ["s"]
    assert list(outside.iterdir()) == []


def test_two_layers(run, layer, place):
    second = Layer(*[bytes(place.directory(name)) for name in ("tmp", "upper2", "work2")])
    end, _ = run(f"touch {layer.root.decode()}/a {second.root.decode()}/b", layers=(layer, second))
    assert end.code == 0
    assert (os.listdir(layer.upper), os.listdir(second.upper)) == ([b"a"], [b"b"])


@pytest.mark.parametrize("mode", [{}, {"pid_namespace": False}, {"in_place": True}])
@pytest.mark.parametrize("how", ["setsid", "env"])
def test_nothing_outlives_the_command(run, layer, mode, how, marker):
    daemon = f"{how} sh -c \"trap '' TERM HUP; echo started; sleep 1000\""
    layers = () if "in_place" in mode else (layer,)
    end, said = run(f"export {marker.entry}; {{ {daemon} & }} | {{ read line; echo $line; }}", layers=layers, **mode)
    assert (end.code, said) == (0, "started\n")
    assert marker.processes() == []


@pytest.mark.parametrize("mode", [{}, {"pid_namespace": False}, {"in_place": True}])
def test_sigterm_ends_everything(box, who, layer, mode, marker):
    script = b"setsid sleep 1000 & sleep 1000 & echo ready; wait"
    if "in_place" not in mode:
        needs.overlay(who.uid)
    order = BoxOrder(
        b"/bin/sh", (b"sh", b"-c", script), (), b"/", layers=() if "in_place" in mode else (layer,), **mode
    )
    words = order.words(os.fsencode(box), os.getpid())
    words[1:3] = []  # no report
    with subprocess.Popen(
        words, env=dict(e.decode().split("=", 1) for e in marker.env), stdout=subprocess.PIPE, **who.credentials
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        process.wait(HANG_S)
        assert process.stdout.read() == b""  # every writer has ended
    assert marker.processes() == []


def test_command_gets_no_descriptor_but_three(run, layer):
    _, said = run("ls /proc/self/fd", layers=(layer,))
    assert said.split() == ["0", "1", "2", "3"]  # 3 is the directory that ls reads


def test_command_starts_with_default_signals_in_its_own_session(run, layer):
    _, said = run("grep -E '^Sig(Ign|Blk)' /proc/self/status; cat /proc/self/stat", layers=(layer,))
    lines = said.splitlines()
    assert [line.split()[1] for line in lines[:2]] == ["0" * 16] * 2
    assert lines[2].split()[6] == "0"  # no terminal
    session = int(lines[2].split()[5])
    assert session == 2, "the command is the first process after init, and leads its session"


def test_limits_umask_and_niceness(run, layer):
    _, said = run(
        "umask; ulimit -Sn; ulimit -Hn; ulimit -c; nice",
        layers=(layer,), umask=0o027, nice=7, rlimits=((7, 100, 200), (4, 0, 2**64 - 1)),
    )  # fmt: skip
    assert said.split() == ["0027", "100", "200", "0", "7"]


def test_a_soft_limit_above_the_hard_one_of_this_host_is_lowered(run, layer):
    _, said = run("ulimit -Sn; ulimit -Hn", layers=(layer,), rlimits=((7, 2**64 - 1, 2**64 - 1),))
    soft, hard = said.split()
    assert soft == hard != "unlimited"


@pytest.mark.parametrize(
    ("changes", "stage", "error"),
    [
        ({"program": b"/nowhere/gcc"}, "exec", 2),
        ({"program": b"/etc/passwd"}, "exec", 13),
        ({"layers": (Layer(b"/nowhere", b"/", b"/"),)}, "lower", 2),
        ({"layers": (Layer(b"/", b"/nowhere", b"/"),)}, "upper", 2),
        ({"writable": (b"/nowhere",)}, "writable", 2),
    ],
)
def test_what_can_not_start_is_no_exit_status(run, changes, stage, error):
    end, said = run("true", **changes)
    assert (end.stage, end.errno, said) == (stage, error, "")


def test_a_layer_over_its_own_upper_is_a_loop(run, place):
    """Why this root is never overlaid: the mount succeeds, and fails when it is used."""
    inner = [bytes(place.directory(name)) for name in ("upper", "work")]
    end, said = run(f"ls {place.top}/upper", layers=(Layer(bytes(place.top), *inner),))
    assert end.code != 0
    assert "Too many levels of symbolic links" in said


def test_a_report_that_was_cut_is_a_kill():
    for report in (b"", b"ended 0 0 1"):
        end = parse_report(report)
        assert isinstance(end, Ended)
        assert end.signal == signal.SIGKILL


def test_misuse_is_told(box):
    done = subprocess.run([box, "--nonsense"], capture_output=True)
    assert (done.returncode, done.stderr) == (125, b"spraycc-box: options: Invalid argument\n")
