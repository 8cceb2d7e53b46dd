"""Fixtures of the end-to-end tests: the real server and executors, real make, ninja, gcc and clang, in a place of their own.

As root every command runs as an unprivileged user (``spraycc-test``, made where it is missing) in a workspace of a
supplementary group, as project trees on clusters are; as anybody else, as that user.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.system.harness.sandbox import Account, Sandbox


@pytest.fixture
def make_sandbox() -> Iterator[Callable[[Account], Sandbox]]:
    """Makes sandboxes, and at the test's end stops what runs in them and looks for leaks."""
    made: list[Sandbox] = []

    def make(account: Account) -> Sandbox:
        made.append(Sandbox(account))
        return made[-1]

    yield make
    for sandbox in made:
        sandbox.close()


@pytest.fixture
def sandbox(make_sandbox: Callable[[Account], Sandbox]) -> Sandbox:
    """A sandbox of an unprivileged user."""
    return make_sandbox(Account.unprivileged())


@pytest.fixture
def root_sandbox(make_sandbox: Callable[[Account], Sandbox]) -> Sandbox:
    """A sandbox where the commands run as root; for tests marked ``root``."""
    if os.geteuid() != 0:
        pytest.skip("needs to be root")
    return make_sandbox(Account.mine())
