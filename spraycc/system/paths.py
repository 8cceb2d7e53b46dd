"""Relations between paths, by their names alone. No file is examined."""

from __future__ import annotations


def is_inside(path: bytes, directory: bytes) -> bool:
    """Whether ``path`` is ``directory`` or below it; both absolute and normal."""
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")
