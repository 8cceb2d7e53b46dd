"""An attempt in flight on one executor: the server's data about it, from StartTask to TaskEnded."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from spraycc.errors import ProtocolError, SprayccError, WriteBackError
from spraycc.server.coherence.inputs import Stamps
from spraycc.server.tasks.task import Attempt, Task
from spraycc.server.writeback.commit import WriteBack
from spraycc.server.writeback.staging import Change, Staging
from spraycc.system import compression
from spraycc.system.compression import Unusable
from spraycc.wire import executor as wire

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class InFlight:
    """One attempt. It stays with its executor until TaskEnded comes, even if the server does not want its result."""

    task: Task
    attempt: Attempt
    staging: Staging
    #: the stamps that went with the task
    stamps: Stamps = ()
    #: the version of the table of stamps at that time
    version: int = 0
    #: the files that the command has read
    reads: wire.Reads | None = None
    #: the server has asked the executor to kill the task; it drops further messages about the task
    aborted: bool = False
    #: why the result can't be written
    failure: SprayccError | None = None

    async def take(self, change: Change, write_back: WriteBack) -> None:
        """Stage a change of a file. If that fails, the attempt does not count; the connection stays.

        Raises:
            ProtocolError: the executor may not send such a change.
        """
        if self.failure is not None:
            return
        try:
            self.staging.take(change)
        except WriteBackError as exc:
            self._fail(exc)
            return
        if self.staging.wants_spill:
            try:
                await write_back.spill(self.staging)
            except (WriteBackError, ProtocolError) as exc:  # also: a directory has become a link on the submit host
                self._fail(exc)

    def expect(self, piece: wire.FileContents) -> None:
        """Note that a piece of the last file's contents comes next.

        Raises:
            ProtocolError: the executor may not send such a piece.
        """
        if self.failure is None:
            self.staging.expect(piece.size_bytes)

    def write(self, contents: bytes | bytearray | memoryview) -> None:
        """Write the next contents of the last file. If that fails, the attempt does not count; the connection stays."""
        if self.failure is None and not self.aborted:
            try:
                self.staging.write(contents)
            except (WriteBackError, ProtocolError) as exc:  # also: a directory has become a link on the submit host
                self._fail(exc)

    def write_packed(self, piece: wire.FileContents, packed: bytes | bytearray | memoryview) -> None:
        """Restore and write a compressed piece of the last file.

        Raises:
            ProtocolError: the piece is damaged, or of another size.
        """
        if self.failure is not None or self.aborted:
            return
        try:
            contents = compression.unpack(packed, piece.size_bytes)
        except Unusable as exc:  # the executors of later tasks are told
            self._fail(exc)
            return
        self.write(contents)

    def _fail(self, exc: SprayccError) -> None:
        log.warning("executor %s: task %d: %s", self.attempt.executor, self.task.id, exc)
        self.failure = exc
        self.staging.discard()
