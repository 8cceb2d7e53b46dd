"""For all system tests: what is fetched once for many runs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.harness.sandbox import EXAMPLES, TOOLS


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
