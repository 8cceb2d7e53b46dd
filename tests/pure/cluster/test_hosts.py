"""Executors without a cluster manager: hosts and command lines."""

from __future__ import annotations

import shlex

import pytest

from spraycc.cluster.driver import BatchId
from spraycc.cluster.formatting import fold, spans
from spraycc.cluster.hosts import Host, read_hosts, ssh_argv, template_argv
from spraycc.errors import ConfigError
from spraycc.settings import Settings

COMMAND = ("/opt/my env/python", "-m", "spraycc.executor", "--session", "/home/a b/s.json")


@pytest.mark.parametrize(
    ("words", "hosts"),
    [
        (["one"], (Host("one", 1),)),
        (["one:8", "me@two.example:16"], (Host("one", 8), Host("me@two.example", 16))),
        (["[fd00::2]:4"], (Host("fd00::2", 4),)),
    ],
)
def test_hosts(words: list[str], hosts: tuple[Host, ...]) -> None:
    assert read_hosts(words) == hosts


@pytest.mark.parametrize("words", [[], ["-oProxyCommand=evil"], ["one:0"], ["one:many"], ["one two"], [":4"], [""]])
def test_what_is_no_host(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="hosts"):
        read_hosts(words)


def test_one_connection_starts_all_of_a_host() -> None:
    argv = ssh_argv("one", COMMAND, ["id1", "id2"], Settings(setup="module load gcc"))
    assert argv[-2] == "one"
    assert "-oBatchMode=yes" in argv
    shell = shlex.split(argv[-1])
    assert shell[:3] == ["exec", "/bin/sh", "-c"]
    lines = shell[3].splitlines()
    assert lines[0] == "module load gcc"
    assert [shlex.split(line.removesuffix(" &")) for line in lines[1:3]] == [
        [*COMMAND, "--id", "id1"],
        [*COMMAND, "--id", "id2"],
    ]
    assert lines[3] == "wait"


def test_a_command_template_of_the_user() -> None:
    line = shlex.join((*COMMAND, "--id", "x1"))
    assert template_argv(["submit", "-n", "{id}", "{command}"], COMMAND, "x1") == ("submit", "-n", "x1", line)
    assert template_argv(["nice"], COMMAND, "x1") == ("nice", *COMMAND, "--id", "x1")
    with pytest.raises(ConfigError, match="start_command"):
        template_argv([], COMMAND, "x1")


def test_indices_are_folded() -> None:
    batches = [BatchId("7", index) for index in (5, 1, 2, 3, 9, 2)] + [BatchId("8")]
    assert [(job, spans(ranges)) for job, ranges in fold(batches)] == [("7", "1-3,5,9"), ("8", "")]
