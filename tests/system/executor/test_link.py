"""The peers that an executor accepts, and when it gives up."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import ssl
import time

import pytest

from spraycc.errors import ConfigError, ProtocolError
from spraycc.executor.main import LEAVING_SIGNALS, batch_job
from spraycc.executor.session import read_session
from spraycc.wire.executor import NONCE_BYTES, PROOF_BYTES, Leave, Ping, Pong, TaskOutput, challenge, check_proof
from spraycc.wire.framing import encode_frame
from tests.system.harness.waiting import HANG_S


def test_it_leaves_when_told(executor):
    executor.peer.send(Leave())
    assert executor.process.wait(HANG_S) == 0
    with pytest.raises(EOFError):
        executor.peer.receive()
    assert "leaving: the server says so" in executor.server.log()


@pytest.mark.parametrize("number", LEAVING_SIGNALS)
@pytest.mark.parametrize("busy", [False, True])
def test_it_leaves_on_signals(executor, number, busy):
    if busy:
        executor.start("sh", "-c", "trap '' TERM; echo; sleep 1000")
        executor.peer.expect(TaskOutput)
    executor.process.send_signal(number)
    assert executor.process.wait(HANG_S) == 0  # it does not wait for its task
    assert signal.Signals(number).name in executor.server.log()
    assert list(executor.server.scratch.glob("spraycc-*/executor-*")) == []


@pytest.mark.parametrize("told", [False, True])
def test_further_signals_cut_nothing_short(executor, told):
    """The signals of cluster managers, and other reasons to leave."""
    if told:
        executor.peer.send(Leave())
    while executor.process.poll() is None:
        for number in (signal.SIGTERM, signal.SIGINT):
            executor.process.send_signal(number)
        time.sleep(0.002)  # no faster than the executor reads them: trio's pipe for signals has a limit
    assert executor.process.wait(HANG_S) == 0
    assert "Traceback" not in executor.server.log()
    assert list(executor.server.scratch.glob("spraycc-*/executor-*")) == []


def test_it_leaves_when_the_server_is_gone(executor):
    executor.start("sh", "-c", "echo; sleep 1000")
    executor.peer.expect(TaskOutput)
    executor.peer.close()
    assert executor.process.wait(HANG_S) == 1
    assert list(executor.server.scratch.glob("spraycc-*/executor-*")) == []


def test_it_leaves_a_silent_server_at_last(server, launch):
    """tests/sim/executor/test_silence.py checks when the executor pings, and what an answer changes."""
    process = launch(server.session_file(heartbeat_s=0.2, lost_after_s=1.0))
    peer, _ = server.welcome()
    peer.answers_pings = False
    while True:
        try:
            assert isinstance(peer.receive(), Ping)
        except EOFError:
            break
    assert process.wait(HANG_S) == 1
    assert "nothing was heard" in server.log()


def test_it_asks_a_silent_server_again_and_again(server, launch):
    process = launch(server.session_file(heartbeat_s=0.1))
    peer, _ = server.welcome()
    peer.answers_pings = False  # the test waits for the pings
    for number in range(1, 6):
        assert peer.expect(Ping).number == number
        peer.send(Pong(number, {}))
    peer.send(Leave())
    assert process.wait(HANG_S) == 0


def test_garbage_ends_the_connection(executor):
    executor.peer.connection.sendall(encode_frame(["no such message", 1]))
    assert executor.process.wait(HANG_S) == 1
    assert "the server sent an invalid message" in executor.server.log()


def test_another_certificate_is_refused_before_anything_is_said(server, launch):
    process = launch(server.session_file())
    with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
        server.accept(server.other_identity()).exactly(1)
    assert process.wait(HANG_S) == 1
    assert "certificate verify failed" in server.log()


def test_a_certificate_signed_by_the_pinned_one_is_refused(server, launch):
    process = launch(server.session_file())
    with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
        server.accept(server.other_identity(signed=True)).exactly(1)
    assert process.wait(HANG_S) == 1
    assert "its certificate is not the session's" in server.log()


def test_a_plain_server_is_refused(server, launch):
    process = launch(server.session_file())
    connection, _ = server.listener.accept()
    with connection, contextlib.suppress(ConnectionError):
        connection.sendall(challenge(bytes(NONCE_BYTES)))
        hello = connection.recv(65536)
        assert hello[:1] == b"\x16"  # a TLS record of the handshake, and nothing of SprayCC's protocol
        assert process.wait(HANG_S) == 1
    assert "handshake" in server.log()


def test_a_wrong_secret_is_seen_by_the_server(server, launch):
    process = launch(server.session_file(secret="00" * 32))
    peer = server.accept()
    nonce = secrets.token_bytes(NONCE_BYTES)
    peer.connection.sendall(challenge(nonce))
    with pytest.raises(ProtocolError):
        check_proof(server.secret, nonce, peer.exactly(PROOF_BYTES))
    peer.close()
    assert process.wait(HANG_S) == 1


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request" + bytes(100), challenge(bytes(32))[:-1]])
def test_a_wrong_challenge_is_refused(server, launch, greeting):
    process = launch(server.session_file())
    peer = server.accept()
    peer.connection.sendall(greeting)
    peer.close()
    assert process.wait(HANG_S) == 1
    assert "handshake" in server.log()


def test_the_first_address_that_answers_is_taken(server, launch):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = list(closed.getsockname())
    process = launch(server.session_file(addresses=[dead, list(server.address)]))
    peer, _ = server.welcome()
    peer.send(Leave())
    assert process.wait(HANG_S) == 0


def test_no_server_at_all_is_told_for_each_address(server, launch):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = list(closed.getsockname())
    process = launch(server.session_file(addresses=[dead, dead]))
    assert process.wait(HANG_S) == 1
    assert server.log().count(f"127.0.0.1:{dead[1]}: Connection refused") == 2
    said = process.stdout.read().decode()
    assert f"spraycc executor on {socket.gethostname()}: no server: 127.0.0.1:{dead[1]}: Connection refused;" in said


def test_addresses_that_swallow_everything_are_passed_over(server, launch):
    """A full backlog answers nothing, like a firewall that drops packets.

    tests/sim/executor/test_connect.py checks how long each address may delay the next.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        process = launch(server.session_file(addresses=[list(deaf.getsockname())] * 3 + [list(server.address)]))
        peer, _ = server.welcome()
        peer.send(Leave())
        assert process.wait(HANG_S) == 0
        for filler in fillers:
            filler.close()


def test_somebody_else_at_an_address_is_passed_over(server, launch):
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        process = launch(server.session_file(addresses=[list(stranger.getsockname()), list(server.address)]))
        connection, _ = stranger.accept()
        connection.sendall(b"220 mail.example ESMTP\r\n")
        peer, _ = server.welcome()
        peer.send(Leave())
        assert process.wait(HANG_S) == 0
        connection.close()


def test_the_log_is_private_and_says_little(executor):
    executor.run("true")
    executor.leave()
    (log,) = executor.server.log_dir.iterdir()
    assert log.name == "executor-e1.log"
    assert log.stat().st_mode & 0o777 == 0o600
    lines = log.read_text().splitlines()
    assert len(lines) == 5, lines  # scratch, ready, task, counters, leaving
    assert executor.server.secret.hex() not in log.read_text()


def _session(path, **changes):
    content = {
        "version": 1, "addresses": [["h", 1], ["::1", 2]], "certificate": "PEM", "secret": "ab" * 32, "workspace": "/w\udcff",
        "scratch_dir": None, "heartbeat_s": 5, "lost_after_s": 20, "log_dir": "/l",
    } | changes  # fmt: skip
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not ...}))
    path.chmod(0o600)
    return str(path)


def test_a_session_is_read(tmp_path):
    session = read_session(_session(tmp_path / "s"))
    assert session.addresses == (("h", 1), ("::1", 2))
    assert (session.secret, session.workspace, session.scratch_dir) == (b"\xab" * 32, b"/w\xff", None)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_session_that_others_may_touch_is_refused(tmp_path, mode):
    path = _session(tmp_path / "s")
    os.chmod(path, mode)
    with pytest.raises(ConfigError, match="mode 600"):
        read_session(path)


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
def test_a_session_where_others_may_write_is_refused(tmp_path, mode):
    path = tmp_path / "open/session.json"
    path.parent.mkdir()
    path.write_text("{}")
    path.chmod(0o600)
    path.parent.chmod(mode)
    with pytest.raises(ConfigError, match="others may write"):
        read_session(str(path))


def test_a_session_of_another_or_by_a_link_is_refused(tmp_path):
    path = _session(tmp_path / "s")
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(ConfigError):
        read_session(str(tmp_path / "link"))
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345)
        with pytest.raises(ConfigError, match="a regular file of this user"):
            read_session(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"secret": "ab"},
        {"secret": "x" * 64},
        {"workspace": "w"},
        {"addresses": [["h"]]},
        {"log_dir": ...},
    ],
)
def test_a_session_that_is_none_is_refused(tmp_path, changes):
    with pytest.raises(ConfigError, match="session file"):
        read_session(_session(tmp_path / "s", **changes))


def test_misuse_is_told_on_stderr(launch, tmp_path):
    process = launch(tmp_path / "missing")
    assert process.wait(HANG_S) == 2


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ""),
        ({"LSB_JOBID": "7", "LSB_JOBINDEX": "3"}, "7[3]"),
        ({"LSB_JOBID": "7", "LSB_JOBINDEX": "0"}, "7"),
        ({"SLURM_JOB_ID": "8"}, "8"),
        ({"PBS_JOBID": "9[2].server"}, "9[2].server"),
        ({"JOB_ID": "10", "SGE_TASK_ID": "undefined"}, "10"),
        ({"JOB_ID": "10", "SGE_TASK_ID": "4"}, "10.4"),
        ({"SLURM_JOB_ID": "13", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "1"}, "12_1"),
    ],
)
def test_ids_of_batch_jobs(monkeypatch, environment, expected):
    for name in (
        "LSB_JOBID",
        "LSB_JOBINDEX",
        "SLURM_JOB_ID",
        "SLURM_ARRAY_JOB_ID",
        "SLURM_ARRAY_TASK_ID",
        "PBS_JOBID",
        "JOB_ID",
        "SGE_TASK_ID",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert batch_job() == expected
