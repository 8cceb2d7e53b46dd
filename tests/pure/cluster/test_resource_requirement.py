"""One ``-R`` of bsub from several."""

from __future__ import annotations

import pytest

from spraycc.cluster.driver import Submission
from spraycc.cluster.registry import driver_for
from spraycc.cluster.resource_requirement import joined, taken_out
from spraycc.settings import Settings

OURS = ("span[hosts=1]", "rusage[mem=500]")


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        ([], "rusage[mem=500] span[hosts=1]"),
        (["select[type==any]"], "select[type==any] rusage[mem=500] span[hosts=1]"),
        (["mem>1000"], "select[mem>1000] rusage[mem=500] span[hosts=1]"),
        (["select[a]", "select[b || c]"], "select[(a) && (b || c)] rusage[mem=500] span[hosts=1]"),
        (["rusage[lic=1]"], "rusage[mem=500:lic=1] span[hosts=1]"),
        (["rusage[mem=9, lic=1]"], "rusage[mem=9, lic=1] span[hosts=1]"),
        (["span[ptile=2]"], "rusage[mem=500] span[ptile=2]"),
        (["order[ut] same[model] cu[type=rack]"], "order[ut] rusage[mem=500] span[hosts=1] same[model] cu[type=rack]"),
        (["2*{select[a]}"], "rusage[mem=500] span[hosts=1] 2*{select[a]}"),
        (["select[a"], "rusage[mem=500] span[hosts=1] select[a"),
        ([""], "rusage[mem=500] span[hosts=1]"),
    ],
)
def test_joined_with_the_users(users: list[str], expected: str) -> None:
    assert joined(OURS, users) == expected


def test_no_requirement() -> None:
    assert joined((), []) == ""


def test_taken_out_of_the_arguments() -> None:
    assert taken_out(["-x", "-R", "a", "-Rb", "-app", "c", "-R"]) == (["-x", "-app", "c"], ["a", "b", ""])


@pytest.mark.parametrize("cluster", ["lsf", "openlava"])
def test_one_option_in_the_command(cluster: str) -> None:
    arguments = ("-R", "select[big]", "-q", "mine", "-n", "2")
    settings = Settings(cluster=cluster, memory_mb=500, submit_arguments=arguments)  # type: ignore[arg-type]
    submission = Submission("abc123", 2, "name", "ours", ("executor",), "/log")
    argv = driver_for(settings, "u").submit_command(submission).argv
    assert argv == (
        *("bsub", "-J", "name[1-2]", "-o", "/dev/null", "-R", "select[big] rusage[mem=500]"),
        *("-q", "mine", "-n", "2"),
    )
