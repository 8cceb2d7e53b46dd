"""The predicted capture on the submit host's side: the rewritten command line, and the files in its way."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from functools import lru_cache, partial

import trio

from spraycc.commands.names import NO_TOOLS, Tools
from spraycc.commands.predict import Prediction, predict
from spraycc.model import Command, TaskId
from spraycc.server.host.offload import Disk
from spraycc.server.tasks.command_files import environment_of, read_response_file
from spraycc.server.tasks.task import Phase, Task


class Predictions:
    """Makes all tasks' predictions once an executor joins whose host has no overlay.

    A prediction reads files and parses the command line again. If all executors have overlays, only tasks of a build
    with ``--capture predict`` need one.
    """

    def __init__(self, disk: Disk, tasks: Mapping[TaskId, Task]) -> None:
        """``tasks``: all tasks of the server, live."""
        self._disk = disk
        self._tasks = tasks
        self._lock = trio.Lock()
        #: True if each new task needs its prediction
        self.are_needed = False

    async def make(self, task: Task) -> None:
        """Set ``task.prediction``."""
        task.prediction = await self._disk.do("read", partial(redirect, task.command, task.tools))

    async def begin(self) -> None:
        """Return when each task that waits has its prediction. Call it before an executor that needs them joins."""
        async with self._lock:
            if self.are_needed:
                return
            self.are_needed = True  # first, because tasks arrive during the loop
            try:
                for task in list(self._tasks.values()):
                    if task.plan is not None and task.prediction is None and task.phase is Phase.WAITING:
                        await self.make(task)
            except BaseException:
                self.are_needed = False  # the next executor tries again
                raise


def redirect(command: Command, tools: Tools = NO_TOOLS) -> Prediction | None:
    """The command line with other output paths, and its outputs as absolute real paths.

    None: no executor with capture "predict" can run the command.

    Reads files: call it through :class:`Disk`.
    """

    def read_file(name: bytes) -> bytes | None:
        return read_response_file(os.path.join(command.cwd, name))

    program = command.program
    if not tools.names(os.path.basename(program)):
        program = _behind_links(program)
    found = predict(command.argv, program, environment_of(command.env).variables, read_file, tools)
    if found is None:
        return None
    outputs = []
    # If source and output are one file, the compiler refuses: it must see both names.
    source = os.path.realpath(os.path.join(command.cwd, found.source))
    for place, name in found.outputs:
        directory, base = os.path.split(os.path.join(command.cwd, name))
        real = os.path.realpath(directory)
        path = os.path.join(real, base)
        if path == source or not _is_clear(real, path):
            return None
        outputs.append((place, path))
    return Prediction(found.argv, tuple(outputs), found.source)


def _is_clear(directory: bytes, path: bytes) -> bool:
    """True if a plain file can be made or replaced at ``path``. If not, the compiler itself must report the reason."""
    if not os.access(directory, os.W_OK | os.X_OK):
        return False
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return (
        stat.S_ISREG(status.st_mode)
        and status.st_nlink == 1
        and status.st_uid == os.geteuid()
        and os.access(path, os.R_OK | os.W_OK)
    )


@lru_cache(maxsize=256)
def _behind_links(program: bytes) -> bytes:
    return os.path.realpath(program)
