"""The functions that tests/system/faults/test_own_faults.py makes fail exist: without one of them no other would fail."""

from __future__ import annotations

import pkgutil

import pytest

from tests.system.faults.test_own_faults import AT_START_OR_END, IN_A_BUILD


@pytest.mark.parametrize("function", [fault.function for fault in (*IN_A_BUILD, *AT_START_OR_END)])
def test_a_function_that_is_to_fail_exists(function: str) -> None:
    assert callable(pkgutil.resolve_name(function))
