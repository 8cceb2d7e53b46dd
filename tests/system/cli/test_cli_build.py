"""A whole build through the command line, with a server that only opens and closes it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from spraycc import __version__, runtime_dir
from spraycc.commands.interception import LIBRARY_NAME, configuration
from spraycc.jobserver.makeflags import compose_cargo
from spraycc.ui.summary import summary_line
from spraycc.wire.runner import (
    RUNNER_PROTOCOL,
    BuildOpened,
    CloseBuild,
    Hello,
    Notice,
    OpenBuild,
    Refused,
    Stop,
    Summary,
    ToolProcess,
    Welcome,
)
from spraycc.wire.schema import Message
from tests import measured
from tests.system.cli.conftest import ROOT, Setup
from tests.system.cli.fake_server import FIGURES, FakeServer


def python(code: str) -> list[str]:
    return ["build", "--", sys.executable, "-c", code]


def test_the_conversation_of_a_build(setup: Setup, server: FakeServer) -> None:
    done = setup.run("build", "--", "sh", "-c", "echo $$; exit 7")
    assert done.returncode == 7
    assert [type(m) for m in server.received] == [Hello, OpenBuild, ToolProcess, CloseBuild]
    hello, opened, started, closed = server.received
    assert isinstance(opened, OpenBuild)
    assert isinstance(started, ToolProcess)
    assert isinstance(closed, CloseBuild)
    assert hello == Hello(RUNNER_PROTOCOL, __version__)
    assert (opened.cap, opened.argv, opened.cwd, opened.jobserver) == (
        None,
        (b"sh", b"-c", b"echo $$; exit 7"),
        os.fsencode(setup.project),
        True,
    )
    assert opened.settings["executors"] is None
    assert started.pid == int(done.stdout)
    assert closed.status == 7
    assert closed.wall_s > 0
    [line] = done.stderr.splitlines(keepends=True)
    assert line == f"spraycc: {summary_line(FIGURES | {'wall_s': closed.wall_s})}\n"
    assert line.startswith("spraycc: 35 tasks in ")


def test_the_tools_environment(setup: Setup, server: FakeServer) -> None:
    code = (
        "import os, json, stat; fd = int(os.environ['MAKEFLAGS'].split('--jobserver-fds=')[1].split(',')[0]);"
        "print(json.dumps([dict(os.environ), fd, stat.S_ISFIFO(os.fstat(fd).st_mode), os.get_blocking(fd), sorted(map(int, os.listdir('/proc/self/fd')))]))"
    )
    done = setup.run(
        *python(code),
        env={"MAKEFLAGS": "k -j3", "MFLAGS": "-k -j3", "SPRAYCC_SLOT": "1", "PATH": f"{setup.tools}:/usr/bin"},
    )
    env, fd, is_fifo, blocking, descriptors = json.loads(done.stdout)
    fifo = setup.directory / "builds" / "b1" / "fifo"
    library = Path(setup.env["XDG_DATA_HOME"]) / "spraycc" / "lib" / LIBRARY_NAME
    assert env["SPRAYCC_SOCKET"] == str(setup.directory / "socket")
    assert env["SPRAYCC_BUILD"] == "b1"
    assert env["SPRAYCC_EXEC"] == str(fifo.parent / "intercept")
    assert env["LD_PRELOAD"] == str(library)
    assert library.is_file()
    assert env["PATH"] == f"{setup.tools}:/usr/bin"
    assert "-k" in env["MAKEFLAGS"].split()
    assert "-j3" not in env["MAKEFLAGS"]
    assert f"--jobserver-auth=fifo:{fifo}" in env["MAKEFLAGS"]
    assert "-j3" not in env["MFLAGS"]
    assert env["CARGO_MAKEFLAGS"] == compose_cargo(fd).decode()
    assert "SPRAYCC_SLOT" not in env
    assert 100 <= fd <= 1023
    assert (is_fifo, blocking) == (True, True)
    # The tool has the terminal's three descriptors, the pool, and the listing's own; none of SprayCC's.
    assert [n for n in descriptors if n > 2 and n != fd] == [max(n for n in descriptors if n != fd)]


def test_make_is_a_client_of_the_pool_and_keeps_its_words(setup: Setup, server: FakeServer) -> None:
    (setup.project / "Makefile").write_text("all: a b c\na b c: ; @echo $@\n")
    done = setup.run("make", "-j8", "-k", "all")
    assert done.returncode == 0
    assert sorted(done.stdout.split()) == ["a", "b", "c"]
    [opened] = server.messages(OpenBuild)
    assert (opened.cap, opened.argv) == (8, (b"make", b"-k", b"all"))
    assert opened.typed == (b"make", b"-j8", b"-k", b"all")
    assert "warning" not in done.stderr
    fd = server.fifos[0]
    assert os.read(fd, 10) == b"+++", "every token is back"


def test_the_number_of_executors_follows_j_and_each_limit_is_told_once(setup: Setup, server: FakeServer) -> None:
    setup.tool("make", "exit 0")
    Path(runtime_dir.state_directory(setup.directory.name, str(setup.base / "state" / "spraycc"))).mkdir(parents=True)

    def told(*words: str) -> list[str]:
        return [line for line in setup.run(*words).stderr.splitlines() if "limit" in line]

    assert told("make", "-j400") == []
    assert server.messages(OpenBuild)[-1].settings["jobs"] == 400
    first = (
        "spraycc: this build may use up to 400 executors of cluster slurm "
        "(-j400; `executors` in .spraycc.toml sets another limit)"
    )
    assert told("--cluster", "slurm", "make", "-j400") == [first]
    assert told("--cluster", "slurm", "make", "-j400") == []
    cut = "spraycc: -j400 is more than the limit of 30 executors of cluster slurm (`executors`, from --executors)"
    assert told("--cluster", "slurm", "--executors", "30", "make", "-j400") == [cut]
    assert told("--cluster", "slurm", "--executors", "30", "make", "-j400") == []
    assert told("--cluster", "slurm", "--executors", "30", "--no-summary-line", "make", "-j500") == []


@pytest.mark.parametrize(
    "words",
    [
        ["--", "-x"],
        ["--executors", "9"],
        ["-C", "dir", "--no-summary-line"],
        ["--remote", ""],
        ["--frob=a b", "\udcff"],
    ],
)
def test_words_behind_the_tool_are_its_own(setup: Setup, server: FakeServer, words: list[str]) -> None:
    setup.tool("ninja-build", '[ "$1" = --version ] && { echo 1.13.0; exit; }', 'for w; do printf "%s\\0" "$w"; done')
    done = subprocess.run(
        setup.argv("ninja-build", *words), cwd=setup.project, env=setup.env, capture_output=True, timeout=60
    )
    assert [os.fsdecode(w) for w in done.stdout.split(b"\0")[:-1]] == words


@pytest.mark.parametrize("word", ["--version", "--help", "-h"])
def test_information_needs_no_server(setup: Setup, word: str) -> None:
    setup.tool("make", 'echo "make says $*"')
    done = setup.run("make", word)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"make says {word}\n", "")
    assert not setup.directory.exists()


def test_own_options_stand_before_the_tool(setup: Setup, server: FakeServer) -> None:
    setup.run("--executors", "3", "--wrap", "mycc 'my cc'", "--wrap=other", "--no-summary-line", "build", "--", "true")
    [opened] = server.messages(OpenBuild)
    assert opened.settings["executors"] == 3
    assert opened.settings["wrap"] == ["mycc", "my cc", "other"]
    assert opened.settings["summary_line"] is False


def test_no_summary_line(setup: Setup, server: FakeServer) -> None:
    assert setup.run("--no-summary-line", "build", "--", "true").stderr == ""


def test_summary_file(setup: Setup, server: FakeServer) -> None:
    setup.run("--summary", "out.json", "build", "--", "sh", "-c", "exit 3")
    figures = json.loads((setup.project / "out.json").read_text())
    assert (figures["tasks"], figures["exit_status"], figures["executors_peak"]) == (35, 3, 4)
    assert figures["wall_s"] > 0
    assert [p.name for p in setup.project.iterdir() if "out.json" in p.name] == ["out.json"]


def test_summary_that_cannot_be_written_is_a_warning(setup: Setup, server: FakeServer) -> None:
    done = setup.run("--summary", "/proc/nothing/out.json", "build", "--", "sh", "-c", "exit 3")
    assert done.returncode == 3
    assert "spraycc: warning: the summary can't be written" in done.stderr


def test_notices_are_shown_while_the_tool_runs(setup: Setup) -> None:
    def tell(message: object, send: object) -> None:
        send(Notice("first\x1b[31m"))  # type: ignore[operator]
        send(Notice("second"))  # type: ignore[operator]

    with setup.server(hooks={ToolProcess: tell}), setup.start("build", "--", "cat") as process:
        assert process.stderr is not None
        # cat waits for the test, so both lines arrive while it runs.
        assert [process.stderr.readline() for _ in range(2)] == ["spraycc: first\\x1b[31m\n", "spraycc: second\n"]
        process.communicate(timeout=60)


def test_a_notice_that_comes_with_an_answer_is_shown_while_the_tool_runs(setup: Setup) -> None:
    """Both messages arrive in one piece, so no later data would make the client read the second one."""

    def open_build(message: object, send: Callable[..., None]) -> None:
        send(BuildOpened("b1", b""), Notice("few descriptors"))

    with setup.server(hooks={OpenBuild: open_build}), setup.start("build", "--", "cat") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "spraycc: few descriptors\n"
        process.communicate(timeout=60)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
@pytest.mark.parametrize("words", [["why"], ["history", "show"], ["history", "clear"], ["status"], ["config", "show"]])
def test_directories_of_somebody_elses_are_told_in_words(setup: Setup, words: list[str]) -> None:
    for name in ("state", "data", "config", "r"):
        (setup.base / name).mkdir(mode=0)
    done = setup.run(*words)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or "Permission denied" in done.stderr or "no server" in done.stderr, done.stderr


def test_its_own_files_go_while_the_tool_runs(setup: Setup, tmp_path: Path) -> None:
    """As in the middle of an upgrade: the build ends with its tool's status and its summary."""
    installed = tmp_path / "installed"
    shutil.copytree(ROOT / "spraycc", installed / "spraycc")
    summary = tmp_path / "summary.json"

    def close(_: CloseBuild, send: Callable[[Message], None]) -> None:
        shutil.rmtree(installed)
        send(Summary(FIGURES))

    with setup.server(hooks={CloseBuild: close}):
        env = {"PYTHONPATH": str(installed), "SPRAYCC_SUMMARY": str(summary)}
        done = setup.run("build", "--", "sh", "-c", "exit 7", env=env)
    assert not installed.exists()
    assert done.returncode == 7
    assert done.stderr.startswith("spraycc: 35 tasks"), done.stderr
    assert json.loads(summary.read_text())["exit_status"] == 7


def test_a_tool_killed_by_a_signal(setup: Setup, server: FakeServer) -> None:
    done = setup.run("build", "--", "sh", "-c", "kill -TERM $$")
    assert done.returncode == -signal.SIGTERM
    assert server.messages(CloseBuild)[0].status == 128 + signal.SIGTERM


WAIT_FOR = "import signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [{0}]); print('ready', flush=True); sys.exit(signal.sigwait([{0}]))"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_term_and_hup_are_passed_on(setup: Setup, server: FakeServer, number: signal.Signals) -> None:
    with setup.start(*python(WAIT_FOR.format(int(number)))) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == number
    assert server.messages(CloseBuild)[0].status == number


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_the_terminals_signals_are_the_tools_affair(setup: Setup, server: FakeServer, number: signal.Signals) -> None:
    with setup.start(*python(WAIT_FOR.format(int(number))), start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, number)
        process.communicate(timeout=60)
    assert process.returncode == number
    assert server.messages(CloseBuild)[0].status == number


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_a_signal_that_no_terminal_has_sent_is_passed_on(
    setup: Setup, server: FakeServer, number: signal.Signals
) -> None:
    with setup.start(*python(WAIT_FOR.format(int(number))), start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == number


def test_ctrl_c_ends_us_as_it_ended_the_tool(setup: Setup, server: FakeServer) -> None:
    with setup.start("build", "--", "sh", "-c", "echo ready; exec cat", start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert "35 tasks" in err


def test_ctrl_z_stops_both(setup: Setup, server: FakeServer) -> None:
    # In its own process group in this session: the kernel does not stop a group that nobody could continue.
    with setup.start("build", "--", "sh", "-c", "echo $$; exec cat", process_group=0) as process:
        assert process.stdout is not None
        tool = int(process.stdout.readline())
        os.killpg(process.pid, signal.SIGTSTP)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        # The signal reached both at once, but the tool may handle it a moment later.
        while "State:\tT" not in (state := Path(f"/proc/{tool}/status").read_text()):
            assert "State:\tZ" not in state
        os.killpg(process.pid, signal.SIGCONT)
        process.communicate(timeout=60)
    assert process.returncode == 0


def signals(line: str) -> set[int]:
    """The signals of a SigIgn or SigBlk line, without 32 and 33, which glibc reserves."""
    mask = int(line.split()[1], 16)
    return {number for number in range(1, 32) if mask >> (number - 1) & 1}


def test_the_tool_inherits_no_disposition_of_ours(setup: Setup, server: FakeServer) -> None:
    assert signals(setup.run("build", "--", "grep", "SigIgn", "/proc/self/status").stdout) == set()


def test_what_nohup_ignores_stays_ignored(setup: Setup, server: FakeServer) -> None:
    # nohup itself changes more than this test compares.
    done = setup.run(
        "build",
        "--",
        "grep",
        "SigIgn",
        "/proc/self/status",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert signals(done.stdout) == {signal.SIGHUP}


def test_the_tools_end_is_seen_if_the_caller_has_blocked_sigchld(setup: Setup) -> None:
    done = setup.run(
        "build",
        "--",
        "grep",
        "SigBlk",
        "/proc/self/status",
        env={"SPRAYCC_RUNTIME_DIR": "/proc/nope"},
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD}),
    )
    assert done.returncode == 0
    assert signals(done.stdout) == {signal.SIGCHLD}, "the tool has the caller's mask"


def test_the_server_dies_and_the_build_goes_on(setup: Setup, server: FakeServer) -> None:
    with setup.start("--summary", "s.json", "build", "--", "sh", "-c", "echo ready; cat; exit 5") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        server.die()
        assert (
            process.stderr.readline()
            == "spraycc: warning: the server is gone; the rest of the build runs on this host\n"
        )
        assert (setup.directory / "builds" / "b1" / "warned").exists(), "no runner warns again"
        out, err = process.communicate("more\n", timeout=60)
    assert (process.returncode, out, err) == (5, "more\n", "")
    assert not (setup.directory / "builds" / "b1").exists()
    assert not (setup.directory / "socket").exists()
    figures = json.loads((setup.project / "s.json").read_text())
    assert figures.keys() == {"exit_status", "wall_s"}
    assert figures["exit_status"] == 5


def test_no_second_warning_where_a_runner_was_first(setup: Setup, server: FakeServer) -> None:
    """The order of the tool's end and the loss is open in this test: tests/pure/cli/test_server_gone.py has both orders."""
    with setup.start("build", "--", "sh", "-c", "echo ready; cat") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        (setup.directory / "builds" / "b1" / "warned").touch()
        server.die()
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


@pytest.mark.parametrize("runner_was_first", [True, False])
def test_the_server_dies_when_it_is_asked_for_the_summary(setup: Setup, runner_was_first: bool) -> None:
    def die(message: object, send: object) -> bool:
        if runner_was_first:
            (setup.directory / "builds" / "b1" / "warned").touch()
        return True

    with setup.server(hooks={CloseBuild: die}):
        done = setup.run("build", "--", "sh", "-c", "exit 6")
    assert done.returncode == 6
    warning = "spraycc: warning: the server closed the connection; there is no summary\n"
    assert done.stderr == ("" if runner_was_first else warning)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-j400", "all"], ["-j2", "all"]),
        (["-j1", "all"], ["-j1", "all"]),
        (["all"], ["-j2", "all"]),
        (["-j", "-k"], ["-j2", "-k"]),
    ],
)
def test_without_a_server_the_build_runs_plainly(setup: Setup, words: list[str], expected: list[str]) -> None:
    setup.tool("make", 'echo "$@"; env | grep -c SPRAYCC_BUILD', "exit 4")
    setup.directory.mkdir(parents=True)
    setup.directory.chmod(0o755)
    setup.directory.parent.chmod(0o700)
    done = setup.run("--local-slots", "2", "--summary", "s.json", "make", *words)
    assert done.returncode == 4
    assert done.stdout.splitlines() == [" ".join(expected), "0"]
    assert done.stderr.splitlines() == [
        f"spraycc: warning: {setup.directory}: is open to others (mode 0755); run chmod 700 {setup.directory}",
        "spraycc: the build goes on without a server, on this host",
    ]
    assert json.loads((setup.project / "s.json").read_text())["exit_status"] == 4


def test_below_a_foreign_make_the_width_is_left_to_it(setup: Setup) -> None:
    setup.tool("make", 'echo "$@"')
    setup.directory.parent.mkdir()
    setup.directory.parent.chmod(0o755)
    done = setup.run("make", "-j4", "all", env={"MAKEFLAGS": " -j8 --jobserver-auth=3,4"})
    assert done.stdout == "all\n"


def busy(message: object, send: object) -> None:
    assert isinstance(message, Stop)
    assert message.if_idle
    assert not message.now
    send(Refused("builds are in flight"))  # type: ignore[operator]


def test_a_busy_server_of_another_protocol_is_not_used(setup: Setup) -> None:
    with setup.server(version=99, release="0.0.9", hooks={Stop: busy}) as server:
        done = setup.run("build", "--", "echo", "built")
    assert (done.returncode, done.stdout) == (0, "built\n")
    assert "0.0.9 (protocol 99)" in done.stderr
    assert "builds are in flight" in done.stderr
    assert not server.messages(OpenBuild)


def test_a_busy_server_of_another_release_that_speaks_our_protocol_is_used(setup: Setup) -> None:
    with setup.server(release="0.0.9", hooks={Stop: busy}) as server:
        done = setup.run("build", "--", "echo", "built")
    assert (done.returncode, done.stdout) == (0, "built\n")
    assert server.messages(OpenBuild)
    assert "0.0.9" not in done.stderr


@pytest.mark.parametrize("version", [RUNNER_PROTOCOL, 99])
def test_an_idle_server_of_another_release_is_replaced(setup: Setup, version: int) -> None:
    def leave(message: object, send: object) -> bool:
        threading.Thread(target=server.die).start()
        return True

    with setup.server(version=version, release="0.0.9", hooks={Stop: leave}) as server:
        done = setup.run("server", "start")
        assert done.returncode == 0, done.stderr
        again = setup.run("build", "--", "echo", "built")
        assert (again.returncode, again.stdout) == (0, "built\n")
        status = setup.run("status", "--json")
        setup.run("server", "stop")
    assert json.loads(status.stdout)["server"]["pid"] != os.getpid()
    # The command line asks again if the server has not left by the next check.
    assert server.messages(Stop)
    assert all(message == Stop(now=False, if_idle=True) for message in server.messages(Stop))


def test_status_and_stop_are_for_servers_of_every_version(setup: Setup) -> None:
    with setup.server(version=99, release="0.0.9") as server:
        assert setup.run("status").returncode == 0
        assert setup.run("server", "stop").returncode == 0
        assert [message.if_idle for message in server.messages(Stop)] == [False]


def refuse(message: object, send: object) -> None:
    send(Refused("no more builds"))  # type: ignore[operator]


def hang_up(message: object, send: object) -> bool:
    return True


def talk_nonsense(message: object, send: object) -> None:
    send(Welcome(1, "x", 1))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("hook", "words"), [(refuse, "no more builds"), (hang_up, "closed the connection"), (talk_nonsense, "'welcome'")]
)
def test_a_server_that_opens_no_build(setup: Setup, hook: object, words: str) -> None:
    with setup.server(hooks={OpenBuild: hook}):
        done = setup.run("build", "--", "echo", "built")
    assert (done.returncode, done.stdout) == (0, "built\n")
    assert words in done.stderr
    assert "without a server" in done.stderr


def test_a_server_that_ends_before_it_opens_the_build(setup: Setup) -> None:
    """An idle server may end when the command line has just connected. The build takes the next server."""
    server = setup.server()
    opened = []

    def hang_up_once(message: OpenBuild, send: Callable[[Message], None]) -> bool | None:
        opened.append(message)
        return len(opened) == 1 or server._answer(message, send)

    server.hooks[OpenBuild] = hang_up_once
    with server:
        done = setup.run("--no-summary-line", "build", "--", "echo", "built")
    assert (done.returncode, done.stdout, done.stderr) == (0, "built\n", "")
    assert len(opened) == 2


def test_a_server_that_refuses_the_summary(setup: Setup) -> None:
    """The server lives, so no runner warns the user, whatever mark exists."""

    def refuse_and_mark(message: object, send: object) -> None:
        (setup.directory / "builds" / "b1" / "warned").touch()
        refuse(message, send)

    with setup.server(hooks={CloseBuild: refuse_and_mark}):
        done = setup.run("build", "--", "sh", "-c", "exit 6")
    assert done.returncode == 6
    assert done.stderr == "spraycc: warning: no more builds; there is no summary\n"


def test_inside_a_build_the_tool_is_executed_at_once(setup: Setup, server: FakeServer) -> None:
    setup.tool("make", 'echo "$@"; echo "$MAKEFLAGS"; echo "$SPRAYCC_BUILD"')
    fifo = setup.directory / "builds" / "b1" / "fifo"
    fifo.parent.mkdir(parents=True)
    os.mkfifo(fifo, 0o600)
    env = {"SPRAYCC_SOCKET": str(setup.directory / "socket"), "SPRAYCC_BUILD": "b1", "SPRAYCC_SHIMS": "/shims"}
    done = setup.run("make", "-j9", "all", env=env)
    words, makeflags, build = done.stdout.splitlines()
    assert words == "all"
    assert f"fifo:{fifo}" in makeflags
    assert build == "b1"
    assert server.received == []


def test_a_tool_that_a_runner_names(setup: Setup, server: FakeServer) -> None:
    """The runner passes the words as they are, and the program's path in a variable."""
    setup.tool("make", "exit 1")
    tool = setup.project / "elsewhere" / "make"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\necho "$0 $*" "${SPRAYCC_PROGRAM-unset}"\n')
    tool.chmod(0o755)
    done = setup.run("--shim", "make", "-j9", "all", env={"SPRAYCC_PROGRAM": str(tool)})
    assert done.stdout == f"{tool} all unset\n"


def test_without_a_runner_the_variable_of_the_runner_names_no_tool(setup: Setup, server: FakeServer) -> None:
    setup.tool("make", 'echo "$*" "${SPRAYCC_PROGRAM-unset}"')
    done = setup.run("make", "all", env={"SPRAYCC_PROGRAM": "/bin/false"})
    assert (done.returncode, done.stdout) == (0, "all unset\n")


def test_inside_a_build_the_tool_gets_the_library(setup: Setup, server: FakeServer) -> None:
    """A runner has started this command without it."""
    setup.tool("make", 'echo "$LD_PRELOAD" "$SPRAYCC_EXEC"')
    fifo = setup.directory / "builds" / "b1" / "fifo"
    fifo.parent.mkdir(parents=True)
    os.mkfifo(fifo, 0o600)
    file = setup.project / "intercept"
    file.write_bytes(configuration(runner=b"/run", library=b"/nowhere/own.so", workspace=b"/w"))
    ours = {"SPRAYCC_SOCKET": str(setup.directory / "socket"), "SPRAYCC_BUILD": "b1", "SPRAYCC_EXEC": str(file)}
    assert setup.run("make", "all", env=ours).stdout == f"/nowhere/own.so {file}\n"


def test_inside_a_build_without_a_jobserver_the_tool_is_executed(setup: Setup) -> None:
    """The build is over, or its tool is a ninja without a jobserver."""
    setup.tool("make", 'echo "$@" "${SPRAYCC_EXEC-unset}"')
    ours = {"SPRAYCC_SOCKET": "/nowhere/socket", "SPRAYCC_BUILD": "b0", "SPRAYCC_EXEC": "/nowhere/intercept"}
    ours["SPRAYCC_LOCAL_SLOTS"] = "3"
    assert setup.run("make", "all", env=ours).stdout == "all /nowhere/intercept\n"
    assert setup.run("make", "-j2", "all", env=ours).stdout == "-j2 all /nowhere/intercept\n"
    assert setup.run("make", "-j9", "all", env=ours).stdout == "-j3 all /nowhere/intercept\n"
    below_make = ours | {"MAKEFLAGS": " -j8 --jobserver-auth=3,4"}
    assert setup.run("make", "-j9", "all", env=below_make).stdout == "all /nowhere/intercept\n"
    assert setup.run("make", "--version", env=ours).stdout == "--version \n"


def test_shims_on_request(setup: Setup, server: FakeServer) -> None:
    show = 'echo "${SPRAYCC_SHIMS-unset} ${LD_PRELOAD-unset} ${SPRAYCC_EXEC-unset}"; echo "$PATH"'
    setup.tool("make", show)
    (setup.tools / "gcc").write_text("")
    (setup.tools / "gcc").chmod(0o755)
    path = f"{setup.tools}:/bin"
    shims, path_line = setup.run("--intercept", "path", "make", env={"PATH": path}).stdout.splitlines()
    directory = shims.partition(" ")[0]
    assert shims == f"{directory} unset unset"
    assert path_line == f"{directory}:{path}"
    assert {"gcc", "make"} <= set(os.listdir(directory))


@pytest.mark.needs("cc", package="gcc")
def test_a_static_build_tool_has_shims(setup: Setup, server: FakeServer) -> None:
    """It loads no library."""
    source = setup.project / "tool.c"
    source.write_text('#include <unistd.h>\nint main(void) { return execl("/usr/bin/env", "env", (char *)0); }\n')
    subprocess.run(["cc", "-static", "-o", setup.tools / "static", source], check=True)
    env = dict(line.split("=", 1) for line in setup.run("build", "--", "static").stdout.splitlines())
    assert env["PATH"].startswith(env["SPRAYCC_SHIMS"] + ":")
    assert not {"LD_PRELOAD", "SPRAYCC_EXEC"} & env.keys()


def test_a_ninja_without_a_jobserver_is_given_a_width(setup: Setup, server: FakeServer) -> None:
    setup.tool("ninja", '[ "$1" = --version ] && { echo 1.11.1; exit; }', 'echo "$@"')
    done = setup.run("--executors", "6", "ninja", "all")
    assert done.stdout == "-j6 all\n"
    assert "1.11.1 knows no jobserver" in done.stderr
    assert server.messages(OpenBuild)[0].jobserver is False
    assert setup.run("--executors", "6", "ninja", "all", "-j3").stdout == "-j3 all\n"
    opened = server.messages(OpenBuild)[-1]
    assert (opened.cap, opened.argv) == (3, (b"ninja", b"all")), "a record adds the -j"


@pytest.mark.parametrize("makeflags", ["", " -j --jobserver-auth=3,4"])
def test_a_ninja_without_a_jobserver_and_without_a_server_keeps_to_the_local_slots(
    setup: Setup, makeflags: str
) -> None:
    setup.tool("ninja", '[ "$1" = --version ] && { echo 1.11.1; exit; }', 'echo "$@"')
    setup.directory.parent.mkdir(mode=0o755)
    setup.directory.parent.chmod(0o755)
    options = ("--executors", "60", "--local-slots", "2")
    env = {"MAKEFLAGS": makeflags}
    assert setup.run(*options, "ninja", "-j50", "all", env=env).stdout == "-j2 all\n"
    assert setup.run(*options, "ninja", "-j1", "all", env=env).stdout == "-j1 all\n"


def test_a_script_without_an_interpreter_line(setup: Setup, server: FakeServer) -> None:
    script = setup.project / "build.sh"
    script.write_text('echo "built $1"\n')
    script.chmod(0o755)
    assert setup.run("build", "--", "./build.sh", "x").stdout == "built x\n"


def test_run_prints_nothing_of_its_own(setup: Setup, server: FakeServer) -> None:
    done = setup.run("run", "--local", "--", "sh", "-c", "echo out; exit 9")
    assert (done.returncode, done.stdout, done.stderr) == (9, "out\n", "")
    [opened] = server.messages(OpenBuild)
    assert (opened.jobserver, opened.argv) == (False, (b"sh", b"-c", b"echo out; exit 9"))


def test_run_without_a_server(setup: Setup) -> None:
    setup.directory.parent.mkdir(mode=0o755)
    setup.directory.parent.chmod(0o755)
    done = setup.run("run", "sh", "-c", "echo --remote; exit 9")
    assert (done.returncode, done.stdout) == (9, "--remote\n")


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["mkae"], 2, "spraycc: error: no command 'mkae'; did you mean 'make'?"),
        (["gcc", "-c", "x.c"], 2, "spraycc: error: no command 'gcc'"),
        (
            ["--executor", "3", "make"],
            2,
            "spraycc: error: no option '--executor' of spraycc; did you mean --executors?",
        ),
        (
            ["--executors", "many", "make"],
            2,
            "spraycc: error: --executors: 'many': allowed is an integer from 1 to 100000",
        ),
        (["build"], 2, "spraycc: error: build: no command"),
        (["build", "-j3"], 2, "spraycc: error: build: no option '-j3'"),
        (["run"], 2, "spraycc: error: Missing argument"),
        (["build", "--", "no-such-program"], 127, "spraycc: error: no-such-program: command not found"),
        (["build", "--", "./Makefile"], 126, "spraycc: error: ./Makefile: Permission denied"),
        (["./nothing/make"], 127, "spraycc: error: ./nothing/make: No such file or directory"),
        (["run", "no-such-program"], 127, "spraycc: error: no-such-program: command not found"),
    ],
)
def test_errors_say_what_and_end_with_what_a_shell_would(
    setup: Setup, server: FakeServer, words: list[str], status: int, text: str
) -> None:
    (setup.project / "Makefile").touch(mode=0o644)
    done = setup.run(*words)
    assert done.returncode == status
    assert done.stderr.startswith(text)
    assert done.stdout == ""


def test_a_wrong_configuration_is_an_error_and_no_build(setup: Setup, server: FakeServer) -> None:
    (setup.project / ".spraycc.toml").write_text("executors = 0\n")
    done = setup.run("build", "--", "echo", "built")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{setup.project}/.spraycc.toml: executors = 0: allowed is" in done.stderr


def test_an_unknown_variable_is_one_warning(setup: Setup, server: FakeServer) -> None:
    done = setup.run("--no-summary-line", "build", "--", "true", env={"SPRAYCC_EXECUTER": "3"})
    assert (
        done.stderr
        == "spraycc: warning: SPRAYCC_EXECUTER in the environment is not a setting; did you mean 'SPRAYCC_EXECUTORS'?\n"
    )


def test_a_build_imports_nothing_that_is_slow(setup: Setup, server: FakeServer) -> None:
    setup.env.pop("SPRAYCC_KEPT_VARIABLES", None)  # a setting needs a check, and the check needs pydantic
    done = setup.run("build", "--", "true", env={"PYTHONPROFILEIMPORTTIME": "1", **measured.WITHOUT})
    imported = {line.rsplit("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "spraycc.cli.build" in imported
    assert not {"pydantic", "rich", "cryptography", "trio", "asyncio", "tomllib", "json", "rich.console"} & imported


def test_the_runtime_directory_is_ours_alone(setup: Setup, server: FakeServer) -> None:
    setup.run("build", "--", "true")
    assert stat.S_IMODE(setup.directory.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("words", "status", "hint"),
    [
        (["make", "--executors", "4"], 2, "spraycc --executors 4 make …"),
        (["make", "--executors=4", "all"], 0, None),
        (["make", "all"], 2, None),
    ],
)
def test_an_option_of_ours_after_the_tools_name(
    setup: Setup, server: FakeServer, words: list[str], status: int, hint: str | None
) -> None:
    """The tool gets the word as it is. Only if the tool fails, the last line says where the word belongs."""
    setup.tool("make", f'echo "$@"; exit {status}')
    done = setup.run(*words, env={"PATH": f"{setup.tools}:/usr/bin:/bin"})
    assert (done.returncode, done.stdout) == (status, " ".join(words[1:]) + "\n")
    told = [line for line in done.stderr.splitlines() if "is an option of SprayCC" in line]
    expected = "spraycc: --executors is an option of SprayCC, and stands before the tool's name: "
    assert told == ([] if hint is None else [expected + hint])
    assert hint is None or done.stderr.splitlines()[-1] == told[0]
