"""Tests that share a slowly starting fixture run in one pytest worker."""

from __future__ import annotations

import pytest

from tests.distribution import group_of


@pytest.mark.parametrize(
    ("test_id", "group"),
    [
        ("tests/system/cluster/test_slurm.py::test_a_build", "slurm"),
        ("tests/system/cluster/test_slurm_lifecycle.py::test_a_small_array_limit", "slurm"),
        ("tests/system/cluster/test_slurm_allocation.py::test_the_commands_are_shown", "slurm"),
        ("tests/system/cluster/test_gridengine.py::test_what_is_refused[too long]", "gridengine"),
        ("tests/system/cluster/test_replayed.py::test_doctor[pbs]", None),
        ("tests/system/capture/test_matrix_compile.py::test_compile_line[setgid-no-o-gcc]", "compile_line-setgid"),
        (
            "tests/system/capture/test_matrix_compile.py::test_compile_line_predicted[user-E-MD-g++]",
            "compile_line_predicted-user",
        ),
        ("tests/system/packaging/test_release.py::test_twine_accepts_the_files", "release"),
        ("tests/system/packaging/test_clean_installation.py::test_it_builds@clean_installation", "clean_installation"),
        ("tests/system/packaging/test_wheels.py::test_strip", None),
        ("tests/system/capture/test_why.py::test_policy_and_why", None),
    ],
)
def test_groups(test_id: str, group: str | None) -> None:
    assert group_of(test_id) == group
