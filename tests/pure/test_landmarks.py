"""Landmarks: one equal stamp shows that a directory is the same."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from spraycc.landmarks import agree, choose
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
    lookups = choose(bytes(workspace))
    stamps = [look(lookup) for lookup in lookups]
    (workspace / "new").touch()
    (workspace / "Makefile").unlink()
    assert agree(lookups, stamps)


def test_a_copy_does_not_agree(workspace: Path, tmp_path: Path) -> None:
    lookups = choose(bytes(workspace))
    shutil.copytree(workspace, tmp_path / "copy")
    stamps = [look(lookup.replace(b"/ws", b"/copy")) for lookup in lookups]
    assert MISSING not in stamps
    assert not agree(lookups, stamps)


@pytest.mark.parametrize("stamps", [(), (b"",) * 3, (MISSING,) * 3], ids=["none", "empty", "missing"])
def test_no_answer_is_no_agreement(workspace: Path, stamps: tuple[bytes, ...]) -> None:
    lookups = choose(bytes(workspace))
    shutil.rmtree(workspace)
    assert not agree(lookups, stamps)


def test_a_workspace_that_may_not_be_read_is_a_landmark_itself(tmp_path: Path) -> None:
    assert choose(bytes(tmp_path / "missing")) == (NAMES + bytes(tmp_path / "missing"),)
