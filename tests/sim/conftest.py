"""Simulated worlds: the server's and executor's coroutines on a virtual clock. No process, no network, no real waiting."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio._core import _run as _trio_run

from tests import guard

_HERE = Path(__file__).parent


def run_on_virtual_clock(function: Callable[..., Any], *, clock: Any = None, instruments: Any = ()) -> Any:
    """``trio.run`` on a clock that jumps to the next deadline when every coroutine waits.

    trio shuffles the coroutines that are ready to run. This function makes the order the same in each run. The number
    SPRAYCC_TEST_ORDER selects another order.
    """
    _trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    _trio_run._r.seed(int(os.environ.get("SPRAYCC_TEST_ORDER", "0")))
    clock = clock or trio.testing.MockClock(autojump_threshold=0)
    return trio.run(function, clock=clock, instruments=instruments)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each async test of this folder the virtual clock. pytest-trio takes the first marker's ``run``."""
    for item in items:
        if item.path.is_relative_to(_HERE) and iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.trio(run=run_on_virtual_clock))


@pytest.fixture(autouse=True)
def simulated() -> Iterator[None]:
    """Fails a test that starts a process, binds or connects a socket, or sleeps. Socket pairs are allowed."""
    with guard.forbidden(guard.PROCESSES | guard.NETWORK):
        yield


@pytest.fixture(autouse=True)
def threads_inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the work of threads in the event loop: the virtual clock would jump while a coroutine waits for a thread."""

    async def run_sync(function: Callable[..., Any], *arguments: Any, **_: object) -> Any:
        await trio.lowlevel.checkpoint()
        return function(*arguments)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
