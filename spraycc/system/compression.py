"""Compresses and restores pieces of contents: Zstandard, level 1 (RFC 8878).

Measured on objects with debug information (docs/explanation/performance.md): zstd 1 makes a sixth of them,
LZ4 a third and a half, at much the same CPU. The library is imported with the first piece, because most
executors never compress one. If the library is missing or broken, nothing is compressed.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
from typing import TYPE_CHECKING

from spraycc.errors import ProtocolError, SprayccError

if TYPE_CHECKING:
    import zstandard

_log = logging.getLogger(__name__)

#: The modules that the first piece imports.
LATE_MODULES = ("zstandard",)

_LEVEL = 1
#: Pieces are at most 1 MiB, and level 1 uses windows of half of that.
_MOST_WINDOW_BYTES = 1024 * 1024


class Unusable(SprayccError):
    """The library is missing or broken."""


def is_installed() -> bool:
    """True if the library is there and has not failed. Imports nothing."""
    return not _failed and _is_found()


def pack(data: bytes | bytearray | memoryview) -> bytes | None:
    """The compressed piece; None if it is not smaller, or nothing can be compressed. One thread at a time."""
    try:
        packed: bytes = _compressor().compress(data)
    except Exception as exc:  # the library's own errors, and no memory; the piece then goes plain
        _note_failure(exc)
        return None
    return packed if len(packed) < len(data) else None


def unpack(packed: bytes | bytearray | memoryview, size_bytes: int) -> bytes:
    """The contents of a compressed piece. Any thread may call this. Needs memory for ``size_bytes``, and no more.

    Raises:
        ProtocolError: not one whole piece that becomes exactly ``size_bytes``.
        Unusable: this process can't restore any piece.
    """
    try:
        import zstandard

        # A decompressor is not thread-safe, and cheap to make.
        decompressor = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW_BYTES)
    except Exception as exc:
        _note_failure(exc)
        raise Unusable(f"the module zstandard can't be used: {exc}") from exc
    try:
        # The library allocates the announced size, so check that first. It refuses contents of another size itself.
        announced = zstandard.get_frame_parameters(packed).content_size
        if announced != size_bytes:
            raise ProtocolError(f"a compressed piece of {announced} bytes in place of {size_bytes}")
        return decompressor.decompress(packed, allow_extra_data=False)
    except zstandard.ZstdError as exc:
        raise ProtocolError(f"a damaged compressed piece: {exc}") from None


_failed = False


def _note_failure(exc: Exception) -> None:
    global _failed
    if not _failed:
        _log.warning("contents of files go uncompressed from now on: %s: %s", type(exc).__name__, exc)
    _failed = True


@functools.cache
def _is_found() -> bool:
    try:
        return all(importlib.util.find_spec(name) is not None for name in LATE_MODULES)
    except (ImportError, ValueError):
        return False


@functools.cache
def _compressor() -> zstandard.ZstdCompressor:
    import zstandard

    return zstandard.ZstdCompressor(level=_LEVEL)
