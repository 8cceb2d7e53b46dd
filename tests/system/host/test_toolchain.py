"""The identities that two hosts compare: the compiler's and the CPU's."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

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


def test_the_same_file_elsewhere_is_the_same(tmp_path: Path) -> None:
    one = script(tmp_path / "one")
    other = tmp_path / "other"
    shutil.copy(os.fsdecode(one), other)  # another time, as on a host with a later installation
    assert toolchain.identity(one) == toolchain.identity(os.fsencode(other))
    assert toolchain.shown(toolchain.identity(one)) == "fake 1.0"


@pytest.mark.parametrize("text", ["fake 1.1", "fake 1.0 "])
def test_another_content_or_version_is_not(tmp_path: Path, text: str) -> None:
    assert toolchain.identity(script(tmp_path / "one")) != toolchain.identity(script(tmp_path / "other", text))


def test_another_part_is_not(tmp_path: Path) -> None:
    """The driver may be the same, but not the programs that it starts: for example a link to another assembler."""

    def driver(assembler: str) -> str:
        part, path = tmp_path / "as", tmp_path / "cc"
        part.write_text(assembler)
        path.write_text(f"#!/bin/sh\n[ $1 = -print-prog-name=as ] && echo {part}\n")
        path.chmod(0o755)
        return toolchain.identity(os.fsencode(path))

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
        return toolchain.identity(os.fsencode(path))

    assert (driver("one") != driver("two")) is counts


def test_a_missing_program_has_an_identity() -> None:
    missing = toolchain.identity(b"/nonexistent/gcc")
    assert toolchain.shown(missing) == "no version"
    assert missing != toolchain.identity(b"/usr/bin/gcc")


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
