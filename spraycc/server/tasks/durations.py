"""The history of tasks: a thread loads it when the server starts, and writes changes in batches."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import trio

from spraycc.history.estimates import History, Key
from spraycc.history.store import FILE_NAME, HistoryError, Store, target_name
from spraycc.model import Expectation, Usage
from spraycc.server.tasks.task import Task
from spraycc.system.threads import run_in_thread

log = logging.getLogger(__name__)

#: Interval between two writes, unless a build ends.
_SAVE_S = 20.0
#: At the server's end the last write may take this time.
_LAST_SAVE_S = 2.0
#: The first tasks wait this long for their history. No executor is connected yet.
_LOAD_S = 1.0
#: After this many failed writes in a row the server writes no more.
_MOST_FAILURES = 5


class TaskHistory:
    """Durations and memory of past tasks, and expectations for new tasks. If the file can't be used: in memory only."""

    def __init__(self, state_dir: Path, workspace: bytes) -> None:
        """``state_dir``: this server's own. The file lies beside it, because servers on other hosts use it too."""
        self._known = History()
        self._store: Store | None = Store(state_dir.parent / FILE_NAME, workspace, log.warning)
        self._workspace = workspace
        self._cleared = 0
        self._failures = 0
        self._due = trio.Event()
        self._loaded = trio.Event()

    async def loaded(self) -> None:
        """Return when the file was read or can't be read, or after ``_LOAD_S`` on a slow disk."""
        if not self._loaded.is_set():
            with trio.move_on_after(_LOAD_S):
                await self._loaded.wait()

    def expect(self, key: Key) -> Expectation:
        """The expectation for a task with this key."""
        return self._known.expect(key)

    def key_of(self, task: Task) -> Key:
        """The task's kind, and its last output relative to the workspace; without an output, its command line."""
        name = None
        if task.plan is not None and task.plan.outputs:
            name = task.plan.outputs[-1]
            if name.startswith(self._workspace) and name[len(self._workspace) : len(self._workspace) + 1] == b"/":
                name = name[len(self._workspace) + 1 :]
        return task.description.kind.value, target_name(name or b" ".join(task.command.argv))

    def note(self, key: Key, usage: Usage) -> None:
        """A task succeeded on an executor."""
        self._known.note(key, usage.wall_s, usage.peak_rss_bytes, int(time.time()))

    def note_memory(self, key: Key, usage: Usage) -> None:
        """A task ran out of memory on an executor."""
        self._known.note_memory(key, usage.peak_rss_bytes, int(time.time()))

    def save_soon(self) -> None:
        """Save at a build's end, because servers on other hosts may want its durations."""
        self._due.set()

    async def run(self) -> None:
        """Load the file, then save changes from time to time. Ends by cancellation, with one last write.

        After a fault the history stays in memory. The builds and the server continue.
        """
        try:
            await self._run()
        except Exception as exc:
            log.exception("a fault in the history of durations")
            self._give_up(exc)

    async def _run(self) -> None:
        store = self._store
        assert store is not None
        try:
            self._cleared, entries = await run_in_thread(store.load, abandon_on_cancel=True)
            self._known.load(entries)
        except HistoryError as exc:
            self._give_up(exc)
        finally:
            self._loaded.set()
        try:
            while self._store is not None:
                with trio.move_on_after(_SAVE_S):
                    await self._due.wait()
                self._due = trio.Event()
                await self._save()
        finally:
            with trio.move_on_after(_LAST_SAVE_S, shield=True):
                await self._save()

    async def _save(self) -> None:
        changes = self._known.take_changes()
        if self._store is None or not changes:
            return
        try:
            cleared = await run_in_thread(self._store.save, changes, self._cleared, abandon_on_cancel=True)
        except HistoryError as exc:
            self._known.give_back(changes)
            self._failures += 1
            log.warning("the history of durations was not written: %s", exc)
            if self._failures == _MOST_FAILURES:
                self._give_up(exc)
            return
        self._failures = 0
        if cleared != self._cleared:
            self._cleared = cleared
            self._known.clear()

    def _give_up(self, error: Exception) -> None:
        log.warning("the history of durations is kept in memory only: %s", error)
        self._store = None
