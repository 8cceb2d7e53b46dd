"""The program, words, environment and descriptors of a command that runs without a server."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from typing import Any

import pytest

from tests.system.harness.waiting import HANG_S


def test_shim_runs_the_real_program_behind_it(harness: Any) -> None:
    shim = harness.shim("gcc")
    harness.program("gcc")
    done = harness.run("gcc", "-c", "x.c", file=shim)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert harness.report().argv == [b"gcc", b"-c", b"x.c"]


def test_launcher_runs_its_command(harness: Any) -> None:
    assert harness.run("probe", "a", "").returncode == 0
    assert harness.report().argv == [b"probe", b"a", b""]


@pytest.mark.parametrize(
    ("words", "argv"),
    [
        (["--", "probe", "--local"], [b"probe", b"--local"]),
        (["--local", "probe", "--", "x"], [b"probe", b"--", b"x"]),
        (["--remote", "--", "probe"], [b"probe"]),
        (["spraycc-run", "--local", "probe", "x"], [b"probe", b"x"]),
        (["--", "spraycc-run", "--", "/somewhere/spraycc-run", "probe"], [b"probe"]),
    ],
)
def test_launcher_takes_its_own_words_off(harness: Any, words: list[str], argv: list[bytes]) -> None:
    assert harness.run(*words).returncode == 0
    assert harness.report().argv == argv


@pytest.mark.parametrize(
    "words", [[], ["--"], ["--local"], ["--frobnicate", "probe"], ["-x"], ["spraycc-run"], ["--", "spraycc-run", "--"]]
)
def test_misuse_is_told_and_runs_nothing(harness: Any, words: list[str]) -> None:
    done = harness.run(*words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"spraycc-run: ")
    assert b"usage: spraycc-run" in done.stderr
    assert harness.reports() == []


def test_version_and_help(harness: Any) -> None:
    kind = "native" if harness.native else "python"
    version, usage = harness.run("--version"), harness.run("--help")
    assert (version.returncode, version.stdout) == (0, f"spraycc-run 1.2.3 {kind}\n".encode())
    assert usage.returncode == 0
    assert usage.stdout.startswith(b"usage: spraycc-run [--remote|--local]")


def test_other_shim_directories_and_installations_are_passed_over(harness: Any) -> None:
    """Two shim directories, a chain of links, and a runner of another installation that is another file."""
    other = harness.top / "other" / "spraycc-run"
    other.parent.mkdir()
    shutil.copy(harness.runner, other)
    first, second, third = (harness.top / name for name in ("s1", "s2", "s3"))
    harness.shim("gcc", first)
    second.mkdir()
    (second / "gcc").symlink_to(first / "gcc")
    third.mkdir()
    (third / "gcc").symlink_to(other)
    harness.program("gcc")
    path = f"{first}:{second}/:{third}:{harness.real}"
    done = harness.run("gcc", file=first / "gcc", env={"PATH": path})
    assert done.returncode == 0
    assert harness.report().argv == [b"gcc"]


def test_everything_in_the_shim_directory_is_passed_over(harness: Any) -> None:
    harness.program("gcc", "echo a program in the shim directory", harness.shims)
    harness.program("gcc")
    done = harness.run("gcc", env={"SPRAYCC_SHIMS": f"{harness.shims}//"})
    assert (done.returncode, done.stdout) == (0, b"")
    assert harness.report().argv == [b"gcc"]


def test_a_masquerade_of_another_tool_counts_as_the_real_program(harness: Any) -> None:
    """Like ccache: links named gcc to one program, which examines argv[0]."""
    shim = harness.shim("gcc")
    masquerade = harness.top / "masquerade"
    masquerade.mkdir()
    (masquerade / "gcc").symlink_to(harness.program("ccache"))
    harness.program("gcc", "echo the compiler")
    done = harness.run("gcc", file=shim, env={"PATH": f"{harness.shims}:{masquerade}:{harness.real}"})
    assert (done.returncode, done.stdout) == (0, b"")
    assert harness.report().argv == [b"gcc"]


def test_started_by_a_descriptor(harness: Any) -> None:
    """Like fexecve(3): the kernel then names no file."""
    if not harness.native:
        pytest.skip("a script can't be")
    fd = os.open(harness.runner, os.O_RDONLY)
    done = harness.start("x", preexec_fn=lambda: os.execve(fd, [b"spraycc-run", b"probe", b"y"], harness.env))
    os.close(fd)
    assert done.wait(HANG_S) == 0
    assert harness.report().argv == [b"probe", b"y"]


def test_a_shim_named_with_its_path_is_searched_by_its_name(harness: Any) -> None:
    shim = harness.shim("gcc")
    real = harness.program("gcc")
    assert harness.run(str(shim), "-v").returncode == 0
    # argv[0] leads a program to its own files, so argv[0] can't be the shim's path
    assert harness.report().argv == [os.fsencode(real), b"-v"]


@pytest.mark.parametrize("name", ["cmake", "ctest"])
def test_cmakes_programs_find_their_own_files(harness: Any, name: str) -> None:
    """They search PATH for a bare argv[0], and would find the shim."""
    shim = harness.shim(name)
    real = harness.program(name)
    assert harness.run(name, "-v", file=shim).returncode == 0
    assert harness.report().argv == [os.fsencode(real), b"-v"]


def test_argv0_with_our_path_becomes_the_real_programs(harness: Any) -> None:
    shim = harness.shim("gcc", harness.top / "elsewhere")
    real = harness.program("gcc")
    assert harness.run(str(shim), file=shim).returncode == 0
    assert harness.report().argv == [os.fsencode(real)]


def test_argv0_is_passed_on_as_given(harness: Any) -> None:
    if not harness.native:
        pytest.skip("a script does not get its argv[0]")
    harness.program("gcc")
    assert harness.run("some thing", "x", file=harness.shim("gcc")).returncode == 0
    assert harness.report().argv == [b"some thing", b"x"]


@pytest.mark.parametrize("form", ["./probe", "../real/probe"])
def test_a_command_with_a_slash_is_a_path(harness: Any, form: str) -> None:
    assert harness.run(form, cwd=harness.real).returncode == 0
    assert harness.report().argv == [form.encode()]


def test_an_empty_element_is_the_working_directory(harness: Any) -> None:
    harness.program("only-here", directory=harness.work)
    for path in (f":{harness.real}", f"{harness.real}:", f"{harness.real}::/bin", ""):
        assert harness.run("only-here", env={"PATH": path}).returncode == 0
    assert len(harness.reports()) == 4
    assert harness.run("only-here", env={"PATH": str(harness.real)}).returncode == 127


def test_without_path_the_systems_programs_are_found(harness: Any) -> None:
    del harness.env[b"PATH"]
    if not harness.native:
        assert harness.run("true").returncode == 0  # the script names its own interpreter by path
    assert harness.run("true").returncode == 0


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [
        ("no-such", 127, b"no-such: command not found\n"),
        ("", 127, b": command not found\n"),
        ("./no-such", 127, b"./no-such: No such file or directory\n"),
        ("locked", 126, b"locked: Permission denied\n"),
        ("../real/locked", 126, b"../real/locked: Permission denied\n"),
        ("a-directory", 127, b"a-directory: command not found\n"),
        ("/", 126, b"/: Is a directory\n"),
    ],
)
def test_what_can_not_be_run_ends_as_in_a_shell(harness: Any, name: str, status: int, text: bytes) -> None:
    (harness.real / "a-directory").mkdir()
    harness.program("locked", "").chmod(0o644)
    done = harness.run(name)
    assert (done.returncode, done.stdout, done.stderr) == (status, b"", text)


def test_unusable_candidates_are_passed_over(harness: Any) -> None:
    first = harness.top / "first"
    (first / "tool").mkdir(parents=True)
    harness.program("tool", "", harness.top / "second").chmod(0o600)
    harness.program("tool")
    path = f"/nowhere:{first}:{harness.top / 'second'}:{harness.probe}:{harness.real}"
    assert harness.run("tool", env={"PATH": path}).returncode == 0
    assert harness.report().argv == [b"tool"]


def test_a_script_without_an_interpreter_line_is_the_shells(harness: Any) -> None:
    script = harness.real / "script"
    script.write_text('echo "$0" "$@"; exit 3')
    script.chmod(0o755)
    done = harness.run("script", "a b")
    assert (done.returncode, done.stdout) == (3, f"{script} a b\n".encode())


def entries(harness: Any, **less: Any) -> list[bytes]:
    return [name + b"=" + value for name, value in harness.env.items()]


def test_without_a_server_only_the_shims_leave_path(harness: Any) -> None:
    harness.env[b"SPRAYCC_SHIMS"] = os.fsencode(harness.shims)
    harness.env[b"SPRAYCC_BUILD"] = b"b1"
    path = f"{harness.shims}/:/nowhere::{harness.shims}:{harness.real}:{harness.shims}///".encode()
    harness.env[b"PATH"] = path
    expected = entries(harness)
    expected[0] = b"PATH=/nowhere::" + os.fsencode(harness.real)
    for socket_path in (None, b""):
        if socket_path is not None:
            harness.env[b"SPRAYCC_SOCKET"] = socket_path
            expected.append(b"SPRAYCC_SOCKET=")
        assert harness.run("probe").returncode == 0
        assert harness.reports()[-1].env == expected


def test_shims_of_which_the_environment_does_not_tell_leave_path(harness: Any) -> None:
    """As after ``env -i PATH="$PATH"``. GCC searches for itself on PATH, and for its parts beside the program that it finds."""
    first, second = harness.top / "s1", harness.top / "s2"
    for directory in (first, second):
        harness.shim("gcc", directory)
    harness.program("gcc")
    nothing = harness.top / "nothing"
    path = f"{nothing}::{first}:{second}/:{harness.real}:{first}"
    done = harness.run("gcc", file=first / "gcc", env={"PATH": path})
    assert (done.returncode, done.stderr) == (0, b"")
    assert harness.report().env[0] == f"PATH={nothing}::{harness.real}".encode()


@pytest.mark.parametrize(
    ("path", "left"),
    [
        (":/a:{}", ":/a"),
        ("{}:", ""),
        (":{}", ""),
        ("{}::{}", ""),
        ("::{}:", "::"),
        ("/a:{}/b", "/a:{}/b"),
        ("/a:{}b:{}", "/a:{}b"),
    ],
)
def test_empty_elements_and_similar_names_stay_in_path(harness: Any, path: str, left: str) -> None:
    shims = str(harness.shims)
    harness.run(str(harness.real / "probe"), env={"SPRAYCC_SHIMS": shims, "PATH": path.replace("{}", shims)})
    assert harness.report().env[0] == b"PATH=" + os.fsencode(left.replace("{}", shims))


def test_a_path_of_nothing_but_shims_goes_altogether(harness: Any) -> None:
    harness.env[b"SPRAYCC_SHIMS"] = os.fsencode(harness.shims)
    harness.env[b"PATH"] = os.fsencode(harness.shims)
    assert harness.run(str(harness.real / "probe")).returncode == 0
    assert harness.report().env == entries(harness)[1:]


def test_below_a_slot_nothing_is_asked_and_nothing_of_ours_is_seen(harness: Any) -> None:
    expected = [e for e in entries(harness) if not e.startswith(b"SPRAYCC_")]
    server = harness.serve()
    harness.env[b"SPRAYCC_SLOT"] = b"1"
    harness.env[b"LAST"] = b"x"
    assert harness.run("probe").returncode == 0
    expected[0] = expected[0].replace(os.fsencode(harness.shims) + b":", b"")
    assert harness.report().env == [*expected, b"SPRAYCC_SLOT=1", b"LAST=x"]
    assert server.nobody_connected()


def execve(program: os.PathLike[str], argv: list[bytes], env: list[bytes]) -> None:
    libc = ctypes.CDLL(None)
    vectors = [(ctypes.c_char_p * (len(v) + 1))(*v, None) for v in (argv, env)]
    libc.execve(os.fsencode(program), *vectors)


def test_odd_environments_come_through_unchanged(harness: Any) -> None:
    """The same name twice, no "=", no name, no UTF-8, a C locale: all of it goes to the program unchanged."""
    odd = [b"X=1", b"X=2", b"", b"no-equals", b"=nameless", b"B=\xff\xfe\n", b"LC_ALL=", b"E="]
    env = [*odd, *entries(harness)]
    argv = [b"spraycc-run", b"probe", b"\xff\x80", b"\xc3("]
    done = harness.start("x", preexec_fn=lambda: execve(harness.runner, argv, env))
    assert done.wait(HANG_S) == 0
    assert harness.report().env == env
    assert harness.report().argv == argv[1:]


def test_python_leaves_no_locale_behind(harness: Any) -> None:
    """In the C locale the interpreter sets LC_CTYPE in its own environment; compilers' quotation marks depend on it."""
    for locale in ({}, {b"LC_ALL": b"C"}, {b"LANG": b"POSIX"}):
        saved = dict(harness.env)
        harness.env.update(locale)
        assert harness.run("probe").returncode == 0
        assert harness.reports()[-1].env == entries(harness)
        harness.env = saved


@pytest.mark.parametrize("trap", ["", "trap '' INT;", "trap '' TERM CHLD;"])
def test_signals_and_descriptors_are_left_alone(harness: Any, trap: str) -> None:
    under = trap + 'exec "$@" 5</dev/null 0<&- 2>&-'
    command = [str(harness.real / "probe")]
    direct = subprocess.run(
        ["/bin/sh", "-c", under, "sh", *command], env=harness.env, stdout=subprocess.PIPE, check=True, cwd=harness.work
    )
    assert direct.stdout == b""
    assert harness.run(*command, under=under).returncode == 0
    first, second = harness.reports()
    assert second.signals == first.signals
    assert set(second.fds) == set(first.fds) == {1, 5}
