"""Scratch directories: made, found again, removed."""

from __future__ import annotations

import os
import shutil
import stat

import pytest

from spraycc.executor.scratch import Scratch, candidates, remove_if_small, remove_tree


def _home(base):
    return base / f"spraycc-{os.geteuid()}"


def test_directories_are_private(tmp_path):
    scratch = Scratch.create(str(tmp_path), "h-1-a")
    slot = scratch.take()
    for path in (_home(tmp_path), scratch.path, slot.path, slot.temporary):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
    scratch.remove()
    assert [p.name for p in _home(tmp_path).iterdir()] == ["lock"]


def test_slots_and_layers_are_never_the_same(tmp_path):
    scratch = Scratch.create(str(tmp_path), "h-1-a")
    scratch.prepare(1)
    first, second = scratch.take(), scratch.take()
    paths = [p for slot in (first, second) for layer in slot.layers([b"/a", b"/b"]) for p in (layer.upper, layer.work)]
    assert len(set(paths)) == 8
    assert all(os.listdir(p) == [] for p in paths)
    scratch.remove()


def test_one_that_goes_away_while_it_is_cleared_is_no_failure(tmp_path, monkeypatch):
    Scratch.create(str(tmp_path), "h-1-a")._make(0)
    leaving = next(p for p in _home(tmp_path).iterdir() if p.is_dir())
    (leaving / "lock").unlink()  # the first file that it removes

    def rename(source, target):
        shutil.rmtree(source)
        raise FileNotFoundError(source)

    monkeypatch.setattr(os, "rename", rename)
    scratch = Scratch.create(str(tmp_path), "h-2-b")
    assert not leaving.exists()
    scratch.remove()


def test_the_living_stay_and_the_dead_go(tmp_path):
    living = Scratch.create(str(tmp_path), "h-1-a")
    killed = Scratch.create(str(tmp_path), "h-2-b")
    slot = killed.take()
    work = os.path.join(slot.path, b"work0", b"work")
    os.makedirs(work)
    os.chmod(work, 0)
    os.close(killed._lock)  # like the kernel
    other = Scratch.create(str(tmp_path), "h-3-c")
    names = sorted(p.name for p in _home(tmp_path).iterdir())
    assert names == ["executor-h-1-a", "executor-h-3-c", "lock"]
    living.remove()
    other.remove()


def test_what_a_killed_cleaner_left_is_cleared_too(tmp_path):
    Scratch.create(str(tmp_path), "h-1-a").remove()
    (_home(tmp_path) / "dead-executor-h-0-x" / "1" / "upper0").mkdir(parents=True)
    Scratch.create(str(tmp_path), "h-1-b").remove()
    assert [p.name for p in _home(tmp_path).iterdir()] == ["lock"]


@pytest.mark.root
def test_a_directory_of_somebody_else_is_not_used(tmp_path):
    for name in ("", "-0"):
        squatted = tmp_path / (_home(tmp_path).name + name)
        squatted.mkdir(0o700)
        os.chown(squatted, 12345, 12345)
    first, second = (Scratch.create(str(tmp_path), name) for name in ("h-1-a", "h-2-b"))
    own = {os.path.dirname(os.fsdecode(scratch.path)) for scratch in (first, second)}
    assert [stat.S_IMODE(os.stat(path).st_mode) for path in own] == [0o700]
    assert len(list(tmp_path.iterdir())) == 3
    first.remove()
    second.remove()
    assert list(_home(tmp_path).iterdir()) == []


def test_the_base_may_be_reached_by_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "base").symlink_to(tmp_path / "elsewhere")
    scratch = Scratch.create(str(tmp_path / "base"), "h-1-a")
    assert scratch.path.startswith(os.fsencode(tmp_path / "elsewhere"))
    scratch.remove()


def test_a_link_in_place_of_our_directory_is_not_followed(tmp_path):
    """In /tmp any user may have put a link at this path, to a directory of ours whose files look like leftovers."""
    victim = tmp_path / "victim"
    (victim / "dead-letters").mkdir(parents=True)
    (victim / "executor-sources").mkdir()
    victim.chmod(0o755)
    _home(tmp_path).symlink_to(victim)
    Scratch.create(str(tmp_path), "h-1-a").remove()
    assert sorted(p.name for p in victim.iterdir()) == ["dead-letters", "executor-sources"]
    assert stat.S_IMODE(victim.stat().st_mode) == 0o755


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_directory_in_which_others_may_have_written_is_not_used(tmp_path, mode):
    home, other = _home(tmp_path), tmp_path / (_home(tmp_path).name + "-0")
    for directory in (home, other):
        directory.mkdir()
        directory.chmod(mode)
    Scratch.create(str(tmp_path), "h-1-a").remove()
    assert [list(directory.iterdir()) for directory in (home, other)] == [[], []]
    assert len(list(tmp_path.iterdir())) == 3


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    _home(tmp_path).mkdir(0o700)
    (_home(tmp_path) / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        Scratch.create(str(tmp_path), "h-1-a")
    assert not (tmp_path / "elsewhere").exists()


def test_of_a_link_only_the_link_is_removed(tmp_path):
    kept = tmp_path / "kept"
    (kept / "inner").mkdir(parents=True)
    kept.chmod(0o755)
    (tmp_path / "tree").mkdir()
    for link in (tmp_path / "link", tmp_path / "tree/link"):
        link.symlink_to(kept)
        remove_tree(os.fsencode(link if link.parent == tmp_path else link.parent))
        assert not link.is_symlink()
    assert (kept / "inner").is_dir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o755


def test_a_setgid_base_does_not_pass_its_group_on(tmp_path):
    tmp_path.chmod(0o2755)
    if os.geteuid() == 0:
        os.chown(tmp_path, 0, 12345)
    scratch = Scratch.create(str(tmp_path), "h-1-a")
    status = os.stat(scratch.take().path)
    assert (status.st_gid, stat.S_IMODE(status.st_mode)) == (os.getegid(), 0o700)
    scratch.remove()


def test_trees_go_whatever_their_modes(tmp_path):
    top = tmp_path / "top"
    (top / "closed" / "deep").mkdir(parents=True)
    (top / "closed" / "deep" / "file").touch()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").touch()
    (top / "link").symlink_to(tmp_path / "outside")
    (top / "closed" / "deep").chmod(0o555)
    (top / "closed").chmod(0)
    remove_tree(os.fsencode(top))
    assert not top.exists()
    assert (tmp_path / "outside" / "kept").exists()


@pytest.mark.parametrize(
    ("explicit", "tmpdir", "workspace", "expected"),
    [
        (None, None, b"/w", ["/var/tmp", "/dev/shm", "/tmp"]),
        (None, "/tmp/alloc.1", b"/w", ["/var/tmp", "/dev/shm", "/tmp/alloc.1", "/tmp"]),
        (None, "/scratch/alloc.1", b"/w", ["/scratch/alloc.1", "/var/tmp", "/dev/shm", "/tmp"]),
        ("/tmp/mine", None, b"/w", ["/tmp/mine", "/var/tmp", "/dev/shm", "/tmp"]),
        ("/w/scratch", "/w/tmp", b"/w", ["/var/tmp", "/dev/shm", "/tmp"]),
        (None, None, b"/var", ["/dev/shm", "/tmp"]),
    ],
)
def test_candidates(explicit, tmpdir, workspace, expected):
    assert candidates(explicit, tmpdir, workspace) == expected


def test_a_slot_with_little_in_it_goes_at_once(tmp_path):
    scratch = Scratch.create(str(tmp_path), "h-1-a")
    slot = scratch.take()
    slot.have_layers(2)
    for number in range(2):  # like a volatile overlay
        work = slot.path + b"/work%d/work" % number
        os.makedirs(work + b"/incompat/volatile/dirty")
        for directory in (work + b"/incompat/volatile", work + b"/incompat", work):
            os.chmod(directory, 0)
    (tmp_path / "aside").touch()
    os.makedirs(slot.path + b"/upper0/src/obj")
    os.symlink(os.fsencode(tmp_path), slot.path + b"/upper0/src/link")
    with open(slot.path + b"/upper0/src/obj/a.o", "w") as file:
        file.truncate(100_000)
    assert remove_if_small(slot.path)
    assert not os.path.exists(slot.path)
    assert (tmp_path / "aside").exists()
    scratch.remove()


@pytest.mark.parametrize("place", ["tmp", "upper0", "work1"])
@pytest.mark.parametrize(("files", "size"), [(100, 0), (1, 2_000_000)])
def test_a_slot_with_much_in_it_takes_its_time(tmp_path, place, files, size):
    scratch = Scratch.create(str(tmp_path), "h-1-a")
    slot = scratch.take()
    slot.have_layers(2)
    for number in range(files):
        with open(os.path.join(slot.path, os.fsencode(place), b"%d" % number), "w") as file:
            file.truncate(size)
    assert not remove_if_small(slot.path)
    assert os.path.exists(slot.path)
    remove_tree(slot.path)
    assert not os.path.exists(slot.path)
    scratch.remove()


@pytest.mark.parametrize(("name", "path_bytes"), [("d" * 200, 20_000), ("d", 5_000)])
def test_trees_with_paths_that_are_too_long_go(tmp_path, name, path_bytes):
    """A command gets there by chdir, one directory at a time. Long names and deep trees."""
    top = tmp_path / "slot"
    top.mkdir()
    within = os.open(top, os.O_RDONLY)
    for _ in range(path_bytes // (len(name) + 1)):
        os.mkdir(name, dir_fd=within)
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=within))
        below = os.open(name, os.O_RDONLY, dir_fd=within)
        os.fchmod(within, 0o500)
        os.close(within)
        within = below
    os.close(within)
    assert not remove_if_small(os.fsencode(top))
    remove_tree(os.fsencode(top))
    assert not top.exists()
