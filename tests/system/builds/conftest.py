"""Fixtures of the end-to-end tests: the real server and executors, real make, ninja, gcc and clang, in a sandbox.

As root, every command runs as an unprivileged user (``spraycc-test``, created if it is missing) in a workspace of a
supplementary group, like project trees on clusters. As another user, every command runs as that user.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.system.harness.sandbox import Account, Sandbox


@pytest.fixture
def make_sandbox() -> Iterator[Callable[[Account], Sandbox]]:
    """Makes sandboxes. At the test's end, stops their processes and searches for leaks."""
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
    """A sandbox in which commands run as root; for tests marked ``root``."""
    if os.geteuid() != 0:
        pytest.skip("needs to be root")
    return make_sandbox(Account.mine())
