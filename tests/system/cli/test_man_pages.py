"""The man pages, read by the programs that show them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from spraycc.cli.option_table import table
from spraycc.cli.reference.__main__ import TEMPLATES
from spraycc.cli.reference.files import PAGES, files
from tests.system.harness import needs
from tests.system.harness.waiting import HANG_S

PAGE_TEMPLATES = {name: (TEMPLATES / f"{name}.in").read_text() for name in PAGES}


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """The directory ``share`` of an installation."""
    for place, text in files(table(), PAGE_TEMPLATES, "1.2.3", "2026-01-02").items():
        path = tmp_path / "share" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "share"


def output(*argv: str | Path, **env: str) -> str:
    """The output of a command that succeeds, with its errors."""
    environ = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "MANWIDTH": "80", "HOME": "/nonexistent", **env}
    done = subprocess.run(
        argv, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=HANG_S
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_wrong_with_the_page(share: Path, name: str) -> None:
    page = share / f"man/man{name[-1]}/{name}"
    assert output(needs.program("mandoc"), "-T", "lint", page) == ""
    assert output(needs.program("groff"), "-k", "-man", "-ww", "-z", "-Tutf8", page) == ""
    shown = output(needs.program("man", "man-db"), "--warnings", "-l", page)
    assert "warning" not in shown
    assert "SYNOPSIS" in shown


def test_a_mistake_in_a_page_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "wrong.1"
    page.write_text('.TH WRONG 1 "2026-01-02"\n.SH NAME\nwrong \\- page\n.XY\n')
    done = subprocess.run([needs.program("mandoc"), "-T", "lint", page], capture_output=True, text=True)
    assert "XY" in done.stdout
    assert "XY" in output(needs.program("groff"), "-man", "-ww", "-z", "-Tutf8", page)


def test_man_finds_the_pages_of_an_environment_on_path(share: Path) -> None:
    (share.parent / "bin").mkdir()
    path = f"{share.parent}/bin:{os.environ['PATH']}"
    for name in PAGES:
        title = name.rpartition(".")[0]
        found = output(needs.program("man", "man-db"), "-w", title, PATH=path)
        assert found == f"{share}/man/man{name[-1]}/{name}\n"
