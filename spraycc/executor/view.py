"""The view that an executor gives its overlay tasks: kept layers in a serving box, or a new box for each task.

Without a pid namespace a process of a task may still be ending when the next task starts. So such hosts, and hosts on
which the serving box does not start, get a new box and new layers for each task.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Sequence

from spraycc.errors import CaptureError, CaptureRefusal
from spraycc.executor.box import BoxOrder, BoxProcess, Ended, Layer, NotStarted, Streams, start_box
from spraycc.executor.host import Host
from spraycc.executor.kept_layers import KeptLayers
from spraycc.executor.scratch import Slot
from spraycc.executor.serving_box import ServingBox

_log = logging.getLogger(__name__)

#: After this many set-ups in a row that failed in the serving box alone, each task gets a box of its own.
_MOST_FAILURES = 2
#: A task with more roots gets a box of its own: the serving box has room for 64 overlays, 24 of which are idle.
_MOST_ROOTS = 32
#: The steps of a set-up that a box of its own does not have.
_SERVING_STAGES = frozenset(("hold", "kept", "memory", "fork", "attach"))


class View:
    """A task goes through :meth:`layers`, :meth:`check`, :meth:`start` and :meth:`task_ended`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._kept = None if host.scratch is None or not host.pid_namespace else KeptLayers(host.scratch)
        self._box: ServingBox | None = None
        #: the mount points for which the box was started: it may not see mounts that came later
        self._mounts: frozenset[bytes] | None = None
        #: set-ups in a row that failed in the serving box
        self._failures = 0

    def layers(self, slot: Slot, roots: Sequence[bytes]) -> tuple[Layer, ...]:
        """The layers of a task over these roots.

        Raises:
            OSError: a root can't be examined, or the scratch disk is full.
        """
        kept = self._ready() if len(roots) <= _MOST_ROOTS else None
        return slot.layers(roots) if kept is None else kept.layers(roots)

    def check(self, layers: Sequence[Layer]) -> None:
        """Refuse the task if a prepared layer is not as when its overlay was mounted. The layer is dropped then.

        Raises:
            CaptureError: (HOST) the rights on a root have changed.
        """
        if self._kept is not None and not self._kept.are_as_mounted(layers):
            raise CaptureError(CaptureRefusal.HOST, "the rights on a directory of the capture have just changed")

    def start(self, order: BoxOrder, stdin: int, streams: Streams) -> BoxProcess:
        """Start a task's command.

        Raises:
            OSError: the box could not be started, or has ended.
        """
        if self._box is None or self._kept is None or not all(map(self._kept.is_in_use, order.layers)):
            return start_box(self._host.box, order, stdin, streams)
        forgotten = tuple(self._kept.forgotten)
        self._kept.forgotten.clear()
        try:
            return self._box.start(order, forgotten, stdin, streams)
        except OSError:
            self._box.stop()
            raise

    def task_ended(self, layers: Sequence[Layer], end: Ended | NotStarted | None) -> list[bytes]:
        """Keep a task's layers if they can serve again. Returns paths to remove.

        Args:
            layers: those of :meth:`layers`.
            end: None if the command did not come to its end.
        """
        if self._kept is not None and layers and all(map(self._kept.is_in_use, layers)):
            self._note(end)
            self._kept.task_ended(layers, can_be_kept=isinstance(end, Ended) and end.kept)
        return self._take_spent()

    def _note(self, end: Ended | NotStarted | None) -> None:
        """Note how a task of the serving box has ended."""
        if isinstance(end, Ended):
            self._failures = 0
        if not isinstance(end, NotStarted) or end.stage == "exec":
            return
        if self._box is not None:
            self._box.stop()
        if end.stage in _SERVING_STAGES and end.errno != errno.ESTALE:  # a lower directory was made again
            self._failures += 1
            if self._failures == _MOST_FAILURES:
                _log.warning("each task has a box of its own, as the serving box fails: %s", end)

    def rest(self) -> list[bytes]:
        """No task runs, and none has for a while: let go of all lower directories. Returns paths to remove.

        A kept overlay keeps the file system of its lower directory alive after it was unmounted.
        """
        self.close()
        if self._kept is not None:
            self._kept.drop_all()
        return self._take_spent()

    def close(self) -> None:
        """End the serving box."""
        if self._box is not None:
            self._box.stop()

    def _take_spent(self) -> list[bytes]:
        """Take the paths to remove."""
        if self._kept is None:
            return []
        spent, self._kept.spent = self._kept.spent, []
        return spent

    def _ready(self) -> KeptLayers | None:
        """The kept layers of a running box; None if each task has a box of its own."""
        if self._kept is None or self._host.scratch is None:
            return None
        if self._failures >= _MOST_FAILURES:
            self.close()
            self._kept.drop_all()
            self._box = None
            return None
        points = self._host.mounts.points()
        if self._box is not None and self._box.is_running() and points is self._mounts:
            return self._kept
        self.close()
        self._kept.drop_all()
        try:
            hold = self._host.scratch.path + b"/hold"
            os.makedirs(hold, 0o700, exist_ok=True)
            self._box = ServingBox(self._host.box, hold, self._host.null)
        except OSError as exc:
            _log.warning("each task has a box of its own, as the serving box does not start: %s", exc)
            self._box, self._failures = None, _MOST_FAILURES
            return None
        self._mounts = points
        return self._kept
