"""How SprayCC finds the workspace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spraycc.errors import ConfigError
from spraycc.workspace import find

HOME = b"/home/nobody-here"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    # This works only if pytest's directories above contain no mark of a root.
    (tmp_path / "outer" / "project" / "src" / "deep").mkdir(parents=True)
    return tmp_path


def found(directory: Path, home: bytes = HOME) -> Path:
    return Path(os.fsdecode(find(os.fsencode(directory), home)))


def test_the_nearest_file_wins_over_any_vcs_root(tree: Path) -> None:
    (tree / "outer" / ".spraycc.toml").touch()
    (tree / "outer" / "project" / ".git").mkdir()
    assert found(tree / "outer" / "project" / "src" / "deep") == tree / "outer"
    (tree / "outer" / "project" / ".spraycc.toml").touch()
    assert found(tree / "outer" / "project" / "src" / "deep") == tree / "outer" / "project"


@pytest.mark.parametrize("mark", [".git", ".hg", ".svn"])
def test_else_the_nearest_vcs_root(tree: Path, mark: str) -> None:
    (tree / "outer" / ".git").mkdir()
    (tree / "outer" / "project" / mark).mkdir()
    assert found(tree / "outer" / "project" / "src" / "deep") == tree / "outer" / "project"


def test_a_worktree_has_a_file_named_git(tree: Path) -> None:
    (tree / "outer" / "project" / ".git").write_text("gitdir: /elsewhere\n")
    assert found(tree / "outer" / "project" / "src") == tree / "outer" / "project"


def test_else_the_working_directory(tree: Path) -> None:
    assert found(tree / "outer" / "project") == tree / "outer" / "project"


def test_home_is_skipped_even_with_marks(tree: Path) -> None:
    home = tree / "outer"
    (home / ".git").mkdir()
    (home / ".spraycc.toml").touch()
    assert found(home / "project", os.fsencode(home)) == home / "project"


def test_what_everybody_may_write_to_is_skipped(tree: Path) -> None:
    shared = tree / "outer"
    shared.chmod(0o1777)
    (shared / ".spraycc.toml").touch()
    assert found(shared / "project") == shared / "project"
    # Without the sticky bit the directory may be a project on a file system that shows 777 everywhere.
    shared.chmod(0o777)
    assert found(shared / "project") == shared


@pytest.mark.parametrize("directory", ["/", "/tmp", "/var/tmp"])
def test_some_directories_are_no_workspace(directory: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{directory} can't be a workspace .*subdirectory"):
        find(directory.encode(), HOME)


def test_home_itself_is_no_workspace(tree: Path) -> None:
    with pytest.raises(ConfigError, match="subdirectory"):
        find(os.fsencode(tree), os.fsencode(tree))


def test_the_path_is_real_and_its_bytes_are_kept(tree: Path) -> None:
    odd = os.path.join(os.fsencode(tree), b"name\xff")
    os.mkdir(odd)
    os.symlink(odd, tree / "link")
    assert find(os.fsencode(tree / "link"), HOME) == odd


def test_a_working_directory_that_is_gone(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tree / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    try:
        with pytest.raises(ConfigError, match="does not exist any more"):
            find(None, HOME)
    finally:
        os.chdir("/")
