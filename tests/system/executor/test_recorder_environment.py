"""A command and its programs have the same environment as without the recorder, and all of them are recorded."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from spraycc import stamps
from spraycc.system.preload import _our_loader, can_preload
from tests.pure.system.test_preload import elf
from tests.system.executor import recording
from tests.system.executor.recording import HERE, Recorder, compiled, plain, shared, stamps_of
from tests.system.harness import needs
from tests.system.harness.native import NATIVE, STRICT

library = recording.library
recorder = recording.recorder

pytestmark = pytest.mark.needs("cc", package="gcc")


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("environment"), "recorder_environment")


@pytest.fixture(scope="session")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that the user preloads."""
    return shared(tmp_path_factory.mktemp("preloaded") / "libown.so", "int own; int own = 1;\n")


PRINT = "import os; [print(os.fsdecode(name + b'=' + value)) for name, value in os.environb.items()]"


@pytest.mark.parametrize("user", ["none", "empty", "one", "two"])
def test_what_the_command_sees(recorder: Recorder, runs: Path, preloaded: Path, user: str) -> None:
    values = {"empty": "", "one": str(preloaded), "two": f"{preloaded} {preloaded}"}
    changes = {"LD_PRELOAD": values[user], "LAST": "1"} if user in values else {"LAST": "1"}
    python = os.path.realpath(sys.executable)
    commands: list[list[str | Path]] = [
        ["env"],
        ["printenv"],
        ["sh", "-c", "env; set"],
        ["bash", "-c", "env; (env); exec env"],
        [python, "-S", "-E", "-c", PRINT],
        ["perl", "-e", "print map {qq($_=$ENV{$_}\n)} sort keys %ENV"],
        [runs, "main"],
        [runs, "constructor"],
        ["sh", "-c", 'exec "$0" main', runs],
        ["env", "-i", "A=1", "env"],
        ["env", "LD_PRELOAD=" + str(preloaded), "env"],
        ["env", "SPRAYCC_RECORD=/own", "LD_PRELOAD=", "sh", "-c", "env"],
        ["env", "-u", "LD_PRELOAD", "-u", "SPRAYCC_RECORD", "env"],
    ]
    for command in commands:
        without = plain(command, recorder.work, **changes)
        done = recorder.run(*command, cwd=None, **changes)
        assert (done.returncode, _same(done.stdout), done.stderr) == (0, _same(without.stdout), b""), command
        assert b"libspraycc" not in done.stdout
        assert recorder.file.read().complete, command


def _same(output: bytes) -> list[bytes]:
    """Without process ids."""
    return [line for line in output.splitlines() if not line.startswith((b"PPID=", b"BASHPID="))]


HOW = ["execve", "execve-null", "execvp", "fexecve", "spawn", "spawnp", "vfork"]


@pytest.mark.parametrize("how", HOW)
def test_a_program_is_recorded_however_it_is_executed(recorder: Recorder, runs: Path, how: str) -> None:
    (recorder.work / "seen").write_text("seen\n")
    command: list[str | Path] = [runs, how, "/bin/sh", "-c", "cat seen; /usr/bin/env; true"]
    assert recorder.run_alike(command)
    lookup = recorder.lookup("f", "seen")
    assert stamps_of(recorder.file.read()).get(lookup) == stamps.look(lookup)


@pytest.mark.parametrize("how", ["system", "popen", "threads"])
def test_a_shell_of_the_c_library_is_recorded(recorder: Recorder, runs: Path, preloaded: Path, how: str) -> None:
    (recorder.work / "seen").write_text("seen\n")
    for changes in ({}, {"LD_PRELOAD": str(preloaded)}):
        command: list[str | Path] = [runs, how, "cat seen >/dev/null; env"]
        done = recorder.run(*command, cwd=None, **changes)
        without = plain(command, recorder.work, **changes)
        assert (done.returncode, done.stderr) == (0, without.stderr)
        assert sorted(done.stdout.splitlines()) == sorted(without.stdout.splitlines())
        reads = recorder.file.read()
        assert reads.complete
        assert recorder.lookup("f", "seen") in stamps_of(reads)


def test_an_environment_that_is_too_large_goes_on_as_it_is(recorder: Recorder, runs: Path) -> None:
    assert not recorder.reads(runs, "many", "/bin/true").complete


@pytest.mark.parametrize("name", ["address", "thread", "leak", "undefined"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_programs_with_sanitizers(recorder: Recorder, compiler: str, name: str) -> None:
    (recorder.work / "t.c").write_text('#include <stdio.h>\nint main(void) { puts("runs"); return 0; }\n')
    command = [needs.compiler(compiler), f"-fsanitize={name}", "t.c", "-o", "program"]
    if plain(list(command), recorder.work).returncode != 0:
        pytest.skip(f"{compiler} has no library for -fsanitize={name}")
    seen = (compiler, name) != ("gcc", "address")
    assert can_preload(bytes(recorder.work / "program")) == seen
    assert recorder.run_alike(["sh", "-c", "./program; env ./program; true"]) == seen
    if not seen:
        asan = plain(["gcc", "-print-file-name=libasan.so"], recorder.work).stdout.decode().strip()
        command = ["sh", "-c", f"LD_PRELOAD={asan} ./program; true"]
        assert not recorder.run_alike(list(command))


def test_programs_that_can_t_load_the_recorder_run_as_without(recorder: Recorder, runs: Path) -> None:
    compiled(recorder.work, "recorder_environment", "-static")
    assert not recorder.run_alike(["sh", "-c", "./recorder_environment main; true"])
    shutil.copy(runs, recorder.work / "setuid")
    (recorder.work / "setuid").chmod(0o4755)
    assert not recorder.run_alike(["sh", "-c", "./setuid main; true"])
    (recorder.work / "t.c").write_text("int main(void) { return 0; }\n")
    if plain(["gcc", "-m32", "t.c", "-o", "program"], recorder.work).returncode == 0:
        assert not recorder.run_alike(["sh", "-c", "./program; true"])


def test_the_library_decides_as_the_executor_does(recorder: Recorder, runs: Path) -> None:
    work = recorder.work
    program = work / "decides"
    sources = [HERE / "recorder_can_preload.c", NATIVE / "preload" / "program.c", NATIVE / "common" / "text.c"]
    subprocess.run(["cc", *STRICT, "-Draw_syscall=syscall", *sources, "-o", program], check=True)
    compiled(work, "recorder_program", "-static")
    order = 2 if sys.byteorder == "little" else 1
    elf(work / "same")
    elf(work / "other-class", at_4=1)
    elf(work / "other-order", at_5=order)
    elf(work / "other-machine", at_18=0xF7)
    elf(work / "other-libc", loader=b"/lib/ld-musl-x86_64.so.1\0")
    # Another path than that of this process's loader: the file must show its version.
    loader = Path(os.fsdecode(_our_loader() or b""))
    shutil.copy(loader, work / "ld-linux-copy.so.2")
    (work / "ld-linux-old.so.2").write_bytes(loader.read_bytes().replace(b"GLIBC_2.35\0", b"GLIBC_2.33\0"))
    elf(work / "loader-copy", loader=bytes(work / "ld-linux-copy.so.2") + b"\0")
    elf(work / "loader-old", loader=bytes(work / "ld-linux-old.so.2") + b"\0")
    elf(work / "loader-missing", loader=bytes(work / "ld-linux-missing.so.2") + b"\0")
    elf(work / "no-header", at_56=0)
    elf(work / "wild-table", at_39=0x7F)
    elf(work / "no-size", at_54=0)
    (work / "cut").write_bytes((work / "same").read_bytes()[:70])
    shutil.copy(runs, work / "setgid")
    (work / "setgid").chmod(0o2755)
    lines = ["#!/bin/sh -e", "#! /bin/sh", "#!\t/bin/sh\t", "#!", "#! ", "#!/nowhere/sh", f"#!{work}/recorder_program"]
    lines += [f"#!{work}/script-{number}" for number in (0, 7, 8, 9, 10)]
    for number, line in enumerate(lines):
        (work / f"script-{number}").write_text(line + "\n")
    (work / "address").write_bytes(b"")
    (work / "t.c").write_text("int main(void) { return 0; }\n")
    for compiler, words in (("gcc", ["-fsanitize=address"]), ("clang", ["-fsanitize=address", "-shared-libasan"])):
        plain([needs.compiler(compiler), *words, "t.c", "-o", f"asan-{compiler}"], work)
    paths = sorted({*work.iterdir(), *Path("/usr/bin").iterdir(), work, work / "missing"})
    assert struct.calcsize("P") == 8
    done = subprocess.run([program, *paths], capture_output=True, check=True, cwd=work)
    decisions = dict(zip(paths, done.stdout.decode(), strict=True))
    for path, decision in decisions.items():
        if path.is_file() and os.access(path, os.R_OK) and not path.read_bytes()[:4].startswith((b"\x7fELF", b"#!")):
            assert decision == "1"  # execvp has the shell read it
        else:
            assert decision == str(int(can_preload(bytes(path)))), path
    assert decisions[work / "script-9"] == "1"
    assert decisions[work / "script-10"] == "0"  # one script too many
    assert decisions[work / "asan-gcc"] == "0"
    names = ("ld-linux-copy.so.2", "loader-copy", "ld-linux-old.so.2", "loader-old", "loader-missing")
    assert [decisions[work / name] for name in names] == ["1", "1", "0", "0", "0"]
