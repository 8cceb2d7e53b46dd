"""Executors without a cluster manager: hosts and command lines."""

from __future__ import annotations

import re
import shlex

import pytest

from spraycc.allocation import Allocation
from spraycc.cluster.driver import BatchId
from spraycc.cluster.formatting import fold, spans
from spraycc.cluster.hosts import WAYS, Host, read_hosts, start_argv, template_argv
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


def _script(remote_command: str) -> str:
    """The script that sh runs, after a login shell has read the command and sh's printf has expanded it."""
    shell = shlex.split(remote_command)
    assert shell[:3] == ["exec", "/bin/sh", "-c"]
    found = re.fullmatch(r"""eval "\$\(printf %b "([^\n'"$`!]*)"\)\"""", shell[3])
    assert found is not None
    return re.sub(r"\\0([0-7]{3})", lambda sign: chr(int(sign[1], 8)), found[1])


def test_one_connection_starts_all_of_a_host() -> None:
    argv = start_argv("one", COMMAND, ["id1", "id2"], Settings(cluster="ssh", setup="module load gcc"))
    assert argv[-2] == "one"
    assert "-oBatchMode=yes" in argv
    lines = _script(argv[-1]).splitlines()
    assert lines[0] == "module load gcc"
    assert [shlex.split(line.removesuffix(" &")) for line in lines[1:3]] == [
        [*COMMAND, "--id", "id1"],
        [*COMMAND, "--id", "id2"],
    ]
    assert lines[3] == "wait"


def _in_allocation(manager: str) -> Settings:
    allocation = Allocation(manager, "123", (("n1", 4), ("n2", 8)))
    return Settings(cluster=f"{manager}-step", allocation=allocation, submit_arguments=("--more",))  # type: ignore[arg-type]


def test_the_hosts_of_an_allocation() -> None:
    assert WAYS["slurm-step"].hosts(_in_allocation("slurm")) == (Host("n1", 4), Host("n2", 8))


@pytest.mark.parametrize(
    "settings",
    [Settings(cluster="lsf-step"), Settings(cluster="pbs-step", allocation=Allocation("slurm", "1", (("n1", 4),)))],
)
def test_outside_an_allocation_there_are_no_hosts(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="outside an allocation of"):
        WAYS[settings.cluster].hosts(settings)


@pytest.mark.parametrize(
    ("manager", "words"),
    [
        (
            "slurm",
            ["srun", "--jobid=123", "--overlap", "--nodes=1", "--ntasks=1", "--nodelist=n2", "--mem=0", "--cpu-bind=none",
             "--mpi=none", "--input=none", "--job-name=spraycc", "--more"],
        ),
        ("pbs", ["pbs_tmrsh", "--more", "n2"]),
        ("gridengine", ["qrsh", "-inherit", "-nostdin", "-noshell", "--more", "n2"]),
    ],
)  # fmt: skip
def test_a_step_on_one_host(manager: str, words: list[str]) -> None:
    argv = start_argv("n2", COMMAND, ["id1", "id2"], _in_allocation(manager))
    assert list(argv[: len(words)]) == words
    shell, option, script = argv[len(words) :]
    assert (shell, option) == ("/bin/sh", "-c")
    assert script.splitlines() == [f"{shlex.join([*COMMAND, '--id', name])} &" for name in ("id1", "id2")] + ["wait"]


def test_blaunch_gets_words_that_mean_the_same_to_a_shell() -> None:
    argv = start_argv("n2", COMMAND, ["id1"], _in_allocation("lsf"))
    assert argv[:4] == ("blaunch", "--more", "-n", "n2")
    assert shlex.join(argv) == " ".join(argv)


def test_a_command_template_of_the_user() -> None:
    line = shlex.join((*COMMAND, "--id", "x1"))
    assert template_argv(["submit", "-n", "{id}", "{command}"], COMMAND, "x1") == ("submit", "-n", "x1", line)
    assert template_argv(["nice"], COMMAND, "x1") == ("nice", *COMMAND, "--id", "x1")
    with pytest.raises(ConfigError, match="start_command"):
        template_argv([], COMMAND, "x1")


def test_indices_are_folded() -> None:
    batches = [BatchId("7", index) for index in (5, 1, 2, 3, 9, 2)] + [BatchId("8")]
    assert [(job, spans(ranges)) for job, ranges in fold(batches)] == [("7", "1-3,5,9"), ("8", "")]
