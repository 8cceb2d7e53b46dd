"""The predicted capture: the command writes into a directory of ours, as its rewritten line says, and is run in place.

Where an output is there already, a stand-in of the same mode is put in its place beforehand: its disappearance tells
that the command removed the output (compilers do when they fail). It is empty only where the output is: the assembler
removes a file that has contents before it writes (so that the new one has the mode that the umask gives), and keeps an
empty one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from spraycc.errors import CaptureError, CaptureRefusal
from spraycc.executor.box import BoxOrder
from spraycc.executor.prepare import Stamp, stamp
from spraycc.executor.produced_files import ProducedMessage, contents
from spraycc.model import TaskId
from spraycc.wire.executor import Deleted


@dataclass(frozen=True, slots=True)
class Redirection:
    """One task's directory."""

    directory: bytes
    #: (name in it, absolute path)
    outputs: tuple[tuple[bytes, bytes], ...]
    #: the stand-ins, by their names
    stamps: dict[bytes, Stamp]

    @classmethod
    def make(cls, slot: bytes, outputs: Sequence[tuple[bytes, bytes]]) -> Redirection:
        """Make the directory in the task's slot, with all that the command needs in it.

        Raises:
            CaptureError: (UNSUPPORTED) a name leads out of it.
            OSError: the disk is full.
        """
        directory = slot + b"/predicted"
        os.mkdir(directory, 0o700)
        stamps = {}
        for name, path in outputs:
            below, _, base = name.partition(b"/")
            if not below.isdigit() or base in (b"", b".", b"..") or b"/" in base:
                raise CaptureError(CaptureRefusal.UNSUPPORTED, f"a name {name!r}")
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
        """The command with its words, and a TMPDIR of its own."""
        argv = tuple([word.replace(b"\0", self.directory) for word in command.argv])
        env = (*[entry for entry in command.env if not entry.startswith(b"TMPDIR=")], b"TMPDIR=" + temporary)
        return replace(command, argv=argv, env=env, in_place=True)

    def produced(self, task: TaskId) -> Iterator[ProducedMessage]:
        """What it wrote.

        Raises:
            CaptureError: (UNSUPPORTED) something that was not foretold, or is no plain file.
        """
        names = dict(self.outputs)
        for directory, _, files in os.walk(self.directory):
            for file in files:
                name = os.path.relpath(os.path.join(directory, file), self.directory)
                if name not in names:
                    raise CaptureError(CaptureRefusal.UNSUPPORTED, f"it also wrote {os.fsdecode(file)}")
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
            yield from contents(task, path, place, status, None)
