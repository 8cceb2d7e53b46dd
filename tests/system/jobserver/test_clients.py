"""Build tools other than make 4 and ninja 1.13: each takes its tokens from the build's pool, or gets a fixed width."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.system.harness import needs
from tests.system.harness.tools import version_of
from tests.system.jobserver.shapes import Size, make_shape, most_at_once, write_make, write_ninja
from tests.system.jobserver.shapes import marks as marks_in

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SMALL = Size(remotes=24, locals=12, remote_s=(0.1, 0.2), local_s=0.05)
STRICT = ("--probing-limit", "2")


@pytest.fixture
def ready(lab: Any) -> Any:
    """The lab with eight executors connected, two local slots and no probing."""
    lab.start()
    lab.warm(8, 2)
    lab.log = lab.sandbox.aside / "local.log"
    lab.log.touch()
    lab.log.chmod(0o666)
    return lab


def build(lab: Any, *words: str | Path, options: tuple[str, ...] = STRICT, **more: Any) -> Any:
    return lab.sandbox.build(*words, options=options, executors=8, local_slots=2, **more).ok()


def script(lab: Any, name: str, text: str) -> Path:
    """A program that the test writes."""
    path: Path = lab.sandbox.aside / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    lab.sandbox.give(path.parent)
    return path


def check_pool(figures: Any) -> None:
    assert figures["tokens_free_at_end"] == figures["tokens_issued"]
    assert figures["tokens_lost"] == 0


def test_kitwares_ninja(lab: Any, kitware_ninja: Path) -> None:
    """The 1.11 with a jobserver in pipes, which PyPI had before 1.13."""
    shape = make_shape("interleaved 3:1", replace(SMALL, together="wide:4"))
    options = ("--probing-limit", "8")  # like ninja's first window
    run = lab.run(shape, write_ninja, executors=8, local_slots=2, tool=kitware_ninja, options=options)
    assert len(run.local_marks) == 2 * shape.locals
    assert run.most_local <= 8
    assert run.most_remote >= 4
    assert run.finished.figures["remote"] == shape.remotes
    assert run.finished.figures["tokens_issued"] >= 1
    check_pool(run.finished.figures)
    assert not any("knows no jobserver" in line for line in run.finished.own_lines())


def test_a_ninja_without_a_jobserver_is_told_its_width(lab: Any) -> None:
    ninja = Path("/usr/bin/ninja")
    if not ninja.exists():
        needs.missing(str(ninja), "ninja-build")
    if version_of(ninja) >= (1, 13):
        pytest.skip("the system's ninja knows the jobserver: it is not older than 1.13")
    shape = make_shape("interleaved 3:1", replace(SMALL, together="wide:4"))
    run = lab.run(shape, write_ninja, executors=8, local_slots=2, tool=ninja)
    assert run.finished.figures["remote"] == shape.remotes
    assert 4 <= run.most_remote <= 8
    # only its -j bounds it
    assert run.most_local <= 8
    (said,) = [line for line in run.finished.own_lines() if "knows no jobserver" in line]
    assert "-j8" in said


def test_make_4_2_has_a_pool_that_stays_as_it_is(lab: Any) -> None:
    """make's version decides. The stub is this host's make with another version."""
    make = script(lab, "old/make", '[ "$1" = --version ] && { echo GNU Make 4.2.1; exit; }\nexec /usr/bin/make "$@"\n')
    shape = make_shape("interleaved 3:1", SMALL)
    run = lab.run(shape, write_make, executors=8, local_slots=2, tool=make, options=("--probing-limit", "3"))
    figures = run.finished.figures
    assert figures["remote"] == shape.remotes
    # eight recipes: seven tokens and make's own slot
    assert figures["tokens_issued"] == 7
    check_pool(figures)
    assert run.most_local <= 8
    assert any("4.2.1" in line for line in run.finished.own_lines())


def test_cargo(ready: Any) -> None:
    """rustc is not a wrapped command, so it is the governor's unseen work. -j8 is only the cap."""
    needs.program("cargo", path="/usr/bin")
    crates = [f"crate{i}" for i in range(6)]
    files = {"Cargo.toml": "[workspace]\nmembers = [" + ", ".join(f'"{name}"' for name in crates) + "]\n"}
    for name in crates:
        files[f"{name}/Cargo.toml"] = f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n'
        files[f"{name}/src/lib.rs"] = f"pub fn {name}() {{}}\n"
    ready.sandbox.write(files)
    wrapper = script(
        ready,
        "rustc/wrap",
        f'case "$*" in *"--crate-name crate"*) exec {ready.tick} {ready.log} command sh -c \'sleep 0.2; exec "$@"\' sh "$@";; esac\n'
        'exec "$@"\n',
    )
    env = {"RUSTC_WRAPPER": str(wrapper), "CARGO_NET_OFFLINE": "true", "TICK_TOGETHER": "2"}
    finished = build(ready, "cargo", "build", "-j8", env=env)
    assert most_at_once(marks_in(ready.log)) == 2
    check_pool(finished.figures)
    assert b"warning" not in finished.err


def test_ctest(ready: Any, new_cmake: Path) -> None:
    """Tests are unseen work. ctest takes a token for each test beyond the first."""
    tests = "".join(f"add_test(NAME t{i} COMMAND {ready.tick} {ready.log} 0.1)\n" for i in range(12))
    head = "cmake_minimum_required(VERSION 3.18)\nproject(p NONE)\nenable_testing()\n"
    ready.sandbox.write({"CMakeLists.txt": head + tests})
    ready.sandbox.run(new_cmake / "cmake", "-S", ".", "-B", "b").ok()
    env = {"TICK_TOGETHER": "2"}
    finished = build(ready, new_cmake / "ctest", "--test-dir", "b", "-j8", env=env)
    assert b"100% tests passed" in finished.out
    assert most_at_once(marks_in(ready.log)) == 2
    check_pool(finished.figures)


@pytest.mark.parametrize("generator", ["Unix Makefiles", "Ninja"])
def test_cmake_build(ready: Any, new_cmake: Path, generator: str) -> None:
    """-j8 is removed; otherwise make would leave the jobserver."""
    names = [f"s{i}.c" for i in range(12)]
    ready.sandbox.write(
        {
            "CMakeLists.txt": "cmake_minimum_required(VERSION 3.18)\nproject(p C)\n"
            f"add_library(o OBJECT {' '.join(names)})\n",
            **{name: f"int {name[:-2]};\n" for name in names},
        }
    )
    cmake = new_cmake / "cmake"
    flags = "-DCMAKE_C_FLAGS=-DSIMULATED_TOGETHER=units:4"
    build(ready, cmake, "-S", ".", "-B", "b", "-G", generator, flags)
    finished = build(ready, cmake, "--build", "b", "-j8")
    assert finished.figures["remote"] == 12
    assert finished.figures["running_peak"] >= 4
    assert b"resetting jobserver" not in finished.err
    check_pool(finished.figures)


def test_a_link_time_optimisation_takes_its_tokens_from_the_pool(ready: Any) -> None:
    """GCC's lto-wrapper runs its own make, as wide as the host unless the jobserver's descriptor is open. make closes the
    descriptor for recipes like this one."""
    record = script(
        ready,
        "lto/record",
        f'for word; do case $word in -j*) echo wide >>{ready.log};; esac; done\n'
        f'fd=$(printf %s "$MAKEFLAGS" | sed -n "s/.*--jobserver-auth=\\([0-9]*\\),.*/\\1/p")\n'
        f'[ -e /proc/self/fd/$fd ] && echo open >>{ready.log}\n'
        'exec /usr/bin/make "$@"\n',
    )  # fmt: skip
    units = {f"u{i}.c": f"int f{i}(int x) {{ return x * {i + 3}; }}\n" for i in range(4)}
    calls = " + ".join(f"f{i}(c)" for i in range(4))
    declared = "".join(f"int f{i}(int);\n" for i in range(4))
    units["main.c"] = f"{declared}int main(int c, char **v) {{ (void)v; return ({calls}) == 0; }}\n"
    objects = " ".join(name[:-2] + ".o" for name in units)
    link = f"MAKE={record} gcc -O2 -flto=auto -flto-partition=1to1 -o prog {objects}"
    ready.sandbox.write({**units, "Makefile": f"prog:\n\t@{link}\n"})
    ready.sandbox.run("/usr/bin/gcc", "-O2", "-flto", "-c", *units).ok()
    finished = build(ready, "/usr/bin/make")
    ready.sandbox.run(ready.sandbox.workspace / "prog").ok()
    # make is asked for its version first, and then runs
    assert set(ready.log.read_text().split()) == {"open"}
    assert finished.figures["local"] == 1
    check_pool(finished.figures)
