"""The words of a cluster manager's failures: no word twice, and the next step."""

from __future__ import annotations

import itertools
from typing import Any, Literal

import pytest

from spraycc.cluster.driver import NEXT_STEP, Reply, Trouble, advice
from spraycc.cluster.registry import driver_for
from spraycc.settings import Settings


@pytest.mark.parametrize(
    ("cluster", "stderr", "text"),
    [
        ("pbs", b"PBS: no such queue", "PBS refused: no such queue"),
        ("pbs", b"qsub: Unknown queue", "PBS refused: qsub: Unknown queue"),
        ("slurm", b"sbatch: error: invalid partition", "Slurm refused: sbatch: error: invalid partition"),
    ],
)
def test_the_systems_name_comes_once(cluster: Any, stderr: bytes, text: str) -> None:
    error = driver_for(Settings(cluster=cluster), "user1").failure(Reply(1, b"", stderr))
    assert str(error) == text


@pytest.mark.parametrize("cluster", ["slurm", "gridengine", "pbs", "lsf", "openlava"])
@pytest.mark.parametrize("status", [1, 127, -9, 143])
def test_no_failure_has_a_word_twice_in_a_row(
    cluster: Literal["slurm", "gridengine", "pbs", "lsf", "openlava"], status: int
) -> None:
    driver = driver_for(Settings(cluster=cluster), "user1")
    for stderr in (b"", b"%s: connection refused" % driver.system.encode(), b"no such thing"):
        error = driver.failure(Reply(status, b"", stderr))
        text = f"{error} ({error.next_step})"
        words = [word.strip(":();,") for word in text.split()]
        assert not [word for word, following in itertools.pairwise(words) if word == following]
        assert text.count(driver.system) == 1


def test_each_kind_of_trouble_has_a_next_step() -> None:
    assert {*NEXT_STEP, Trouble.REFUSED} == set(Trouble)


@pytest.mark.parametrize(
    ("words", "step"),
    [
        ("Batch job submission failed: Invalid qos specification", 'name a QOS that you may use: submit_arguments = ["--qos=NAME"]'),
        ("InvalidQOS", 'name a QOS that you may use: submit_arguments = ["--qos=NAME"]'),
        ("Invalid account or account/partition combination specified", "correct `account`"),
        ("Job violates accounting/QOS policy (PerJobLimit)", "correct `account`"),
        ("Invalid partition name specified", "correct `queues`"),
        ("Invalid feature specification", "correct `submit_arguments`"),
    ],
)  # fmt: skip
def test_the_setting_to_correct(words: str, step: str) -> None:
    assert advice(words) == f"{step}; `spraycc cluster show` prints what is submitted"
