"""The directories in which SprayCC keeps its files, by the environment and by who owns them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spraycc import directories, workspace
from spraycc.errors import RuntimeDirError


@pytest.fixture(autouse=True)
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home directory of the passwd entry; no variable is set."""
    home = tmp_path / "entry"
    home.mkdir()
    monkeypatch.setattr(directories, "passwd_home", lambda: str(home))
    for kind in ("STATE", "DATA", "CONFIG"):
        monkeypatch.delenv(f"XDG_{kind}_HOME", raising=False)
    monkeypatch.delenv("XDG_CONFIG_DIRS", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setenv("SPRAYCC_RUNTIME_DIR", str(tmp_path / "run"))
    return home


def test_a_variable_is_stronger_than_home_and_home_than_the_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: Path
) -> None:
    assert directories.state() == directories.Place(str(entry / ".local/state/spraycc"))
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    assert directories.state().path == str(home / ".local/state/spraycc")
    assert directories.data().path == str(home / ".local/share/spraycc")
    assert directories.user_configuration() == str(home / ".config/spraycc")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "not/there/yet"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "c"))
    assert directories.state().path == str(tmp_path / "not/there/yet/spraycc")
    assert directories.user_configuration() == str(tmp_path / "c/spraycc")


@pytest.mark.parametrize("value", ["", ".", "relative", "~"])
def test_relative_and_empty_variables_do_not_count(monkeypatch: pytest.MonkeyPatch, entry: Path, value: str) -> None:
    for name in ("XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "HOME", "XDG_CONFIG_DIRS"):
        monkeypatch.setenv(name, value)
    assert directories.state().path == str(entry / ".local/state/spraycc")
    assert directories.data().path == str(entry / ".local/share/spraycc")
    assert directories.user_configuration() == str(entry / ".config/spraycc")
    assert directories.site_configurations() == ["/etc/xdg/spraycc"]


def test_the_site_may_have_several_directories(monkeypatch: pytest.MonkeyPatch, entry: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_DIRS", "/a:relative::/b:/a")
    assert directories.site_configurations() == ["/a/spraycc", "/b/spraycc"]


@pytest.mark.parametrize("home", ["", "/", "//", "/nonexistent", "/dev/null", "relative"])
def test_without_a_home_there_is_the_runtime_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    monkeypatch.setattr(directories, "passwd_home", lambda: "")
    monkeypatch.setenv("HOME", home)
    assert directories.state() == directories.Place(str(tmp_path / "run/state"), is_last_resort=True)
    assert directories.data().path == str(tmp_path / "run/data")
    assert directories.user_configuration() is None
    directories.make(directories.state().path)
    assert (tmp_path / "run/state").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["HOME", "XDG"])
def test_a_directory_of_somebody_else_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: Path, name: str
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    their_inode, real_lstat, real_stat = theirs.stat().st_ino, os.lstat, os.stat

    def foreign(status: os.stat_result) -> os.stat_result:
        # Only root can give a directory to another user.
        if status.st_ino != their_inode:
            return status
        return os.stat_result((*status[:4], os.getuid() + 1, *status[5:10]))

    monkeypatch.setattr(os, "lstat", lambda path, **kw: foreign(real_lstat(path, **kw)))
    monkeypatch.setattr(os, "stat", lambda path, **kw: foreign(real_stat(path, **kw)))
    if name == "HOME":
        monkeypatch.setenv("HOME", str(theirs))
    else:
        for kind in ("STATE", "DATA", "CONFIG"):
            monkeypatch.setenv(f"XDG_{kind}_HOME", str(theirs))
    assert directories.state() == directories.Place(str(entry / ".local/state/spraycc"))
    assert directories.data() == directories.Place(str(entry / ".local/share/spraycc"))
    assert directories.user_configuration() == str(entry / ".config/spraycc")


def test_an_obstacle_is_named_with_a_remedy(tmp_path: Path, entry: Path) -> None:
    (entry / ".local").write_text("")
    place = directories.state()
    assert place.path == str(tmp_path / "run/state")
    assert place.problem == (
        f"{entry}/.local: is no directory; move it away, or set XDG_STATE_HOME to a directory of your own; "
        f"meanwhile {tmp_path}/run/state is used"
    )


def test_a_probe_leaves_no_file(entry: Path) -> None:
    assert directories.state(probe=True) == directories.state()
    assert not any((entry / ".local/state/spraycc").iterdir())


def test_no_place_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: Path) -> None:
    (entry / ".local").write_text("")
    (tmp_path / "run").write_text("")
    with pytest.raises(RuntimeDirError, match="set XDG_STATE_HOME to a directory of your own"):
        directories.state()


@pytest.mark.parametrize("foreign", [False, True])
def test_no_home_is_a_workspace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, entry: Path, foreign: bool) -> None:
    """Home directories may be under version control. After sudo, HOME is foreign: then the entry's counts, too."""
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    for directory in (home, entry):
        (directory / ".git").mkdir(parents=True)
        (directory / "project").mkdir()
    if foreign:
        monkeypatch.setattr(directories, "_is_own_home", lambda path: path != str(home))
    for directory in (home, entry) if foreign else (home,):
        assert workspace.find(os.fsencode(directory / "project")) == os.fsencode((directory / "project").resolve())


def test_the_umask_does_not_close_the_runtime_directory(tmp_path: Path) -> None:
    old = os.umask(0o777)
    try:
        directories.ensure(os.fsencode(tmp_path / "base" / "one"))
    finally:
        os.umask(old)
    for path in (tmp_path / "base", tmp_path / "base" / "one"):
        assert path.stat().st_mode & 0o777 == 0o700
