"""Packed extensions hold only what the loader reads."""

from __future__ import annotations

import struct

import pytest

from spraycc.executor.pack import loaded_part


def elf(*segments: tuple[int, int, int], size: int, table: int = 64) -> bytes:
    """An ELF file of this size with these program headers: (type, offset, size in the file)."""
    head = struct.pack("<6s10xHHIQQQIHHHHHH", b"\x7fELF\x02\x01", 3, 62, 1, 0, table, size - 64, 0, 64, 56, len(segments), 64, 7, 6)  # fmt: skip
    rows = b"".join(struct.pack("<IIQQQQQQ", kind, 5, start, 0, 0, length, length, 4096) for kind, start, length in segments)  # fmt: skip
    return (head + rows).ljust(size, b"s")


def test_bytes_after_the_last_loaded_segment_are_left_out() -> None:
    whole = elf((1, 0, 300), (1, 400, 100), (0x6474E551, 0, 0), size=9000)
    part = loaded_part(whole)
    assert len(part) == 500
    assert part[64:] == whole[64:500]
    assert part[40:48] == bytes(8)  # no table of sections
    assert part[60:64] == bytes(4)
    assert part[:40] + part[48:60] == whole[:40] + whole[48:60]


def test_program_headers_behind_the_segments_are_kept() -> None:
    whole = bytearray(elf((1, 0, 100), size=1000))
    whole[32:40] = (500).to_bytes(8, "little")
    whole[500:556] = whole[64:120]
    assert len(loaded_part(bytes(whole))) == 556


@pytest.mark.parametrize(
    "binary",
    [
        b"",
        b"\x7fELF\x02\x01",
        b"#!/bin/sh\n",
        b"\x7fELF\x01\x01" + bytes(1000),  # 32 bits
        b"\x7fELF\x02\x02" + bytes(1000),  # big endian
        elf((1, 0, 5000), size=1000),
        elf((1, 0, 500), size=1000)[:100],
    ],
)
def test_other_files_stay_as_they_are(binary: bytes) -> None:
    assert loaded_part(binary) == binary
