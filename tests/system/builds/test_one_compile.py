"""A build that is a single compile: the runner starts the compiler, and the compiler finds its own parts.

GCC looks for its own name on PATH, because its parts are beside it. If the real GCC is started with shims first on PATH,
it takes the shim for itself and finds no cc1.
"""

from __future__ import annotations

import pytest

from tests.system.harness.sandbox import Sandbox

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.needs("clang")]

COMPILERS = ("gcc", "gcc-12", "x86_64-linux-gnu-gcc", "clang", "clang-14")


@pytest.mark.parametrize("intercept", ["exec", "path"])
@pytest.mark.parametrize("leads", [(), ("build", "--")], ids=["build", "build-in-a-build"])
def test_is_the_same_and_remote(sandbox: Sandbox, leads: tuple[str, ...], intercept: str) -> None:
    sandbox.settings["SPRAYCC_INTERCEPT"] = intercept
    sandbox.write({"u.c": "#include <stddef.h>\nint f(void) { return (int)sizeof(size_t); }\n"})
    lead = (str(sandbox.bin / "spraycc"), *leads) if leads else ()
    found = []
    for compiler in COMPILERS:
        plain = sandbox.run(compiler, "-g", "-c", "u.c", "-o", "u.o")
        if plain.status == 127:
            continue  # this machine has another version
        plain.ok()
        words = (sandbox.workspace / "u.o").read_bytes()
        (sandbox.workspace / "u.o").unlink()
        built = sandbox.build("build", "--", *lead, compiler, "-g", "-c", "u.c", "-o", "u.o").ok()
        assert built.figures["remote"] == 1, built.words()
        assert (sandbox.workspace / "u.o").read_bytes() == words
        found.append(compiler)
    assert {"gcc", "clang"} < set(found)


def test_by_run(sandbox: Sandbox) -> None:
    """The same for ``spraycc run``, whose command belongs to no build."""
    sandbox.write({"u.c": "#include <stddef.h>\nint f(void) { return (int)sizeof(size_t); }\n"})
    for compiler in ("gcc", "clang"):
        sandbox.run(sandbox.bin / "spraycc", "run", "--", compiler, "-c", "u.c", "-o", f"{compiler}.o").ok()
        assert (sandbox.workspace / f"{compiler}.o").exists()
