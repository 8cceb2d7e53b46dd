"""The shim directory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from spraycc import shims
from spraycc.errors import ConfigError


class Place:
    """A data directory, an installed runner, and two directories of PATH."""

    def __init__(self, base: Path) -> None:
        self.data = base / "data"
        self.runner = base / "installed" / "spraycc-run"
        self.bins = [base / "bin1", base / "bin2"]
        for directory in (self.runner.parent, *self.bins):
            directory.mkdir()
        self.runner.write_text("#!/bin/sh\necho $0\n")
        self.runner.chmod(0o755)

    @property
    def path(self) -> str:
        return os.pathsep.join(map(str, self.bins))

    def add(self, *names: str, to: int = 0) -> None:
        for name in names:
            (self.bins[to] / name).touch(mode=0o755)

    def refresh(self, *wrap: str, path: str | None = None) -> shims.Shims:
        return shims.refresh(wrap, self.path if path is None else path, str(self.data), str(self.runner))

    def names(self) -> set[str]:
        return {entry.name for entry in (self.data / "shims").iterdir()}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_compilers_and_build_tools_on_path_get_shims_and_others_none(place: Place) -> None:
    place.add("gcc", "g++-12", "x86_64-linux-gnu-gcc", "ls", "make", "gcc-hardening-check")
    place.add("clang", "ar", "ranlib", to=1)
    result = place.refresh("mycc")
    assert place.names() == {"gcc", "g++-12", "x86_64-linux-gnu-gcc", "clang", "ar", "ranlib", "mycc", "make"}
    assert result == shims.Shims(os.fsencode(place.data / "shims"), os.fsencode(place.data / "bin" / "spraycc-run"))
    assert shims.runner_in(result.directory) == result.runner


@pytest.mark.parametrize("there", [False, True])
def test_nobody_else_can_put_a_program_there(place: Place, there: bool) -> None:
    """Whatever the present or an earlier umask: in many groups, members may write to each other's files."""
    place.add("gcc")
    if there:
        (place.data / "shims").mkdir(parents=True)
        for path in (place.data, place.data / "shims"):
            path.chmod(0o2777)
    before = os.umask(0o002)
    try:
        place.refresh()
    finally:
        os.umask(before)
    for path in (place.data, place.data / "shims", place.data / "bin", place.data / "bin/spraycc-run"):
        assert path.stat().st_mode & 0o022 == 0, path


def test_a_shim_is_the_runner_and_knows_its_name(place: Place) -> None:
    place.add("gcc")
    place.refresh()
    shim = place.data / "shims" / "gcc"
    assert shim.resolve() == (place.data / "bin" / "spraycc-run").resolve()
    assert (place.data / "bin" / "spraycc-run").read_bytes() == place.runner.read_bytes()
    assert subprocess.check_output([shim], text=True) == f"{shim}\n"


def test_shims_of_what_is_gone_stay(place: Place) -> None:
    place.add("gcc", "gcc-11")
    place.refresh()
    (place.bins[0] / "gcc-11").unlink()
    place.add("gcc-12")
    place.refresh()
    assert place.names() == {"gcc", "gcc-11", "gcc-12"}


def change_runner(place: Place) -> None:
    place.runner.write_text("#!/bin/sh\necho new\n")


def remove_copy(place: Place) -> None:
    (place.data / "bin" / "spraycc-run").unlink()


def remove_shim(place: Place) -> None:
    (place.data / "shims" / "gcc").unlink()


def misdirect_shim(place: Place) -> None:
    (place.data / "shims" / "gcc").unlink()
    (place.data / "shims" / "gcc").symlink_to("/bin/false")


def spoil_copy(place: Place) -> None:
    (place.data / "bin" / "spraycc-run").write_text("")


@pytest.mark.parametrize("damage", [change_runner, remove_copy, remove_shim, misdirect_shim, spoil_copy])
def test_damage_is_repaired(place: Place, damage: Callable[[Place], None]) -> None:
    place.add("gcc")
    place.refresh()
    damage(place)
    place.refresh()
    assert (place.data / "shims" / "gcc").read_bytes() == place.runner.read_bytes()
    assert os.access(place.data / "shims" / "gcc", os.X_OK)


def test_nothing_is_written_where_nothing_has_changed(place: Place) -> None:
    place.add("gcc")
    place.refresh()
    before = {path: path.lstat().st_mtime_ns for path in place.data.rglob("*")}
    # For root only the times show a write; for others any write would fail.
    for directory in (place.data, place.data / "bin", place.data / "shims"):
        directory.chmod(0o500)
    place.refresh()
    assert {path: path.lstat().st_mtime_ns for path in place.data.rglob("*")} == before


def test_the_shim_directory_itself_on_path_adds_nothing(place: Place) -> None:
    place.add("gcc")
    place.refresh("mycc")
    assert (place.data / "shims" / "mycc").is_symlink()
    (place.data / "shims" / "gcc-99").symlink_to("../bin/spraycc-run")
    place.refresh(path=f"{place.data / 'shims'}:{place.path}")
    assert place.names() == {"gcc", "mycc", "gcc-99"}


def test_odd_elements_of_path_do_no_harm(place: Place) -> None:
    place.add("gcc")
    place.refresh(path=f":.:{place.path}/missing::{place.runner}:{place.path}:")
    assert place.names() == {"gcc"}


def test_a_link_in_the_way_is_replaced_but_its_target_is_not(place: Place, tmp_path: Path) -> None:
    place.add("gcc")
    (place.data / "shims").mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (place.data / "shims" / "gcc").symlink_to(victim)
    place.refresh()
    assert victim.read_text() == "mine"
    assert (place.data / "shims" / "gcc").resolve().name == "spraycc-run"


def test_many_at_once(place: Place) -> None:
    place.add("gcc", "g++", "cc", "c++", "ar")
    start = threading.Barrier(8)
    problems: list[BaseException] = []

    def refresh() -> None:
        start.wait()
        try:
            place.refresh()
        except BaseException as exc:
            problems.append(exc)

    threads = [threading.Thread(target=refresh) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert place.names() == {"gcc", "g++", "cc", "c++", "ar"}
    assert {entry.name for entry in (place.data / "bin").iterdir()} == {"spraycc", "spraycc-run", "spraycc-shell"}


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/usr/bin/gcc", "spraycc-run"])
def test_names_that_cannot_be_wrapped(place: Place, name: str) -> None:
    with pytest.raises(ConfigError, match="wrap"):
        place.refresh(name)


def test_a_place_that_cannot_be_written(place: Place) -> None:
    place.data.write_text("no directory")
    with pytest.raises(shims.NoRunner, match="can't be written"):
        place.refresh()


def test_the_installed_runner_lies_beside_the_interpreter(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    # A link, as in a virtual environment: the directory of the link counts, not that of its target.
    (place.runner.parent / "python").symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(place.runner.parent / "python"))
    assert shims.installed_runner() == str(place.runner)


def test_or_beside_the_command(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setattr(sys, "argv", [str(place.runner.parent / "spraycc")])
    assert shims.installed_runner() == str(place.runner)


def test_no_runner_at_all_says_where_it_was_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "spraycc")])
    monkeypatch.setattr("sysconfig.get_path", lambda name, scheme=None: str(tmp_path / "scripts"))
    with pytest.raises(shims.NoRunner, match=f"no spraycc-run in {tmp_path}, {tmp_path}/scripts"):
        shims.installed_runner()


def test_without_takes_the_directory_off_path() -> None:
    assert shims.without("/a:/shims:/b:/shims/", "/shims") == "/a:/b"
