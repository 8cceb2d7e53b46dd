"""Clocks that differ by 90 s: of the executors' host, and of the file server. In the whole form only (minutes)."""

from __future__ import annotations

import pytest

from tests.nfs import clocks
from tests.nfs.conftest import Show
from tests.nfs.machine import Host, Machine, Mount
from tests.nfs.test_nfs import PLAIN_MOUNTS, only_in_the_whole_form

AHEAD_S = 90


@only_in_the_whole_form
@pytest.mark.parametrize("ahead_s", [AHEAD_S, -AHEAD_S])
@pytest.mark.parametrize("other", ["exec", "server"])
@pytest.mark.parametrize("mount", PLAIN_MOUNTS)
def test_a_clock_that_differs(
    machine: Machine, second_machine: Machine, mount: Mount, other: Host, ahead_s: int, show: Show
) -> None:
    result = clocks.try_clocks(clocks.Pair(machine, second_machine, other), mount, ahead_s)
    plain, ours = result.plain, result.ours
    show(
        f"{mount}, the clock of {other} is {result.ahead_s:+.1f} s ahead: {ours.remote} tasks remote\n"
        f"  plain make warns of times in the future in: {', '.join(sorted(plain.warned)) or 'no step'}\n"
        f"  SprayCC's make does in: {', '.join(sorted(ours.warned)) or 'no step'}\n"
        f"  ninja has work after its build: {', '.join(plain.steps['ninja']['then']) or 'none'}; "
        f"after SprayCC's: {', '.join(ours.steps['ninja']['then']) or 'none'}\n"
        f"  attempts that did not count: {ours.refused or 'none'}"
    )
    assert abs(result.ahead_s - ahead_s) < clocks.CLOCK_ERROR_S, "the clock's offset was not the one under test"
    wanted = clocks.expected()
    assert {step: plain.steps[step] for step in wanted} == wanted
    assert ours.steps == plain.steps
    assert ours.warned <= plain.warned
    assert ours.not_remote == []
    assert ours.remote > 0
    # In the other steps, an attempt may meet a header that is made at the same moment.
    assert {step: ours.refused[step] for step in clocks.STEADY if step in ours.refused} == {}
