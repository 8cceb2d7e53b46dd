"""The machine for the tests, and their tables at the end of the run."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.nfs.machine import Machine, accelerator, booted

_TABLES = pytest.StashKey[list[str]]()

Show = Callable[[str], None]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TABLES] = []


@pytest.fixture(scope="session")
def cable() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The network between the two machines."""
    first, second = socket.socketpair()
    with first, second:
        yield first, second


@pytest.fixture(scope="session")
def machine(pytestconfig: pytest.Config, cable: tuple[socket.socket, socket.socket]) -> Iterator[Machine]:
    if os.geteuid():
        pytest.skip("needs root: it makes a disk image with debootstrap")
    with booted(cable[0]) as running:
        kind = "with KVM" if "kvm" in accelerator() else "emulated"
        pytestconfig.stash[_TABLES].append(f"the virtual machine ({kind}) was up after {running.up_s:.1f} s")
        yield running


@pytest.fixture(scope="session")
def second_machine(cable: tuple[socket.socket, socket.socket]) -> Iterator[Machine]:
    """Booted only for the tests that ask for it: they set its clock."""
    with booted(cable[1], number=1) as running:
        yield running


@pytest.fixture
def show(pytestconfig: pytest.Config) -> Show:
    """Puts a table into the report at the end of the run."""
    return pytestconfig.stash[_TABLES].append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for table in config.stash[_TABLES]:
        terminalreporter.write_line("")
        terminalreporter.write_line(table)
