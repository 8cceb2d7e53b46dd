"""The identities that two hosts compare: the compiler's and the CPU's."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import trio

from spraycc.errors import CaptureError, CaptureRefusal
from spraycc.executor import toolchain_check
from spraycc.executor.toolchain_check import ToolchainCheck
from spraycc.system import toolchain

CPUINFO = b"""processor\t: 0
vendor_id\t: GenuineIntel
model\t\t: 85
model name\t: A CPU @ 2.0GHz
stepping\t: 7
microcode\t: 0x1
cpu MHz\t\t: 2000.001
cache size\t: 36608 KB
flags\t\t: fpu sse avx512f

"""


def script(path: Path, text: str = "fake 1.0") -> bytes:
    path.write_text(f"#!/bin/sh\ncase $1 in --version) echo '{text}'; echo more;; esac\n")
    path.chmod(0o755)
    return os.fsencode(path)


def text_of(program: bytes) -> str:
    return toolchain.identity(program).text


def test_the_same_file_elsewhere_is_the_same(tmp_path: Path) -> None:
    one = script(tmp_path / "one")
    other = tmp_path / "other"
    shutil.copy(os.fsdecode(one), other)  # another time, as on a host with a later installation
    assert text_of(one) == text_of(os.fsencode(other))
    assert toolchain.shown(text_of(one)) == "fake 1.0"


@pytest.mark.parametrize("text", ["fake 1.1", "fake 1.0 "])
def test_another_content_or_version_is_not(tmp_path: Path, text: str) -> None:
    assert text_of(script(tmp_path / "one")) != text_of(script(tmp_path / "other", text))


def test_another_part_is_not(tmp_path: Path) -> None:
    """The driver may be the same, but not the programs that it starts: for example a link to another assembler."""

    def driver(assembler: str) -> str:
        part, path = tmp_path / "as", tmp_path / "cc"
        part.write_text(assembler)
        path.write_text(f"#!/bin/sh\n[ $1 = -print-prog-name=as ] && echo {part}\n")
        path.chmod(0o755)
        return text_of(os.fsencode(path))

    assert driver("one") == driver("one")
    assert driver("one") != driver("two")


@pytest.mark.parametrize(("version", "counts"), [("GNU Fortran (Debian) 12", True), ("gcc (Debian) 12", False)])
def test_the_part_for_fortran_counts_for_gfortran(tmp_path: Path, version: str, counts: bool) -> None:
    """A host without it can still compile C."""

    def driver(part: str) -> str:
        file, path = tmp_path / "f951", tmp_path / "driver"
        file.write_text(part)
        path.write_text(
            f"#!/bin/sh\ncase $1 in --version) echo '{version}' ;; -print-prog-name=f951) echo {file} ;; esac\n"
        )
        path.chmod(0o755)
        return text_of(os.fsencode(path))

    assert (driver("one") != driver("two")) is counts


class Driver:
    """A script in place of a compiler, and the assembler that it starts: a second script."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.program, self.assembler = directory / "cc", directory / "as"
        self.install(self.assembler, "as 1")
        self.install(self.program, "cc 1")
        self.name = os.fsencode(self.program)

    def install(self, path: Path, version: str) -> None:
        """Put another version in the place of a script by rename, as package managers do. Its size is the same."""
        new = path.with_suffix(".new")
        new.write_text(
            f"#!/bin/sh\ncase $1 in --version) echo {version} ;; -print-prog-name=as) echo {self.assembler} ;; esac\n"
        )
        new.chmod(0o755)
        new.rename(path)


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return Driver(tmp_path / "bin")


@pytest.mark.parametrize("script", ["cc", "as"])
def test_an_identity_is_current_until_a_file_changes(driver: Driver, script: str) -> None:
    before = toolchain.identity(driver.name)
    assert before.is_current()
    driver.install(driver.program.with_name(script), script + " 2")
    assert not before.is_current()
    assert before.is_current(with_parts=False) is (script == "as")
    after = toolchain.identity(driver.name)
    assert after.is_current()
    assert after.text != before.text


def test_a_file_that_changes_during_the_examination_makes_the_identity_old(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = toolchain._file

    def upgrade_before(path: str) -> str:
        if path == str(driver.assembler):
            driver.install(driver.assembler, "as 2")
        return read(path)

    monkeypatch.setattr(toolchain, "_file", upgrade_before)
    assert not toolchain.identity(driver.name).is_current()


def test_an_assembler_that_would_come_first_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GCC's driver names the assembler without a directory, and looks for it in PATH."""
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    monkeypatch.setattr(toolchain, "_PATH", f"{first}:{second}:{third}:/usr/bin:/bin")
    for directory in (first, second, third):
        directory.mkdir()
    script(second / "as")
    driver = tmp_path / "cc"
    driver.write_text("#!/bin/sh\n[ $1 = -print-prog-name=as ] && echo as\n")
    driver.chmod(0o755)
    found = toolchain.identity(os.fsencode(driver))
    assert [path for path, _ in found.files] == [str(path) for path in (driver, first / "as", second / "as")]
    script(third / "as")
    assert found.is_current()
    script(first / "as")
    assert not found.is_current()


@pytest.mark.parametrize("upgraded", ["cc", "as"])
def test_an_executor_notices_an_upgrade(driver: Driver, upgraded: str) -> None:
    async def check() -> None:
        expected = [(driver.name, text_of(driver.name))]
        check = ToolchainCheck()
        for _ in range(2):
            await check.check(expected)
        driver.install(driver.program.with_name(upgraded), upgraded + " 2")
        with pytest.raises(CaptureError) as caught:
            await check.check(expected)
        assert caught.value.kind is CaptureRefusal.DIFFERENT
        driver.install(driver.program.with_name(upgraded), upgraded + " 1")
        await check.check(expected)

    trio.run(check)


def test_a_compiler_is_examined_once(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    examined = []

    def examine(name: bytes) -> toolchain.Identity:
        examined.append(name)
        return toolchain.identity(name)

    monkeypatch.setattr(toolchain_check, "identity", examine)

    async def check() -> None:
        expected = [(driver.name, text_of(driver.name)), (toolchain.CPU, text_of(toolchain.CPU))]
        check = ToolchainCheck()
        for _ in range(3):
            await check.check(expected)

    trio.run(check)
    assert examined == [driver.name, toolchain.CPU]


def test_a_missing_program_has_an_identity() -> None:
    missing = text_of(b"/nonexistent/gcc")
    assert toolchain.shown(missing) == "no version"
    assert missing != text_of(b"/usr/bin/gcc")


def test_build_ids_are_the_linkers(tmp_path: Path) -> None:
    source, made = tmp_path / "x.c", tmp_path / "x"
    source.write_text("int main(void) { return 0; }\n")
    for options, mark in ((["-Wl,--build-id=0x0123456789abcdef"], "0123456789abcdef"), (["-Wl,--build-id=none"], "")):
        subprocess.run(["gcc", *options, "-o", made, source], check=True)
        assert toolchain.build_id(made.read_bytes()).hex() == mark


@pytest.mark.parametrize("size", [0, 4, 5, 16, 60, 64, 100, 500])
def test_a_damaged_file_has_none(size: int) -> None:
    image = Path("/usr/bin/env").resolve().read_bytes()
    assert toolchain.build_id(image[:size]) == b""
    assert toolchain.build_id(b"\x7fELF\x02\x01" + b"\xff" * size) == b""


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        (b"2000.001", b"1200.000", True),
        (b"0x1", b"0x2", True),
        (b"processor\t: 0", b"processor\t: 9", True),
        (b"avx512f", b"avx2", False),
        (b"36608 KB", b"1024 KB", False),
        (b"model\t\t: 85", b"model\t\t: 86", False),
    ],
)
def test_the_cpu_is_what_code_is_made_for(old: bytes, new: bytes, same: bool) -> None:
    changed = CPUINFO.replace(old, new)
    assert changed != CPUINFO
    assert (toolchain.cpu_identity(CPUINFO) == toolchain.cpu_identity(changed)) is same
    assert toolchain.shown(toolchain.cpu_identity(CPUINFO)) == "A CPU @ 2.0GHz"


def test_many_cores_of_one_kind_are_one_kind() -> None:
    assert toolchain.cpu_identity(CPUINFO) == toolchain.cpu_identity(CPUINFO * 8)
    assert toolchain.cpu_identity(CPUINFO) != toolchain.cpu_identity(CPUINFO + CPUINFO.replace(b"85", b"86"))
