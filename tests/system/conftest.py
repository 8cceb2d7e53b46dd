"""For all system tests: sources that are fetched once for many runs, and the search for processes that a run left behind."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.harness.needs import TEST_USER
from tests.system.harness.sandbox import EXAMPLES, TOOLS, Account, Process, Sandbox, processes_of
from tests.system.harness.waiting import wait_until

_BEFORE = pytest.StashKey[set[int]]()


def _of_the_test_user(before: set[int]) -> list[Process]:
    """Living processes of the user that exists only for tests."""
    try:
        uid = pwd.getpwnam(TEST_USER).pw_uid
    except KeyError:
        return []
    return [process for process, env in processes_of(uid) if env is not None and process.pid not in before]


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[_BEFORE] = {process.pid for process in _of_the_test_user(set())}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest tests first. With several workers, a long test that starts last would delay the end of the run."""
    items.sort(key=lambda item: not any(item.iter_markers("timeout")) and not any(item.iter_markers("xdist_group")))


@pytest.hookimpl(trylast=True)  # behind pytest-xdist's, which ends the workers
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI, fails a run with several workers that leaves a process of the test user behind.

    Each sandbox searches for processes with its marker. A process without a marker may belong to any worker's test, so only
    the end of the whole run shows that it was left over.
    """
    parallel = session.config.getoption("numprocesses", None) and "PYTEST_XDIST_WORKER" not in os.environ
    if "CI" not in os.environ or not parallel:
        return
    before = session.config.stash[_BEFORE]
    try:
        wait_until(lambda: not _of_the_test_user(before), timeout_s=60)
    except AssertionError:
        for process in _of_the_test_user(before):
            print(f"left running by one of the tests: {process}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox of an unprivileged user. Some folders replace this fixture."""
    sandbox = Sandbox(Account.unprivileged())
    yield sandbox
    sandbox.close()


@pytest.fixture(scope="session")
def cache() -> Path:
    """The directory for downloads that many runs share (E2E_CACHE). The test user can read it."""
    path = Path(os.environ.get("E2E_CACHE") or f"/var/tmp/spraycc-test-cache-{os.geteuid()}")
    path.mkdir(mode=0o755, exist_ok=True)
    assert path.stat().st_uid == os.geteuid(), f"{path} belongs to another user"
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
