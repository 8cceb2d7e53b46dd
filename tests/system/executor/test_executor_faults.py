"""Executors that are killed, hosts that refuse, disks that are full."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from spraycc.wire.executor import CancelTask, Leave, TaskOutput
from tests.system.harness.waiting import HANG_S, wait_until


@pytest.mark.parametrize("capture", ["overlay", "in-place"])
def test_a_killed_executor_leaves_no_process_and_the_next_one_clears_up(executor, server, launch, capture, marker):
    executor.start(
        "sh", "-c", "trap '' TERM; setsid sleep 1000 & mkdir d; echo > d/f; sleep 1000 & echo ready; wait; wait",
        capture=capture, env=marker.env,
    )  # fmt: skip
    executor.peer.expect(TaskOutput)
    assert len(marker.processes()) >= 3
    executor.process.kill()
    executor.process.wait()
    # The kernel kills them, and reports to nobody when it has done so.
    wait_until(lambda: not marker.processes(), "nothing of the killed executor runs")
    (left,) = server.scratch.glob("spraycc-*/executor-*")
    second = launch(server.session_file(), "e2")
    peer, _ = server.welcome()
    assert not left.exists()
    assert len(list(server.scratch.glob("spraycc-*/*-*"))) == 1
    peer.send(Leave())
    assert second.wait(HANG_S) == 0


@pytest.mark.overlay
def test_executors_side_by_side_do_not_disturb_each_other(executor, server, launch):
    second = launch(server.session_file(), "e2")
    peer, ready = server.welcome()
    assert "overlay" in ready.captures
    assert len(list(server.scratch.glob("spraycc-*/executor-*"))) == 2
    peer.send(Leave())
    assert second.wait(HANG_S) == 0
    assert executor.shell("echo > n").files == {bytes(executor.workspace) + b"/n": b"\n"}


def test_a_workspace_that_is_not_here_is_told(server, launch):
    process = launch(server.session_file(workspace="/nowhere/ws"))
    peer, ready = server.welcome()
    assert ready.captures == ()
    assert ready.refusals == {"workspace": "/nowhere/ws is not a directory on this host"}
    peer.send(Leave())
    assert process.wait(HANG_S) == 0


@pytest.mark.root
def test_a_read_only_workspace_of_others_is_a_good_one(server, launch, who, executor):
    os.chown(server.workspace, 0, 0)
    second = launch(server.session_file(), "e2")
    peer, ready = server.welcome()
    assert "overlay" in ready.captures, ready.refusals
    peer.send(Leave())
    assert second.wait(HANG_S) == 0


@pytest.mark.overlay
def test_scratch_in_the_workspace_is_not_used(server, launch, place):
    inside = place.directory("ws/scratch")
    process = launch(server.session_file(scratch_dir=str(inside)), TMPDIR=str(server.scratch))
    peer, ready = server.welcome()
    assert "overlay" in ready.captures
    assert list(inside.iterdir()) == []
    peer.send(Leave())
    assert process.wait(HANG_S) == 0


@pytest.mark.overlay
def test_an_unusable_scratch_directory_is_passed_over(server, launch):
    process = launch(server.session_file(scratch_dir="/nowhere"), TMPDIR=str(server.scratch))
    peer, ready = server.welcome()
    assert "overlay" in ready.captures
    assert len(list(server.scratch.glob("spraycc-*/executor-*"))) == 1
    peer.send(Leave())
    assert process.wait(HANG_S) == 0
    assert "no overlay with scratch files in /nowhere" in server.log()


def test_a_refusing_host_says_so_and_refuses_tasks(server, launch, place, who):
    """A box that can't make namespaces, as on a host that forbids them."""
    box = place.file(
        place.top / "spraycc-box",
        "#!/bin/sh\ncase \"$*\" in *--in-place*) echo 'ended 0 0 0 0 0' >&3;; *) echo 'setup namespace 1' >&3;; esac\n",
        mode=0o755,
    )
    process = launch(server.session_file(), SPRAYCC_BOX=str(box))
    peer, ready = server.welcome()
    assert ready.captures == ("predict", "in-place")
    assert "namespace: Operation not permitted" in ready.refusals["overlay"]
    peer.send(Leave())
    assert process.wait(HANG_S) == 0
    assert list(server.scratch.glob("spraycc-*/executor-*")) == []


@pytest.mark.root
def test_a_full_scratch_disk_is_a_refusal(server, launch, place, who):
    small = place.directory("small")
    options = f"size=1m,uid={who.uid},gid={who.gid},mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(small)], check=True)
    try:
        process = launch(server.session_file(scratch_dir=str(small)))
        running = server.running(process)
        refused = running.shell("head -c 3000000 /dev/zero > big; rm -f big; exit 1")
        assert refused.ended.refusal == "no-space", refused
        assert running.shell("echo > n").ended.refusal == ""
        running.peer.send(Leave())
        assert process.wait(HANG_S) == 0
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.overlay
def test_a_host_without_a_proc_of_ones_own_does_without_a_pid_namespace(server, launch, place, box, marker):
    """As in many containers."""
    wrapper = place.file(
        place.top / "spraycc-box",
        f'#!/bin/sh\ncase "$*" in *--no-pid*|*--in-place*|--touch*) exec {box} "$@";; *) echo "setup proc 1" >&3;; esac\n',
        mode=0o755,
    )
    process = launch(server.session_file(), SPRAYCC_BOX=str(wrapper))
    running = server.running(process)
    assert running.ready.captures == ("overlay", "predict", "in-place")
    result = running.shell("echo > n; { setsid sleep 1000 & } ; echo $$", env=marker.env)
    assert result.files == {bytes(server.workspace) + b"/n": b"\n"}
    assert int(result.stdout) > 10
    assert marker.processes() == []
    task = running.start("sh", "-c", "trap '' TERM; setsid sleep 1000 & echo ready; sleep 1000", env=marker.env)
    running.peer.expect(TaskOutput)
    running.peer.send(CancelTask(task))
    assert running.peer.result().ended.cancelled
    assert marker.processes() == []
    running.leave()


@pytest.mark.overlay
@pytest.mark.root
def test_a_workspace_that_is_mounted_read_only_here(server, launch, place):
    ws = server.workspace
    place.directory("ws/obj")
    place.file(ws / "a", "old")
    process = launch(
        server.session_file(),
        first_as_root=f"mount --bind {ws} {ws}; mount -o remount,bind,ro {ws}; ! touch {ws}/x 2> /dev/null",
    )
    running = server.running(process)
    assert running.ready.captures == ("overlay", "predict", "in-place"), running.ready.refusals
    result = running.shell("echo new > a; echo > obj/n", outputs=(bytes(ws) + b"/obj/n",))
    assert result.files == {bytes(ws) + b"/a": b"new\n", bytes(ws) + b"/obj/n": b"\n"}
    running.leave()
    assert (ws / "a").read_text() == "old"


@pytest.mark.root
def test_a_mount_below_the_workspace(server, launch, place):
    ws = server.workspace
    for name in ("m", "src", "obj", "obj/deep"):
        place.directory(f"ws/{name}")
    process = launch(server.session_file(), first_as_root=f"mount -t tmpfs -o mode=777 tmpfs {ws}/m")
    running = server.running(process)
    assert "m is below it" in running.ready.refusals["overlay"]
    running.leave()


@pytest.mark.root
def test_a_mount_below_an_optional_root_and_below_a_required_one(server, launch, place):
    outer = place.directory("outer")
    for name in ("outer/m", "outer/w", "outer/w/obj"):
        place.directory(name)
    process = launch(server.session_file(), first_as_root=f"mount -t tmpfs -o mode=777 tmpfs {outer}/m")
    running = server.running(process)
    write = f"echo 1 > {outer}/w/obj/f && echo 2 > f"
    result = running.shell(write, optional_roots=(bytes(outer),))
    assert result.ended.refusal == "copy-up"  # it is read-only there
    result = running.shell(write, roots=(bytes(outer), bytes(server.workspace)), outputs=(bytes(outer) + b"/w/obj/f",))
    assert (result.ended.refusal, len(result.files)) == ("", 2)
    result = running.shell(f"echo 3 > {outer}/m/f", roots=(bytes(outer),), cwd=bytes(outer) + b"/m")
    assert result.files == {bytes(outer) + b"/m/f": b"3\n"}
    result = running.shell("true", roots=(bytes(outer),), cwd=bytes(outer))
    assert result.ended.refusal == "root"
    running.leave()


def test_the_import_closure_is_small():
    """Hundreds of executors read the packages over a network file system at once."""
    script = "import sys, spraycc.executor.main; print(*{m.partition('.')[0] for m in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "rich", "click", "cryptography", "annotated_types"} & set(loaded)
    assert {"trio", "cbor2"} <= set(loaded)
