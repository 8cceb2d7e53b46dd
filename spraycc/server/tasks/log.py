"""The record of a build: a file of JSON lines in the state directory (docs/records.md).

The record never fails a build. Lines are collected and written once a second, at 64 KiB, and when the server has no
task. The lines and the size of a record are bounded, and so is the number of records. A full disk costs lines and
nothing else.
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
    KEPT,
    KEPT_BYTES,
    MOST_BYTES,
    MOST_LINES,
    SAMPLE_S,
    SAMPLES,
    SUFFIX,
    Header,
    SampleLine,
)
from spraycc.server.tasks.record_lines import encoded, line_of
from spraycc.server.tasks.task import Task

log = logging.getLogger(__name__)

_P = ParamSpec("_P")

#: Lines of this size are written at once.
_BUFFER_BYTES = 64 * 1024


def _harmless(method: Callable[Concatenate[Record, _P], None]) -> Callable[Concatenate[Record, _P], None]:
    """A method that ends the record if it fails, and raises nothing: its callers answer runners."""

    @wraps(method)
    def guarded(self: Record, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception:
            log.exception("the build's record ends here")
            self._close_file()

    return guarded


class Record:
    """One build's file. Owns the descriptor."""

    def __init__(self, state_dir: Path, header: Header, started: float) -> None:
        """``started``: the build's begin, from which all times count (time.monotonic)."""
        self._started = started
        self._fd = -1
        self._lines = 0
        self._tasks = 0
        self._dropped = 0
        self._bytes = 0
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._samples = 0
        self._sampled_at = float("-inf")
        self._sampled: Mapping[str, object] = {}
        directory = state_dir / DIRECTORY
        name = f"{int(header['began'] * 1000):015d}-{header['build']}"
        self._path = directory / f"{name}{SUFFIX}"
        self._empty_path = directory / f"{name}{EMPTY_SUFFIX}"
        with suppress(OSError):
            directory.mkdir(mode=0o700, exist_ok=True)
            for path in outdated((entry.path, entry.stat().st_size) for entry in os.scandir(directory)):
                os.unlink(path)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(self._path, flags, 0o600)
        self._write(encoded(header))
        self.flush()

    @_harmless
    def note(self, task: Task) -> None:
        """Add the line of a task that has ended."""
        self._tasks += 1
        self._add(line_of(task, self._started))

    @_harmless
    def executor_joined(self, executor: str, host: str, batch_job: str, connected_s: float = 0.0) -> None:
        """Add an executor that has been connected for ``connected_s`` seconds."""
        joined = round(time.monotonic() - connected_s - self._started, 3)
        self._add({"executor": executor, "host": host, "batch_job": batch_job, "joined": joined})

    @_harmless
    def executor_left(self, executor: str) -> None:
        """Add that an executor has gone."""
        self._add({"executor": executor, "left": round(time.monotonic() - self._started, 3)})

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
        self._add(line)

    def flush(self) -> None:
        """Write the lines that were added. A failure ends the record."""
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        if not pending or self._fd < 0:
            return
        data = b"".join(pending)
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as exc:
            log.warning("the build's record ends here: %s", exc)
            self._close_file()

    @_harmless
    def end(self, status: int | None, wall_s: float | None, figures: Mapping[str, Any]) -> None:
        """Add the last line, and close the file. A record without a task gets a name that says so."""
        ended = round(time.monotonic() - self._started, 3)
        waited = None if wall_s is None else round(wall_s, 3)
        end = {"ended": ended, "status": status, "wall_s": waited, "figures": figures, "dropped": self._dropped}
        self._write(encoded(end))
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

    def _add(self, line: object) -> None:
        if self._fd < 0:
            return
        data = encoded(line)
        if self._lines >= MOST_LINES or self._bytes + len(data) > MOST_BYTES:
            self._dropped += 1
            return
        self._lines += 1
        self._write(data)

    def _write(self, data: bytes) -> None:
        self._bytes += len(data)
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes >= _BUFFER_BYTES:
            self.flush()


def interval_s(samples: int) -> float:
    """Seconds to the next sample, after this many."""
    return SAMPLE_S * float(2 ** (samples // SAMPLES))


def outdated(files: Iterable[tuple[str, int]]) -> list[str]:
    """The paths to remove before a further record is written. ``files``: (path, size) of what the directory has."""
    newest_first = sorted((item for item in files if item[0].endswith(SUFFIX)), reverse=True)
    kept = {True: 0, False: 1}  # by kind: without tasks, with tasks; the record to be written may have tasks
    total = MOST_BYTES
    removed = []
    for path, size in newest_first:
        is_empty = path.endswith(EMPTY_SUFFIX)
        if kept[is_empty] >= KEPT or total + size > KEPT_BYTES:
            removed.append(path)
        else:
            kept[is_empty] += 1
            total += size
    return removed
