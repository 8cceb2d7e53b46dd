"""The grace: the time that tasks wait for the first executor before the submit host runs them."""

from __future__ import annotations


class Grace:
    """Runs while no executor is connected and a task waits that may run on the submit host."""

    def __init__(self) -> None:
        #: True: the submit host runs tasks until an executor joins. An empty queue does not reset it, so only the first
        #: tasks wait.
        self.is_over = False
        self._since: float | None = None

    def restart(self) -> None:
        """Begin a new grace, because executors will be requested again."""
        self.is_over = False

    def end(self) -> None:
        """An executor has joined."""
        self.is_over = False
        self._since = None

    def update(self, now: float, grace_s: float, *, waiting: bool, refused: bool) -> None:
        """No executor is connected. ``waiting``: a task waits for one; ``refused``: the cluster starts none."""
        if not waiting:
            self._since = None
            return
        if self._since is None:
            self._since = now
        self.is_over = self.is_over or refused or now >= self._since + grace_s

    def deadline(self, grace_s: float) -> float | None:
        """The time when :meth:`update` ends the grace; None if the grace does not run."""
        return None if self._since is None or self.is_over else self._since + grace_s
