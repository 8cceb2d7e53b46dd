"""Overlays that serve one task after another: the next task sees nothing old, and nothing of the task before."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spraycc.executor.box import BOX_NAME
from spraycc.wire.executor import CancelTask, Deleted, MadeDirectory, TaskOutput
from tests.system.harness.waiting import HANG_S, wait_until

pytestmark = pytest.mark.overlay

UpperLayers = Callable[[], set[int]]


@pytest.fixture
def upper_layers(executor) -> UpperLayers:
    """Inode numbers of the upper directories that the executor has on its disk."""
    return lambda: {path.stat().st_ino for path in executor.server.scratch.glob("spraycc-*/*/*/upper")}


def _boxes(executor) -> list[int]:
    """The executor's boxes that run."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (directory / "stat").read_text().rpartition(")")[2].split()[:2]
            if (
                int(parent) == executor.process.pid
                and state != "Z"
                and (directory / "comm").read_text().strip() == BOX_NAME
            ):
                found.append(int(directory.name))
        except OSError:
            continue
    return found


@pytest.fixture
def tree(executor, place) -> Path:
    ws = executor.workspace
    place.directory("ws/d")
    place.file(ws / "a", "a")
    place.file(ws / "d/b", "b")
    return ws


@pytest.mark.parametrize(
    "script",
    [
        "true",
        "echo > n; echo more >> a; cat a d/b",
        "rm a; mkdir a; rm -r d; mkdir d; echo > d/n",
        "mkdir -p x/y/z; echo > x/y/z/f; chmod 0 x/y; ln -s a l",
        "head -c 3000000 /dev/zero > big; touch -d @7 d",
        "exit 3",
    ],
)
def test_a_layer_serves_the_next_task_without_leftovers(executor, tree, upper_layers, script):
    look = "ls -laR --time-style=full-iso . | grep -v '\\.\\.$'; cat a d/b"
    before = executor.shell(look)
    assert (before.ended.code, before.made) == (0, [])
    layers = upper_layers()
    assert executor.shell(script).ended.refusal == ""
    after = executor.shell(look)
    assert (after.ended.code, after.stdout, after.made) == (0, before.stdout, [])
    if "chmod" not in script:  # an ordinary user can't move such a directory away, so the layer is thrown away
        assert upper_layers() == layers


@pytest.mark.parametrize("script", ["chmod 700 .", "setfattr -n user.x -v y . || chmod 700 ."])
def test_a_layer_whose_root_was_changed_is_thrown_away(executor, tree, upper_layers, script):
    executor.shell("true")
    layers = upper_layers()
    executor.shell(script)
    mode = executor.shell("stat -c %a .; getfattr . 2> /dev/null").stdout
    assert mode == b"755\n"
    assert layers.isdisjoint(upper_layers())


def test_names_that_a_task_has_looked_up_are_not_kept(executor, tree, place, upper_layers):
    look = "cat a d/b n d/n 2>&1; ls . d"
    executor.shell(look)
    layers = upper_layers()
    place.file(tree / "new", "A")
    os.rename(tree / "new", tree / "a")
    (tree / "d/b").unlink()
    place.file(tree / "n", "N")
    place.file(tree / "d/n", "M")
    assert executor.shell(look).stdout.startswith(b"Acat: d/b: No such file or directory\nNM")
    os.rename(tree / "d", tree / "e")
    place.directory("ws/d")
    assert executor.shell("ls d; cat e/n").stdout == b"M"
    assert upper_layers() == layers


def test_a_root_that_was_replaced(executor, tree, place):
    root = {"roots": (bytes(tree / "d"),), "cwd": bytes(tree / "d")}
    assert executor.shell("cat b; echo > n", **root).stdout == b"b"
    os.rename(tree / "d", tree / "old")
    place.directory("ws/d")
    place.file(tree / "d/b", "other")
    assert executor.shell("cat b", **root).stdout == b"other"


def test_a_root_that_is_made_again_with_the_same_inode(executor, tree, place):
    """The host's refusal concerns the directory and not the serving box, which therefore goes on."""
    root = {"roots": (bytes(tree / "d"),), "cwd": bytes(tree / "d")}
    for content in "1234":
        shutil.rmtree(tree / "d")
        place.directory("ws/d")
        place.file(tree / "d/b", content)
        result = executor.shell("cat b", **root)
        assert result.ended.refusal or result.stdout == content.encode()
    executor.shell("true")
    assert len(_boxes(executor)) == 1


def test_an_idle_executor_keeps_no_layers(executor, tree, upper_layers):
    """A kept overlay would keep a file system alive that was unmounted."""
    executor.shell("true")
    assert upper_layers()
    wait_until(lambda: not upper_layers() and not _boxes(executor))
    assert executor.shell("cat a").stdout == b"a"


def test_rights_of_a_root_that_change(executor, tree):
    executor.shell("true")
    tree.chmod(0o750)
    assert executor.shell("stat -c %a .").stdout == b"750\n"


@pytest.fixture
def keeper(place) -> Iterator[socket.socket]:
    """A socket that takes descriptors from commands."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(f"\0spraycc-test-{place.top.name}")
        listener.listen()
        listener.settimeout(HANG_S)
        yield listener


@pytest.mark.parametrize("held", ["a", ".", "d"])
def test_a_file_that_stays_open_elsewhere_keeps_no_old_names(executor, tree, place, upper_layers, keeper, held):
    """A process on the host that got a descriptor pins the overlay's name of the file, and those of all above."""
    script = (
        "import os, socket; s = socket.socket(socket.AF_UNIX); "
        f"s.connect({keeper.getsockname()!r}); socket.send_fds(s, [b'x'], [os.open({held!r}, os.O_RDONLY)])"
    )
    executor.start("/usr/bin/python3", "-c", script)
    connection, _ = keeper.accept()
    with connection:
        _, descriptors, _, _ = socket.recv_fds(connection, 1, 1)
        assert executor.peer.result().ended.code == 0
        place.file(tree / "new", "A")
        os.rename(tree / "new", tree / "a")
        os.rename(tree / "d", tree / "e")
        place.directory("ws/d")
        result = executor.shell("cat a; ls d; echo > n")
        assert (result.stdout, list(result.files)) == (b"A", [bytes(tree / "n")])
        os.close(descriptors[0])


def test_a_file_of_another_mount_namespace_that_stays_open_keeps_no_old_names(executor, tree, place, keeper):
    """The box does not see that the file is open, but the record of the command is incomplete."""
    script = (
        "import os, socket; s = socket.socket(socket.AF_UNIX); "
        f"s.connect({keeper.getsockname()!r}); socket.send_fds(s, [b'x'], [os.open('a', os.O_RDONLY)])"
    )
    executor.start("unshare", "-U", "-r", "-m", "/usr/bin/python3", "-c", script, prove=True)
    connection, _ = keeper.accept()
    with connection:
        _, descriptors, _, _ = socket.recv_fds(connection, 1, 1)
        assert executor.peer.result().ended.code == 0
        place.file(tree / "new", "A")
        os.rename(tree / "new", tree / "a")
        assert executor.shell("cat a").stdout == b"A"
        os.close(descriptors[0])


def test_a_command_sees_no_other_tasks_overlay(executor, tree):
    executor.shell("true", roots=(bytes(tree / "d"),), cwd=bytes(tree / "d"))
    seen = executor.shell(
        f"ls -A {executor.server.scratch}/spraycc-*/*/hold; grep -c '^spraycc ' /proc/self/mounts"
    ).stdout
    assert seen.split() == [b"1"]


def test_a_cancelled_task_is_followed_by_a_clean_one(executor, tree, marker):
    task = executor.start("sh", "-c", "echo > n; echo; exec sleep 1000", env=marker.env)
    executor.peer.send(CancelTask(task))
    assert executor.peer.result().ended.cancelled
    assert marker.processes() == []
    result = executor.shell("ls; echo x > m")
    assert (result.stdout, list(result.files.values())) == (b"a\nd\n", [b"x\n"])


def test_a_box_that_is_killed_is_started_again(executor, tree, marker):
    executor.shell("true")
    for box in _boxes(executor):
        os.kill(box, signal.SIGKILL)
    wait_until(lambda: _boxes(executor) == [])
    assert executor.shell("cat a").stdout == b"a"
    executor.start("sh", "-c", "echo; exec sleep 1000", env=marker.env)
    executor.peer.expect(TaskOutput)
    for box in _boxes(executor):
        os.kill(box, signal.SIGKILL)
    assert executor.peer.result().ended.signal == signal.SIGKILL
    assert marker.processes() == []
    assert executor.shell("cat a").stdout == b"a"


def test_nothing_is_left_of_a_killed_executor(executor, tree, marker):
    executor.start("sh", "-c", "echo; exec sleep 1000", env=marker.env)
    executor.peer.expect(TaskOutput)
    (box,) = _boxes(executor)
    executor.process.kill()
    executor.process.wait()
    wait_until(lambda: not Path(f"/proc/{box}").exists() and marker.processes() == [])


def test_many_roots_are_not_all_kept(executor, tree, upper_layers):
    for number in range(30):
        (tree / f"r{number}").mkdir()
        os.chown(tree / f"r{number}", executor.place.who.uid, executor.place.who.gid)
        directory = bytes(tree / f"r{number}")
        result = executor.shell("echo > f", roots=(directory,), cwd=directory, outputs=(directory + b"/f",))
        assert list(result.files) == [directory + b"/f"]
    wait_until(lambda: len(upper_layers()) <= 24)


def test_deletions_are_those_of_the_task(executor, tree):
    assert len(executor.shell("rm a; rm -r d; mkdir d").of(Deleted)) == 1
    result = executor.shell("rm d/b")
    assert [m.path for m in result.of(Deleted)] == [bytes(tree / "d/b")]
    assert result.of(MadeDirectory) == []
