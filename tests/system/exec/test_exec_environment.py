"""The library stays in the environments that need it, and leaves the others."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from hatch_build import EXEC_LIBRARY
from tests.system.exec import intercepting
from tests.system.exec.intercepting import Interception, compiled, programs
from tests.system.harness import needs

library = intercepting.library
calls = intercepting.calls
fake_runner = intercepting.fake_runner
interception = intercepting.interception

pytestmark = pytest.mark.needs("cc", package="gcc")

PRINT = "import os; [print(os.fsdecode(name + b'=' + value)) for name, value in os.environb.items()]"


@pytest.fixture
def own(interception: Interception) -> Path:
    """A library that the user preloads. Then getppid returns 4711."""
    source = interception.top / "own.c"
    source.write_text("int getppid(void); int getppid(void) { return 4711; }\n")
    path = interception.top / "libown.so"
    assert interception.plain("cc", "-fPIC", "-shared", source, "-o", path).returncode == 0
    return path


def entries(output: bytes) -> list[str]:
    return output.decode().splitlines()


def test_an_environment_that_has_everything_is_handed_on_as_it_is(interception: Interception) -> None:
    python = os.path.realpath(sys.executable)
    expected = [f"{name}={value}" for name, value in interception.env(A="1").items()]
    for command in (
        ["env"],
        ["sh", "-c", "exec env"],
        ["sh", "-c", "(env); true"],
        ["perl", "-e", "exec 'env'"],
        [python, "-S", "-E", "-c", "import os; os.execvp('env', ['env'])"],
    ):
        found = [line for line in entries(interception.run(*command, A="1").stdout) if not line.startswith(("PWD=", "_=", "OLDPWD=", "SHLVL="))]  # fmt: skip
        assert sorted(found) == sorted(expected), command
        if command == ["env"]:
            assert found == expected


def test_an_empty_environment_gets_all_that_a_build_needs(interception: Interception) -> None:
    found = entries(interception.run("env", "-i", "A=1", "env").stdout)
    env = interception.env()
    names = ("LD_PRELOAD", "SPRAYCC_EXEC", "SPRAYCC_SOCKET", "SPRAYCC_BUILD")
    assert found == ["A=1", *(f"{name}={env[name]}" for name in names)]
    # A variable that the program sets itself stays.
    found = entries(interception.run("env", "-i", "SPRAYCC_BUILD=b2", "SPRAYCC_EXEC=/other", "env").stdout)
    assert found[:2] == ["SPRAYCC_BUILD=b2", "SPRAYCC_EXEC=/other"]
    assert f"SPRAYCC_SOCKET={env['SPRAYCC_SOCKET']}" in found
    assert len(found) == 4


def test_ldd_lists_the_libraries_of_the_plain_program(interception: Interception) -> None:
    shutil.copy("/bin/true", interception.work / "prog")
    for program in ("/bin/true", "./prog"):
        listed = interception.run("ldd", program)
        assert b"libc.so" in listed.stdout
        assert EXEC_LIBRARY.encode() not in listed.stdout


@pytest.mark.parametrize(
    ("given", "joined"),
    [
        ("OWN", "OWN:OURS"),
        ("OWN:OURS", "OWN:OURS"),
        ("OURS:OWN", "OURS:OWN"),
        ("OWN OURS", "OWN OURS"),
        ("", "OURS"),
        ("OWN:", "OWN::OURS"),
        ("OTHER", "OTHER"),  # the library of another installation
    ],
)
def test_the_users_own_libraries_keep_their_places(
    interception: Interception, own: Path, given: str, joined: str
) -> None:
    other = interception.top / "other"
    other.mkdir()
    shutil.copy(interception.library, other / EXEC_LIBRARY)

    def real(value: str) -> str:
        names = {"OWN": own, "OURS": interception.library, "OTHER": other / EXEC_LIBRARY}
        for name, path in names.items():
            value = value.replace(name, str(path))
        return value

    command = ["env", "-i", f"LD_PRELOAD={real(given)}", "env"]
    found = entries(interception.run(*command).stdout)
    assert f"LD_PRELOAD={real(joined)}" in found
    done = interception.run("env", f"LD_PRELOAD={real(given)}", "sh", "-c", "gcc -c; exit 0")
    assert programs(done) == ["/usr/bin/gcc"]
    left = real(given).replace("OTHER", "OURS")
    without = ":".join(part for part in left.replace(" ", ":").split(":") if EXEC_LIBRARY not in part)
    (line,) = [line for line in entries(done.stdout) if line.startswith("LD_PRELOAD=")]
    assert line == f"LD_PRELOAD={without or '(unset)'}"


@pytest.mark.needs("perl")
def test_the_users_own_library_works_in_all_programs(interception: Interception, own: Path) -> None:
    for command in (
        ["perl", "-e", "print getppid"],
        ["sh", "-c", "perl -e 'print getppid'"],
        ["env", "perl", "-e", r"system('perl', '-e', 'print getppid')"],
    ):
        done = interception.run_alike(*command, LD_PRELOAD=str(own))
        assert done.stdout == b"4711"


@pytest.mark.needs("fakeroot")
def test_fakeroot_around_and_inside(interception: Interception) -> None:
    script = "touch f; chown 7:8 f; stat -c %u:%g f; id -u; gcc -c x"
    done = interception.run("fakeroot", "sh", "-c", script)
    assert entries(done.stdout)[:2] == ["7:8", "0"]
    assert programs(done) == ["/usr/bin/gcc"]
    (line,) = [line for line in entries(done.stdout) if line.startswith("LD_PRELOAD=")]
    assert "fakeroot" in line
    assert EXEC_LIBRARY not in line
    inside = interception.run("sh", "-c", f"fakeroot sh -c '{script}'; gcc -c y")
    assert entries(inside.stdout)[:2] == ["7:8", "0"]
    assert programs(inside) == ["/usr/bin/gcc"] * 2


@pytest.mark.needs("eatmydata")
def test_faketime_and_eatmydata(interception: Interception) -> None:
    faketime = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None) or needs.missing(
        "faketime", "libfaketime"
    )
    changes = {"LD_PRELOAD": str(faketime), "FAKETIME": "2001-02-03 04:05:06"}
    done = interception.run("eatmydata", "sh", "-c", "date +%Y-%m; gcc -c x", cwd=None, **changes)
    assert entries(done.stdout)[0] == "2001-02"
    assert programs(done) == ["/usr/bin/gcc"]


def test_below_a_runner_nothing_is_wrapped(interception: Interception) -> None:
    """Neither by the runner's variable nor without the library."""
    for command in (
        ["env", "SPRAYCC_SLOT=1", "sh", "-c", "gcc --version; env -u SPRAYCC_SLOT gcc --version; env"],
        ["env", "SPRAYCC_EXEC=", "sh", "-c", "gcc --version; env -i PATH=/usr/bin gcc --version; env"],
        ["env", "SPRAYCC_SLOT=1", "env", "-i", "/usr/bin/gcc", "--version"],
    ):
        done = interception.run(*command)
        assert done.returncode == 0
        assert programs(done) == []
        assert b"(Debian" in done.stdout or b"Free Software" in done.stdout
        assert EXEC_LIBRARY.encode() not in done.stdout
    # An empty variable has no meaning.
    assert interception.got("env", "SPRAYCC_SLOT=", "gcc", "-c") == ["/usr/bin/gcc"]


@pytest.mark.parametrize(
    "kind", ["missing", "empty", "garbage", "cut", "directory", "relative", "nul", "large", "unset"]
)
def test_without_a_configuration_the_library_leaves(interception: Interception, calls: Path, kind: str) -> None:
    whole = interception.file.read_bytes()
    contents = {
        "empty": b"",
        "garbage": os.urandom(5000),
        "cut": whole[: len(whole) // 2],
        "relative": whole.replace(b"runner\t/", b"runner\t"),
        "nul": whole.replace(b"ccache", b"cc\0che"),
        "large": whole.replace(b"end\n", b"name\t" + b"x" * (1 << 20) + b"\nend\n"),
    }
    interception.file.unlink()
    if kind == "directory":
        interception.file.mkdir()
    elif kind in contents:
        interception.file.write_bytes(contents[kind])
    variables = {"SPRAYCC_EXEC": ""} if kind == "unset" else {}
    for command in (
        ["sh", "-c", "gcc --version; cc -dumpmachine; exit 3"],
        ["env", "-i", "PATH=/usr/bin", "sh", "-c", "gcc --version"],
        [calls, "posix_spawn", "/usr/bin/gcc", "gcc", "--version"],
        [calls, "execve", "/nowhere/gcc", "gcc"],
    ):
        interception.run_alike(*command, cwd=None, **variables)
    done = interception.run("env", "env", cwd=None, **variables)
    assert EXEC_LIBRARY.encode() not in done.stdout


def test_where_the_library_is_out_of_reach_it_leaves(interception: Interception) -> None:
    """The loader of a program would complain: in another root, or as a user who may not read the library."""
    copy, moved = interception.top / "lib", interception.top / "moved"
    copy.mkdir()
    shutil.copy(interception.library, copy)
    interception.configure(library=copy / EXEC_LIBRARY)
    done = interception.run("sh", "-c", f"mv {copy} {moved}; date -d @0 +%Y; env; /bin/mv {moved} {copy}; gcc -c")
    assert done.stderr == b""
    assert done.stdout.startswith(b"1970\n")
    assert EXEC_LIBRARY.encode() not in done.stdout.partition(b"runner")[0]
    assert programs(done) == ["/usr/bin/gcc"]


def test_a_configuration_that_is_gone_later(interception: Interception) -> None:
    """A process has its own copy. Programs below start without."""
    script = f"gcc -c 1; rm {interception.file}; gcc -c 2; sh -c 'gcc --version; env'; gcc -c 3"
    done = interception.run("sh", "-c", script)
    assert programs(done) == ["/usr/bin/gcc"] * 3
    assert b"Free Software" in done.stdout
    assert EXEC_LIBRARY.encode() not in done.stdout
    interception.configure()
    script = f": > {interception.file}; gcc -c 2"
    assert interception.got("sh", "-c", script) == ["/usr/bin/gcc"]


def test_the_runner_keeps_the_library_in_its_environment(interception: Interception, calls: Path) -> None:
    """A link to the runner in the place of a build tool hands its environment on. The library wraps no runner."""
    directory = interception.top / "outside"
    for how in ([], ["-static"]):
        runner = compiled(directory, "fake_runner", *how)
        runner.rename(directory / "spraycc-run")
        for name in ("make", "gcc", "spraycc-run"):
            if name != "spraycc-run":
                (directory / name).unlink(missing_ok=True)
                (directory / name).symlink_to("spraycc-run")
            done = interception.run("env", "-i", directory / name, "x")
            assert b"SPRAYCC_PROGRAM=(unset)" in done.stdout
            assert f"LD_PRELOAD={interception.library}\n".encode() in done.stdout


def test_a_dynamic_runner_decides_itself(interception: Interception, calls: Path) -> None:
    """In a runner's process the library changes nothing, neither environments nor programs."""
    runner = interception.top / "outside" / "spraycc-run"
    shutil.copy(calls, runner)
    done = interception.run(runner, "execve", "/usr/bin/env", "env", CALLS_ENV="empty")
    assert done.stdout == b""
    done = interception.run(runner, "execve", "/usr/bin/gcc", "gcc", "--version")
    assert b"Free Software" in done.stdout
