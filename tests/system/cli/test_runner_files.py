"""The copies of the runner and the library in the user's data directory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from spraycc.commands.interception import LIBRARY_NAME
from spraycc.runner_files import NoRunner, RunnerFiles, install, installed_runner, is_runner


class Place:
    """An installation, and a data directory."""

    def __init__(self, base: Path) -> None:
        self.data = base / "data"
        self.runner = base / "installed" / "bin" / "spraycc-run"
        self.library = base / "installed" / "lib" / "spraycc" / LIBRARY_NAME
        for path in (self.runner, self.library):
            path.parent.mkdir(parents=True)
            path.write_text(f"{path.name}\n")
            path.chmod(0o755)

    @property
    def copies(self) -> list[Path]:
        return [self.data / "bin" / "spraycc-run", self.data / "lib" / LIBRARY_NAME]

    def install(self) -> RunnerFiles:
        return install(str(self.data), str(self.runner))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_copies(place: Place) -> None:
    files = place.install()
    assert [files.runner, files.library] == [bytes(path) for path in place.copies]
    assert [path.read_text() for path in place.copies] == ["spraycc-run\n", f"{LIBRARY_NAME}\n"]
    assert os.access(files.shell, os.X_OK)
    assert is_runner(files.runner)
    assert os.readlink(place.data / "bin" / "spraycc") == str(place.runner.parent / "spraycc")


def test_an_installation_without_a_library(place: Place) -> None:
    place.library.unlink()
    assert place.install().library is None


@pytest.mark.parametrize("name", ["a b", "a:b", "a$b"])
def test_a_place_that_ld_preload_cannot_name(place: Place, name: str) -> None:
    place.data = place.data / name
    assert place.install().library is None


@pytest.mark.parametrize("there", [False, True])
def test_nobody_else_can_put_a_program_there(place: Place, there: bool) -> None:
    """Whatever the present or an earlier umask: in many groups, members may write to each other's files."""
    directories = [place.data, place.data / "bin", place.data / "lib"]
    if there:
        for path in directories:
            path.mkdir()
            path.chmod(0o2777)
    before = os.umask(0o002)
    try:
        place.install()
    finally:
        os.umask(before)
    for path in (*directories, *place.copies):
        assert path.stat().st_mode & 0o022 == 0, path


def change(place: Place) -> None:
    place.runner.write_text("new runner\n")
    place.library.write_text("new library\n")


def remove(place: Place) -> None:
    for path in place.copies:
        path.unlink()


def spoil(place: Place) -> None:
    for path in place.copies:
        path.write_text("")


@pytest.mark.parametrize("damage", [change, remove, spoil])
def test_damage_is_repaired(place: Place, damage: Callable[[Place], None]) -> None:
    place.install()
    damage(place)
    place.install()
    assert [path.read_text() for path in place.copies] == [place.runner.read_text(), place.library.read_text()]
    assert all(os.access(path, os.X_OK) for path in place.copies)


def test_nothing_is_written_where_nothing_has_changed(place: Place) -> None:
    place.install()
    before = {path: path.lstat().st_mtime_ns for path in place.data.rglob("*")}
    # For root only the times show a write; for others any write would fail.
    for directory in (place.data, place.data / "bin", place.data / "lib"):
        directory.chmod(0o500)
    place.install()
    assert {path: path.lstat().st_mtime_ns for path in place.data.rglob("*")} == before


def test_many_at_once(place: Place) -> None:
    start = threading.Barrier(8)
    problems: list[BaseException] = []

    def run() -> None:
        start.wait()
        try:
            place.install()
        except BaseException as exc:
            problems.append(exc)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert {entry.name for entry in (place.data / "bin").iterdir()} == {"spraycc", "spraycc-run", "spraycc-shell"}
    assert [entry.name for entry in (place.data / "lib").iterdir()] == [LIBRARY_NAME]


@pytest.mark.root
def test_a_place_where_nothing_can_be_executed(place: Place) -> None:
    """A build then goes on without a server, and says so."""
    place.data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec", "spraycc", place.data], check=True)
    try:
        with pytest.raises(NoRunner, match="noexec"):
            place.install()
    finally:
        subprocess.run(["umount", place.data], check=True)


def test_a_place_that_cannot_be_written(place: Place) -> None:
    place.data.write_text("no directory")
    with pytest.raises(NoRunner, match="can't be copied"):
        place.install()


def test_the_installed_runner_lies_beside_the_interpreter(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    # A link, as in a virtual environment: the directory of the link counts, not that of its target.
    (place.runner.parent / "python").symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(place.runner.parent / "python"))
    assert installed_runner() == str(place.runner)


def test_or_beside_the_command(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setattr(sys, "argv", [str(place.runner.parent / "spraycc")])
    assert installed_runner() == str(place.runner)


def test_no_runner_at_all_says_where_it_was_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "spraycc")])
    monkeypatch.setattr("sysconfig.get_path", lambda name, scheme=None: str(tmp_path / "scripts"))
    with pytest.raises(NoRunner, match=f"no spraycc-run in {tmp_path}, {tmp_path}/scripts"):
        installed_runner()


@pytest.mark.parametrize(
    ("lines", "copied"),
    [
        ("#!{python}\n", "#!{python} -EP\n"),
        (
            "#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n",
            "#!/bin/sh\n'''exec' \"{python}\" -EP \"$0\" \"$@\"\n' '''\n",
        ),
    ],
    ids=["path", "shell"],
)
def test_the_python_runner_is_isolated(place: Place, lines: str, copied: str) -> None:
    code = "import sys\nprint(sys.flags.ignore_environment, sys.flags.safe_path)\n"
    place.runner.write_text(lines.format(python=sys.executable) + code)
    copy = Path(os.fsdecode(place.install().runner))
    assert copy.read_text() == copied.format(python=sys.executable) + code
    told = subprocess.run([copy], env={"PYTHONHOME": "/nowhere"}, capture_output=True, text=True, check=True)
    assert told.stdout == "1 True\n"
    before = copy.stat().st_ino
    place.install()
    assert copy.stat().st_ino == before, "an up to date copy stays"
