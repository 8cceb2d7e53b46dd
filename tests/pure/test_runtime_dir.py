"""The server's runtime directory: its place, and that no directory in /tmp is trusted only because of its name."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from spraycc import directories, runtime_dir
from spraycc.errors import RuntimeDirError


def test_it_is_deterministic_and_differs_by_workspace(tmp_path: Path) -> None:
    environ = {"SPRAYCC_RUNTIME_DIR": str(tmp_path)}
    one, again, other = (runtime_dir.locate(w, environ) for w in (b"/w/a", b"/w/a", b"/w/\xff"))
    assert one == again != other
    assert re.fullmatch(re.escape(str(tmp_path)) + "/[a-z2-7]{8}-[a-z2-7]{4}", one.decode())


def test_it_differs_by_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"SPRAYCC_RUNTIME_DIR": str(tmp_path)}
    here = runtime_dir.locate(b"/w", environ)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "another-host", "", "", "")))
    assert runtime_dir.locate(b"/w", environ) != here


def test_the_default_is_in_tmp(monkeypatch: pytest.MonkeyPatch) -> None:
    # The real user's directory may be somebody else's: under fakeroot every user is number 0.
    monkeypatch.setattr(os, "getuid", lambda: 3_987_654_321)
    assert runtime_dir.base({}) == b"/tmp/spraycc-3987654321"
    assert runtime_dir.base({"SPRAYCC_RUNTIME_DIR": ""}) == runtime_dir.base({})
    assert runtime_dir.base({"SPRAYCC_RUNTIME_DIR": "/run/x/../y/"}) == b"/run/y"


@pytest.mark.parametrize("value", ["relative/path", "/has space", "/has$dollar", "/has:colon"])
def test_paths_that_cannot_serve(value: str) -> None:
    with pytest.raises(RuntimeDirError, match="SPRAYCC_RUNTIME_DIR"):
        runtime_dir.base({"SPRAYCC_RUNTIME_DIR": value})


def test_too_long_for_a_socket() -> None:
    with pytest.raises(RuntimeDirError, match="too long for a socket"):
        runtime_dir.locate(b"/w", {"SPRAYCC_RUNTIME_DIR": "/" + "x" * 100})


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory with a path short enough for a socket in it; tmp_path may be too long."""
    with tempfile.TemporaryDirectory(prefix="spraycc-test-", dir="/tmp") as directory:
        yield Path(directory)


def test_a_squatted_base_falls_back_to_the_state_directory(monkeypatch: pytest.MonkeyPatch, short_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(short_path))
    monkeypatch.setattr(directories, "_is_strangers", lambda path: path == f"/tmp/spraycc-{os.getuid()}".encode())
    expected = short_path / "spraycc" / f"run-{os.uname().nodename}"
    assert runtime_dir.base({}) == os.fsencode(expected)
    directory = runtime_dir.locate(b"/w", {})
    runtime_dir.ensure(directory)
    assert os.path.isdir(directory)


def test_a_directory_of_somebody_else_is_a_strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    assert not directories._is_strangers(os.fsencode(theirs))
    another = os.getuid() + 1
    # Only root can give a directory to another user, so the test changes the user instead.
    monkeypatch.setattr(os, "getuid", lambda: another)
    assert directories._is_strangers(os.fsencode(theirs))
    with pytest.raises(RuntimeDirError, match=r"belongs to .+, not to .+; set SPRAYCC_RUNTIME_DIR"):
        runtime_dir.check(os.fsencode(theirs))


def test_ensure_makes_both_levels_for_us_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        path = tmp_path / "above" / "base" / "abc"
        runtime_dir.ensure(os.fsencode(path))
        runtime_dir.ensure(os.fsencode(path))
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("level", ["base", "base/abc"])
@pytest.mark.parametrize("kind", ["open", "file", "symlink"])
def test_ensure_refuses_what_can_be_no_trusted_directory(tmp_path: Path, level: str, kind: str) -> None:
    path = tmp_path / "base" / "abc"
    runtime_dir.ensure(os.fsencode(path))
    target = tmp_path / level
    if kind == "open":
        target.chmod(0o750)
        words = "open to others .mode 0750.; run chmod 700"
    else:
        target.rename(tmp_path / "moved")
        if kind == "file":
            target.touch()
            words = "is no directory"
        else:
            target.symlink_to(tmp_path / "moved")
            words = "is a symbolic link"
    with pytest.raises(RuntimeDirError, match=words) as error:
        runtime_dir.ensure(os.fsencode(path))
    assert str(target) in str(error.value)


def test_a_place_where_nothing_can_be_made() -> None:
    with pytest.raises(RuntimeDirError, match=r"can't be made: .*set SPRAYCC_RUNTIME_DIR"):
        runtime_dir.ensure(b"/proc/spraycc/abc")
