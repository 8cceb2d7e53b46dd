"""Fixtures of the end-to-end tests: the real server and executors, real make, ninja, gcc and clang, in a place of their own.

As root every command runs as an unprivileged user (``spraycc-test``, made where it is missing) in a workspace of a
supplementary group, as project trees on clusters are; as anybody else, as that user.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # sandbox.py and projects.py are modules beside the tests

from sandbox import EXAMPLES, TOOLS, Account, Sandbox


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


@pytest.fixture(scope="session")
def cache() -> Path:
    """What is fetched once for many runs: a directory that the test user can read (E2E_CACHE)."""
    path = Path(os.environ.get("E2E_CACHE") or f"/var/tmp/spraycc-test-cache-{os.geteuid()}")
    path.mkdir(mode=0o755, exist_ok=True)
    assert path.stat().st_uid == os.geteuid(), f"{path} belongs to somebody else"
    path.chmod(0o755)
    return path


@pytest.fixture(scope="session")
def make_4_4(cache: Path) -> Path:
    """A GNU Make 4.4, whose jobserver is a fifo."""
    directory = cache / "make-4.4"
    subprocess.run([TOOLS / "get-make-4.4", directory], check=True)
    return directory / "make"


@pytest.fixture(scope="session")
def upstream(cache: Path) -> Callable[[str, Path], None]:
    """Unpacks the upstream sources of a Debian source package into a new directory."""

    def fetch(package: str, directory: Path) -> None:
        environment = {**os.environ, "SPRAYCC_UPSTREAM_CACHE": str(cache / "upstream")}
        subprocess.run([EXAMPLES / "fetch-upstream", package, directory], check=True, env=environment)

    return fetch
