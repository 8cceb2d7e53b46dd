"""Programs that load a preloaded library, by the headers of their files."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import pytest

from spraycc.system.preload import can_name, can_preload, obstacle


def elf(path: Path, *, loader: bytes = b"/lib64/ld-linux-x86-64.so.2\0", **changes: int) -> bytes:
    """Writes an ELF file: a 64-bit header like this interpreter's, one program header, and the loader's name."""
    head = bytearray(Path("/proc/self/exe").read_bytes()[:64])
    head[32:40] = struct.pack("=Q", 64)  # e_phoff
    head[54:58] = struct.pack("=HH", 56, 1)  # e_phentsize, e_phnum
    for offset, value in changes.items():
        head[int(offset.removeprefix("at_"))] = value
    interpreter = struct.pack("=IIQQQQQQ", 3, 4, 120, 120, 120, len(loader), len(loader), 1)
    path.write_bytes(bytes(head) + interpreter + loader)
    path.chmod(0o755)
    return bytes(path)


@pytest.mark.skipif(struct.calcsize("P") != 8, reason="the libraries are for 64-bit hosts")
def test_programs_by_their_headers(tmp_path: Path) -> None:
    assert can_preload(elf(tmp_path / "same"))
    assert not can_preload(elf(tmp_path / "other-class", at_4=1))
    assert not can_preload(elf(tmp_path / "other-order", at_5=2 if sys.byteorder == "little" else 1))
    assert not can_preload(elf(tmp_path / "other-machine", at_18=0xF7))
    assert not can_preload(elf(tmp_path / "other-libc", loader=b"/lib/ld-musl-x86_64.so.1\0"))
    assert not can_preload(elf(tmp_path / "no-header", at_56=0))
    assert not can_preload(elf(tmp_path / "wild-table", at_39=0x7F))
    assert not can_preload(elf(tmp_path / "no-size", at_54=0))


@pytest.mark.skipif(struct.calcsize("P") != 8, reason="the libraries are for 64-bit hosts")
def test_why_a_program_loads_nothing(tmp_path: Path) -> None:
    assert obstacle(elf(tmp_path / "same")) == ""
    assert obstacle(elf(tmp_path / "other-class", at_4=1)) == "foreign"
    assert obstacle(elf(tmp_path / "other-machine", at_18=0xF7)) == "foreign"
    assert obstacle(elf(tmp_path / "no-loader", at_56=0)) == "static"
    assert obstacle(elf(tmp_path / "other-libc", loader=b"/lib/ld-musl-x86_64.so.1\0")) == "loader"
    set_id = Path(os.fsdecode(elf(tmp_path / "set-id")))
    set_id.chmod(0o2755)
    assert obstacle(bytes(set_id)) == "set-id"
    assert obstacle(bytes(tmp_path / "missing")) == ""


@pytest.mark.parametrize("name", [b"libasan.so.8", b"libhwasan.so.0", b"libclang_rt.asan-x86_64.so"])
def test_a_library_that_must_come_first(name: bytes, tmp_path: Path) -> None:
    program = elf(tmp_path / "program")
    assert can_preload(program, (b"LD_PRELOAD=libown.so", b"A=" + name))
    assert not can_preload(program, (b"A=1", b"LD_PRELOAD=/usr/lib/" + name))


def test_what_is_no_program_loads_nothing(tmp_path: Path) -> None:
    for number, content in enumerate((b"", b"\x7fELF", b"#!", b"#!\n", b"#! \n", b"#!/nowhere/sh\n", b"text\n")):
        path = tmp_path / str(number)
        path.write_bytes(content)
        assert not can_preload(bytes(path)), content
    assert not can_preload(bytes(tmp_path / "missing"))
    assert not can_preload(bytes(tmp_path))


def test_paths_that_ld_preload_can_hold() -> None:
    assert can_name(b"/usr/lib/x-1.so")
    assert not any(can_name(b"/a" + byte + b"b") for byte in (b" ", b":", b"$", b"\t", b"\n"))
