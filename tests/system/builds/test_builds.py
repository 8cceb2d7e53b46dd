"""Whole builds of small projects: forms of makefiles, failures, limits, unusual names and sizes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tests.system.harness import needs
from tests.system.harness.projects import GCC, FakeCompiler, Gate, GatedCompiler, c_project, objects, output_of, unit
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import HANG_S

pytestmark = pytest.mark.e2e


def bytes_of(tree: Path) -> dict[str, bytes]:
    """Contents of all objects below ``tree``."""
    return {name: (tree / name).read_bytes() for name in objects(tree)}


def test_recursive_make(sandbox: Sandbox) -> None:
    sub = {f"{name}/{file}": text for name in ("a", "b", "c") for file, text in c_project(3).items()}
    tree = sandbox.write({"Makefile": "all: a b c\na b c:\n\t$(MAKE) -C $@\n.PHONY: all a b c\n", **sub})
    built = sandbox.build("make", "-j8", executors=3).ok()
    assert built.figures["remote"] == 12
    assert b"jobserver" not in built.err, built.words()
    for name in ("a", "b", "c"):
        assert sandbox.run(tree / name / "prog").out == output_of(3)


def test_keep_going_with_failing_units(sandbox: Sandbox) -> None:
    files = c_project(6)
    for number in (2, 5):
        files[f"u{number}.c"] = f'#warning "only a word {number}"\n#error "broken {number}"\n'
    tree = sandbox.write(files)

    def diagnostics(err: bytes) -> list[bytes]:
        return sorted(line for line in err.splitlines() if b"u2.c" in line or b"u5.c" in line or b"***" in line)

    plain = sandbox.run("make", "-k", "-j2")
    kept = bytes_of(tree)
    sandbox.run("make", "clean").ok()
    built = sandbox.build("make", "-k", "-j8")
    assert plain.status == built.status == 2
    assert diagnostics(plain.err) == diagnostics(built.err)
    assert len(diagnostics(built.err)) >= 6
    assert bytes_of(tree) == kept
    assert objects(tree) == {"main.o", "u1.o", "u3.o", "u4.o", "u6.o"}
    assert built.figures["failed"] == 2


@pytest.mark.parametrize(("jobs", "executors", "expected"), [(2, 4, 2), (8, 3, 3)], ids=["below", "above"])
def test_width(sandbox: Sandbox, jobs: int, executors: int, expected: int) -> None:
    """Both -j and the number of executors limit the parallel compiles, and the build reaches the smaller limit."""
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(9))
    command, summary = sandbox.build_command(["make", f"-j{jobs}"], executors=executors, local_slots=2)
    with sandbox.start(command) as process:
        sandbox.wait_for_busy_executors(expected)
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert sandbox.figures(summary)["running_peak"] == expected


def test_clean_asks_for_no_executor(sandbox: Sandbox) -> None:
    tree = sandbox.write({**c_project(1), "u1.o": "", "prog": ""})
    built = sandbox.build("make", "-j8", "clean").ok()
    assert built.figures["executors_peak"] == 0
    assert not sandbox.status().get("executors")
    assert not (tree / "prog").exists()


def test_a_compiler_as_the_whole_build(sandbox: Sandbox) -> None:
    """gcc is an ordinary task, and finds cc1."""
    sandbox.write({"x.c": "int x;\n"})
    done = sandbox.build("build", "--", "gcc", "-c", "x.c", options=["--wait-for-cluster"]).ok()
    assert done.figures["remote"] == 1
    assert (sandbox.workspace / "x.o").exists()


def test_large_output_is_not_held_in_memory(sandbox: Sandbox) -> None:
    size = 50_000_000
    FakeCompiler(sandbox, f"case \" $* \" in *' -c '*) head -c {size} /dev/zero | tr '\\0' x;; esac")
    sandbox.write({"Makefile": "u1.o: u1.c\n\t@gcc -c -o $@ $<\n", "u1.c": unit(1)})
    built = sandbox.build("make", "-j4").ok()
    assert built.figures["remote"] == 1
    assert len(built.out) == size
    assert built.out.count(b"x") == size
    pid = sandbox.status()["server"]["pid"]
    peak = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    assert int(peak.split()[1]) * 1024 < 150_000_000, peak


def test_odd_names(sandbox: Sandbox) -> None:
    """Spaces, quotes and bytes that are not UTF-8, in the working directory and in file names."""
    odd = b'it\'s "odd" \xff\xfe $HOME \\n'
    directory = Path(os.fsdecode(os.path.join(os.fsencode(sandbox.workspace), b"dir " + odd)))
    source = os.fsdecode(odd + b".c")
    recipe = b'all:\n\tgcc -c -o "$$NAME.o" "$$NAME.c"\n'
    sandbox.write({source: unit(1), "Makefile": recipe}, below=directory)
    environment = {"NAME": odd}
    sandbox.run("make", cwd=directory, env=environment).ok()
    made = directory / os.fsdecode(odd + b".o")
    plain = made.read_bytes()
    made.unlink()
    built = sandbox.build("make", "-j2", cwd=directory, env=environment).ok()
    assert built.figures["remote"] == 1
    assert made.read_bytes() == plain


def test_large_environment(sandbox: Sandbox) -> None:
    FakeCompiler(sandbox, 'echo "$(printenv BIG_A | cksum) $(printenv BIG_B | cksum)" >&2')
    sandbox.write({"Makefile": "u1.o: u1.c\n\tgcc -c -o $@ $<\n", "u1.c": unit(1)})
    environment = {"BIG_A": "a" * 100_000, "BIG_B": os.urandom(50_000).hex()}
    plain = sandbox.run("make", env=environment).ok()
    (sandbox.workspace / "u1.o").unlink()
    built = sandbox.build("make", "-j2", env=environment).ok()
    assert built.figures["remote"] == 1
    assert plain.err in built.err


@pytest.mark.overlay
def test_long_command_line(sandbox: Sandbox) -> None:
    """A megabyte of words. (gcc itself stops at 128 kB, because it passes all its options in one variable.)"""
    words = "$(foreach i,$(shell seq 1 30000),-DQUITE_A_LONG_MACRO_NAME_$(i)=$(i))"
    FakeCompiler(sandbox, f"printf '%s\n' \"$@\" | cksum >&2; exec {GCC} -c -o u1.o u1.c")
    sandbox.write({"Makefile": f"u1.o: u1.c\n\t@gcc {words} -c -o $@ $<\n", "u1.c": unit(1)})
    plain = sandbox.run("make").ok()
    assert int(plain.err.split()[1]) > 1_000_000
    (sandbox.workspace / "u1.o").unlink()
    built = sandbox.build("make", "-j2", options=["--no-summary-line"]).ok()
    assert built.figures["remote"] == 1
    assert built.err == plain.err


def test_loop_that_reads_standard_input_around_compiles(sandbox: Sandbox) -> None:
    """A compile does not read from the list on stdin that the loop around it still has to read."""
    names = [f"u{i}" for i in range(1, 6)]
    sandbox.write(
        {
            "Makefile": "all:\n\twhile read name; do gcc -c -o $$name.o $$name.c || exit 1; done <list\n",
            "list": "".join(f"{name}\n" for name in names),
            **{f"{name}.c": unit(1) for name in names},
        }
    )
    built = sandbox.build("make", "-j2").ok()
    assert objects(sandbox.workspace) == {f"{name}.o" for name in names}
    assert built.figures["remote"] == len(names)


def test_order_of_stdout_and_stderr_in_one_pipe(sandbox: Sandbox) -> None:
    lines = "; ".join(f"echo out {i}; echo err {i} >&2" for i in range(50))
    FakeCompiler(sandbox, lines)
    sandbox.write({"Makefile": "u1.o: u1.c\n\t@gcc -Wall -c -o $@ $<\n", "u1.c": "static int unused;\n"})
    plain = sandbox.run("make", merge=True).ok()
    (sandbox.workspace / "u1.o").unlink()
    built = sandbox.build("make", "-j2", options=["--no-summary-line"], merge=True).ok()
    assert built.figures["remote"] == 1
    assert plain.out.count(b"\n") > 100
    assert built.out == plain.out


@pytest.mark.overlay
@pytest.mark.overlay
def test_each_build_has_its_own_capture(sandbox: Sandbox) -> None:
    """Executors of the build before are still connected."""
    makefile = "all: u.o v.o\nu.o: u.c\n\tgcc -c u.c\nv.o: v.c\n\tgcc --coverage -c v.c\n"
    sandbox.write({"Makefile": makefile, "u.c": "int u;\n", "v.c": "int v;\n"})
    # --coverage is not predicted, so this compile runs on the submit host.
    for capture, remote in (("in-place", 2), ("overlay", 2), ("predict", 1), ("in-place", 2)):
        built = sandbox.build("make", "-B", options=["--capture", capture, "--wait-for-cluster"]).ok()
        captures = {executor["capture"] for executor in sandbox.status()["executors"]}
        assert (built.figures["remote"], capture in captures) == (remote, True), f"{captures}\n{built.words()}"


@pytest.mark.parametrize(("where", "is_captured"), [("/tmp", True), ("/dev/shm", True), ("/var/tmp", False)])
def test_headers_and_objects_on_this_hosts_own_disks(sandbox: Sandbox, where: str, is_captured: bool) -> None:
    with tempfile.TemporaryDirectory(dir=where) as name:
        directory = Path(name)
        sandbox.write({"value.h": "#define VALUE 7\n"}, directory)
        sandbox.give(directory)
        rule = f"a.o: a.c\n\tgcc -I{name} -c -o $@ $<\n\tspraycc-run --remote cp $@ {name}/copy.o\n"
        sandbox.write({"a.c": '#include "value.h"\nint value = VALUE;\n', "Makefile": rule})
        built = sandbox.build("make", executors=1).ok()
        assert built.figures["remote"] == 1 + is_captured, built.words()
        assert (sandbox.workspace / "a.o").read_bytes() == (directory / "copy.o").read_bytes()


@pytest.mark.overlay
def test_a_directory_that_one_task_removes_and_another_one_fills(sandbox: Sandbox) -> None:
    gate = Gate(sandbox)
    (sandbox.workspace / "tmp").mkdir()
    sandbox.give(sandbox.workspace)
    remote: list[str | Path] = [sandbox.bin / "spraycc", "run", "--remote", "--", "sh", "-c"]
    with sandbox.start([*remote, f"rmdir tmp && {gate.wait('/')}"]) as process:
        sandbox.wait_for("it waits", lambda: any("sleep 0.02" in running.command for running in sandbox.processes()))
        sandbox.run(*remote, "mkdir -p tmp && echo keep >tmp/keep").ok()
        gate.open()
        assert process.wait(HANG_S) == 0
    assert (sandbox.workspace / "tmp/keep").read_text() == "keep\n"


def test_compiles_of_cargos_build_scripts_are_intercepted(sandbox: Sandbox) -> None:
    """cargo makes and executes them in the workspace. Those with the crate cc execute a C compiler."""
    needs.program("cargo", path="/usr/bin")
    script = """\
use std::{env, process::Command};
fn main() {
    for name in ["a", "b"] {
        let object = format!("{}/{name}.o", env::var("OUT_DIR").unwrap());
        assert!(Command::new("cc").args(["-c", &format!("{name}.c"), "-o", &object]).status().unwrap().success());
    }
}
"""
    package = '[package]\nname = "p"\nversion = "0.1.0"\nedition = "2021"\n'
    files = {"Cargo.toml": package, "build.rs": script, "src/lib.rs": "", "a.c": "int a;\n", "b.c": "int b;\n"}
    sandbox.write(files)
    built = sandbox.build("cargo", "build", env={"CARGO_NET_OFFLINE": "true"}).ok()
    assert built.figures["remote"] == 2, built.words()
