"""A log of the commands that a server sends to its cluster manager."""

from __future__ import annotations

import time
from collections.abc import Sequence

from tests.system.cluster.managers import PATH
from tests.system.harness.sandbox import Sandbox

_SCRIPT = """\
#!/bin/sh
echo "$*" >>'{log}'
PATH='{path}' {name} "$@"
status=$?
[ "$status" = 0 ] || echo "$*" >>'{log}.failed'
while [ -e '{log}.held' ]; do sleep 0.05; done
exit "$status"
"""


class ClientCommands:
    """Scripts, first on the sandbox's PATH, that log their arguments and run the cluster manager's program."""

    def __init__(self, sandbox: Sandbox, programs: Sequence[str]) -> None:
        self._directory = sandbox.aside / "commands"
        for name in programs:
            script = _SCRIPT.format(name=name, path=PATH, log=self._directory / f"{name}.log")
            sandbox.write({name: script}, self._directory, mode=0o755)
        sandbox.path_front.append(self._directory)
        self._made_at = time.monotonic()

    def started(self, program: str) -> list[str]:
        """The arguments of each run of the program, in order."""
        return self._lines(program, "log")

    def failed(self, program: str) -> list[str]:
        """The arguments of the runs with another exit status than 0. A run that the server killed is none of them."""
        return self._lines(program, "log.failed")

    def assert_seldom(self, program: str, interval_s: float, at_once: int = 1) -> None:
        """The program was started at most ``at_once`` times in each interval. A slow machine starts it less often."""
        elapsed_s = time.monotonic() - self._made_at
        assert len(self.started(program)) <= at_once * (elapsed_s / interval_s + 1)

    def _lines(self, program: str, suffix: str) -> list[str]:
        path = self._directory / f"{program}.{suffix}"
        return path.read_text().splitlines() if path.exists() else []

    def hold(self, program: str) -> None:
        """From now on the program does its work and does not end."""
        (self._directory / f"{program}.log.held").touch()

    def release(self, program: str) -> None:
        """The program ends again."""
        (self._directory / f"{program}.log.held").unlink()
