"""The promises of docs/explanation/security.md that only a whole, running build can break."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spraycc.wire.framing import encode_frame
from spraycc.wire.runner import RUNNER_PROTOCOL, TO_SERVER, Hello, Stop
from tests.system.harness.projects import GatedCompiler, c_project, output_of
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import HANG_S

pytestmark = [pytest.mark.e2e]

UNITS = 4
#: A user who has nothing to do with the build.
NOBODY = 65534


@contextmanager
def running_build(sandbox: Sandbox) -> Iterator[Path]:
    """A build whose compiles wait on two executors; gives its session file, and then lets the build succeed."""
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j4"])
    with sandbox.start(command) as process:
        sandbox.wait_for_busy_executors(2)
        (session,) = sandbox.home.rglob("session-*.json")
        try:
            yield session
        finally:
            compiler.open()
        assert process.wait(HANG_S) == 0
    assert sandbox.run(sandbox.workspace / "prog").out == output_of(UNITS)


def as_nobody(program: str, *words: str) -> str:
    """The output of a Python program that a stranger runs."""
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "/usr/bin/python3", "-c", program]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False, cwd="/", timeout=HANG_S)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


CONNECT = """
import socket, sys
sock = socket.socket(socket.AF_UNIX)
sock.settimeout(240)
try:
    sock.connect(sys.argv[1])
    sock.sendall(bytes.fromhex(sys.argv[2]))
    print(sock.recv(1000))
except OSError as exc:
    print(type(exc).__name__)
"""

READ = """
import sys
for path in sys.argv[1:]:
    try:
        open(path, "rb").read(1)
        print("read", path)
    except PermissionError:
        print("refused")
"""

CALL = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
sock = context.wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[1]))))
sock.settimeout(240)
got = b""
while len(got) < 44:
    got += sock.recv(44 - len(got))
sock.sendall(b"spraycc\\n" + (1).to_bytes(4, "big") + b"intruder".ljust(16, b"\\0") + bytes(32))
try:
    print(len(got), sock.recv(1000))
except OSError as exc:
    print(len(got), type(exc).__name__)
"""


@pytest.mark.root
def test_another_user_of_the_submit_host(sandbox: Sandbox) -> None:
    hello = b"".join(encode_frame(TO_SERVER.pack(m)) for m in (Hello(RUNNER_PROTOCOL, "x"), Stop(True))).hex()
    with running_build(sandbox) as session:
        (path,) = sandbox.runtime.glob("*/socket")
        assert as_nobody(CONNECT, str(path), hello) == "PermissionError"
        private = [session, *session.parent.glob("*.log"), *sandbox.runtime.glob("*/builds/*/fifo")]
        assert len(private) >= 4
        assert as_nobody(READ, *map(str, private)).split() == ["refused"] * len(private)

        # Even if the directories were open by mistake, the server would check the peer's user, and the files would be closed.
        opened = [
            sandbox.runtime,
            path.parent,
            sandbox.home,
            *session.parents[: len(session.relative_to(sandbox.home).parts) - 1],
        ]
        before = [directory.stat().st_mode for directory in opened]
        for directory in opened:
            directory.chmod(0o755)
        path.chmod(0o666)
        assert as_nobody(CONNECT, str(path), hello) in ("b''", "ConnectionResetError", "BrokenPipeError")
        assert as_nobody(READ, *map(str, private[:2])).split() == ["refused"] * 2
        path.chmod(0o600)
        for directory, mode in zip(opened, before, strict=True):
            directory.chmod(mode)

        port = json.loads(session.read_text())["addresses"][0][1]
        # The server sends the challenge, and then nothing.
        assert as_nobody(CALL, str(port)).split(" ", 1) in (["44", "b''"], ["44", "ConnectionResetError"])
        assert sandbox.status()["server"]["pid"]


@pytest.mark.overlay
def test_the_secret_is_in_its_file_alone(sandbox: Sandbox) -> None:
    """Not on a command line, in an environment, in a log, in status or in the summary."""
    with running_build(sandbox) as session:
        secret = bytes.fromhex(json.loads(session.read_text())["secret"])
        assert len(secret) == 32
        forms = (secret, secret.hex().encode(), base64.b64encode(secret), repr(secret)[2:-1].encode())
        processes = sandbox.processes()
        shown = {}
        for process in processes:
            for name in ("cmdline", "environ"):
                # A command may have ended since the listing, or be about to execute another program: at that moment an ordinary
                # user can't read its environment.
                with (
                    contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError),
                    open(f"/proc/{process.pid}/{name}", "rb") as file,
                ):
                    shown[f"{process.pid} {name}"] = file.read()
        # Check that this test can fail: the session file's name was found, and both files of each process that knows the
        # secret were read.
        assert sum(session.name.encode() in text for text in shown.values()) >= 2
        status = sandbox.status()
        holders = [status["server"]["pid"], *(executor["pid"] for executor in status["executors"])]
        assert {f"{pid} {name}" for pid in holders for name in ("cmdline", "environ")} <= set(shown)
        shown["status"] = json.dumps(status).encode()
    sandbox.stop()
    for path in (*sandbox.home.rglob("*"), *sandbox.runtime.rglob("*"), *sandbox.temp.rglob("*")):
        if path.is_file():
            shown[str(path)] = path.read_bytes()
    assert any(name.endswith("server.log") for name in shown)
    assert [name for name, text in shown.items() if any(form in text for form in forms)] == []


def test_no_core_of_those_who_know_the_secret(sandbox: Sandbox) -> None:
    with running_build(sandbox):
        holders = [p for p in sandbox.processes() if " -m spraycc." in p.command]
        assert len(holders) >= 3
        for process in holders:
            limits = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
            (core,) = [line for line in limits if line.startswith("Max core file size")]
            assert core.split()[4] == "0", process


def test_a_command_keeps_its_own_core_limit(sandbox: Sandbox) -> None:
    """The limit of the executor does not apply to the command."""
    sandbox.write({"Makefile": "limit:\n\t@spraycc-run --remote sh -c 'ulimit -S -c >limit'\n"})
    words = ["sh", "-c", 'ulimit -S -c 7 && exec "$@"', "sh", *sandbox.build_command(["make"])[0]]
    sandbox.run(*words).ok()
    assert (sandbox.workspace / "limit").read_text() == "7\n"


def squat_by_link(sandbox: Sandbox, path: Path) -> None:
    (sandbox.aside / "target").mkdir(mode=0o777)
    path.symlink_to(sandbox.aside / "target")


def squat_by_directory(sandbox: Sandbox, path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


def squat_as_another(sandbox: Sandbox, path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs to be root")
    path.mkdir(mode=0o777)
    os.chown(path, NOBODY, NOBODY)
    path.chmod(0o777)


@pytest.mark.parametrize("squat", [squat_by_link, squat_by_directory, squat_as_another])
def test_a_runtime_directory_that_was_there_before(sandbox: Sandbox, squat: object) -> None:
    """The directory is not used, nothing is put into it, and the build runs on the submit host."""
    path = sandbox.base / "squatted"
    squat(sandbox, path)  # type: ignore[operator]
    sandbox.settings["SPRAYCC_RUNTIME_DIR"] = str(path)
    sandbox.write(c_project(UNITS))
    built = sandbox.build("make", "-j2").ok()
    assert any("squatted" in line for line in built.own_lines()), built.words()
    assert list(path.iterdir()) == []
    assert "remote" not in built.figures
    assert sandbox.run(sandbox.workspace / "prog").out == output_of(UNITS)


def test_a_directory_for_sessions_that_others_can_write_to(sandbox: Sandbox) -> None:
    sandbox.write(c_project(UNITS))
    sandbox.build("make", "-j2").ok()
    sandbox.stop()
    state = next((sandbox.home / ".local/state/spraycc").glob("*/server.log")).parent
    state.chmod(0o777)
    sandbox.run("make", "clean").ok()
    built = sandbox.build("make", "-j2").ok()
    assert any("open to others" in line or "server" in line for line in built.own_lines()), built.words()
    assert "remote" not in built.figures
    assert list(state.glob("session-*")) == []
    assert sandbox.run(sandbox.workspace / "prog").out == output_of(UNITS)
    state.chmod(0o700)
