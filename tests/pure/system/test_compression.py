"""Pieces of contents: what is restored is what was compressed, or the piece is refused."""

from __future__ import annotations

import builtins
import contextlib
import random
import sys
from collections.abc import Iterator

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from spraycc.errors import ProtocolError
from spraycc.system import compression
from spraycc.system.compression import Unusable, is_installed, pack, unpack

CONTENTS = b"".join(b"symbol_%d\0" % (number % 997) for number in range(100_000))[: 1024 * 1024]


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The module as after its import."""
    monkeypatch.setattr(compression, "_failed", False)
    compression._compressor.cache_clear()
    compression._is_found.cache_clear()
    yield
    compression._compressor.cache_clear()
    compression._is_found.cache_clear()


@given(st.binary(max_size=2000), st.integers(1, 200))
def test_restored_contents_are_the_same(data: bytes, times: int) -> None:
    packed = pack(data * times)
    assert packed is None or (len(packed) < len(data) * times and unpack(packed, len(data) * times) == data * times)


def test_a_piece_may_be_a_view_of_a_larger_buffer() -> None:
    packed = pack(memoryview(bytearray(CONTENTS))[1000:500_000])
    assert packed is not None
    assert unpack(memoryview(bytearray(packed)), 499_000) == CONTENTS[1000:500_000]


def test_contents_that_do_not_become_smaller_go_plain() -> None:
    assert pack(random.Random(1).randbytes(100_000)) is None
    assert pack(b"") is None


@pytest.mark.parametrize("size", [0, len(CONTENTS) - 1, len(CONTENTS) + 1])
def test_a_piece_of_another_size_is_refused(size: int) -> None:
    packed = pack(CONTENTS)
    assert packed is not None
    with pytest.raises(ProtocolError, match="in place of"):
        unpack(packed, size)


def test_a_piece_that_would_need_much_memory_is_refused_before_it_is_restored() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(100 * 1024 * 1024))
    assert len(bomb) < 20_000
    with pytest.raises(ProtocolError, match="in place of"):
        unpack(bomb, 1024 * 1024)


def test_a_piece_with_a_forged_size_is_refused() -> None:
    piece = bytearray(zstandard.ZstdCompressor().compress(bytes(1024 * 1024)))
    true = (1024 * 1024).to_bytes(4, "little")
    at = piece.index(true)  # the first field after the magic number and the frame's flags
    assert at == 5
    piece[at : at + 4] = (100_000).to_bytes(4, "little")
    with pytest.raises(ProtocolError):
        unpack(piece, 100_000)


def test_a_piece_without_a_size_is_refused() -> None:
    packed = zstandard.ZstdCompressor(write_content_size=False).compress(CONTENTS)
    with pytest.raises(ProtocolError):
        unpack(packed, len(CONTENTS))


def test_bytes_after_the_piece_are_refused() -> None:
    packed = pack(CONTENTS)
    assert packed is not None
    with pytest.raises(ProtocolError, match="damaged"):
        unpack(packed + b"x", len(CONTENTS))


@given(st.data())
def test_a_cut_or_changed_piece_is_refused_or_has_the_size(data: st.DataObject) -> None:
    packed = bytearray(pack(CONTENTS[:50_000]) or b"")
    cut = data.draw(st.integers(0, len(packed)))
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] ^= data.draw(st.integers(0, 255))
    with contextlib.suppress(ProtocolError):
        assert len(unpack(packed[:cut], 50_000)) == 50_000


@pytest.mark.usefixtures("fresh")
def test_without_the_library_everything_goes_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = pack(CONTENTS)
    assert packed is not None
    compression._compressor.cache_clear()
    monkeypatch.setitem(sys.modules, "zstandard", None)  # an import of it fails
    assert pack(CONTENTS) is None
    assert not is_installed()
    with pytest.raises(Unusable, match="zstandard"):
        unpack(packed, len(CONTENTS))


@pytest.mark.usefixtures("fresh")
def test_a_library_that_fails_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_installed()
    monkeypatch.setattr(zstandard, "ZstdCompressor", _broken)
    assert pack(CONTENTS) is None
    assert not is_installed()


def _broken(**_: object) -> object:
    raise MemoryError


@pytest.mark.usefixtures("fresh")
def test_whether_the_library_is_there_is_found_without_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "zstandard")
    real = builtins.__import__

    def checked(name: str, *arguments: object) -> object:
        assert not name.startswith("zstandard")
        return real(name, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", checked)
    assert is_installed()
