"""Landmarks: one equal stamp shows that two hosts see the same directory."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from spraycc.landmarks import Landmarks, choose
from spraycc.stamps import FILE, MISSING, NAMES, look


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "ws"
    (root / "src").mkdir(parents=True)
    (root / "Makefile").touch()
    return root


def test_the_workspace_and_some_of_what_is_in_it(workspace: Path) -> None:
    for number in range(20):
        (workspace / f"new-{number}").touch()
    os.symlink("nowhere", workspace / "link")
    lookups = choose(bytes(workspace))
    assert lookups[0] == NAMES + bytes(workspace)
    assert len(lookups) == 9
    assert MISSING not in [look(lookup) for lookup in lookups]


def test_files_and_directories_and_no_links(workspace: Path) -> None:
    os.symlink("Makefile", workspace / "link")
    expected = [NAMES + bytes(workspace), FILE + bytes(workspace / "Makefile"), NAMES + bytes(workspace / "src")]
    assert sorted(choose(bytes(workspace))) == sorted(expected)


def test_a_host_that_sees_the_same_agrees_whatever_else_has_changed(workspace: Path) -> None:
    landmarks = Landmarks(bytes(workspace))
    stamps = [look(lookup) for lookup in landmarks.lookups]
    (workspace / "new").touch()
    (workspace / "Makefile").unlink()
    assert landmarks.agree(stamps)


@pytest.mark.parametrize("when", ["before the change", "after it"])
def test_a_host_agrees_though_all_of_them_change_while_it_starts(workspace: Path, when: str) -> None:
    """For example by chown -R."""
    landmarks = Landmarks(bytes(workspace))
    before = [look(lookup) for lookup in landmarks.lookups]
    for path in (workspace, *workspace.iterdir()):
        path.chmod(path.stat().st_mode ^ 0o007)
    after = [look(lookup) for lookup in landmarks.lookups]
    assert not set(before) & set(after)
    assert landmarks.agree(before if when == "before the change" else after)


def test_a_copy_does_not_agree(workspace: Path, tmp_path: Path) -> None:
    landmarks = Landmarks(bytes(workspace))
    shutil.copytree(workspace, tmp_path / "copy")
    stamps = [look(lookup.replace(b"/ws", b"/copy")) for lookup in landmarks.lookups]
    assert MISSING not in stamps
    assert not landmarks.agree(stamps)


@pytest.mark.parametrize("stamps", [(), (b"",) * 3, (MISSING,) * 3], ids=["none", "empty", "missing"])
def test_no_answer_is_no_agreement(workspace: Path, stamps: tuple[bytes, ...]) -> None:
    landmarks = Landmarks(bytes(workspace))
    shutil.rmtree(workspace)
    assert not landmarks.agree(stamps)


def test_a_workspace_that_may_not_be_read_is_a_landmark_itself(tmp_path: Path) -> None:
    assert choose(bytes(tmp_path / "missing")) == (NAMES + bytes(tmp_path / "missing"),)
