"""SprayCC on a tree that two NFS clients see, each with its own cache: never a wrong object or a failure of SprayCC.

tests/nfs/run sets NFS_FORM: "short" is one NFS version and each scenario three times, "whole" is everything.
"""

from __future__ import annotations

import os

import pytest

from tests.nfs import builds, situations
from tests.nfs.conftest import Show
from tests.nfs.machine import Machine, Mount
from tests.nfs.scenarios import WORST, Row, table_text
from tests.nfs.situations import Comparison

WHOLE = os.environ.get("NFS_FORM") == "whole"
VERSIONS = ("3", "4.2") if WHOLE else (os.environ.get("NFS_VERSION", "4.2"),)
SEED = int(os.environ.get("SEED", "1"))
SEEDS = range(SEED, SEED + (5 if WHOLE else 1))
STEPS = 300 if WHOLE else 80

#: A task that ran on the submit host proves nothing.
REMOTE_SHARE = 0.95

#: Names live longer in the caches; no caches for attributes; no check at open; no cached names; found names only.
OPTIONS = ("", "actimeo=60", "noac", "nocto", "lookupcache=none", "lookupcache=pos") if WHOLE else ("",)

PLAIN_MOUNTS = [pytest.param(Mount(version), id=f"vers={version}") for version in VERSIONS]
MOUNTS = [pytest.param(m, id=str(m)) for m in (Mount(v, options) for v in VERSIONS for options in OPTIONS)]

only_in_the_whole_form = pytest.mark.skipif(not WHOLE, reason="only in: tests/nfs/run whole")


def assert_right(title: str, table: dict[str, Row], show: Show) -> None:
    show(table_text(title, table))
    bad = {name: dict(row.verdicts) for name, row in table.items() if row.bad}
    assert bad == {}
    remote, tries = (sum(getattr(row, name) for row in table.values()) for name in ("remote", "tries"))
    assert remote >= REMOTE_SHARE * tries, "too few second compiles came from executors: the table has the reasons"


def assert_as_plain(comparison: Comparison, *, status: int = 0) -> None:
    assert comparison.plain.status == status, "plain make ended with another status than this situation causes"
    assert comparison.ours == comparison.plain, comparison.output


@pytest.mark.parametrize("mount", MOUNTS)
def test_every_scenario(machine: Machine, mount: Mount, show: Show) -> None:
    assert_right(f"{mount}, overlay", builds.run_scenarios(machine, mount, 3), show)


@only_in_the_whole_form
@pytest.mark.parametrize("mount", PLAIN_MOUNTS)
def test_every_scenario_without_an_overlay(machine: Machine, mount: Mount, show: Show) -> None:
    table = builds.run_scenarios(machine, mount, 3, options="--capture predict")
    assert_right(f"{mount}, predict", table, show)


@only_in_the_whole_form
@pytest.mark.parametrize("mount", PLAIN_MOUNTS)
def test_the_worst_scenarios_fifty_times(machine: Machine, mount: Mount, show: Show) -> None:
    assert_right(f"{mount}, overlay, the worst", builds.run_scenarios(machine, mount, 50, WORST), show)


@only_in_the_whole_form
@pytest.mark.parametrize("pause_s", [2, 5, 12])
@pytest.mark.parametrize("mount", PLAIN_MOUNTS)
def test_a_pause_after_the_change(machine: Machine, mount: Mount, pause_s: float, show: Show) -> None:
    table = builds.run_scenarios(machine, mount, 3, WORST, pause_s)
    assert_right(f"{mount}, overlay, {pause_s} s between the change and the second compile", table, show)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mount", PLAIN_MOUNTS)
def test_random_edits(machine: Machine, mount: Mount, seed: int, show: Show) -> None:
    result = builds.run_edits(machine, mount, seed, STEPS)
    show(f"random edits, {mount}, seed {seed}, {STEPS} steps: {result.counts}, {result.remote} remote")
    assert result.difference is None, result.difference
    assert result.remote > 0


@pytest.mark.parametrize("mount", PLAIN_MOUNTS)
def test_operations_are_counted(machine: Machine, mount: Mount, show: Show) -> None:
    show(builds.count_operations(machine, mount))


@only_in_the_whole_form
@pytest.mark.parametrize("seconds", [20, 50])
@pytest.mark.parametrize("mount", PLAIN_MOUNTS)
def test_a_file_server_that_hangs(machine: Machine, mount: Mount, seconds: int) -> None:
    comparison = situations.file_server_hangs(machine, mount, seconds)
    assert_as_plain(comparison)
    assert comparison.remote > 0


@only_in_the_whole_form
@pytest.mark.parametrize("mount", PLAIN_MOUNTS)
def test_root_is_squashed(machine: Machine, mount: Mount) -> None:
    assert_as_plain(situations.root_is_squashed(machine, mount))


@only_in_the_whole_form
@pytest.mark.parametrize("mount", PLAIN_MOUNTS)
def test_a_group_beyond_the_sixteenth(machine: Machine, mount: Mount) -> None:
    assert_as_plain(situations.group_beyond_the_sixteenth(machine, mount, managed=False), status=2)


@only_in_the_whole_form
@pytest.mark.parametrize("mount", PLAIN_MOUNTS)
def test_a_group_beyond_the_sixteenth_that_the_server_looks_up(machine: Machine, mount: Mount) -> None:
    assert_as_plain(situations.group_beyond_the_sixteenth(machine, mount, managed=True))


@only_in_the_whole_form
@pytest.mark.parametrize("mount", PLAIN_MOUNTS)
def test_homes_on_nfs(machine: Machine, mount: Mount) -> None:
    assert_as_plain(situations.home_is_on_nfs(machine, mount))
