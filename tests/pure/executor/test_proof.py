"""The proof: lookups that go back by number, lookups that go back with their stamp, and lookups that may be left out."""

from __future__ import annotations

import pytest

from spraycc.executor.proof import ToldStamp, bit_set, prove
from spraycc.stamps import DENIED, EXISTS, LAYOUT, MISSING, Lookup, Stamp, of_existence

OLD, NEW, NAMES_1, NAMES_2 = (LAYOUT.pack(kind, n, 0, 0, 0) for n, kind in ((1, 1), (2, 1), (3, 3), (4, 3)))


def numbers(bits: bytes) -> set[int]:
    value = int.from_bytes(bits, "little")
    return {number for number in range(value.bit_length()) if value >> number & 1}


def proved(
    reads: list[tuple[Lookup, Stamp]],
    told: dict[Lookup, ToldStamp],
    now: dict[Lookup, Stamp] | None = None,
) -> tuple[set[int], tuple[tuple[Lookup, Stamp], ...]]:
    proof = prove(
        reads,
        told,
        lambda d: d.startswith(b"/w"),
        lambda lookup, stamp: None if lookup.startswith(b"f/usr/bin/") else (EXISTS + lookup[1:], of_existence(stamp)),
        lambda d: d != b"/w/fuse",
        (now or {}).__getitem__,
    )
    return numbers(proof.matched), proof.others


def test_a_told_stamp_goes_back_as_its_number() -> None:
    told = {b"f/w/a.h": ToldStamp(3, OLD), b"f/w/b.h": ToldStamp(70, NEW)}
    assert proved([(b"f/w/a.h", OLD), (b"f/w/b.h", NEW)], told) == ({3, 70}, ())


@pytest.mark.parametrize("told", [{}, {b"f/w/a.h": ToldStamp(3, NEW)}], ids=["not told", "told otherwise"])
def test_any_other_stamp_goes_back_as_it_is(told: dict[Lookup, ToldStamp]) -> None:
    assert proved([(b"f/w/a.h", OLD)], told) == (set(), ((b"f/w/a.h", OLD),))


def test_a_missing_name_that_was_told_to_be_there_goes_back() -> None:
    told = {b"f/w/inc/a.h": ToldStamp(1, NEW), b"n/w/inc": ToldStamp(2, NAMES_1)}
    assert proved([(b"f/w/inc/a.h", MISSING)], told) == (set(), ((b"f/w/inc/a.h", MISSING),))


def test_missing_names_are_covered_by_their_directory() -> None:
    told = {b"n/w/inc": ToldStamp(5, NAMES_1)}
    reads = [(b"f/w/inc/a.h", MISSING), (b"f/w/inc/b.h", MISSING)]
    assert proved(reads, told, {b"n/w/inc": NAMES_1}) == ({5}, ())


@pytest.mark.parametrize(
    ("told", "now"),
    [
        ({}, {}),
        ({b"n/w/inc": ToldStamp(5, NAMES_1)}, {b"n/w/inc": NAMES_2}),
    ],
    ids=["the directory was not told", "it changed on this host"],
)
def test_else_each_missing_name_goes_back(told: dict[Lookup, ToldStamp], now: dict[Lookup, Stamp]) -> None:
    reads = [(b"f/w/inc/a.h", MISSING), (b"l/w/inc/b.h", MISSING)]
    assert proved(reads, told, now) == (set(), ((b"f/w/inc/a.h", MISSING), (b"l/w/inc/b.h", MISSING)))


def test_where_names_are_cached_by_themselves_the_directory_covers_none() -> None:
    told = {b"n/w/fuse": ToldStamp(5, NAMES_1)}
    reads = [(b"f/w/fuse/a.h", MISSING)]
    assert proved(reads, told, {b"n/w/fuse": NAMES_1}) == (set(), ((b"f/w/fuse/a.h", MISSING),))


def test_a_missing_name_that_was_told_to_be_missing_needs_no_directory() -> None:
    assert proved([(b"f/w/inc/a.h", MISSING)], {b"f/w/inc/a.h": ToldStamp(9, MISSING)}) == ({9}, ())


def test_files_on_this_host_s_own_disks_go_back_as_another_lookup() -> None:
    reads = [(b"f/usr/bin/ls", OLD), (b"f/usr/include/x.h", MISSING), (b"f/opt/y.h", OLD), (b"f/opt/z.h", NEW)]
    told = {b"e/opt/z.h": ToldStamp(6, of_existence(NEW)), b"f/opt/z.h": ToldStamp(7, OLD)}
    assert proved(reads, told) == ({6}, ((b"e/usr/include/x.h", MISSING), (b"e/opt/y.h", of_existence(OLD))))


def test_a_denied_permission_goes_back_as_it_is() -> None:
    told = {b"f/w/a.h": ToldStamp(3, OLD)}
    reads = [(b"f/w/a.h", OLD), (b"r/w/a.h", DENIED)]
    assert proved(reads, told) == ({3}, ((b"r/w/a.h", DENIED),))


def test_a_listed_directory_counts_by_the_file_server_s_stamp() -> None:
    """The command sees the overlay's directory, whose stamp differs."""
    told = {b"n/w/inc": ToldStamp(5, NAMES_1)}
    assert proved([(b"n/w/inc", OLD)], told, {b"n/w/inc": NAMES_1}) == ({5}, ())
    assert proved([(b"n/w/inc", OLD)], told, {b"n/w/inc": NAMES_2}) == (set(), ((b"n/w/inc", OLD),))
    assert proved([(b"n/w/inc", OLD)], {}) == (set(), ((b"n/w/inc", OLD),))


def test_bit_sets() -> None:
    assert bit_set(set()) == b""
    assert bit_set({0}) == b"\x01"
    assert bit_set({0, 7, 8, 17}) == b"\x81\x01\x02"
