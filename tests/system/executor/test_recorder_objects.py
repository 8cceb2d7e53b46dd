"""The recorder sees the files that the dynamic loader opens itself: libraries, plugins, interpreters."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from spraycc import stamps
from tests.system.executor import recording
from tests.system.executor.recording import Recorder, compiled, shared, stamps_of
from tests.system.harness import needs

library = recording.library
recorder = recording.recorder

pytestmark = pytest.mark.needs("cc", package="gcc")


@pytest.fixture
def loads(recorder: Recorder) -> Path:
    """A program of the workspace that searches for libraries beside itself, and a plugin."""
    (recorder.work / "plugins").mkdir()
    shared(recorder.work / "plugins" / "libplugin.so", "int plugin(void); int plugin(void) { return 0; }\n")
    return compiled(recorder.work, "recorder_objects", "-Wl,-rpath,$ORIGIN/plugins")


def assert_seen(recorder: Recorder, *argv: str | Path, path: str) -> None:
    reads = recorder.reads(*argv)
    assert reads.complete
    lookup = stamps.tidy(recorder.lookup("f", path))
    assert stamps_of(reads).get(lookup) == stamps.look(lookup), (path, stamps_of(reads))


def test_a_library_and_the_program_of_the_workspace(recorder: Recorder) -> None:
    shared(recorder.work / "libown.so", "int own(void); int own(void) { return 0; }\n")
    words = ("-DOWN_LIBRARY", f"-L{recorder.work}", "-Wl,--no-as-needed", "-lown", "-Wl,-rpath,$ORIGIN")
    program = compiled(recorder.work, "recorder_objects", *words)
    for argv in ([program], ["./recorder_objects"], ["sh", "-c", "./recorder_objects; true"]):
        assert_seen(recorder, *argv, path="libown.so")
        assert_seen(recorder, *argv, path="recorder_objects")


@pytest.mark.parametrize("how", ["return", "_exit", "_Exit", "quick_exit", "exec", "unload"])
def test_a_plugin_however_the_program_ends(recorder: Recorder, loads: Path, how: str) -> None:
    assert_seen(recorder, loads, recorder.work / "plugins" / "libplugin.so", how, path="plugins/libplugin.so")
    assert_seen(recorder, loads, "libplugin.so", how, path="plugins/libplugin.so")


@pytest.mark.parametrize("how", ["return", "chdir", "fchdir"])
def test_a_plugin_with_a_relative_name(recorder: Recorder, loads: Path, how: str) -> None:
    assert_seen(recorder, loads, "plugins/libplugin.so", how, path="plugins/libplugin.so")


def test_what_came_and_went_unseen_makes_the_record_incomplete(recorder: Recorder, loads: Path) -> None:
    gone = shared(recorder.work / "libgone.so", "int gone; int gone = 1;\n")
    broken = shared(recorder.work / "libbroken.so", "extern int gone; int *broken = &gone;\n", gone)
    gone.unlink()
    assert not recorder.reads(loads, broken, "fails").complete
    assert not recorder.reads(loads, recorder.work / "plugins" / "libplugin.so", "namespace").complete


def test_processes_that_fork_while_threads_load(recorder: Recorder, loads: Path) -> None:
    done = recorder.run(loads, recorder.work / "plugins" / "libplugin.so", "fork")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_an_interpreter_of_the_workspace(recorder: Recorder) -> None:
    shell = recorder.work / "shell"
    shutil.copy(os.path.realpath("/bin/sh"), shell)
    (recorder.work / "link").symlink_to("shell")
    for name, interpreter in (("inner", recorder.work / "link"), ("outer", recorder.work / "inner")):
        (recorder.work / name).write_text(f"#!{interpreter}\ntrue\n")
        (recorder.work / name).chmod(0o755)
    for script, paths in (("inner", ("shell", "link", "inner")), ("outer", ("shell", "link", "inner", "outer"))):
        for path in paths:
            assert_seen(recorder, "sh", "-c", f"{recorder.work}/{script}; true", path=path)


def test_an_extension_module_of_python(recorder: Recorder) -> None:
    python = os.path.realpath(sys.executable)
    shared(recorder.work / "libmodule.so", "int module; int module = 1;\n")
    script = "import ctypes, json; ctypes.CDLL('./libmodule.so')"
    assert_seen(recorder, python, "-S", "-E", "-c", script, path="./libmodule.so")


#: Commands whose record must stay complete: some of them load and unload plugins.
COMMANDS = [
    "gcc -flto t.c -o out",
    "g++ -c t.c -o t.o; ar rcs t.a t.o; nm t.a >names; ranlib t.a; strip -o stripped t.o",
    "clang t.c -o out",
    "perl -MPOSIX -e 1",
    "printf 'all:; @true | true' >Makefile; make",
    "bash -c '(id -un) >name | cat'",
    "printf a | iconv -f latin1 -t utf-16 >text",
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.split()[0])
def test_common_programs_leave_a_complete_record(recorder: Recorder, command: str) -> None:
    needs.compiler("clang")
    (recorder.work / "t.c").write_text("int main(void) { return 0; }\n")
    assert recorder.run_alike(["sh", "-c", command])
