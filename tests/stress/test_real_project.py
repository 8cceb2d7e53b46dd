"""A real recursive project on a cluster much wider than the submit host: local work stays bounded, the result is the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.system.conftest import cache
from tests.system.harness.sandbox import EXAMPLES, Account, Sandbox
from tests.system.harness.waiting import LONG_HANG_S
from tests.system.jobserver.conftest import TICK
from tests.system.jobserver.shapes import marks, most_at_once

__all__ = ["cache"]

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

EXECUTORS, LOCAL_SLOTS = 16, 2
#: The parts that are left out need libraries that not every machine has.
WITHOUT = ("NO_CURL=1", "NO_EXPAT=1", "NO_GETTEXT=1", "NO_OPENSSL=1", "NO_TCLTK=1", "NO_PYTHON=1")
#: Holds its build time.
DATED = "templates/boilerplates.made"
#: Runs every recipe line. Lines that start a wrapped command or another make do not count: they are no unseen work.
SHELL = """\
#!/bin/sh
case "$*" in
*make*|*gcc*|*cc\\ *|*ar\\ *) exec /bin/sh "$@";;
esac
exec {tick} {log} recipe /bin/sh "$@"
"""


def build_command(shell: Path) -> list[str]:
    return ["make", "-s", "CFLAGS=-O0", *WITHOUT, f"SHELL={shell}", "all"]


@pytest.mark.timeout(2 * LONG_HANG_S)
def test_git(cache: Path) -> None:
    sandbox = Sandbox(Account.unprivileged())
    try:
        tick = sandbox.tools / "tick"
        subprocess.run(["cc", "-O1", "-o", tick, TICK], check=True)
        log = sandbox.aside / "local.log"
        log.touch()
        log.chmod(0o666)
        shell = (
            sandbox.write({"counting-sh": SHELL.format(tick=tick, log=log)}, sandbox.aside, mode=0o755) / "counting-sh"
        )
        tree = sandbox.workspace / "git"

        def unpack() -> None:
            environment = {**os.environ, "SPRAYCC_UPSTREAM_CACHE": str(cache / "upstream")}
            subprocess.run([EXAMPLES / "fetch-upstream", "git", tree], check=True, env=environment)
            sandbox.give(tree)

        unpack()
        sandbox.run(*build_command(shell), "-j2", cwd=tree, timeout_s=LONG_HANG_S).ok()
        recipes = len(marks(log)) // 2
        assert recipes > 100, "the unwrapped recipes were not counted"
        plain = tree.rename(sandbox.aside / "plain")
        log.write_text("")

        unpack()
        sandbox.settings |= {
            "SPRAYCC_CLUSTER": "command",
            "SPRAYCC_START_COMMAND": "/bin/sh -c {command}",
            "SPRAYCC_LISTEN": "127.0.0.1",
        }
        command = build_command(shell)
        options = ("--probing-limit", str(LOCAL_SLOTS), "--wait-for-cluster")
        built = sandbox.build(
            *command,
            "-j200",
            options=options,
            executors=EXECUTORS,
            local_slots=LOCAL_SLOTS,
            cwd=tree,
            timeout_s=LONG_HANG_S,
        ).ok()

        seen = marks(log)
        figures: dict[str, Any] = built.figures
        assert len(seen) // 2 == recipes
        assert figures["tokens_lost"] == 0
        (server_log,) = sandbox.home.rglob("server.log")
        told = [line for line in server_log.read_text().splitlines() if "WARNING" in line or "one recipe more" in line]
        assert most_at_once(seen) <= LOCAL_SLOTS, told
        assert figures["running_peak"] == EXECUTORS
        assert figures["remote"] >= 400
        assert figures["tokens_free_at_end"] == figures["tokens_issued"]
        comparison: list[str | Path] = [sys.executable, EXAMPLES / "compare", "--exclude", DATED, plain, tree]
        compared = subprocess.run(comparison, capture_output=True, text=True, check=False)
        assert compared.stdout == "", compared.stdout
    finally:
        sandbox.close()
