"""A runner that the library for intercepted executions starts: the program's path comes in SPRAYCC_PROGRAM."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from spraycc.jobserver.makeflags import compose
from spraycc.wire.runner import Exited, RunHere

OURS = "/somewhere/lib/spraycc/libspraycc-exec.so"


def given(harness: Any, program: Path | str, *argv: str, **env: str) -> Any:
    """Starts the runner as the library does."""
    return harness.start(*argv, file=harness.runner, env={"SPRAYCC_PROGRAM": str(program), **env})


def first(harness: Any, program: Path | str, word: str) -> bytes:
    """The program's argv[0]: for the Python runner, the kernel has replaced the word."""
    return os.fsencode(word if harness.native else program)


def test_without_a_server_the_program_is_executed(harness: Any, finish: Any) -> None:
    program = harness.program("gcc", directory=harness.top / "elsewhere")
    harness.program("gcc")
    harness.shim("gcc")
    harness.env |= {b"LAST": b"1", b"SPRAYCC_EXEC": b"/i"}
    done = finish(given(harness, program, "any word", "--version", "--", "-j4"))
    assert (done.returncode, done.stderr) == (0, b"")
    report = harness.report()
    assert report.argv == [first(harness, program, "any word"), b"--version", b"--", b"-j4"]
    assert report.env == [name + b"=" + value for name, value in harness.env.items()]


@pytest.mark.parametrize("word", ["gcc", "", "spraycc-run", "make"])
def test_the_request_names_the_program(harness: Any, finish: Any, word: str) -> None:
    server = harness.serve()
    program = harness.program("g++", directory=harness.top / "elsewhere")
    runner = given(harness, program, word, "-c", LD_PRELOAD=f"/own.so:{OURS}", SPRAYCC_EXEC="/i", LAST="1")
    asked = server.accept()
    assert asked.task.program == os.fsencode(program)
    assert asked.task.argv == (first(harness, program, word), b"-c")
    assert asked.task.wish == "auto"
    assert b"LD_PRELOAD=/own.so" in asked.task.env
    assert b"LAST=1" in asked.task.env
    assert not [entry for entry in asked.task.env if entry.startswith(b"SPRAYCC_")]
    asked.send(Exited(3, 0))
    assert finish(runner).returncode == 3
    assert harness.reports() == []


def test_a_relative_path_is_below_the_working_directory(harness: Any, finish: Any) -> None:
    server = harness.serve()
    harness.program("gcc", directory=harness.work / "bin")
    for reply, status in ((Exited(0, 0), 0), (RunHere(0, 0), 0)):
        runner = given(harness, "bin/gcc", "gcc", "-c")
        asked = server.accept()
        assert asked.task.program == os.fsencode(harness.work / "bin" / "gcc")
        asked.send(reply)
        assert finish(runner).returncode == status
    assert harness.report().argv == [first(harness, "bin/gcc", "gcc"), b"-c"]


@pytest.mark.parametrize(
    ("preload", "left"),
    [
        (OURS, None),
        (f"/own.so:{OURS}", b"/own.so"),
        (f"{OURS} /own.so", b"/own.so"),
        (f"/a.so /b.so:{OURS}:/c.so", b"/a.so /b.so:/c.so"),
        (f"{OURS}:/other/libspraycc-exec.so", None),
        ("libspraycc-exec.so", None),
        ("/own.so", b"/own.so"),
        ("", b""),
        ("/own.so::", b"/own.so::"),
        ("/xlibspraycc-exec.so:/libspraycc-exec.so.1", b"/xlibspraycc-exec.so:/libspraycc-exec.so.1"),
    ],
)
@pytest.mark.parametrize("way", ["given", "shim", "launcher", "server", "gone"])
def test_the_library_is_not_in_the_programs_environment(
    harness: Any, finish: Any, way: str, preload: str, left: bytes | None
) -> None:
    program = harness.program("gcc")
    env = {"LD_PRELOAD": preload, "SPRAYCC_EXEC": "/i"}
    if way in ("server", "gone"):
        server = harness.serve()
        if way == "gone":
            server.die()
    if way == "shim":
        runner = harness.start("gcc", file=harness.shim("gcc"), env=env)
    elif way == "launcher":
        runner = harness.start("gcc", env=env)
    else:
        runner = given(harness, program, "gcc", **env)
    if way == "server":
        server.accept().send(RunHere(0, 0))
    assert finish(runner).returncode == 0
    found = [entry[11:] for entry in harness.report().env if entry.startswith(b"LD_PRELOAD=")]
    assert found == ([] if left is None else [left])
    if way in ("server", "gone"):
        assert [entry for entry in harness.report().env if entry.startswith(b"SPRAYCC_")] == [b"SPRAYCC_SLOT=1"]


def test_a_shim_of_a_build_tool_keeps_the_library(harness: Any, finish: Any) -> None:
    """The tool's own children are intercepted."""
    harness.program("make")
    done = finish(harness.start("make", file=harness.shim("make"), env={"LD_PRELOAD": f"/own.so:{OURS}"}))
    assert done.returncode == 0
    assert f"LD_PRELOAD=/own.so:{OURS}".encode() in harness.report().env


def test_a_given_shim_is_a_shim(harness: Any, finish: Any) -> None:
    """A link to the runner that the library did not know."""
    harness.program("gcc")
    shim = harness.shim("gcc")
    assert finish(given(harness, shim, "gcc", "-c")).returncode == 0
    assert harness.report().argv[1:] == [b"-c"]
    done = finish(given(harness, harness.runner, "spraycc-run", "--version"))
    assert done.stdout.startswith(b"spraycc-run 1.2.3")


def test_a_program_that_can_t_be_executed(harness: Any, finish: Any) -> None:
    closed = harness.work / "gcc"
    closed.write_bytes(b"")
    for program, status, said in ((closed, 126, b"Permission denied"), (harness.work / "g++", 127, b"No such file")):
        done = finish(given(harness, program, "gcc"))
        assert (done.returncode, done.stdout) == (status, b"")
        assert done.stderr.startswith(os.fsencode(program) + b": " + said)


def test_an_empty_path_has_no_meaning(harness: Any, finish: Any) -> None:
    assert finish(harness.start("probe", "x", env={"SPRAYCC_PROGRAM": ""})).returncode == 0
    assert harness.report().argv == [b"probe", b"x"]
    assert not [entry for entry in harness.report().env if entry.startswith(b"SPRAYCC_PROGRAM")]


def test_below_a_runner_the_program_is_executed_at_once(harness: Any, finish: Any) -> None:
    server = harness.serve()
    program = harness.program("gcc", directory=harness.top / "elsewhere")
    assert finish(given(harness, program, "gcc", SPRAYCC_SLOT="1")).returncode == 0
    assert server.nobody_connected()
    assert harness.report().argv == [first(harness, program, "gcc")]


#: Stands for the spraycc command beside the runner.
COMMAND = """\
#!/bin/sh
printf '%s\\n' "$SPRAYCC_PROGRAM" "$LD_PRELOAD" "$@"
"""


@pytest.fixture
def command(harness: Any) -> Any:
    path = harness.runner.parent / "spraycc"
    path.write_text(COMMAND)
    path.chmod(0o755)
    yield path
    path.unlink()


def test_a_build_tool_is_no_task_and_keeps_the_library(harness: Any, finish: Any) -> None:
    server = harness.serve()
    program = harness.program("make", directory=harness.top / "elsewhere")
    done = finish(given(harness, program, "make", "all", LD_PRELOAD=OURS, SPRAYCC_EXEC="/i"))
    assert done.returncode == 0
    assert server.nobody_connected()
    report = harness.report()
    assert report.argv == [first(harness, program, "make"), b"all"]
    assert b"LD_PRELOAD=" + os.fsencode(OURS) in report.env
    assert b"SPRAYCC_EXEC=/i" in report.env
    assert not [entry for entry in report.env if entry.startswith(b"SPRAYCC_PROGRAM")]


@pytest.mark.parametrize(
    ("makeflags", "is_open"),
    [
        (compose("/no/fifo", 101).decode(), True),
        (" -j8 --jobserver-auth=101,101", True),
        (" --jobserver-fds=101,101 -j", True),
        (" -j8 --jobserver-auth=fifo:/no/fifo", False),
        (" --jobserver-fds=101,101 --jobserver-auth=102,103", False),
    ],
    ids=["not expanded", "make 4.3", "make 4.1", "make 4.4", "another"],
)
def test_a_build_tool_gets_a_closed_jobserver_opened_again(
    harness: Any, finish: Any, makeflags: str, is_open: bool
) -> None:
    harness.serve()
    directory = Path(os.fsdecode(harness.env[b"SPRAYCC_SOCKET"])).parent / "builds" / "b7"
    directory.mkdir(parents=True)
    os.mkfifo(directory / "fifo", 0o600)
    program = harness.work / "make"
    program.write_text("#!/bin/sh\nreadlink /proc/self/fd/101\n")
    program.chmod(0o755)
    done = finish(given(harness, program, "make", "all", SPRAYCC_BUILD="b7", MAKEFLAGS=makeflags))
    assert os.fsdecode(done.stdout) == (f"{directory}/fifo\n" if is_open else "")


@pytest.mark.parametrize(
    ("words", "preload"),
    [(["-j8", "all"], OURS), (["all"], ""), (["all"], "/own.so")],
    ids=["leaves the jobserver", "lacks the library", "lacks our library"],
)
def test_the_command_prepares_a_build_tool(
    harness: Any, finish: Any, command: Path, words: list[str], preload: str
) -> None:
    harness.serve()
    program = harness.program("make", directory=harness.top / "elsewhere")
    done = finish(given(harness, program, "make", *words, LD_PRELOAD=preload, SPRAYCC_EXEC="/i"))
    assert os.fsdecode(done.stdout).splitlines() == [
        str(program), "" if preload == OURS else preload, "--shim", os.fsdecode(first(harness, program, "make")), *words,
    ]  # fmt: skip
    assert harness.reports() == []


@pytest.mark.parametrize(
    ("tool", "words", "builds"),
    [
        ("cmake", ["--build", "b"], True),
        ("cmake", ["--workflow", "x"], True),
        ("cmake", ["-S", "."], False),
        ("cmake", ["--install", "b"], False),
        ("cmake", [], False),
        ("meson", ["compile", "-C", "b"], True),
        ("meson", ["test"], True),
        ("meson", ["setup", "b"], False),
        ("meson", ["b"], False),
        ("meson", ["--build"], False),
    ],
)
@pytest.mark.parametrize("in_build", [False, True])
def test_only_a_tool_that_builds_opens_a_build(
    harness: Any, finish: Any, command: Path, tool: str, words: list[str], builds: bool, in_build: bool
) -> None:
    """In a shell of `spraycc env`. Any other must not find the shims of make and ninja: it writes them down."""
    harness.program(tool)
    path = f"{harness.shims}:{harness.real}:/usr/bin:/bin"
    if in_build:
        harness.serve()
    env = {"SPRAYCC_SHIMS": str(harness.shims), "PATH": path}
    done = finish(harness.start(tool, *words, file=harness.shim(tool), env=env))
    if builds and not in_build and tool == "cmake":
        assert os.fsdecode(done.stdout).splitlines() == ["", "", "--shim", tool, *words]
    else:
        found = [entry for entry in harness.report().env if entry.startswith(b"PATH=")]
        assert found == [b"PATH=" + os.fsencode(path if in_build or builds else path.partition(":")[2])]


@pytest.mark.parametrize(
    ("words", "capped"),
    [
        ("-j400", "-j2"),
        ("-j 400", "-j 2"),
        ("-j all", "-j2 all"),
        ("-kj400 -f x", "-kj2 -f x"),
        ("--jobs=400 --jobs", "--jobs=2 --jobs=2"),
        ("-j1 --jobs 400", "-j1 --jobs 2"),
        ("-C j400 -fj400 -- -j400", "-C j400 -fj400 -- -j400"),
    ],
)
def test_without_the_command_a_tool_keeps_to_the_local_slots(
    harness: Any, finish: Any, words: str, capped: str
) -> None:
    """In a shell of `spraycc env` from which SprayCC was removed."""
    harness.program("make")
    env = {"SPRAYCC_SHIMS": str(harness.shims), "SPRAYCC_LOCAL_SLOTS": "2"}
    done = finish(harness.start("make", *words.split(), file=harness.shim("make"), env=env))
    assert [os.fsdecode(word) for word in harness.report().argv[1:]] == capped.split()
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.startswith(b"spraycc: warning: the spraycc command is gone; ")
    assert done.stderr.endswith(b"make runs without SprayCC\n")


def test_a_marked_file_is_a_shim(harness: Any, finish: Any) -> None:
    """A copy of a runner, perhaps of another release."""
    copy = harness.top / "copies" / "gcc"
    copy.parent.mkdir()
    copy.write_bytes(b"#!/bin/false\n/usr/bin/gcc 1 2 3\n# spraycc-shim\n")
    copy.chmod(0o755)
    program = harness.program("gcc")
    env = {"PATH": f"{copy.parent}:{harness.real}"}
    assert finish(harness.start("gcc", "-c", env=env)).returncode == 0
    assert harness.report().argv == [b"gcc", b"-c"]
    harness.report_file.unlink()
    assert finish(harness.start(str(copy), "-c", env=env)).returncode == 0
    assert harness.report().argv == [os.fsencode(program), b"-c"]
