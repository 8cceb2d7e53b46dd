"""The messages about the number of executors: which there are, and each once in a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spraycc import runtime_dir
from spraycc.allocation import Allocation
from spraycc.cli import executor_limits
from spraycc.settings import DEFAULT_CLUSTER_EXECUTORS, Settings

ORIGINS = {"executors": "--executors", "cluster": "/w/.spraycc.toml"}
FIRST = "up to 100 executors of cluster slurm (`executors` in .spraycc.toml sets another limit)"
STEP = Allocation("slurm", "7", (("node1", 8),), "", ())


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ({}, []),
        ({"jobs": 400, "executors": 2}, []),
        ({"cluster": "slurm"}, [FIRST]),
        ({"cluster": "slurm", "jobs": 8}, [FIRST]),
        ({"cluster": "slurm", "jobs": 400}, [FIRST.replace("100", "400")]),
        (
            {"cluster": "slurm", "jobs": 400, "executors": 200},
            [
                "-j400 is more than the limit of 200 executors (`executors`, --executors)",
                "up to 200 executors of cluster slurm (`executors`, --executors)",
            ],
        ),
        (
            {"cluster": "slurm", "jobs": 200, "executors": 200},
            ["up to 200 executors of cluster slurm (`executors`, --executors)"],
        ),
        ({"cluster": "slurm-step", "allocation": STEP, "jobs": 400}, []),
        (
            {"cluster": "slurm-step", "allocation": STEP, "jobs": 400, "executors": 4},
            ["-j400 is more than the limit of 4 executors (`executors`, --executors)"],
        ),
        (
            {"cluster": "slurm-step", "allocation": STEP, "jobs": 400, "executors": 100},
            ["-j400 is more than the limit of 8 executors (the CPUs of the allocation)"],
        ),
    ],
)
def test_messages(values: dict[str, Any], lines: list[str]) -> None:
    assert [text for _, text in executor_limits.messages(Settings(**values), ORIGINS)] == lines


def test_each_message_is_shown_once_in_a_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runtime_dir, "state_directory_of", lambda root: str(tmp_path / root.decode()))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    def told(root: bytes, **values: Any) -> int:
        executor_limits.tell(Settings(cluster="slurm", **values), ORIGINS, root)
        return len(capsys.readouterr().err.splitlines())

    assert told(b"a") == 1
    assert told(b"a") == 0
    assert told(b"a", jobs=400) == 0
    assert told(b"a", jobs=400, executors=200) == 1
    assert told(b"a", jobs=400, executors=200) == 0
    assert told(b"a", jobs=500, executors=200) == 1
    assert told(b"b", jobs=400, executors=200) == 2
    assert told(b"missing") == 0  # not noted, so not shown


@pytest.mark.parametrize(
    ("values", "most"),
    [
        ({}, DEFAULT_CLUSTER_EXECUTORS),
        ({"jobs": 4}, DEFAULT_CLUSTER_EXECUTORS),
        ({"jobs": 400}, 400),
        ({"jobs": 10**9}, 100_000),
        ({"jobs": 400, "executors": 30}, 30),
        ({"jobs": 4, "executors": 30}, 30),
    ],
)
def test_the_number_of_executors_on_a_cluster(values: dict[str, Any], most: int) -> None:
    assert Settings(cluster="slurm", **values).executors_in_force == most
    assert Settings(cluster="local", jobs=400) == Settings(jobs=400)
    assert Settings(jobs=400).executors_in_force == Settings().executors_in_force
