"""Each function that executes a program: wrapped programs become runners, and all else is as without the library."""

from __future__ import annotations

import bisect
import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.system.exec import intercepting
from tests.system.exec.intercepting import RUNNER_STATUS, Interception, programs

library = intercepting.library
calls = intercepting.calls
fake_runner = intercepting.fake_runner
interception = intercepting.interception

pytestmark = pytest.mark.needs("cc", package="gcc")

#: By a path, and by a name that is searched on PATH.
BY_PATH = ["execve", "execv", "execl", "execle", "execveat", "fexecve", "posix_spawn", "vfork", "execveat-descriptor"]
BY_NAME = ["execvp", "execvpe", "execlp", "posix_spawnp", "spawn-actions", "small-thread"]
#: Functions that give the program an environment of the caller's choice.
WITH_ENV = ["execve", "execvpe", "execle", "execveat", "fexecve", "posix_spawn", "posix_spawnp", "vfork"]
#: Functions that run a file in an unknown format as a shell script.
SHELL = ("execvp", "execvpe", "execlp")


@pytest.fixture
def tools(interception: Interception) -> Path:
    """A directory with programs of which some are wrapped, by their names. It is not in the workspace."""
    directory = interception.top / "outside" / "bin"
    directory.mkdir()
    for name in ("gcc", "other"):
        shutil.copy("/bin/echo", directory / name)
    return directory


def test_the_library_wraps_each_function(library: Path) -> None:
    names = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    wrapped = {line.split()[2] for line in names.splitlines() if "spraycc_reals" not in line}
    path = next(line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libc.so.6" in line)
    offered = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True).stdout
    executing = {
        name
        for name in (line.split()[2].partition("@")[0] for line in offered.splitlines())
        if name.lstrip("f").startswith("exec")
        or (name.startswith(("posix_spawn", "pidfd_spawn")) and "_file_" not in name)
    } - {"posix_spawnattr"}
    executing = {name for name in executing if not name.startswith("posix_spawnattr_")}
    assert wrapped == executing


@pytest.mark.parametrize("how", BY_PATH)
def test_a_wrapped_program_by_its_path(interception: Interception, calls: Path, tools: Path, how: str) -> None:
    for words in (["anything", "a b", ""], ["gcc"]):
        done = interception.run(calls, how, tools / "gcc", *words)
        line = f"runner {' '.join(f'[{word}]' for word in words)} {len(words)}"
        assert done.stdout.decode().splitlines()[:4] == [
            line,
            f"SPRAYCC_PROGRAM={tools}/gcc",
            "LD_PRELOAD=(unset)",
            f"SPRAYCC_SOCKET={interception.socket}",
        ]
        assert done.returncode == RUNNER_STATUS
    interception.run_alike(calls, how, tools / "other", "x", "a b", "")


@pytest.mark.parametrize("how", BY_NAME)
def test_a_wrapped_program_by_its_name(interception: Interception, calls: Path, tools: Path, how: str) -> None:
    (interception.work / "gcc").write_text("not executable")
    (interception.work / "bin").mkdir()
    (interception.work / "bin" / "gcc").mkdir()
    path = f"/nowhere::bin:{tools}:/usr/bin"
    done = interception.run(calls, how, "gcc", "gcc", "-c", PATH=path)
    assert done.returncode == RUNNER_STATUS
    assert programs(done) == [f"{tools}/gcc"]
    assert done.stdout.startswith(b"runner [gcc] [-c] 2\n")
    interception.run_alike(calls, how, "other", "x", "a b", PATH=path)
    # A name with a slash is a path.
    assert interception.got(calls, how, f"{tools}/gcc", "gcc", PATH="/nowhere") == [f"{tools}/gcc"]
    interception.run_alike(calls, how, "missing", "x", PATH=path)


def test_the_search_uses_the_callers_own_path(interception: Interception, calls: Path, tools: Path) -> None:
    for how in ("execvpe", "posix_spawnp"):
        for kind in ("empty", "null"):
            assert interception.got(calls, how, "gcc", "gcc", PATH=str(tools), CALLS_ENV=kind) == [f"{tools}/gcc"]
        # PATH unset: /bin and /usr/bin.
        done = interception.run("env", "-u", "PATH", calls, how, "gcc", "gcc")
        assert programs(done) == ["/bin/gcc"]


def test_a_relative_path_stays_relative(interception: Interception, calls: Path, tools: Path) -> None:
    """The program may look for its files beside the path, and a script's $0 is the path."""
    directory = tools.parent
    for how in ("execve", "posix_spawn", "execvp", "execveat"):
        assert interception.got(calls, how, "bin/gcc", "gcc", cwd=directory) == ["bin/gcc"]
        assert interception.got(calls, how, "../bin/gcc", "gcc", cwd=tools) == ["../bin/gcc"]
    # A directory's descriptor may be closed in the runner, so its path is needed.
    assert interception.got(calls, "execveat-directory", "bin/gcc", "gcc", cwd=directory) == [f"{tools}/gcc"]
    assert interception.got(calls, "execvp", "gcc", "gcc", cwd=directory, PATH="bin") == ["bin/gcc"]
    assert interception.got(calls, "execvp", "gcc", "gcc", cwd=tools, PATH="") == ["gcc"]


def test_a_link_is_not_followed_by_its_name(interception: Interception, calls: Path, tools: Path) -> None:
    (tools / "cc").symlink_to("other")
    (tools / "mine").symlink_to("gcc")
    assert interception.got(calls, "execve", tools / "cc", "cc") == [f"{tools}/cc"]
    interception.run_alike(calls, "execve", tools / "mine", "mine", "x")
    interception.run_alike(calls, "execveat-nofollow", tools / "cc", "cc", "x")
    interception.run_alike(calls, "execveat-nofollow", tools / "other", "other", "x")


def test_a_child_in_another_directory(interception: Interception, calls: Path, tools: Path) -> None:
    (tools / "elsewhere").mkdir()
    shutil.copy("/bin/echo", tools / "elsewhere" / "gcc")
    shutil.copy("/bin/echo", tools / "elsewhere" / "only")
    assert interception.got(calls, "spawn-elsewhere", tools / "gcc", "gcc", cwd=tools) == [f"{tools}/gcc"]
    assert interception.got(calls, "spawn-elsewhere", "./gcc", "gcc", cwd=tools) == ["./gcc"]
    interception.run_alike(calls, "spawn-elsewhere", "./only", "x", cwd=tools)
    interception.run_alike(calls, "spawn-elsewhere", "./missing", "x", cwd=tools)


def faults(directory: Path, name: str) -> dict[str, str]:
    """Makes a program for each way in which an execution fails. Case → path."""
    made = {
        "missing": "",
        "directory": "",
        "not executable": "#!/bin/sh\necho ran\n",
        "no format": "echo ran by a shell\n",
        "empty": "",
        "garbage": "\0\1\2\3 garbage",
        "broken elf": "\x7fELF broken",
        "no interpreter": "#!/nowhere/sh\n",
        "no interpreter's name": "#!\n",
        "loop of scripts": "",
        "script": '#!/bin/sh\necho script "$0" "$@"\n',
    }
    paths = {}
    for case, content in made.items():
        path = directory / case.replace(" ", "-").replace("'", "") / name
        path.parent.mkdir(parents=True)
        if case == "directory":
            path.mkdir()
        elif case != "missing":
            path.write_text(f"#!{path}\n" if case == "loop of scripts" else content)
            path.chmod(0o644 if case == "not executable" else 0o755)
        paths[case] = str(path)
    loop = directory / "loop" / name
    loop.parent.mkdir()
    loop.symlink_to(name)
    paths["loop of links"] = str(loop)
    paths["below a file"] = f"{paths['script']}/{name}"
    paths["no name"] = ""
    paths["long name"] = str(directory / ("x" * 300) / name)
    paths["long path"] = "/".join(["/tmp", "." * 4200, name])
    return paths


@pytest.mark.parametrize("name", ["gcc", "other"])
@pytest.mark.parametrize("how", [*BY_PATH, *BY_NAME])
def test_failures_are_those_of_the_plain_call(interception: Interception, calls: Path, how: str, name: str) -> None:
    for case, path in faults(interception.top / "outside", name).items():
        wrapped = name == "gcc" and case == "script"
        for env in ("", "empty") if how in WITH_ENV else ("",):
            if not wrapped:
                interception.run_alike(calls, how, path, "x", "y", CALLS_ENV=env)
                continue
            done = interception.run(calls, how, path, "x", "y", CALLS_ENV=env)
            assert (programs(done), done.returncode) == ([path], RUNNER_STATUS), case


def test_errno_of_some_failures(interception: Interception, calls: Path) -> None:
    """The table above compares. This test shows that it compares failures."""
    paths = faults(interception.top / "outside", "gcc")
    expected = {
        "missing": errno.ENOENT,
        "directory": errno.EACCES,
        "not executable": errno.EACCES,
        "no format": errno.ENOEXEC,
        "broken elf": errno.ENOEXEC,
        "no interpreter": errno.ENOENT,
        "loop of links": errno.ELOOP,
        "below a file": errno.ENOTDIR,
        "long name": errno.ENAMETOOLONG,
    }
    for case, number in expected.items():
        for how in ("execve", "posix_spawn"):
            assert interception.run(calls, how, paths[case], "x").stdout == f"errno {number}\n".encode(), case
    assert interception.run(calls, "bad-path", "x", "x").stdout == f"errno {errno.EFAULT}\n".encode()
    assert interception.run(calls, "execvp", paths["no format"], "x").stdout == b"ran by a shell\n"


@pytest.mark.parametrize("how", [*BY_PATH, "execvp", "posix_spawnp"])
def test_without_a_runner_the_program_is_executed(
    interception: Interception, calls: Path, tools: Path, how: str
) -> None:
    garbage = interception.top / "garbage"
    garbage.write_text("echo run by mistake\n")
    garbage.chmod(0o755)
    closed = interception.top / "closed"
    closed.write_text("#!/bin/sh\n")
    closed.chmod(0o644)
    for runner in (interception.top / "missing", garbage, closed, interception.top):
        interception.configure(runner=runner)
        interception.run_alike(calls, how, tools / "gcc", "gcc", "-c")
        interception.run_alike(calls, how, tools / "missing" / "gcc", "gcc")


def test_file_actions_are_carried_out_once(interception: Interception, calls: Path, tools: Path) -> None:
    """Without a runner, too: a second child could not create the file again."""
    interception.configure(runner=interception.top / "missing")
    interception.run_alike(calls, "spawn-actions", tools / "gcc", "gcc", "-c")


def test_too_many_words(interception: Interception, calls: Path, tools: Path) -> None:
    for how in ("execve", "execvp", "posix_spawn", "posix_spawnp", "vfork"):
        for name in ("gcc", "other"):
            done = interception.run_alike(calls, how, tools / name, "x", CALLS_ARGV="3000000")
            assert done.stdout == f"errno {errno.E2BIG}\n".encode() or how == "vfork"


def test_many_words(interception: Interception, calls: Path, tools: Path) -> None:
    for how in ("execve", "execvp", "posix_spawn", "small-thread"):
        done = interception.run(calls, how, tools / "gcc", "x", CALLS_ARGV="100000")
        assert done.stdout.startswith(b"runner [x] [word] [word] [word] 100001\n")
        interception.run_alike(calls, how, tools / "other", "x", CALLS_ARGV="100000")


def test_an_environment_that_fits_only_without_the_library(
    interception: Interception, calls: Path, tools: Path
) -> None:
    """A process that adds our variables to an environment at the limit must not fail where it would not plainly."""
    too_long = f"errno {errno.E2BIG}\n".encode()
    for how in ("execve", "posix_spawn"):
        argv: list[str | Path] = ["sh", "-c", 'ulimit -s 512; exec "$0" "$@"', calls, how, tools / "other", "x"]

        def fits(count: int, argv: list[str | Path] = argv) -> bool:
            return interception.plain(*argv, CALLS_ARGV=str(count), CALLS_ENV="empty").stdout != too_long

        most = bisect.bisect_left(range(100_000), True, key=lambda count: not fits(count)) - 1
        assert most > 1000
        for count in (most - 40, most - 5, most, most + 1):
            interception.run_alike(*argv, CALLS_ARGV=str(count), CALLS_ENV="empty")


@pytest.mark.parametrize("how", WITH_ENV)
@pytest.mark.parametrize("kind", ["empty", "null", "large", "many"])
def test_environments(interception: Interception, calls: Path, tools: Path, how: str, kind: str) -> None:
    script = 'set -e; gcc -c; /bin/echo "${MORE_7:-none}" | cksum; /bin/echo ${LD_PRELOAD##*/}'
    done = interception.run(calls, how, "/bin/sh", "sh", "-c", script, CALLS_ENV=kind)
    plain = interception.run(calls, how, tools / "gcc", "gcc", CALLS_ENV=kind, MARK="m")
    # Too many entries for a small stack: the program gets its environment as it is, and nothing is wrapped.
    if kind == "many":
        assert b"SPRAYCC_PROGRAM" not in plain.stdout
        return
    assert programs(done) == ["/usr/bin/gcc"]
    assert programs(plain) == [f"{tools}/gcc"]
    assert (b"MARK=m" in plain.stdout) == (kind == "large")
    assert f"SPRAYCC_SOCKET={interception.socket}\nSPRAYCC_BUILD=b1\n".encode() in plain.stdout


def test_threads_and_small_stacks(interception: Interception, calls: Path, tools: Path) -> None:
    done = interception.run(calls, "threads", tools / "other", "x", "said")
    assert (done.returncode, done.stdout) == (0, b"said\n" * 160)
    interception.configure(runner=Path("/bin/true"))
    assert interception.run(calls, "threads", tools / "gcc", "x").returncode == 0


@pytest.mark.parametrize("kind", ["", "empty", "large"])
@pytest.mark.parametrize("how", ["small-thread", "signal-handler"])
def test_small_stacks(interception: Interception, calls: Path, tools: Path, how: str, kind: str) -> None:
    deep = tools / ("d" * 200) / ("e" * 200) / ("f" * 200)
    deep.mkdir(parents=True)
    for name in ("gcc", "other"):
        shutil.copy("/bin/echo", deep / name)
    # A very long path takes a page of the stack, and a signal handler has no page left.
    for directory in (tools, deep) if how == "small-thread" else (tools,):
        assert interception.got(calls, how, directory / "gcc", "gcc", CALLS_ENV=kind) == [f"{directory}/gcc"]
        interception.run_alike(calls, how, directory / "other", "x", "said", CALLS_ENV=kind)


def test_a_program_that_writes_over_its_environment(interception: Interception, calls: Path, tools: Path) -> None:
    done = interception.run(calls, "overwritten", tools / "gcc", "gcc", CALLS_ENV="empty")
    assert programs(done) == [f"{tools}/gcc"]
    assert f"SPRAYCC_SOCKET={interception.socket}".encode() in done.stdout


def test_a_shell_of_the_c_library(interception: Interception, calls: Path) -> None:
    assert interception.got(calls, "system", "gcc -c x; /usr/bin/cc") == ["/usr/bin/gcc", "/usr/bin/cc"]


def test_a_program_that_its_user_may_not_read(interception: Interception, calls: Path, tools: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read all files")
    for name in ("gcc", "other"):
        (tools / name).chmod(0o111)
        interception.run_alike(calls, "execve", tools / name, "x", "y")
