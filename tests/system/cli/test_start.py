"""Finding and starting the server."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spraycc import runtime_dir
from spraycc.cli import server_start
from spraycc.cli.doctor.finding import failed
from spraycc.errors import RuntimeDirError, ServerUnavailable
from spraycc.settings import Settings
from tests.system.cli.conftest import ROOT, Setup, wait_until
from tests.system.cli.fake_server import FakeServer

FAKE = Path(__file__).with_name("fake_server.py")
WORKSPACE = b"/w"


class Starter:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.notices: list[str] = []

    @property
    def path(self) -> bytes:
        return os.fsencode(self.directory)

    def start(self, **options: Any) -> Any:
        command = [sys.executable, str(FAKE), "run", "--dir", str(self.directory)]
        settings = Settings(executors=7, kept_variables=("FAKE_SERVER_MODE",))
        return server_start.connect_or_start(
            self.path, WORKSPACE, settings, self.notices.append, command=command, **options
        )

    def starts(self) -> list[dict[str, Any]]:
        path = self.directory / "starts"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def starter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Starter]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    result = Starter(tmp_path / "base" / "dir")
    yield result
    result.directory.parent.mkdir(mode=0o700, exist_ok=True)
    result.directory.mkdir(exist_ok=True)
    result.directory.chmod(0o700)
    session = server_start.connect(result.path, lambda text: None)
    if session is not None:
        session.stop(now=True)
        session.close()
    for one in result.starts():
        reap(one["pid"])


def reap(pid: int) -> None:
    """Waits for a server that this process started: it stays this process's child."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def test_it_is_started_once_and_found_again(starter: Starter) -> None:
    first, second = starter.start(), starter.start()
    assert first.welcome.pid == second.welcome.pid == starter.starts()[0]["pid"]
    assert len(starter.starts()) == 1
    first.close()
    second.close()


def test_it_is_detached_from_everything(starter: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAKEFLAGS", "SPRAYCC_BUILD", "SPRAYCC_SLOT", "MAKELEVEL"):
        monkeypatch.setenv(name, "x")
    read, write = os.pipe()
    os.set_inheritable(write, True)
    starter.start().close()
    os.close(write)
    assert os.read(read, 1) == b"", "the server holds no pipe of the command line"
    os.close(read)
    [one] = starter.starts()
    assert (one["cwd"], one["sid"]) == ("/", one["pid"])
    assert one["settings"]["executors"] == 7
    environ = Path(f"/proc/{one['pid']}/environ").read_bytes().split(b"\0")
    assert not [entry for entry in environ if re.match(rb"MAKE|SPRAYCC_(BUILD|SLOT)", entry)]
    for fd in (1, 2):
        assert os.readlink(f"/proc/{one['pid']}/fd/{fd}") == str(starter.directory / "log")


def test_many_at_once_start_one(starter: Starter) -> None:
    barrier = threading.Barrier(6)
    sessions: list[Any] = []

    def begin() -> None:
        barrier.wait()
        sessions.append(starter.start())

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sessions) == 6
    assert len(starter.starts()) == 1
    for session in sessions:
        session.close()


def test_the_work_meanwhile_is_done_once_in_any_case(starter: Starter) -> None:
    done: list[int] = []
    starter.start(meanwhile=lambda: done.append(1)).close()
    starter.start(meanwhile=lambda: done.append(2)).close()
    assert done == [1, 2]


def test_what_the_work_meanwhile_raises_is_passed_on(starter: Starter) -> None:
    def fail() -> None:
        raise RuntimeDirError("as told")

    with pytest.raises(RuntimeDirError, match="as told"):
        starter.start(meanwhile=fail)
    starter.start().close()
    with pytest.raises(RuntimeDirError, match="as told"):
        starter.start(meanwhile=fail)


def test_a_server_that_fails_at_once_is_quoted(starter: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_SERVER_MODE", "fail")
    starter.directory.parent.mkdir(mode=0o700)
    starter.directory.mkdir(mode=0o700)
    (starter.directory / "log").write_text("what an earlier one said\n")
    with pytest.raises(ServerUnavailable) as error:
        starter.start()
    assert (
        str(error.value)
        == f"the server ended with 1 as soon as it was started: the fake server fails, as told; see {starter.directory}/log"
    )


def test_a_server_that_says_nothing(starter: Starter) -> None:
    runtime_dir.ensure(starter.path)
    (starter.directory / "log").write_text("what an earlier one said\n")
    with pytest.raises(ServerUnavailable, match="ended with 3 as soon as it was started: it wrote nothing; see"):
        server_start.connect_or_start(starter.path, WORKSPACE, Settings(), print, command=["/bin/sh", "-c", "exit 3"])


def test_a_server_that_cannot_be_executed(starter: Starter) -> None:
    with pytest.raises(ServerUnavailable, match=r"no server could be started: .*No such file"):
        server_start.connect_or_start(starter.path, WORKSPACE, Settings(), print, command=["/nowhere/python"])


def test_a_server_that_never_listens_is_killed(starter: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit ends when the server's process runs, however slow the host is."""
    monkeypatch.setattr(server_start, "START_TIMEOUT_S", 0.0)
    file = starter.directory / "pid"
    command = ["/bin/sh", "-c", f"echo $$ > '{file}.new'; mv '{file}.new' '{file}'; exec sleep 1000"]
    with pytest.raises(ServerUnavailable, match=r"was not ready within 0 s"):
        server_start.connect_or_start(
            starter.path, WORKSPACE, Settings(), print, command=command, meanwhile=lambda: wait_until(file.exists)
        )
    pid = int(file.read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_server_that_takes_long_is_told_of_once(starter: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_start, "TELL_AFTER_S", -1.0)
    notices: list[str] = []
    gate = starter.directory / "gate"
    script = (
        f"until [ -e '{gate}' ]; do sleep 0.01; done; exec '{sys.executable}' '{FAKE}' run --dir '{starter.directory}'"
    )

    def open_gate() -> None:
        wait_until(lambda: bool(notices))
        gate.touch()

    opener = threading.Thread(target=open_gate)
    opener.start()
    session = server_start.connect_or_start(
        starter.path, WORKSPACE, Settings(), notices.append, command=["/bin/sh", "-c", script]
    )
    opener.join()
    session.close()
    (line,) = notices
    assert line.startswith("the server takes long to start; waiting 60 s at most")


def test_one_that_ends_as_it_has_found_another(starter: Starter) -> None:
    """The server that loses the race ends with 0. Its command line goes on with the winner."""
    script = f"trap '' TERM; if mkdir '{starter.directory}/first' 2>/dev/null; then exit 0; fi; exec '{sys.executable}' '{FAKE}' run --dir '{starter.directory}'"
    session = server_start.connect_or_start(
        starter.path, WORKSPACE, Settings(), print, command=["/bin/sh", "-c", script]
    )
    assert session.welcome.pid == starter.starts()[0]["pid"]
    session.close()


def test_a_stale_socket_is_no_server(starter: Starter) -> None:
    with FakeServer(starter.directory):
        pass
    assert (starter.directory / "socket").exists()
    assert server_start.connect(starter.path, print) is None
    (starter.directory / "socket").unlink()
    starter.start().close()


def test_a_server_on_its_way_out_is_waited_for(starter: Starter) -> None:
    """The server still holds the lock but listens no more, so a new server could not take the lock."""
    old = FakeServer(starter.directory)
    (starter.directory / "socket").unlink()
    waiting = threading.Event()
    original = server_start.server_lives

    def seen(directory: bytes) -> bool:
        waiting.set()
        return original(directory)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server_start, "server_lives", seen)

        def end() -> None:
            waiting.wait()
            old.die()

        ender = threading.Thread(target=end)
        ender.start()
        session = starter.start()
        ender.join()
    assert session.welcome.pid != os.getpid()
    session.close()


def test_a_server_that_hangs_is_not_waited_for_for_ever(starter: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_start, "START_TIMEOUT_S", 0.0)
    with FakeServer(starter.directory):
        (starter.directory / "socket").unlink()
        with pytest.raises(ServerUnavailable, match="holds the lock in this directory and does not listen"):
            starter.start()


def test_a_directory_that_cannot_be_trusted(starter: Starter) -> None:
    runtime_dir.ensure(starter.path)
    starter.directory.chmod(0o711)
    for use in (starter.start, lambda: server_start.connect(starter.path, print)):
        with pytest.raises(RuntimeDirError, match="open to others"):
            use()


def test_cleaning_up_spares_a_living_server(starter: Starter) -> None:
    builds = starter.directory / "builds"
    with FakeServer(starter.directory):
        (builds / "b1").mkdir(parents=True)
        (builds / "b2").mkdir()
        server_start.clean_after_server(starter.path, "b1")
        assert (starter.directory / "socket").exists()
        assert [entry.name for entry in builds.iterdir()] == ["b2"]
    server_start.clean_after_server(starter.path, "b1")
    assert not (starter.directory / "socket").exists()
    server_start.clean_after_server(starter.path, "b1")


def test_a_long_log_is_put_aside(starter: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime_dir.ensure(starter.path)
    (starter.directory / "log").write_text("x" * 100)
    monkeypatch.setattr(server_start, "_MAX_LOG_BYTES", 99)
    starter.start().close()
    assert (starter.directory / "log.old").read_text() == "x" * 100


def test_the_servers_command_line_never_imports_from_the_working_directory() -> None:
    command = server_start.server_command(b"/d", b"/w\xff", "/s")
    assert command[:3] == [sys.executable, "-E", "-P"]
    assert command[4:7] == ["-m", "spraycc.server", "run"]
    assert os.fsencode(command[command.index("--workspace") + 1]) == b"/w\xff"
    assert command[-2:] == ["--state", f"/s/{os.uname().nodename}-d"]


# --- the subcommands


def test_status_and_stop_without_a_server(setup: Setup) -> None:
    done = setup.run("status")
    assert (done.returncode, done.stderr) == (1, f"spraycc: no server runs for {setup.project}\n")
    done = setup.run("server", "stop")
    assert (done.returncode, done.stderr) == (0, f"spraycc: no server runs for {setup.project}\n")
    assert not setup.directory.exists()


def test_status(setup: Setup, server: FakeServer) -> None:
    done = setup.run("status", "--json")
    assert json.loads(done.stdout)["server"]["workspace"] == "/w"
    done = setup.run("status")
    assert done.returncode == 0
    assert done.stdout.splitlines()[1] == "workspace /w"
    assert "no build is open" in done.stdout


@pytest.mark.parametrize("words", [[], ["--now"]])
def test_stop_waits_for_the_end(setup: Setup, server: FakeServer, words: list[str]) -> None:
    done = setup.run("server", "stop", *words)
    assert (done.returncode, done.stderr) == (0, f"spraycc: the server of {setup.project} has ended\n")
    assert server.received[-1].now == bool(words)  # type: ignore[attr-defined]


def test_start_says_which_process_it_is(setup: Setup, server: FakeServer) -> None:
    done = setup.run("server", "start")
    assert (done.returncode, done.stderr) == (0, f"spraycc: the server of {setup.project} is process {os.getpid()}\n")


def test_run_in_the_foreground_refuses_a_second(setup: Setup, server: FakeServer) -> None:
    done = setup.run("server", "run")
    assert done.returncode == 2
    assert "a server runs" in done.stderr


def test_ctrl_c_while_the_server_starts(setup: Setup) -> None:
    """Nothing has begun, so the program ends in the ordinary way."""
    with setup.server() as server:
        (setup.directory / "socket").unlink()  # holds the lock and does not listen: the command line waits
        with setup.start("server", "start", start_new_session=True) as process:
            lock = setup.directory / "start.lock"
            wait_until(lock.exists)
            os.killpg(process.pid, signal.SIGINT)
            _, err = process.communicate(timeout=60)
        assert (process.returncode, err.strip()) == (-signal.SIGINT, "")
        assert server.received == []


def test_config_show_and_path(setup: Setup) -> None:
    (setup.project / ".spraycc.toml").write_text('wrap = ["my cc"]\n')
    done = setup.run("--executors", "3", "config", "show", env={"SPRAYCC_CAPTURE": "overlay"})
    lines = {line.split("=")[0].strip(): line for line in done.stdout.splitlines()}
    assert lines["executors"].split("=")[1].split() == ["3", "#", "--executors"]
    assert lines["capture"].split("=")[1].split() == ['"overlay"', "#", "SPRAYCC_CAPTURE"]
    assert re.search(rf'= \["my cc"\] +# {setup.project}/\.spraycc\.toml$', lines["wrap"])
    assert lines["summary"].split("=")[1].split() == ['"none"', "#", "default"]
    paths = setup.run("config", "path").stdout.splitlines()
    assert [line.split()[0] for line in paths] == ["site", "user", "workspace"]
    assert paths[1].endswith("(none)")
    assert not paths[2].endswith("(none)")


@pytest.mark.parametrize(
    "words", [["--help"], ["-h"], ["run", "--help"], ["server", "--help"], ["build", "--help"], ["status", "--help"]]
)
def test_help(setup: Setup, words: list[str]) -> None:
    done = setup.run(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: spraycc")


def test_no_words_at_all_show_the_help(setup: Setup) -> None:
    done = setup.run()
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: spraycc" in done.stderr


def test_version(setup: Setup) -> None:
    assert re.fullmatch(r"spraycc \d+\.\d+\.\d+\n", setup.run("--version").stdout)


def test_doctor_names_every_subject(setup: Setup, server: FakeServer) -> None:
    setup.tool("make", "echo GNU Make 4.3")
    setup.tool("ninja", "echo 1.11.1")
    setup.tool("x86_64-linux-gnu-gcc-99")
    done = setup.run("doctor", env={"PATH": f"{setup.tools}:/usr/bin:/bin"})
    subjects = [line[9:].split(":")[0] for line in done.stdout.splitlines() if line[:1] != " "]
    assert subjects == [
        "spraycc",
        "workspace",
        "configuration",
        "executors",
        "runner",
        "interception",
        "capture",
        "recorder",
        "make",
        "ninja",
        "compilers",
        "state directory",
        "runtime directory",
        "server",
        "limits",
    ]
    assert "1.11.1" in done.stdout
    assert "x86_64-linux-gnu-gcc-99" in done.stdout
    assert re.search(r"^note +ninja: ", done.stdout, re.MULTILINE)


def test_doctor_fails_on_what_is_essential(setup: Setup) -> None:
    setup.directory.parent.mkdir(mode=0o755)
    setup.directory.parent.chmod(0o755)
    done = setup.run("doctor")
    assert done.returncode == 1
    assert re.search(r"^PROBLEM +runtime directory: .*open to others", done.stdout, re.MULTILINE)
    (setup.project / ".spraycc.toml").write_text("executors = 0\n")
    done = setup.run("doctor")
    assert done.returncode == 1
    assert re.search(r"^PROBLEM +configuration: ", done.stdout, re.MULTILINE)


@pytest.mark.slow
def test_a_server_that_hangs_is_named_with_its_log(setup: Setup) -> None:
    setup.directory.mkdir(parents=True, mode=0o700)
    setup.directory.parent.chmod(0o700)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(setup.directory / "socket"))
        server.listen()
        done = setup.run("doctor")
    lines = done.stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("PROBLEM  server: "))
    pid = os.getpid()
    text = f"PROBLEM  server: the server, process {pid}, has not answered within 10 s; `kill -9 {pid}` ends it"
    assert lines[at] == text
    [log] = re.findall(r"its log: (\S+);", lines[at + 1])
    assert Path(log).parent.name.endswith(setup.directory.name)


def test_doctor_goes_on_with_a_wrong_configuration(setup: Setup) -> None:
    (setup.project / ".spraycc.toml").write_text("executors = 0\n")
    lines = setup.run("doctor").stdout.splitlines()
    subjects = [line[9:].split(":")[0] for line in lines if line[:1] != " "]
    assert {"configuration", "runner", "capture", "state directory", "limits"} <= set(subjects)
    at = next(at for at, line in enumerate(lines) if line.startswith("PROBLEM  configuration: "))
    assert lines[at + 1].strip() == "correct it; the other checks go on with the defaults"


@pytest.mark.parametrize("words", [[], ["--cluster"], ["--executors", "2"]])
def test_doctor_in_a_directory_that_is_no_workspace(setup: Setup, words: list[str]) -> None:
    """All checks that need no workspace go on. A probe needs one, and says so."""
    home = setup.base / "home"
    home.mkdir()
    done = setup.run("doctor", *words, cwd=home, env={"HOME": str(home)})
    lines = done.stdout.splitlines()
    subjects = [line[9:].split(":")[0] for line in lines if line[:1] != " "]
    (at,) = [at for at, line in enumerate(lines) if f"workspace: {home} can't be a workspace" in line]
    assert lines[at + 1].startswith(" " * 11), "no next step"
    if words:
        assert (done.returncode, subjects) == (1, ["workspace"])
    else:
        assert done.returncode == 0
        assert {"runner", "interception", "capture", "compilers", "state directory", "limits"} <= set(subjects)
        assert not {"server", "runtime directory"} & set(subjects)


def test_every_problem_of_doctor_has_a_next_step(setup: Setup) -> None:
    with pytest.raises(AssertionError, match="a problem without a next step"):
        failed("x", "y", "")
    setup.tool("make", "echo no GNU Make")
    setup.tool("ninja", "exit 3")
    lines = setup.run("doctor", env={"PATH": str(setup.tools), "SPRAYCC_UNHEARD_OF": "1"}).stdout.splitlines()
    bad = [at for at, line in enumerate(lines) if not line.startswith(("ok ", " "))]
    assert len(bad) >= 4, lines
    assert all(lines[at + 1].startswith(" " * 11) and lines[at + 1].strip() for at in bad)


def test_every_setting_has_a_flag_with_help() -> None:
    from spraycc.cli.flags import options
    from spraycc.config.keys import HELP, KEYS

    assert all(help_text.endswith(".") for help_text in HELP.values())
    assert sorted(str(option.name) for option in options()) == sorted(KEYS)
