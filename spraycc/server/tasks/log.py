"""The record of a build: one line of JSON for each task, in a file of the state directory. `spraycc why` reads it.

The lines of a build and the number of builds are bounded. A full disk costs lines and nothing else.
"""

from __future__ import annotations

import json
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from spraycc.model import BuildId
from spraycc.server.tasks.task import Phase, Task

log = logging.getLogger(__name__)

#: Directory of the files, below the state directory. Their names sort by time.
DIRECTORY = "builds"
#: The server keeps the records of this many builds, the newest.
KEPT = 20
#: Tasks of one build that get a line. Further tasks are only counted, in the build's figures.
MOST_LINES = 100_000
#: A command line is cut to this many characters.
_ARGV_CHARACTERS = 2000


class Record:
    """One build's file. Owns the descriptor."""

    def __init__(self, state_dir: Path, build: BuildId, argv: tuple[bytes, ...]) -> None:
        self._fd = -1
        self._lines = 0
        directory = state_dir / DIRECTORY
        began = time.time()
        with suppress(OSError):
            directory.mkdir(mode=0o700, exist_ok=True)
            for old in sorted(directory.glob("*.jsonl"))[: -(KEPT - 1)]:
                old.unlink(missing_ok=True)
            path = directory / f"{int(began * 1000):015d}-{build}.jsonl"
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._write({"build": build, "argv": _text(argv), "began": round(began, 3)})

    def note(self, task: Task) -> None:
        """Write the line of a task that has ended."""
        if self._lines <= MOST_LINES:
            self._write(line_of(task))

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self, line: dict[str, Any]) -> None:
        self._lines += 1
        if self._fd < 0:
            return
        try:
            os.write(self._fd, json.dumps(line, separators=(",", ":")).encode() + b"\n")
        except OSError as exc:
            log.warning("the build's record ends here: %s", exc)
            self.close()


def line_of(task: Task) -> dict[str, Any]:
    """One task's line, as docs/protocol.md describes it."""
    description = task.description
    names = description.outputs[-1:] or description.inputs[:1] or task.command.argv[:1]
    return {
        "target": os.fsdecode(names[0]) if names else "",
        "argv": _text(task.command.argv),
        "cwd": os.fsdecode(task.command.cwd),
        "kind": description.kind.value,
        "placement": description.placement.value,
        "reason": description.reason,
        "ran": "here" if task.runs_here else "remote" if task.phase is Phase.ANSWERED else "cancelled",
        "why": task.why_here,
        "refusals": task.refusals,
        "attempts": task.attempts,
        "stale": task.stale,
        "executor": task.executor or "",
        "status": task.status,
        "s": round(time.monotonic() - task.arrived, 4),
    }


def _text(argv: tuple[bytes, ...]) -> str:
    # Cut as bytes first: a command line may be megabytes.
    joined = b" ".join(argv)[: _ARGV_CHARACTERS + 1]
    text = os.fsdecode(joined)
    return text if len(text) <= _ARGV_CHARACTERS else text[:_ARGV_CHARACTERS] + "…"
