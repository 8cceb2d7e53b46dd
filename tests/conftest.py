"""For all tests: default signal dispositions, the same examples in each run, and skips that name what is missing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.distribution import pytest_xdist_make_scheduler
from tests.examples import load_profile
from tests.system.harness import needs

__all__ = ["dispositions", "pytest_xdist_make_scheduler"]

_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def _as_a_terminal_gives_them() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


# A shell without job control starts a background command with SIGINT ignored, and nohup ignores SIGHUP. All programs below
# inherit this. Without the next line, the way in which the tests were started would decide whether Ctrl-C reaches a build.
_as_a_terminal_gives_them()


# tests/examples.py says how to draw other examples, and more of them.
load_profile()


@pytest.fixture(autouse=True)
def dispositions() -> Iterator[None]:
    """Resets signals that a server has left ignored: a server that runs in this process does not reset them."""
    yield
    if any(signal.getsignal(number) is signal.SIG_IGN for number in _SIGNALS):
        _as_a_terminal_gives_them()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Prints first that tests will be skipped, if the kernel refuses overlays."""
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None and (notice := needs.notice()):
        terminal.write_line(notice, yellow=True, bold=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs to be root")
    for marker in item.iter_markers("needs"):
        needs.program(*marker.args, **marker.kwargs)
    if item.get_closest_marker("overlay"):
        # "root" is the parameter's name wherever a test runs as several users.
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        needs.overlay(0 if item.get_closest_marker("root") or "root" in parameters else None)
