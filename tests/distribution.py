"""Groups of tests that one pytest worker runs together: they share a fixture that takes long to make.

The mark ``xdist_group`` is not enough. pytest-xdist 3.8.0 passes the group in an attribute of the test that pytest 9.2.0 no
longer has. It then distributes the tests of a group to several workers, without a warning.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

#: A pattern of test ids, and the name of their group (\\1 is the pattern's first group).
_GROUPS = [
    (re.compile(r".*/cluster/test_(slurm|gridengine)(?:_lifecycle|_allocation)?\.py::"), r"\1"),
    (re.compile(r".*/packaging/test_(release|clean_installation)\.py::"), r"\1"),
    (re.compile(r".*/capture/test_matrix_compile\.py::test_(\w+)\[(\w+)-"), r"\1-\2"),
]


def group_of(test_id: str) -> str | None:
    """The group of a test; None if any worker may run it."""
    for pattern, name in _GROUPS:
        if found := pattern.match(test_id):
            return found.expand(name)
    return None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """In place of pytest-xdist's schedulers for ``--dist load``, its default, and ``--dist loadgroup``."""
    if config.getoption("dist") not in ("load", "loadgroup"):
        return None
    from xdist.scheduler import LoadGroupScheduling  # type: ignore[import-untyped]  # need not be installed

    class Scheduling(LoadGroupScheduling):  # type: ignore[misc, unused-ignore]
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid) or str(super()._split_scope(nodeid))

    return Scheduling(config, log)
