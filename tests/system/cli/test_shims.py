"""The shim directories: one for each set of programs on PATH."""

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
from spraycc.runner_files import SHIM_MARK, NoRunner, RunnerFiles, is_runner

RUNNER = "#!/bin/sh\necho $0\nexit\n"


class Place:
    """A data directory with a runner, and two directories of PATH."""

    def __init__(self, base: Path) -> None:
        self.data = base / "data"
        self.runner = self.data / "bin" / "spraycc-run"
        self.bins = [base / "bin1", base / "bin2"]
        for directory in (self.runner.parent, *self.bins):
            directory.mkdir(parents=True)
        self.runner.write_text(RUNNER)
        self.runner.chmod(0o755)

    @property
    def path(self) -> str:
        return os.pathsep.join(map(str, self.bins))

    @property
    def files(self) -> RunnerFiles:
        return RunnerFiles(str(self.data), bytes(self.runner), None)

    def add(self, *names: str, to: int = 0) -> None:
        for name in names:
            (self.bins[to] / name).write_text(name)
            (self.bins[to] / name).chmod(0o755)

    def all_tools(self, *wrap: str, path: str | None = None) -> Path:
        return Path(os.fsdecode(shims.of_all_tools(self.files, self.path if path is None else path, wrap)))

    def build_tools(self) -> Path:
        return Path(os.fsdecode(shims.of_build_tools(self.files, self.path)))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def names(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()}


def test_tools_on_path_get_shims_and_others_none(place: Place) -> None:
    place.add("gcc", "g++-12", "x86_64-linux-gnu-gcc", "ls", "make", "gcc-hardening-check")
    place.add("clang", "ar", "ranlib", "mycc", to=1)
    found = names(place.all_tools("mycc", "gcc-99"))
    assert found == {"gcc", "g++-12", "x86_64-linux-gnu-gcc", "clang", "ar", "ranlib", "mycc", "make"}
    place.add("cmake", "ninja", to=1)
    assert names(place.build_tools()) == {"make", "cmake", "ninja"}


def test_a_shim_is_a_file_that_runs_the_runner_and_knows_its_name(place: Place) -> None:
    place.add("gcc", "make")
    for name in ("gcc", "make"):
        shim = place.all_tools() / name
        assert Path(os.path.realpath(shim)) == shim
        assert subprocess.check_output([shim], text=True) == f"{shim}\n"
        assert is_runner(str(shim))
        assert not is_runner(str(place.bins[0] / name))


def test_no_shim_of_what_is_gone(place: Place) -> None:
    """A makefile that looks for the newest compiler must not find the shim of a removed one."""
    place.add("gcc", "gcc-11")
    before = place.all_tools()
    (place.bins[0] / "gcc-11").unlink()
    place.add("gcc-12")
    assert names(place.all_tools()) == {"gcc", "gcc-12"}
    # A build tree may name the old shim.
    assert names(before) == {"gcc", "gcc-11"}


def test_another_compiler_is_another_file(place: Place) -> None:
    """ccache and sccache know a compiler by its file: its path, size, time or content."""
    place.add("gcc", "cc")
    place.add("gcc", to=1)
    os.link(place.bins[0] / "gcc", place.bins[0] / "g++")
    shim = [place.all_tools(path=str(directory)) / "gcc" for directory in place.bins]
    os.utime(place.bins[0] / "gcc", (1, 1))
    shim.append(place.all_tools() / "gcc")
    assert len({path.read_bytes() for path in shim}) == len({path.stat().st_size for path in shim}) == len(shim)
    assert shim[2].stat().st_mtime == 1
    assert place.all_tools() / "gcc" == shim[2]


def test_a_shim_of_a_script_is_a_script(place: Place) -> None:
    """The Python runner. A compiler's path may have any byte."""
    place.runner.write_text(f"#!{sys.executable}\nimport sys\nprint(sys.argv[0])\n")
    odd = place.bins[1] / "a\nimport nothing"
    odd.mkdir()
    (odd / "gcc").write_text("gcc")
    (odd / "gcc").chmod(0o755)
    (place.bins[0] / "gcc").symlink_to(odd / "gcc")
    shim = place.all_tools() / "gcc"
    assert subprocess.check_output([shim], text=True) == f"{shim}\n"


def test_shims_of_build_tools_share_one_file(place: Place) -> None:
    place.add("make", "ninja")
    directory = place.build_tools()
    assert (directory / "make").samefile(directory / "ninja")
    assert (directory / "make").read_bytes() == RUNNER.encode() + b"\n# " + SHIM_MARK


@pytest.mark.parametrize("there", [False, True])
def test_nobody_else_can_put_a_program_there(place: Place, there: bool) -> None:
    """Whatever the present or an earlier umask: in many groups, members may write to each other's files."""
    place.add("gcc")
    if there:
        (place.data / "paths").mkdir(parents=True)
        (place.data / "paths").chmod(0o2777)
    before = os.umask(0o002)
    try:
        directory = place.all_tools()
    finally:
        os.umask(before)
    for path in (place.data / "paths", directory, directory / "gcc"):
        assert path.stat().st_mode & 0o022 == 0, path


def change_runner(place: Place, shim: Path) -> None:
    place.runner.write_text("#!/bin/sh\necho new\n")


def remove_directory(place: Place, shim: Path) -> None:
    shim.unlink()
    shim.parent.rmdir()


def remove_shim(place: Place, shim: Path) -> None:
    shim.unlink()


def misdirect_shim(place: Place, shim: Path) -> None:
    shim.unlink()
    shim.symlink_to("/bin/false")


@pytest.mark.parametrize("damage", [change_runner, remove_directory, remove_shim, misdirect_shim])
def test_damage_is_repaired(place: Place, damage: Callable[[Place, Path], None]) -> None:
    place.add("gcc")
    shim = place.all_tools() / "gcc"
    damage(place, shim)
    assert place.all_tools() / "gcc" == shim
    assert shim.read_bytes().startswith(place.runner.read_bytes())
    assert os.access(shim, os.X_OK)
    assert not shim.is_symlink()


def test_nothing_is_written_where_nothing_has_changed(place: Place) -> None:
    place.add("gcc")
    directory = place.all_tools()
    before = {path: path.lstat().st_mtime_ns for path in place.data.rglob("*")}
    # For root only the times show a write; for others any write would fail.
    for path in (place.data, place.data / "paths", directory):
        path.chmod(0o500)
    assert place.all_tools() == directory
    assert {path: path.lstat().st_mtime_ns for path in place.data.rglob("*")} == before


def test_shims_on_path_add_nothing(place: Place) -> None:
    place.add("gcc")
    directory = place.all_tools()
    (place.data / "old").mkdir()
    (place.data / "old" / "gcc-99").symlink_to(place.runner)
    assert place.all_tools(path=f"{directory}:{place.data / 'old'}:{place.path}") == directory


def test_odd_elements_of_path_do_no_harm(place: Place) -> None:
    place.add("gcc")
    (place.bins[0] / "clang").mkdir()
    (place.bins[0] / "ar").touch(mode=0o644)
    assert names(place.all_tools(path=f":.:{place.path}/missing::{place.runner}:{place.path}:")) == {"gcc"}
    assert names(place.all_tools(path="")) == set()


def test_many_at_once(place: Place) -> None:
    place.add("gcc", "g++", "cc", "c++", "ar", "make")
    start = threading.Barrier(8)
    problems: list[BaseException] = []

    def make() -> None:
        start.wait()
        try:
            place.all_tools()
        except BaseException as exc:
            problems.append(exc)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert names(place.all_tools()) == {"gcc", "g++", "cc", "c++", "ar", "make"}


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/usr/bin/gcc", "spraycc-run"])
def test_names_that_cannot_be_wrapped(name: str) -> None:
    with pytest.raises(ConfigError, match="wrap"):
        shims.check_names([name])


def test_a_place_that_path_cannot_hold(place: Place) -> None:
    """The part behind the colon would be a directory below each working directory."""
    place.add("make")
    files = RunnerFiles(f"{place.data}/a:b", bytes(place.runner), None)
    with pytest.raises(NoRunner, match="colon"):
        shims.of_build_tools(files, place.path)
    assert not (place.data / "a:b").exists()


def test_a_place_that_cannot_be_written(place: Place) -> None:
    place.add("gcc")
    (place.data / "paths").write_text("no directory")
    with pytest.raises(NoRunner, match="can't be written"):
        place.all_tools()
