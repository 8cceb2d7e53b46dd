"""The benchmark's compiler that waits, by itself."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from benchmarks.recorded_units import Unit
from benchmarks.waiting_farm import WaitingFarm, waiting_farm

UNITS = [Unit(0.01, 5_000_000), Unit(0.02, 0), Unit(0.3, 12_345)]


@pytest.fixture(scope="module")
def farm() -> Iterator[WaitingFarm]:
    with waiting_farm(UNITS) as made:
        yield made


def compiler(farm: WaitingFarm, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    program = farm.path_front / "g++"
    return subprocess.run([program, *words], cwd=farm.directory, input=stdin, capture_output=True, check=False)


@pytest.mark.slow
def test_make_builds_objects_of_the_recorded_sizes(farm: WaitingFarm) -> None:
    words = farm.make(str(farm.path_front / "g++"), str(farm.directory / "out"), 2)
    subprocess.run(words, cwd=farm.directory, check=True)
    assert farm.wrong(str(farm.directory / "out")) == []
    (farm.directory / "out/u2.o").write_bytes(b"short")
    (farm.directory / "out/u0.o").unlink()
    assert farm.wrong(str(farm.directory / "out")) == ["u0.o: -1 of 5000000 bytes", "u2.o: 5 of 12345 bytes"]


@pytest.mark.slow
def test_it_finds_its_unit_in_preprocessed_source_from_a_file_and_a_pipe(farm: WaitingFarm) -> None:
    done = compiler(farm, "-E", "-std=c++17", "-Iinclude", "u2.cc")
    assert (done.returncode, len(done.stdout) > 500_000) == (0, True), done.stderr
    (farm.directory / "u2.ii").write_bytes(done.stdout)
    for words, stdin in ((["u2.ii"], b""), (["-x", "c++", "-"], done.stdout)):
        assert compiler(farm, *words, "-c", "-o", "one.o", stdin=stdin).returncode == 0
        assert (farm.directory / "one.o").stat().st_size == 12_345
        (farm.directory / "one.o").unlink()


@pytest.mark.slow
def test_a_source_without_the_line_fails(farm: WaitingFarm) -> None:
    (farm.directory / "plain.cc").write_text("int x;\n" * 40_000)
    done = compiler(farm, "-c", "plain.cc", "-o", "plain.o")
    assert done.returncode == 1
    assert b"plain.cc has no line" in done.stderr
    # The line is found where two blocks meet, too.
    (farm.directory / "late.cc").write_text("x" * (65536 - 30) + "\n#pragma waiting_compiler 5 7\nint x;\n")
    assert compiler(farm, "-c", "late.cc", "-o", "late.o").returncode == 0
    assert (farm.directory / "late.o").stat().st_size == 7


@pytest.mark.slow
def test_other_commands_are_the_real_compilers(farm: WaitingFarm) -> None:
    assert b"Free Software Foundation" in compiler(farm, "--version").stdout
