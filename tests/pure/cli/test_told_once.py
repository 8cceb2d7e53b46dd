"""The messages about the number of executors: which there are, and each once in a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spraycc import runtime_dir
from spraycc.allocation import Allocation
from spraycc.cli import told_once
from spraycc.settings import DEFAULT_CLUSTER_EXECUTORS, Settings

ORIGINS = {"executors": "--executors", "cluster": "/w/.spraycc.toml"}
ANOTHER = "(`executors` in .spraycc.toml sets another"
STEP = Allocation("slurm", "7", (("node1", 8),), "", ())


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ({}, []),
        ({"jobs": 2, "executors": 2}, []),
        ({"jobs": 8, "executors": 3}, []),
        ({"cluster": "slurm"}, [f"this build may use up to 100 executors of cluster slurm {ANOTHER} limit)"]),
        (
            {"cluster": "slurm", "jobs": 1},
            [f"this build may use up to 1 executor of cluster slurm (-j1); the limit is 100 {ANOTHER})"],
        ),
        (
            {"cluster": "slurm", "jobs": 400},
            [f"this build may use up to 400 executors of cluster slurm (-j400; {ANOTHER[1:]} limit)"],
        ),
        (
            {"cluster": "slurm", "executors": 200},
            ["this build may use up to 200 executors of cluster slurm (`executors`, from --executors)"],
        ),
        (
            {"cluster": "slurm", "jobs": 400, "executors": 200},
            ["-j400 is more than the limit of 200 executors of cluster slurm (`executors`, from --executors)"],
        ),
        (
            {"cluster": "slurm", "jobs": 8, "executors": 4, "local_compile_slots": 2},
            [
                "-j8 is more than the limit of 4 executors of cluster slurm (`executors`, from --executors), "
                "and 2 compiles on this host beside them",
            ],
        ),
        (
            {"cluster": "slurm", "jobs": 6, "executors": 4, "local_compile_slots": 2},
            [
                "this build may use up to 4 executors of cluster slurm (-j6); "
                "the limit is 4 (`executors`, from --executors)",
            ],
        ),
        (
            {"cluster": "slurm", "jobs": 4, "executors": 200},
            [
                "this build may use up to 4 executors of cluster slurm (-j4); "
                "the limit is 200 (`executors`, from --executors)",
            ],
        ),
        (
            {"cluster": "slurm", "jobs": 200, "executors": 200},
            ["this build may use up to 200 executors of cluster slurm (-j200 and `executors`, from --executors)"],
        ),
        ({"cluster": "slurm-step", "allocation": STEP, "jobs": 400}, []),
        (
            {"cluster": "slurm-step", "allocation": STEP, "jobs": 400, "executors": 4},
            ["-j400 is more than the limit of 4 executors of cluster slurm-step (`executors`, from --executors)"],
        ),
        (
            {"cluster": "slurm-step", "allocation": STEP, "jobs": 400, "executors": 100},
            ["-j400 is more than the limit of 8 executors of cluster slurm-step (the CPUs of the allocation)"],
        ),
    ],
)
def test_messages(values: dict[str, Any], lines: list[str]) -> None:
    assert [text for _, text in told_once.messages(Settings(**values), ORIGINS)] == lines


def test_a_configured_limit_of_this_host_is_told() -> None:
    origins = {"executors": "/w/.spraycc.toml"}
    ((_, text),) = told_once.messages(Settings(jobs=8, executors=3), origins)
    assert text == "-j8 is more than the limit of 3 compiles at once on this host (`executors`, from /w/.spraycc.toml)"
    ((_, text),) = told_once.messages(Settings(jobs=8, executors=3, capture="overlay"), origins)
    assert text == "-j8 is more than the limit of 3 executors on this host (`executors`, from /w/.spraycc.toml)"


def test_each_message_is_shown_once_in_a_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runtime_dir, "state_directory_of", lambda root: str(tmp_path / root.decode()))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    def told(root: bytes, **values: Any) -> int:
        told_once.tell(Settings(cluster="slurm", **values), ORIGINS, root)
        return len(capsys.readouterr().err.splitlines())

    assert told(b"a") == 1
    assert told(b"a") == 0
    assert told(b"a", jobs=400) == 0
    assert told(b"a", jobs=400, executors=200) == 1
    assert told(b"a", jobs=400, executors=200) == 0
    assert told(b"a", jobs=500, executors=200) == 1
    assert told(b"b", jobs=400, executors=200) == 1
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


def test_an_unused_cluster_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runtime_dir, "state_directory_of", lambda root: str(tmp_path / root.decode()))
    (tmp_path / "a").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/bsub").touch(0o755)
    local = {"wall_s": 10.0, "compiles_here": {"reasons": {"here: local": 3}}}

    def told(figures: dict[str, Any], origins: dict[str, str], path: Path = tmp_path / "bin") -> str:
        told_once.tell_unused_cluster(figures, origins, b"a", bytes(path))
        return capsys.readouterr().err

    default = {"cluster": "default"}
    assert told(local | {"wall_s": 9.9}, default) == ""
    assert told({"wall_s": 60.0, "compiles_here": {"reasons": {"here: no-executor": 3}}}, default) == ""
    assert told({}, default) == ""
    assert told(local, {"cluster": "/w/.spraycc.toml"}) == ""
    assert told(local, default, tmp_path) == ""
    assert "this host has bsub: `spraycc config init`" in told(local, default)
    assert told(local, default) == ""
