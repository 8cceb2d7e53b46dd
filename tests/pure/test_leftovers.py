"""What a starting server removes, and what it keeps."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest

from spraycc import leftovers, runtime_dir
from spraycc.server.fleet import stale_jobs
from spraycc.settings import Settings

OWN, OTHER = "abcdefgh-2345", "abcdefgh-5432"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPRAYCC_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path))
    place = tmp_path / "state/spraycc"
    place.mkdir(parents=True)
    return place


def make(directory: Path, age_s: float, **files: str) -> Path:
    directory.mkdir(mode=0o700, parents=True)
    for name, text in files.items():
        (directory / name.replace("_", ".")).write_text(text)
    then = time.time() - age_s
    for path in (*directory.iterdir(), directory):
        os.utime(path, (then, then))
    return directory


def test_old_runtime_directories_are_removed(tmp_path: Path, state: Path) -> None:
    base = tmp_path / "run"
    old = make(base / OTHER, leftovers.RUNTIME_AGE_S + 60, lock="", start_lock="", socket="")
    young = make(base / "bbcdefgh-2345", leftovers.RUNTIME_AGE_S - 60, lock="")
    own = make(base / OWN, leftovers.RUNTIME_AGE_S + 60, lock="")
    foreign = make(base / "data", leftovers.RUNTIME_AGE_S + 60, file="")
    base.chmod(0o700)
    assert leftovers.prune(OWN) == [str(old)]
    assert (old.exists(), young.exists(), own.exists(), foreign.exists()) == (False, True, True, True)


@pytest.mark.parametrize("name", ["lock", "start.lock", "slots/0"])
def test_a_directory_with_a_lock_that_is_held_stays(tmp_path: Path, state: Path, name: str) -> None:
    directory = tmp_path / "run" / OTHER
    (directory / "slots").mkdir(parents=True)
    for path in (directory.parent, directory):
        path.chmod(0o700)
    with open(directory / name, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for path in (directory / name, directory):
            os.utime(path, (0, 0))
        assert leftovers.prune(OWN) == []
        assert directory.exists()
    for path in (directory, *directory.iterdir()):
        os.utime(path, (0, 0))
    assert leftovers.prune(OWN) == [str(directory)]


def test_a_build_with_an_open_jobserver_keeps_its_directory(tmp_path: Path) -> None:
    directory = tmp_path / "run" / OTHER
    (directory / "builds/b1").mkdir(parents=True, mode=0o700)
    for path in (directory.parent, directory):
        path.chmod(0o700)
    os.mkfifo(directory / "builds/b1/fifo")
    fd = os.open(directory / "builds/b1/fifo", os.O_RDWR)
    with leftovers.claimed(os.fsencode(directory)) as use:
        assert use == "a build goes on without its server"
    os.close(fd)
    with leftovers.claimed(os.fsencode(directory)) as use:
        assert use == ""


def test_old_state_directories_are_removed(tmp_path: Path, state: Path) -> None:
    old = make(state / f"host-{OTHER}", leftovers.STATE_AGE_S + 60, server_log="x")
    of_an_older_release = make(state / "a-host-0123456789ab", leftovers.STATE_AGE_S + 60, server_log="x")
    young = make(state / f"other-host-{OTHER}", leftovers.STATE_AGE_S - 60, server_log="x")
    used = make(state / f"h-{OTHER}", leftovers.STATE_AGE_S + 60, server_log="x")
    (used / "server.log").write_text("now")
    jobs = make(state / f"i-{OTHER}", leftovers.STATE_AGE_S + 60)
    marker = stale_jobs.write_marker(jobs, Settings(), "spraycc-abc123")
    os.utime(marker, (0, 0))
    os.utime(jobs, (0, 0))
    packs = make(state / "packs", leftovers.STATE_AGE_S + 60)
    assert sorted(leftovers.prune(OWN)) == [str(of_an_older_release), str(old)]
    assert all(path.exists() for path in (young, used, jobs, packs))


def test_a_living_servers_old_state_stays(tmp_path: Path, state: Path) -> None:
    old = make(state / f"host-{OTHER}", leftovers.STATE_AGE_S + 60, server_log="x")
    make(tmp_path / "run" / OTHER, 0, lock="")
    assert leftovers.prune(OWN) == []
    assert old.exists()


def test_a_server_may_live_until_its_log_ends_or_is_old(state: Path) -> None:
    directory = make(state / f"host-{OTHER}", 0, server_log="2026-01-01 INFO spraycc.server: process 1 serves /w\n")
    [found] = leftovers.states(str(state))
    assert (found.path, found.host, found.name) == (str(directory), "host", OTHER)
    assert leftovers.may_live(found, time.time())
    assert not leftovers.may_live(found, time.time() + 2 * 24 * 3600)
    (directory / "server.log").write_text("2026-01-01 INFO spraycc.server: ended\n")
    assert not leftovers.may_live(found, time.time())


def test_names_that_other_modules_use() -> None:
    assert stale_jobs.MARKER == leftovers.BATCH_MARKER
    assert leftovers.servers(b"/nonexistent") == []
    name = os.fsdecode(os.path.basename(runtime_dir.locate(b"/w")))
    assert leftovers._NAME.fullmatch(name)
    assert runtime_dir.is_of(b"/w", name)
    assert not runtime_dir.is_of(b"/v", name)


def test_a_file_with_two_names_counts_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_bytes(b"x" * 100)
    (tmp_path / "link").hardlink_to(tmp_path / "a/file")
    (tmp_path / "other").write_bytes(b"x" * 10)
    assert leftovers.size_of(str(tmp_path)) == 110
    assert leftovers.size_of(str(tmp_path / "other")) == 10
    assert leftovers.size_of(str(tmp_path / "missing")) == 0
