"""The record of a build: a file of JSON lines in the state directory (docs/reference/records.md).

The record never fails a build. Lines are collected and written once a second, at 64 KiB, and when the server has no
task. The lines and the size of a record are bounded, and so is the number of records. A full disk costs lines and
nothing else: lines are dropped whole, and header and end are tried again.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from spraycc.records.format import (
    DIRECTORY,
    EMPTY_SUFFIX,
    EXECUTORS_ROOM,
    FAILED_ROOM,
    KEPT,
    KEPT_BYTES,
    MOST_BYTES,
    NAME,
    SAMPLE_S,
    SAMPLES,
    SAMPLES_ROOM,
    SUFFIX,
    TASKS_ROOM,
    Header,
    Room,
    SampleLine,
    rank,
)
from spraycc.records.liveness import is_open
from spraycc.records.read import read_end, read_header
from spraycc.server.tasks.record_lines import encoded, line_of
from spraycc.server.tasks.task import Task

log = logging.getLogger(__name__)

_P = ParamSpec("_P")

#: Lines of this size are written at once.
_BUFFER_BYTES = 64 * 1024


def _harmless(method: Callable[Concatenate[Record, _P], None]) -> Callable[Concatenate[Record, _P], None]:
    """A method that costs the record a line if it fails, and raises nothing: its callers answer runners."""

    @wraps(method)
    def guarded(self: Record, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception:
            if not self._has_failed:
                log.exception("the build's record loses lines")
            self._has_failed = True
            self._dropped += 1

    return guarded


class _Left:
    """The rest of a room."""

    def __init__(self, room: Room) -> None:
        self._lines, self._bytes = room

    def take(self, size: int) -> bool:
        """Take a line of this size. False if it does not fit."""
        if not self._lines or size > self._bytes:
            return False
        self._lines -= 1
        self._bytes -= size
        return True


class Record:
    """One build's file. Owns the descriptor."""

    def __init__(self, state_dir: Path, header: Header, started: float) -> None:
        """``started``: the build's begin, from which all times count (time.monotonic)."""
        self._started = started
        self._fd = -1
        self._tasks = 0
        self._dropped = 0
        self._task_room, self._failed_room = _Left(TASKS_ROOM), _Left(FAILED_ROOM)
        self._executor_room, self._sample_room = _Left(EXECUTORS_ROOM), _Left(SAMPLES_ROOM)
        #: the header, until it is in the file
        self._header = encoded(header)
        #: whole lines
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        #: the file ends with a part of a line that could not be removed
        self._is_torn = False
        #: the log has a line about the first failure
        self._has_failed = False
        self._samples = 0
        self._sampled_at = float("-inf")
        self._sampled: Mapping[str, object] = {}
        directory = state_dir / DIRECTORY
        name = f"{max(0, int(header['began'] * 1000)):015d}-{header['build']}"
        self._path = directory / f"{name}{SUFFIX}"
        self._empty_path = directory / f"{name}{EMPTY_SUFFIX}"
        with suppress(OSError):
            directory.mkdir(mode=0o700, exist_ok=True)
            _remove_outdated(directory, header["began"])
        with suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            self._fd = os.open(self._path, flags, 0o600)
        self.flush()

    @_harmless
    def note(self, task: Task) -> None:
        """Add the line of a task that has ended."""
        self._tasks += 1
        line = line_of(task, self._started)
        self._add(line, self._task_room, *([self._failed_room] if line["status"] else []))

    @_harmless
    def executor_joined(self, executor: str, host: str, batch_job: str, connected_s: float = 0.0) -> None:
        """Add an executor that has been connected for ``connected_s`` seconds."""
        joined = round(time.monotonic() - connected_s - self._started, 3)
        self._add({"executor": executor, "host": host, "batch_job": batch_job, "joined": joined}, self._executor_room)

    @_harmless
    def executor_left(self, executor: str) -> None:
        """Add that an executor has gone."""
        left = round(time.monotonic() - self._started, 3)
        self._add({"executor": executor, "left": left}, self._executor_room)

    @_harmless
    def sample(self, state: Mapping[str, object]) -> None:
        """Add the build's state, without ``t``, if it has changed and the interval since the last sample is over."""
        t = time.monotonic() - self._started
        # A timer is some milliseconds late or early.
        if state == self._sampled or t - self._sampled_at < interval_s(self._samples) - SAMPLE_S / 2:
            return
        self._sampled_at, self._sampled = t, state
        self._samples += 1
        line: SampleLine = {"t": round(t, 3), **state}  # type: ignore[typeddict-item]
        self._add(line, self._sample_room)

    def flush(self) -> None:
        """Write the lines that were added. Lines that can't be written are dropped."""
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        if self._fd < 0 or not (pending or self._header):
            return
        kept = self._append(b"\n" * self._is_torn + self._header + b"".join(pending), torn=self._is_torn)
        if kept and self._header:
            kept -= 1
            self._header = b""
        self._dropped += len(pending) - kept

    @_harmless
    def end(self, status: int | None, wall_s: float | None, figures: Mapping[str, Any]) -> None:
        """Add the last line, and close the file. A record without a task gets a name that says so."""
        self.flush()
        ended = round(time.monotonic() - self._started, 3)
        waited = None if wall_s is None else round(wall_s, 3)
        end = {"ended": ended, "status": status, "wall_s": waited, "figures": figures, "dropped": self._dropped}
        self._pending.append(encoded(end))
        self.close()
        if not self._tasks:
            with suppress(OSError):
                os.rename(self._path, self._empty_path)

    def close(self) -> None:
        """Write what was added, and close the file. Lines that come later are dropped."""
        self.flush()
        self._close_file()

    def _close_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _add(self, line: object, *rooms: _Left) -> None:
        """Add a line if one of the rooms, the first that can, takes it."""
        if self._fd < 0:
            return
        data = encoded(line)
        if not any(room.take(len(data)) for room in rooms):
            self._dropped += 1
            return
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes >= _BUFFER_BYTES:
            self.flush()

    def _append(self, data: bytes, *, torn: bool) -> int:
        """Write whole lines as far as the disk has room for them.

        Args:
            data: lines.
            torn: the first line is empty: it ends the part of a line with which the file ends.

        Returns:
            The lines that are in the file now, without that empty line.
        """
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError as exc:
            if not self._has_failed:
                log.warning("the build's record loses lines: %s", exc)
                self._has_failed = True
        whole = data.rfind(b"\n", 0, written) + 1
        self._is_torn = torn and not whole
        if whole < written:
            try:
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - (written - whole))
            except OSError:
                self._is_torn = True
        return data.count(b"\n", torn, whole)


def interval_s(samples: int) -> float:
    """Seconds to the next sample, after this many."""
    return SAMPLE_S * float(2 ** (samples // SAMPLES))


def _remove_outdated(directory: Path, now: float) -> None:
    with os.scandir(directory) as entries:
        files = {entry.name: entry.stat(follow_symlinks=False).st_size for entry in entries if entry.is_file()}
    for name in outdated(files.items(), now):
        path = directory / name
        # After the clock was set back, the record of an open build may seem to be the oldest.
        if read_end(path) or not is_open(read_header(path)):
            os.unlink(path)


def outdated(files: Iterable[tuple[str, int]], now: float) -> list[str]:
    """The records to remove before a further record is written.

    Args:
        files: name and size in bytes of all files in the directory.
        now: seconds since 1970.
    """
    records = [item for item in files if NAME.fullmatch(item[0])]
    newest_first = sorted(records, key=lambda item: rank(item[0], now), reverse=True)
    kept = {True: 1, False: 1}  # by kind: without tasks, with tasks; the record to be written may become of either kind
    total = MOST_BYTES
    removed = []
    for name, size in newest_first:
        is_empty = name.endswith(EMPTY_SUFFIX)
        if kept[is_empty] >= KEPT or total + size > KEPT_BYTES:
            removed.append(name)
        else:
            kept[is_empty] += 1
            total += size
    return removed
