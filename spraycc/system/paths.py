"""Functions of paths by their names alone. No file is examined."""

from __future__ import annotations


def is_inside(path: bytes, directory: bytes) -> bool:
    """Whether ``path`` is ``directory`` or is below it. Both are absolute and normal."""
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")


def shown(path: bytes) -> str:
    """The path for a message. Bytes that are not UTF-8 are escaped."""
    return path.decode(errors="backslashreplace")
