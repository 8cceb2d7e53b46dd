"""Real projects of hundreds of translation units; tests/system/builds/test_upstream.py has smaller ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.builds.conftest import make_sandbox, sandbox
from tests.system.builds.test_upstream import Project, check_build
from tests.system.conftest import cache, upstream
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import LONG_HANG_S

__all__ = ["cache", "make_sandbox", "sandbox", "upstream"]

PROJECTS = [
    Project("zstd", units=60),
    # Without this variable, redis writes host name, time and the state of git into the server.
    # (jemalloc's configure logs PATH and the time)
    Project(
        "redis",
        environment=(("SOURCE_DATE_EPOCH", "1700000000"),),
        different=("deps/jemalloc/config.log",),
        fail_unseen=1,  # jemalloc's header does not exist yet
        units=200,
    ),
    # all programs of busybox
    Project(
        "busybox",
        configure=("make", "defconfig"),
        environment=(("SOURCE_DATE_EPOCH", "1700000000"), ("KCONFIG_NOTIMESTAMP", "1")),
        units=400,
    ),
    # the program git itself: the library and all built-in commands; without the tests' helpers
    Project(
        "git",
        make=(
            "git",
            "CFLAGS=-O0",
            "NO_OPENSSL=1",
            "NO_CURL=1",
            "NO_EXPAT=1",
            "NO_GETTEXT=1",
            "NO_TCLTK=1",
            "NO_PERL=1",
            "NO_PYTHON=1",
        ),
        units=350,
    ),
]


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(2 * LONG_HANG_S)
@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.package)
def test_build_is_the_same_and_all_units_are_remote(
    sandbox: Sandbox, upstream: Callable[[str, Path], None], project: Project
) -> None:
    check_build(sandbox, upstream, project)
