"""The command that ssh passes to a user's login shell, read by the shells that users have."""

from __future__ import annotations

import subprocess

import pytest

from spraycc.cluster.hosts import start_argv
from spraycc.settings import Settings

_SETUP = """\
printf '%s|' "a  b" 'it'"'"'s' \\\\ '\\n' "\\\\0101" `echo tick` $((1 + 1)) !x "!" %s 100%
: another line
"""


@pytest.mark.parametrize(
    "shell",
    [pytest.param(shell, marks=pytest.mark.needs(shell)) for shell in ("sh", "bash", "zsh", "fish", "csh", "tcsh")],
)
def test_the_login_shell_starts_the_same_script(shell: str) -> None:
    """Between single quotes, csh refuses a line's end and replaces ``!``, and fish reads some backslashes."""
    command = ("printf", "%s|", "$HOME", "a\nb")
    argv = start_argv("one", command, ["i"], Settings(cluster="ssh", setup=_SETUP))
    done = subprocess.run([shell, "-c", argv[-1]], capture_output=True, text=True)
    assert done.stderr == ""
    words = [
        "a  b",
        "it's",
        "\\",
        "\\n",
        "\\0101",
        "tick",
        "2",
        "!x",
        "!",
        "%s",
        "100%",
        "$HOME",
        "a\nb",
        "--id",
        "i",
        "",
    ]
    assert done.stdout.split("|") == words
