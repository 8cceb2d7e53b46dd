"""Layers that serve more than one task: their directories, and the conditions for another use.

A layer serves again if its upper directory is as it was when the overlay was mounted, apart from its time: the kernel
keeps the mode and the owner of an overlay's root. spraycc/native/box/serve.c has the further conditions.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from spraycc.executor.box import Layer
from spraycc.executor.scratch import Scratch

#: At most this many layers are kept; the box has room for 64 overlays, and a task has a few of its own.
_MOST = 24
#: A layer serves this many tasks at most. A ``volatile`` overlay remembers each error of its disk.
_MOST_USES = 500
#: An upper directory with more entries is thrown away as a whole.
_MOST_ENTRIES = 48
#: Larger files are moved away, and removed in the background.
_SMALL_BYTES = 1024 * 1024
#: The kernel's own notes on an upper directory, which no command can make.
_NOTES = "user.overlay."

#: Mode, owner and group.
_Rights = tuple[int, int, int]


def _rights(status: os.stat_result) -> _Rights:
    return status.st_mode, status.st_uid, status.st_gid


@dataclass(slots=True)
class _Kept:
    layer: Layer
    #: directory of the layer's two
    directory: bytes
    #: device and inode of the lower directory
    lower: tuple[int, int]
    #: of the lower directory
    lower_rights: _Rights
    #: of the upper directory when the overlay was mounted, and its attributes; None before
    rights: _Rights | None = None
    attributes: dict[str, bytes] = field(default_factory=dict)
    uses: int = 0

    def fits(self, lower: os.stat_result) -> bool:
        """True if the layer can serve the next task over this directory."""
        is_same = self.lower == (lower.st_dev, lower.st_ino) and self.lower_rights == _rights(lower)
        return is_same and self.uses < _MOST_USES


class KeptLayers:
    """The layers of an executor, by their roots. The least recently used layer goes first."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        #: root -> layer that no task uses
        self._idle: dict[bytes, _Kept] = {}
        #: upper directory -> layer of a task. The next task may start before the layers of the last one are emptied
        self._in_use: dict[bytes, _Kept] = {}
        #: upper directories whose overlays the box can forget
        self.forgotten: list[bytes] = []
        #: paths to remove in the background
        self.spent: list[bytes] = []

    def layers(self, roots: Sequence[bytes]) -> tuple[Layer, ...]:
        """A layer for each root, kept or new, which is in use until :meth:`task_ended`.

        Raises:
            OSError: a root can't be examined, or the scratch disk is full.
        """
        layers: list[Layer] = []
        try:
            for root in roots:
                layers.append(self._layer(root))
        except OSError:
            self.task_ended(layers, can_be_kept=False)
            raise
        return tuple(layers)

    def _layer(self, root: bytes) -> Layer:
        status = os.stat(root)
        kept = self._idle.pop(root, None)
        if kept is not None and not kept.fits(status):
            self._drop(kept)
            kept = None
        if kept is None:
            directory = self._scratch.new_path()
            layer = Layer(root, directory + b"/upper", directory + b"/work")
            for path in (directory, layer.upper, layer.work):
                os.mkdir(path, 0o700)
            kept = _Kept(layer, directory, (status.st_dev, status.st_ino), _rights(status))
        kept.uses += 1
        self._in_use[kept.layer.upper] = kept
        return kept.layer

    def are_as_mounted(self, layers: Iterable[Layer]) -> bool:
        """Note the prepared upper directories of new layers. False if a kept layer has got other rights."""
        for layer in layers:
            kept = self._in_use.get(layer.upper)
            if kept is None:  # of a box of the task's own
                continue
            rights = _rights(os.stat(layer.upper))
            if kept.rights is None:
                kept.rights = rights
                kept.attributes = _attributes(layer.upper)
            elif kept.rights != rights:
                return False
        return True

    def is_in_use(self, layer: Layer) -> bool:
        """True if :meth:`layers` gave the layer, and :meth:`task_ended` has not taken it back."""
        return layer.upper in self._in_use

    def task_ended(self, layers: Iterable[Layer], *, can_be_kept: bool) -> None:
        """Empty the upper directories for the next task, or drop the layers."""
        for layer in layers:
            kept = self._in_use.pop(layer.upper)
            if can_be_kept and layer.root not in self._idle and self._is_emptied(kept):
                self._idle[layer.root] = kept
            else:
                self._drop(kept)
        while len(self._idle) > _MOST:
            self._drop(self._idle.pop(next(iter(self._idle))))

    def drop_all(self) -> None:
        """The box and its overlays are gone."""
        for kept in self._idle.values():
            self._drop(kept)
        self._idle.clear()
        for kept in self._in_use.values():
            kept.uses = _MOST_USES
        self.forgotten.clear()

    def _drop(self, kept: _Kept) -> None:
        self.forgotten.append(kept.layer.upper)
        self.spent.append(kept.directory)

    def _is_emptied(self, kept: _Kept) -> bool:
        upper = kept.layer.upper
        # Without our own rights on it, the executor could neither empty nor prepare the directory.
        if kept.rights is None or kept.rights[0] & stat.S_IRWXU != stat.S_IRWXU or kept.uses >= _MOST_USES:
            return False
        try:
            if _rights(os.stat(upper)) != kept.rights or _attributes(upper) != kept.attributes:
                return False
            with os.scandir(upper) as entries:
                for number, entry in enumerate(list(entries)):
                    if number >= _MOST_ENTRIES:
                        return False
                    status = entry.stat(follow_symlinks=False)
                    if not stat.S_ISDIR(status.st_mode) and status.st_size <= _SMALL_BYTES:
                        os.unlink(entry.path)
                    else:
                        away = self._scratch.new_path()
                        os.mkdir(away, 0o700)
                        os.rename(entry.path, away + b"/away")
                        self.spent.append(away)
        except OSError:
            return False
        return True


def _attributes(path: bytes) -> dict[str, bytes]:
    found = {}
    for name in os.listxattr(path):
        if not name.startswith(_NOTES):
            with contextlib.suppress(OSError):
                found[name] = os.getxattr(path, name)
    return found
