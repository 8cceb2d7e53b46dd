"""The interface of the two launchers: batch jobs (``batch_launcher``) and processes (``process_launcher``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from spraycc.status_reply import Pending

if TYPE_CHECKING:
    from spraycc.cluster.plan_actions import Limited

#: Tells the server that executors will not connect. Arguments: their number, the seconds until others may be asked for,
#: and a line for the user or "".
Failed = Callable[[int, float, str], None]


class Launcher(Protocol):
    """Starts executors of one kind, for fixed settings.

    Life cycle: the server starts ``run`` in its nursery. From then on the server calls ``ask`` and ``withdraw`` as the
    scheduler says, and ``connected`` and ``gone`` for the executors of all launchers. These calls never wait. Each
    executor that was asked for either connects or is reported as failed. ``close`` ends ``run``.
    """

    @property
    def processes(self) -> int:
        """Processes or executors of batch jobs that may exist. An idle server does not end before this is 0."""
        ...

    @property
    def is_idle(self) -> bool:
        """True if nothing that was started may exist, and nothing is left to be cancelled."""
        ...

    def submission_ids(self) -> list[str]:
        """The submissions that may exist in the cluster; empty for processes."""
        ...

    def pending(self) -> list[Pending]:
        """The executors that were started or submitted and have not connected, in groups, the oldest first."""
        ...

    def limited(self) -> Limited | None:
        """A limit of the site that keeps executors from being submitted: None: there is none."""
        ...

    async def run(self) -> None:
        """Start and watch executors until closed."""
        ...

    def ask(self, count: int) -> None:
        """Start ``count`` more executors."""
        ...

    def withdraw(self) -> None:
        """Cancel the executors that have not started. The launcher reports them as failed, without a text."""
        ...

    async def withdrawn(self) -> None:
        """Return when the commands that cancel the withdrawn executors have run, or one of them has failed."""
        ...

    def connected(self, executor_id: str) -> None:
        """The executor has connected to the server."""
        ...

    def gone(self, executor_id: str) -> None:
        """The executor's connection has ended."""
        ...

    async def close(self) -> None:
        """End or cancel everything that was started. Takes some seconds at most."""
        ...
