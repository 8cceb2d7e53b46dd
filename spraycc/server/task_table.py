"""The table of the server's tasks, with the parts that serve them. Handles the ends of attempts and tasks."""

from __future__ import annotations

import logging
import signal
import time
from typing import TYPE_CHECKING

from spraycc.model import ExecutorId, TaskId, Usage
from spraycc.scheduler.events import Outcome
from spraycc.server.builds.build import Builds
from spraycc.server.coherence.inputs import Inputs
from spraycc.server.coherence.submit_host import SubmitHost
from spraycc.server.coherence.tracker import Tracker
from spraycc.server.coherence.watcher import Watcher
from spraycc.server.host.offload import Disk
from spraycc.server.tasks.durations import TaskHistory
from spraycc.server.tasks.predicted_outputs import Predictions
from spraycc.server.tasks.stats import is_compile
from spraycc.server.tasks.task import Phase, Task

if TYPE_CHECKING:
    from spraycc.server.writeback.commit import WriteBack

log = logging.getLogger(__name__)

#: Exit status of a command that SIGKILL has ended, as in ``$?``.
_KILLED = 128 + signal.SIGKILL


class TaskTable:
    """All tasks whose runners are connected."""

    def __init__(self, builds: Builds, history: TaskHistory, disk: Disk, *, is_own_disk: bool = False) -> None:
        """``is_own_disk``: the workspace is on a file system of this host (see ``WriteBack``)."""
        self.builds = builds
        self.history = history
        self.disk = disk
        self._is_own_disk = is_own_disk
        self._write_back: WriteBack | None = None
        self.known: dict[TaskId, Task] = {}
        self.predictions = Predictions(disk, self.known)
        self._inputs: Inputs | None = None

    @property
    def write_back(self) -> WriteBack:
        """Writes the files of attempts. Made when first needed: a server without executors does not import it."""
        if self._write_back is None:
            from spraycc.server.writeback.commit import WriteBack

            self._write_back = WriteBack(self.disk, is_own_disk=self._is_own_disk)
        return self._write_back

    @property
    def inputs(self) -> Inputs:
        """The files that tasks read. Made when first needed: a server without a cluster watches no directories."""
        if self._inputs is None:
            host = SubmitHost()
            self._inputs = Inputs(Tracker(Watcher.open(), look=host.look), self.disk, host.is_slow)
        return self._inputs

    def build_begins(self) -> None:
        """Make the build see the changes that other hosts made before it."""
        if self._inputs is not None:
            self._inputs.build_begins()

    def attempt_over(
        self, task: Task, executor: ExecutorId, outcome: Outcome, usage: Usage, returned_bytes: int, ok: bool
    ) -> None:
        """Count the end of the task's attempt on an executor."""
        task.end_attempt(executor, outcome.value)
        figures = self.builds.figures(task.build)
        figures.attempt_ended()
        if outcome is Outcome.DONE:
            task.usage = usage
            task.returned_bytes = returned_bytes
            figures.remote_done(ok, usage, returned_bytes, compiles=is_compile(task.description))
            if ok:
                self.history.note(task.key, usage)
            if task.second is not None and task.second is task.chosen:
                figures.second_won += 1
        elif task.id in self.known and task.chosen is None:  # if an attempt is chosen, the other one counts
            figures.retried += 1
            figures.stale += outcome is Outcome.STALE
            if outcome is Outcome.OUT_OF_MEMORY:
                self.history.note_memory(task.key, usage)

    def here_over(self, task: Task, status: int | None, usage: Usage | None) -> None:
        """The task's command has ended on the submit host. None: its runner does not tell."""
        task.here_ended = time.monotonic()
        task.status = status
        if status is None or usage is None:
            return
        task.usage = usage
        figures = self.builds.figures(task.build)
        figures.cpu_s_here += usage.user_s + usage.system_s
        if task.plan is None:  # not meant for an executor
            return
        figures.failed += status != 0
        if status == 0:
            self.history.note(task.key, usage)
        elif status == _KILLED:
            self.history.note_memory(task.key, usage)  # perhaps for lack of memory: the next run gets the room

    def finish(self, task: Task, code: int, signal: int) -> None:
        """Answer the task's runner, now or when the jobserver's account allows.

        If that fails, the connection is closed, and the runner executes the command.
        """
        if task.phase is Phase.CANCELLED:  # the runner went away while the result was written
            return

        def answer() -> None:
            try:
                task.answer(code, signal)
                if task.peer.is_behind:
                    self.builds.start_soon(task.peer.flush)
            except Exception:
                log.exception("task %d: its runner was not answered", task.id)
                task.peer.dismiss()

        task.enter(Phase.ANSWERED)
        task.status = 128 + signal if signal else code
        build = self.builds.open.get(task.build)
        if build is None:
            answer()
        else:
            # The build may be closed before the server sees the runner's end, and `why` must show its last task.
            build.note(task)
            build.finish(task.id, answer)
