"""Chooses the directories to overlay. Pure: all paths are absolute and without symbolic links.

An overlay is impossible over a directory with a mount below it (unprivileged: EINVAL; as root it would hide the mount),
and over a directory that contains the upper layer (ELOOP). If such an *obstacle* exists and the outputs are known, the
plan has the largest subtrees without an obstacle that hold the working directory and the outputs. The rest is read-only
for the command: a write there fails visibly, and no file is lost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from spraycc.errors import CaptureError, CaptureRefusal
from spraycc.system.paths import is_inside, shown


def plan_overlays(
    required: Iterable[bytes],
    optional: Iterable[bytes],
    needed: Collection[bytes],
    mounts: Iterable[bytes],
    scratch: bytes,
) -> tuple[bytes, ...]:
    """The directories to overlay, sorted, none inside another.

    Args:
        required: roots that must be captured.
        optional: roots that are captured if that is possible for the whole root.
        needed: directories to which the command writes: the working directory and those of the outputs.
        mounts: all mount points.
        scratch: the directory that will hold the upper layers.

    Raises:
        CaptureError: (ROOT) an obstacle lies below a needed directory.
    """
    obstacles = {*mounts, scratch}
    chosen = {root for root in optional if _below(root, obstacles) is None}
    for root in required:
        if _below(root, obstacles) is None:
            chosen.add(root)
        else:
            chosen.update(_largest_clear(root, path, obstacles) for path in needed if is_inside(path, root))
    outermost = [root for root in chosen if not any(is_inside(root, other) for other in chosen if other != root)]
    return tuple(sorted(outermost))


def _below(directory: bytes, obstacles: Iterable[bytes]) -> bytes | None:
    """An obstacle strictly below the directory, or None. (A root that is itself a mount point is no obstacle.)"""
    prefix = directory.rstrip(b"/") + b"/"
    return min((o for o in obstacles if o != directory and o.startswith(prefix)), default=None)


def _largest_clear(root: bytes, path: bytes, obstacles: Collection[bytes]) -> bytes:
    """The outermost directory from ``root`` down to ``path`` that has no obstacle below."""
    candidate = root.rstrip(b"/")
    for name in [b"", *path[len(candidate) :].strip(b"/").split(b"/")]:
        candidate = candidate + b"/" + name if name else candidate
        below = _below(candidate or b"/", obstacles)
        if below is None:
            return candidate
    raise CaptureError(CaptureRefusal.ROOT, f"{shown(path)} can't be overlaid: {shown(below or b'')} is below it")
