"""ccache in front of the compiler: it must tell compilers apart, also if it finds a shim on PATH."""

from __future__ import annotations

import shutil

import pytest

from tests.system.harness.sandbox import Sandbox

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LINE = ("ccache", "gcc", "-c", "u.c", "-o", "u.o")


@pytest.mark.needs("ccache")
@pytest.mark.parametrize("intercept", ["exec", "path"])
def test_another_compiler_is_another_result(sandbox: Sandbox, intercept: str) -> None:
    sandbox.settings["SPRAYCC_INTERCEPT"] = intercept
    sandbox.write({"u.c": "int v = V;\n"})
    compilers = sandbox.aside / "compiler"
    sandbox.path_front.append(compilers)
    environment = {"CCACHE_DIR": str(sandbox.temp / "ccache")}
    objects: list[bytes] = []
    for version in (1, 1, 2):
        script = f"""\
#!/bin/sh
exec /usr/bin/gcc -DV={version} "$@"
"""
        if len(objects) != 1:
            sandbox.write({"gcc": script}, compilers, mode=0o755)
        built = sandbox.build("build", "--", *LINE, env=environment).ok()
        # Executors preprocess and compile. The second time the cache has the result.
        assert bool(built.figures["remote"]) == (len(objects) != 1), built.words()
        objects.append((sandbox.workspace / "u.o").read_bytes())
    assert objects[0] == objects[1] != objects[2]


@pytest.mark.needs("ccache")
def test_ccache_under_the_compilers_name(sandbox: Sandbox) -> None:
    """Like distributions: /usr/lib/ccache first on PATH, with links that have the compilers' names."""
    sandbox.write({"u.c": "int v;\n"})
    links = sandbox.aside / "ccache"
    links.mkdir()
    (links / "gcc").symlink_to(str(shutil.which("ccache")))
    sandbox.path_front.append(links)
    environment = {"CCACHE_DIR": str(sandbox.temp / "ccache")}
    for remote in (True, False):
        built = sandbox.build("build", "--", *LINE[1:], env=environment).ok()
        assert bool(built.figures["remote"]) == remote, built.words()
        (sandbox.workspace / "u.o").unlink()
