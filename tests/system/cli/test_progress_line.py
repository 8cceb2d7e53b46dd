"""The progress line on a real terminal: the tool's output is what it is without the line, and each end restores the screen."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spraycc.ui import pinned_line
from spraycc.wire.runner import Notice, OpenBuild, Progress
from spraycc.wire.schema import Message
from tests.system.cli.conftest import Setup
from tests.system.harness.terminal import UserTerminal
from tests.system.harness.waiting import wait_until

FIGURES: dict[str, Any] = {
    "done": 40, "expected": 100, "rest_s": 60, "running": 3, "executors": 4, "asked": 0, "waiting": 0, "here": 0,
    "failed": 0, "pending": None,
}  # fmt: skip
LINE = "spraycc: 40/100 (40 %), 3 on 4 executors, 0:"
#: a draw of the line, and its removal; see spraycc/ui/pinned_line.py
DRAW = re.compile(
    rb"(?:\x1b7\x1b\[r\x1b8\x1b\[J)?\x1b7\x1b\[r\x1b8\x1bD\x1b\[1A\x1b7\x1b\[1;\d+r\x1b\[\d+;1H\x1b\[0m\x1b\[2K\x1b\[7m[ -~]*\x1b\[0m\x1b8"
)
REMOVAL = re.compile(rb"\x1b7\x1b\[r\x1b\[\d+;1H\x1b\[0m\x1b\[2K\x1b8")


class Builds:
    """Builds on a terminal, and a server that sends figures when the test says so."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.sends: list[Callable[[Message], None]] = []
        self.opened: list[OpenBuild] = []
        self.gates: dict[Path, int] = {}
        self.server = setup.server(jobserver=False, hooks={OpenBuild: self._open})
        self.env = setup.env | {"TERM": "xterm-256color", "SPRAYCC_SUMMARY_LINE": "false"}
        for name in ("TMUX", "STY", "WT_SESSION", "ConEmuANSI", "TERM_PROGRAM"):
            self.env.pop(name, None)

    def _open(self, message: OpenBuild, send: Callable[[Message], None]) -> None:
        self.opened.append(message)
        self.server._answer(message, send)
        send(Progress(FIGURES))
        self.sends.append(send)

    def script(self, *lines: str) -> list[str | Path]:
        """The command line of a build that runs these lines of shell."""
        self.setup.tool("tool", *lines)
        return self.setup.argv("build", "--", "tool")

    def gate(self, name: str) -> Path:
        """A FIFO. Each ``read go < FIFO`` of a script waits until the test opens the gate once."""
        path = self.setup.base / name
        os.mkfifo(path)
        self.gates[path] = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        return path

    def open(self, gate: Path) -> None:
        os.write(self.gates[gate], b"go\n")

    def start(self, terminal: UserTerminal, argv: list[Any], **streams: Any) -> subprocess.Popen[bytes]:
        return terminal.start(argv, self.setup.project, self.env, **streams)


@pytest.fixture
def builds(setup: Setup) -> Iterator[Builds]:
    builds = Builds(setup)
    with builds.server:
        yield builds
    for fd in builds.gates.values():
        os.close(fd)


@pytest.fixture
def terminal() -> Iterator[UserTerminal]:
    with UserTerminal() as terminal:
        yield terminal


def shows_no_line(terminal: UserTerminal) -> bool:
    return terminal.screen.margins is None and not any(LINE in row for row in terminal.rows)


def without_line(written: bytes) -> bytes:
    return REMOVAL.sub(b"", DRAW.sub(b"", written))


#: more rows than the terminal has, colours, a status line that is written over, and a last line without an end
TALK = [
    "for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do echo line $n; done",
    r"printf '\033[1;31mred\033[0m \303\244\n'",
    r"printf '[1/2] first\r\033[K[2/2] second'",
]


def test_the_tools_output_is_what_it_is_without_the_line(builds: Builds) -> None:
    """The bytes and, but for the row of the line, the screen."""
    seen = []
    for way in ("none", "auto"):
        gate = builds.gate(way)
        builds.env["SPRAYCC_PROGRESS"] = way
        argv = builds.script("echo begin", f"read go < {gate}", *TALK, f"read go < {gate}", *TALK)
        with UserTerminal() as terminal:
            process = builds.start(terminal, argv)
            if way == "auto":
                terminal.wait_for_last_row(LINE)
                assert terminal.rows[0] == "begin"
            builds.open(gate)
            terminal.wait_for(lambda: b"second" in terminal.written, "the tool has spoken")
            if way == "auto":
                builds.sends[-1](Progress(FIGURES | {"done": 41}))
                terminal.wait_for_last_row("41/100")
                assert terminal.rows[-2] == "[2/2] second"
            builds.open(gate)
            assert terminal.wait_end(process) == 0
            seen.append((terminal.written, terminal.rows, terminal.screen.cursor.x, terminal.modes))
            assert shows_no_line(terminal)
    (plain, rows, column, modes), (ours, our_rows, our_column, our_modes) = seen
    assert len(DRAW.findall(ours)) >= 2
    assert without_line(ours) == plain
    assert [row for row in our_rows if row][-9:] == [row for row in rows if row][-9:]
    assert (our_column, our_modes) == (column, modes)


def test_a_message_of_the_server_is_above_the_line(builds: Builds, terminal: UserTerminal) -> None:
    gate = builds.gate("gate")
    process = builds.start(terminal, builds.script("echo begin", f"read go < {gate}"))
    terminal.wait_for_last_row(LINE)
    builds.sends[0](Notice("no executor has connected yet"))
    terminal.wait_for(lambda: terminal.rows[1] == "spraycc: no executor has connected yet", "the message is shown")
    terminal.wait_for_last_row(LINE)
    builds.sends[0](Progress(FIGURES | {"done": 41}))
    terminal.wait_for_last_row("41/100 (41 %)")
    builds.open(gate)
    assert terminal.wait_end(process) == 0
    assert terminal.rows[:2] == ["begin", "spraycc: no executor has connected yet"]
    assert not any(terminal.rows[2:])
    assert builds.opened[0].progress_s > 0


ENDS: dict[str, tuple[str, Callable[[UserTerminal, subprocess.Popen[bytes], int], None], int]] = {
    "success": ("exit 0", lambda t, p, tool: None, 0),
    "failure": ("exit 3", lambda t, p, tool: None, 3),
    "ctrl-c": ("", lambda t, p, tool: t.type("\x03"), -signal.SIGINT),
    "ctrl-backslash": ("", lambda t, p, tool: t.type("\x1c"), -signal.SIGQUIT),
    "sigterm": ("", lambda t, p, tool: p.send_signal(signal.SIGTERM), -signal.SIGTERM),
    "sighup": ("", lambda t, p, tool: p.send_signal(signal.SIGHUP), -signal.SIGHUP),
    "tool-killed": ("", lambda t, p, tool: os.kill(tool, signal.SIGKILL), -signal.SIGKILL),
    "killed": ("", lambda t, p, tool: p.kill(), -signal.SIGKILL),
    "group-killed": ("", lambda t, p, tool: os.killpg(p.pid, signal.SIGKILL), -signal.SIGKILL),
}


@pytest.mark.parametrize("kind", ENDS)
def test_each_end_restores_the_screen(builds: Builds, terminal: UserTerminal, kind: str) -> None:
    last, act, status = ENDS[kind]
    gate, noted = builds.gate("gate"), builds.setup.base / "pid"
    before = terminal.modes
    argv = builds.script("ulimit -c 0", f"echo $$ > {noted}", "echo begin", f"read go < {gate}", last)
    process = builds.start(terminal, argv)
    terminal.wait_for_last_row(LINE)
    tool = int(noted.read_text())
    act(terminal, process, tool)
    if last:
        builds.open(gate)
    assert terminal.wait_end(process) == status
    terminal.wait_for(lambda: shows_no_line(terminal), "the screen is restored")
    assert terminal.rows[0] == "begin"
    assert not any(terminal.rows[2:])
    assert terminal.screen.cursor.y <= 1
    assert terminal.modes == before
    wait_until(lambda: not guards_of(process.pid), "the guard has ended")
    if kind == "killed":  # the tool lives on
        os.kill(tool, signal.SIGKILL)


def test_a_build_ends_while_the_terminal_takes_no_output(builds: Builds, terminal: UserTerminal) -> None:
    """Ctrl-S. The tool prints nothing, so it ends, and so must the build. The guard removes the line after Ctrl-Q."""
    gate = builds.gate("gate")
    process = builds.start(terminal, builds.script("echo begin", f"read go < {gate}"))
    terminal.wait_for_last_row(LINE)
    terminal.stop_output(stopped=True)
    builds.open(gate)
    assert terminal.wait_end(process) == 0
    assert not REMOVAL.search(terminal.written)
    terminal.stop_output(stopped=False)
    terminal.wait_for(lambda: shows_no_line(terminal), "the screen is restored")
    assert terminal.rows[0] == "begin"
    assert not any(terminal.rows[1:])


def guards_of(pid: int) -> list[int]:
    """Processes of this user that run the guard's script, and were started by the process or are orphans of it."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"while read -r word" in (entry / "cmdline").read_bytes():
                status = (entry / "stat").read_text().rpartition(") ")[2].split()
                if status[0] != "Z" and int(status[1]) in (pid, 1):
                    found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("tab", [False, True])
@pytest.mark.parametrize(
    ("words", "row"),
    [("24\n", 24), ("24\n0\n30\n", 30), ("24\n0\n", 0), ("", 0)],
    ids=["drawn", "moved", "removed", "never"],
)
def test_the_guards_script_writes_what_removes_the_line(words: str, row: int, tab: bool) -> None:
    script = pinned_line.guard_script(tab=tab)
    done = subprocess.run(["/bin/sh", "-c", script], input=words.encode(), capture_output=True, env={}, check=False)
    removed = pinned_line.remove(row) + (pinned_line.no_tab_progress() if tab else b"")
    assert done.stdout == (removed if row else b"")
    assert done.stderr == b""


def test_the_guard_keeps_no_descriptor_of_the_caller(builds: Builds, terminal: UserTerminal) -> None:
    """Nor does the tool get one of ours. A script's lock would stay locked, and a pipe's reader would wait."""
    gate, noted = builds.gate("gate"), builds.setup.base / "fds"
    argv = builds.script(f"read go < {gate}", f"ls /proc/self/fd > {noted}")
    with (builds.setup.base / "lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        process = builds.start(terminal, argv, pass_fds=[lock.fileno()])
        terminal.wait_for_last_row(LINE)
        (guard,) = guards_of(process.pid)
        assert sorted(os.listdir(f"/proc/{guard}/fd")) == ["0", "1", "2"]
        builds.open(gate)
        assert terminal.wait_end(process) == 0
        assert set(map(int, noted.read_text().split())) <= {0, 1, 2, 3, lock.fileno()}


@pytest.mark.parametrize("size", [(8, 70), (20, 70), (12, 100)])
def test_a_resize(builds: Builds, terminal: UserTerminal, size: tuple[int, int]) -> None:
    gate = builds.gate("gate")
    process = builds.start(terminal, builds.script("echo begin", f"read go < {gate}"))
    terminal.wait_for_last_row(LINE)
    terminal.resize(*size)
    terminal.wait_for(lambda: terminal.screen.margins == (0, size[0] - 2), "the region has the new size")
    assert [row.startswith("spraycc: 40") for row in terminal.rows] == [False] * (size[0] - 1) + [True]
    terminal.resize(3, 70)
    terminal.wait_for(lambda: terminal.screen.margins is None, "a tiny terminal has no line")
    terminal.resize(12, 70)
    terminal.wait_for_last_row(LINE)
    builds.open(gate)
    assert terminal.wait_end(process) == 0
    assert shows_no_line(terminal)


def shell(builds: Builds, terminal: UserTerminal) -> subprocess.Popen[bytes]:
    """An interactive shell with job control."""
    process = builds.start(terminal, ["bash", "--norc", "--noprofile", "-i"])
    terminal.wait_for(lambda: terminal.rows[0][-1:] in ("$", "#"), "the prompt is there")
    terminal.type("PS1='> '; clear\n")
    terminal.wait_for(lambda: terminal.rows[0] == ">", "the screen is clear")
    return process


def test_ctrl_z_and_fg(builds: Builds, terminal: UserTerminal) -> None:
    gate = builds.gate("gate")
    argv = builds.script("echo begin", f"read go < {gate}", "echo end")
    bash = shell(builds, terminal)
    terminal.type(" ".join(map(str, argv)) + "\n")
    terminal.wait_for_last_row(LINE)
    for _ in range(2):
        terminal.type("\x1a")
        terminal.wait_for(lambda: any("Stopped" in row for row in terminal.rows), "the shell reports the stop")
        assert shows_no_line(terminal)
        terminal.type("clear; fg >/dev/null\n")
        terminal.wait_for_last_row(LINE)
    builds.open(gate)
    terminal.wait_for(lambda: "end" in terminal.rows, "the tool has ended")
    terminal.wait_for(lambda: shows_no_line(terminal), "the line is gone")
    terminal.type("exit\n")
    assert terminal.wait_end(bash) == 0


def test_in_the_background_until_fg(builds: Builds, terminal: UserTerminal) -> None:
    gate = builds.gate("gate")
    argv = builds.script("echo begin", f"read go < {gate}")
    bash = shell(builds, terminal)
    terminal.type(" ".join(map(str, argv)) + " &\n")
    terminal.wait_for(lambda: any(row.endswith("begin") for row in terminal.rows), "the tool runs")
    wait_until(lambda: builds.sends, "the build is open")
    terminal.type("echo typed\n")
    terminal.wait_for(lambda: "typed" in terminal.rows, "the shell has the terminal")
    assert not DRAW.search(terminal.written)
    terminal.type("fg\n")
    terminal.wait_for_last_row(LINE)
    builds.open(gate)
    terminal.wait_for(lambda: shows_no_line(terminal), "the line is gone")
    terminal.type("exit\n")
    assert terminal.wait_end(bash) == 0


def test_a_full_screen_program_has_the_screen_for_itself(builds: Builds, terminal: UserTerminal) -> None:
    """It reads single keys and draws all rows, as menuconfig does."""
    gate = builds.gate("gate")
    argv = builds.script(
        f"read go < {gate}",
        "stty -icanon -echo",
        r"printf '\033[H\033[2Jmenu\033[12;1Hlast row\033[2;1H'",
        f"read go < {gate}",
        r"printf '\033[H\033[2J'",
        "stty icanon echo",
        "echo after",
        f"read go < {gate}",
    )
    process = builds.start(terminal, argv)
    terminal.wait_for_last_row(LINE)
    builds.open(gate)
    terminal.wait_for(lambda: terminal.screen.margins is None, "the program has all rows")
    rows = list(terminal.rows)
    assert rows[0] == "menu"
    draws = len(DRAW.findall(terminal.written))
    builds.sends[0](Progress(FIGURES | {"done": 41}))
    builds.open(gate)
    terminal.wait_for_last_row("41/100")
    assert terminal.rows[0] == "after"
    assert len(DRAW.findall(terminal.written)) > draws
    builds.open(gate)
    assert terminal.wait_end(process) == 0
    assert shows_no_line(terminal)


@pytest.mark.parametrize("clearing", [r"\033[H\033[2J", r"\033c"], ids=["clear", "reset"])
def test_a_tool_that_clears_the_screen(builds: Builds, terminal: UserTerminal, clearing: str) -> None:
    gate = builds.gate("gate")
    argv = builds.script("echo begin", f"read go < {gate}", f"printf '{clearing}'", *TALK, f"read go < {gate}")
    process = builds.start(terminal, argv)
    terminal.wait_for_last_row(LINE)
    builds.open(gate)
    terminal.wait_for(lambda: b"second" in terminal.written, "the tool has spoken")
    terminal.wait_for_last_row(LINE)
    assert terminal.rows[-2] == "[2/2] second"
    assert terminal.screen.margins == (0, 10)
    builds.open(gate)
    assert terminal.wait_end(process) == 0
    assert shows_no_line(terminal)


def test_ninjas_status_line(builds: Builds) -> None:
    """ninja writes its status over itself, cut to the terminal's width."""
    gate = builds.gate("gate")
    (builds.setup.project / "build.ninja").write_text(
        "rule wait\n  command = read go < $gate; touch $out\n  description = waits for $out\n"
        f"build one: wait\n  gate = {gate}\nbuild two: wait one\n  gate = {gate}\nbuild three: wait two\n  gate = {gate}\n"
    )
    ninja = str(Path(sys.executable).parent / "ninja")
    seen = []
    for way in ("none", "auto"):
        builds.env["SPRAYCC_PROGRESS"] = way
        for name in ("one", "two", "three"):
            (builds.setup.project / name).unlink(missing_ok=True)
        with UserTerminal() as terminal:
            process = builds.start(terminal, builds.setup.argv("build", "--", ninja))
            rows = []
            for name in ("one", "two", "three"):
                terminal.wait_for(lambda name=name: f"waits for {name}" in terminal.rows[0], "ninja waits")  # type: ignore[misc]
                if way == "auto":
                    terminal.wait_for_last_row(LINE)
                rows.append(terminal.rows[0])
                builds.open(gate)
            assert terminal.wait_end(process) == 0
            seen.append((without_line(terminal.written), rows, terminal.rows, terminal.screen.cursor.y))
    assert seen[0] == seen[1]


def test_a_build_whose_server_dies_has_no_line(builds: Builds, terminal: UserTerminal) -> None:
    gate = builds.gate("gate")
    process = builds.start(terminal, builds.script("echo begin", f"read go < {gate}"))
    terminal.wait_for_last_row(LINE)
    builds.server.die()
    terminal.wait_for(lambda: shows_no_line(terminal), "the line is gone")
    terminal.wait_for(lambda: "server is gone" in terminal.rows[1], "the user is told")
    builds.open(gate)
    assert terminal.wait_end(process) == 0


@pytest.mark.parametrize("case", ["stdout-elsewhere", "stderr-elsewhere", "dumb", "none", "plain", "no-job-control"])
def test_where_a_line_is_drawn(builds: Builds, terminal: UserTerminal, case: str) -> None:
    """On the terminal of standard error, if the terminal can and the user wants it. Nothing is written to other streams."""
    noted = builds.setup.base / "noted"
    gate = builds.gate("gate")
    argv = builds.script("echo out", "echo err >&2", f"read go < {gate}")
    streams: dict[str, Any] = {}
    draws = case == "stdout-elsewhere"
    with noted.open("wb") as elsewhere:
        if case == "stdout-elsewhere":
            streams = {"stdout": elsewhere}
        elif case == "stderr-elsewhere":
            streams = {"stderr": elsewhere}
        elif case == "dumb":
            builds.env["TERM"] = "dumb"
        elif case == "no-job-control":
            argv = ["setsid", "--wait", *argv]
        else:
            builds.env["SPRAYCC_PROGRESS"] = case
        process = builds.start(terminal, argv, **streams)
        if draws:
            terminal.wait_for_last_row(LINE)
        builds.open(gate)
        assert terminal.wait_end(process) == 0
    assert bool(DRAW.search(terminal.written)) is draws
    assert without_line(terminal.written) == {
        "stdout-elsewhere": b"err\r\n", "stderr-elsewhere": b"out\r\n",
    }.get(case, b"out\r\nerr\r\n")  # fmt: skip
    assert noted.read_bytes() == {"stdout-elsewhere": b"out\n", "stderr-elsewhere": b"err\n"}.get(case, b"")
    interval_s = builds.opened[0].progress_s
    assert interval_s == (0 if case == "none" else 0.5 if draws else 5.0)


def test_the_tool_inherits_what_it_inherits_without_the_line(builds: Builds) -> None:
    """Signals, modes of the terminal, process group, descriptors and their flags."""
    code = (
        "import fcntl, json, os, sys, termios\n"
        "status = [l for l in open('/proc/self/status') if l.startswith('Sig') and not l.startswith('SigQ')]\n"
        "flags = [fcntl.fcntl(fd, fcntl.F_GETFL) for fd in (0, 1, 2)]\n"
        "mode = [m if isinstance(m, int) else len(m) for m in termios.tcgetattr(0)]\n"
        "group = os.getpgrp() == os.tcgetpgrp(0) == os.getppid()\n"
        "json.dump([status, flags, mode, group, len(os.listdir('/proc/self/fd'))], open(sys.argv[1], 'w'))\n"
    )
    seen = []
    for way in ("none", "auto"):
        builds.env["SPRAYCC_PROGRESS"] = way
        gate, noted = builds.gate(way), builds.setup.base / f"{way}.json"
        argv = builds.script(
            f'{sys.executable} -c "$CODE" {noted}', f"read go < {gate}", f'{sys.executable} -c "$CODE" {noted}.2'
        )
        builds.env["CODE"] = code.replace("os.getppid()", "os.getpgid(os.getppid())")
        with UserTerminal() as terminal:
            process = builds.start(terminal, argv)
            if way == "auto":
                terminal.wait_for_last_row(LINE)
            builds.open(gate)
            assert terminal.wait_end(process) == 0
        seen += [json.loads(noted.read_text()), json.loads(Path(f"{noted}.2").read_text())]
    assert seen[0] == seen[2]
    assert seen[1] == seen[3]


def test_two_builds_in_one_terminal(builds: Builds, terminal: UserTerminal) -> None:
    """A script runs both. One has the line, and the other has it when the first has ended."""
    first, second = builds.gate("first"), builds.gate("second")
    spraycc = builds.setup.bin / "spraycc"
    both = f"{spraycc} build -- sh -c 'read go < {first}' & {spraycc} build -- sh -c 'read go < {second}' & wait"
    process = builds.start(terminal, ["sh", "-c", both])
    terminal.wait_for_last_row(LINE)
    wait_until(lambda: len(builds.sends) == 2, "both builds are open")
    builds.open(first)
    terminal.wait_for_last_row(LINE)
    builds.open(second)
    assert terminal.wait_end(process) == 0
    assert shows_no_line(terminal)
