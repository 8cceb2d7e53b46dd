"""For all tests: the signals' dispositions that a terminal gives, and the same examples in each run."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.examples import load_profile

_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def _as_a_terminal_gives_them() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


# A shell without job control starts what stands before "&" with SIGINT ignored, nohup with SIGHUP ignored, and what is
# ignored stays so in every program below: whether Ctrl-C reaches a build would depend on how the tests were started.
_as_a_terminal_gives_them()


# tests/examples.py says how to draw other examples, and more of them.
load_profile()


@pytest.fixture(autouse=True)
def dispositions() -> Iterator[None]:
    """A server that has run in this process leaves signals ignored, as servers end with their process."""
    yield
    if any(signal.getsignal(number) is signal.SIG_IGN for number in _SIGNALS):
        _as_a_terminal_gives_them()
