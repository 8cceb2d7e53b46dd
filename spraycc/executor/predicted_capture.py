"""The predicted capture: the rewritten command writes all its outputs into a scratch directory, without an overlay.

If an output exists already, the executor first makes a stand-in with the same mode. If the stand-in is gone afterwards,
the command removed the output, as compilers do when they fail. The stand-in is empty only if the output is empty: the
assembler keeps an empty file, but replaces a file with contents by a new one (with the mode of the umask).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from spraycc.errors import CaptureError, CaptureRefusal
from spraycc.executor.box import BoxOrder
from spraycc.executor.prepare import Stamp, stamp
from spraycc.executor.produced_files import ProducedMessage, file_messages
from spraycc.model import TaskId
from spraycc.wire.executor import Deleted


@dataclass(frozen=True, slots=True)
class PredictedCapture:
    """The scratch directory for the outputs of one task."""

    directory: bytes
    #: (name in the directory, absolute path)
    outputs: tuple[tuple[bytes, bytes], ...]
    #: the stand-ins, by name
    stamps: dict[bytes, Stamp]

    @classmethod
    def make(cls, slot: bytes, outputs: Sequence[tuple[bytes, bytes]]) -> PredictedCapture:
        """Make the directory in the task's slot, with subdirectories and stand-ins.

        Raises:
            CaptureError: (UNSUPPORTED) a name leads out of the directory.
            OSError: the disk is full.
        """
        directory = slot + b"/predicted"
        os.mkdir(directory, 0o700)
        stamps = {}
        for name, path in outputs:
            below, _, base = name.partition(b"/")
            if not below.isdigit() or base in (b"", b".", b"..") or b"/" in base:
                raise CaptureError(CaptureRefusal.UNSUPPORTED, f"the name {name!r} leads out of the scratch directory")
            os.makedirs(os.path.join(directory, below), 0o700, exist_ok=True)
            try:
                status = os.lstat(path)
            except OSError:
                continue
            place = os.path.join(directory, name)
            with open(place, "xb") as file:
                os.fchmod(file.fileno(), stat.S_IMODE(status.st_mode))
                if status.st_size:
                    file.write(b"\n")
            stamps[name] = stamp(os.lstat(place))
        return cls(directory, tuple(outputs), stamps)

    def order(self, command: BoxOrder, temporary: bytes) -> BoxOrder:
        """The command with the directory in its words, and with its own TMPDIR."""
        argv = tuple([word.replace(b"\0", self.directory) for word in command.argv])
        return replace(command.with_temporary(temporary), argv=argv, in_place=True)

    def produced_messages(self, task: TaskId) -> Iterator[ProducedMessage]:
        """The messages for all that the command wrote.

        Raises:
            CaptureError: (UNSUPPORTED) a file that was not predicted, or no plain file.
        """
        names = dict(self.outputs)
        for directory, _, files in os.walk(self.directory):
            for file in files:
                name = os.path.relpath(os.path.join(directory, file), self.directory)
                if name not in names:
                    raise CaptureError(CaptureRefusal.UNSUPPORTED, f"the command also wrote {os.fsdecode(file)}")
        made = []
        for name, path in self.outputs:
            place = os.path.join(self.directory, name)
            try:
                status = os.lstat(place)
            except FileNotFoundError:
                if name in self.stamps:
                    yield Deleted(task, path)
                continue
            if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
                raise CaptureError(CaptureRefusal.UNSUPPORTED, f"{os.fsdecode(path)} is no plain file")
            if self.stamps.get(name) != stamp(status):
                made.append((path, place, status))
        for path, place, status in made:
            yield from file_messages(task, path, place, status, None)
