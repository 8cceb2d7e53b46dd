"""A minimal server, the real executor and the real box, as root and as an unprivileged user."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hatch_build import sources_of
from spraycc.executor.scratch import remove_tree
from spraycc.model import TaskId
from spraycc.system.compression import unpack
from spraycc.wire.executor import (
    FROM_EXECUTOR,
    NONCE_BYTES,
    PROOF_BYTES,
    TO_EXECUTOR,
    Deleted,
    FileContents,
    FileHole,
    Leave,
    MadeDirectory,
    MadeFile,
    MadeSymlink,
    Ping,
    Pong,
    Reads,
    Ready,
    StartTask,
    TaskEnded,
    TaskOutput,
    challenge,
    check_proof,
)
from spraycc.wire.framing import FrameReader, encode_frame
from spraycc.wire.schema import Message
from tests import measured
from tests.system.harness import needs
from tests.system.harness.native import STRICT
from tests.system.harness.waiting import HANG_S

REPOSITORY = Path(__file__).resolve().parents[3]
#: An unused id for the unprivileged runs, its primary group, and the group of the shared tree.
USER, GROUP, SHARED_GROUP = 52001, 52001, 52002


@dataclass(frozen=True)
class Who:
    """The user that a test's processes run as."""

    uid: int
    gid: int
    #: a supplementary group of the user, if there is one
    other_group: int | None
    #: keyword arguments for subprocess
    credentials: dict[str, Any] = field(default_factory=dict)
    python: str = sys.executable
    pythonpath: str = ""


def _python_for(credentials: dict[str, Any]) -> tuple[str, str]:
    """An interpreter that this user may execute, with the executor's dependencies (ours may be in a closed home)."""
    packages = os.pathsep.join([str(REPOSITORY), sysconfig.get_path("platlib")])
    for python, path in ((sys.executable, str(REPOSITORY)), ("/usr/bin/python3", packages)):
        with contextlib.suppress(OSError):
            probe = [python, "-c", "import trio, cbor2, spraycc.wire.executor"]
            environment = {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
            if subprocess.run(probe, env=environment, cwd="/", capture_output=True, **credentials).returncode == 0:
                return python, path
    pytest.fail("no Python that an unprivileged user can execute")


@pytest.fixture(scope="session", params=["root", "user"])
def who(request: pytest.FixtureRequest) -> Who:
    if os.geteuid() != 0:
        if request.param == "root":
            pytest.skip("only root can try what root does")
        others = [g for g in os.getgroups() if g != os.getegid()]
        python, path = _python_for({})
        return Who(os.geteuid(), os.getegid(), others[0] if others else None, {}, python, path)
    if request.param == "root":
        return Who(0, 0, SHARED_GROUP, {}, sys.executable, str(REPOSITORY))
    credentials = {"user": USER, "group": GROUP, "extra_groups": [SHARED_GROUP]}
    python, path = _python_for(credentials)
    return Who(USER, GROUP, SHARED_GROUP, credentials, python, path)


@pytest.fixture(scope="session")
def box() -> Iterator[Path]:
    """The box, compiled like in the build hook, with all warnings; or with SPRAYCC_TEST_CFLAGS in place of -static."""
    needs.program("cc", package="gcc")
    directory = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="spraycc-test-box-"))
    directory.chmod(0o755)
    how = os.environ.get("SPRAYCC_TEST_CFLAGS", "-static").split()
    subprocess.run(["cc", *STRICT, *how, *sources_of("spraycc-box"), "-o", directory / "spraycc-box"], check=True)
    yield directory / "spraycc-box"
    shutil.rmtree(directory)


@dataclass
class Place:
    """Directories of one test, all owned by the user that it runs as."""

    top: Path
    who: Who

    def directory(self, name: str, mode: int = 0o755) -> Path:
        path = self.top / name
        path.mkdir()
        os.chown(path, self.who.uid, self.who.gid)
        path.chmod(mode)
        return path

    def file(self, path: Path, content: bytes | str = b"", mode: int = 0o644, group: int | None = None) -> Path:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        os.chown(path, self.who.uid, self.who.gid if group is None else group)
        path.chmod(mode)
        return path


@pytest.fixture
def place(who: Who) -> Iterator[Place]:
    top = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="spraycc-test-"))
    top.chmod(0o755)
    yield Place(top, who)
    remove_tree(os.fsencode(top))
    assert not top.exists()


@dataclass(frozen=True)
class Identity:
    """A server's certificate and key, as files and as PEM."""

    certificate: str
    chain_file: Path
    subject: x509.Name
    key: ec.EllipticCurvePrivateKey


def make_identity(directory: Path, name: str = "server", issuer: Identity | None = None) -> Identity:
    """A self-signed certificate, or a certificate that another one has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(issuer.key if issuer else key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    path = directory / f"{name}.pem"
    path.write_text(private + pem)
    return Identity(pem, path, subject, key)


@dataclass
class Result:
    """The messages of one task."""

    ended: TaskEnded
    stdout: bytes = b""
    stderr: bytes = b""
    made: list[Message] = field(default_factory=list)
    #: the lookups that the command has read, if the server asked for them
    reads: Reads | None = None

    @property
    def files(self) -> dict[bytes, bytes]:
        """Contents of all files, in order."""
        contents: dict[bytes, bytes] = {}
        for message in self.made:
            if isinstance(message, MadeFile):
                path = message.path
                contents[path] = message.data
            elif isinstance(message, Piece):
                contents[path] += message.data
            elif isinstance(message, FileHole):
                contents[path] += bytes(message.size_bytes)
        return contents

    def of(self, kind: type[Message]) -> list[Any]:
        return [m for m in self.made if isinstance(m, kind)]


@dataclass(frozen=True, slots=True)
class Piece(Message):
    """A FileContents with the contents that followed it."""

    task: TaskId
    data: bytes
    #: size of the compressed contents that followed; 0: they were plain
    packed_bytes: int = 0


class Peer:
    """The server's end of one connection after TLS."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self.connection = connection
        #: like a server; False if a test waits for pings
        self.answers_pings = True
        self._reader = FrameReader()

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.connection.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def send(self, *messages: Message) -> None:
        self.connection.sendall(b"".join(encode_frame(TO_EXECUTOR.pack(m)) for m in messages))

    def receive(self) -> Message:
        """The next message; EOFError at the end. Pings in between (on a slow machine) are answered."""
        while isinstance(message := self._next(), Ping) and self.answers_pings:
            self.send(Pong(message.number, {}))
        return message

    def _next(self) -> Message:
        while (item := self._reader.next_item()) is None:
            data = self.connection.recv(65536)
            if not data:
                raise EOFError
            self._reader.feed(data)
        message = FROM_EXECUTOR.unpack(item)
        if isinstance(message, FileContents):
            message.check()
            data = self._reader.take_raw(message.raw_bytes)
            data += self.exactly(message.raw_bytes - len(data))
            if message.packed_bytes:
                data = unpack(data, message.size_bytes)
            return Piece(message.task, data, message.packed_bytes)
        return message

    def expect(self, kind: type[Message]) -> Any:
        message = self.receive()
        assert isinstance(message, kind), message
        return message

    def result(self) -> Result:
        """All messages of the running task."""
        stdout, stderr = bytearray(), bytearray()
        made: list[Message] = []
        reads: Reads | None = None
        while True:
            match message := self.receive():
                case TaskOutput(_, 1, data):
                    stdout += data
                case TaskOutput(_, 2, data):
                    stderr += data
                case TaskEnded():
                    return Result(message, bytes(stdout), bytes(stderr), made, reads)
                case Reads():
                    reads = message
                case Deleted() | MadeDirectory() | MadeSymlink() | MadeFile() | Piece() | FileHole():
                    made.append(message)
                case _:
                    raise AssertionError(message)

    def close(self) -> None:
        self.connection.close()


class Server:
    """Listens on loopback and makes session files."""

    def __init__(self, place: Place, workspace: Path, scratch: Path) -> None:
        self.place = place
        self.private = place.directory("server", 0o700)
        self.identity = make_identity(self.private)
        self.secret = secrets.token_bytes(32)
        self.log_dir = place.directory("log", 0o700)
        self.workspace = workspace
        self.scratch = scratch
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(HANG_S)
        self._peers: list[Peer] = []

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.listener.getsockname()
        return host, port

    def session_file(self, name: str = "session.json", **changes: Any) -> Path:
        content = {
            "version": 1,
            "addresses": [list(self.address)],
            "certificate": self.identity.certificate,
            "secret": self.secret.hex(),
            "workspace": str(self.workspace),
            "scratch_dir": str(self.scratch),
            # no heartbeat arrives in between unless the test is about heartbeats
            "heartbeat_s": HANG_S,
            "lost_after_s": 2 * HANG_S,
            "log_dir": str(self.log_dir),
        } | changes
        return self.place.file(self.place.top / name, json.dumps(content), mode=0o600)

    def accept(self, identity: Identity | None = None) -> Peer:
        """A connection after the TLS handshake. Raises ssl.SSLError or ConnectionError if the executor refuses it."""
        connection, _ = self.listener.accept()
        connection.settimeout(HANG_S)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain((identity or self.identity).chain_file)
        with connection:
            peer = Peer(context.wrap_socket(connection, server_side=True))
        self._peers.append(peer)
        return peer

    def welcome(self) -> tuple[Peer, Ready]:
        """An executor that has proved itself and is ready."""
        peer = self.accept()
        nonce = secrets.token_bytes(NONCE_BYTES)
        peer.connection.sendall(challenge(nonce))
        check_proof(self.secret, nonce, peer.exactly(PROOF_BYTES))
        return peer, peer.expect(Ready)

    def other_identity(self, signed: bool = False) -> Identity:
        """A certificate that is not the session's, but well made, or even signed by it."""
        return make_identity(self.private, "other", self.identity if signed else None)

    def running(self, process: subprocess.Popen[bytes]) -> Running:
        peer, ready = self.welcome()
        return Running(process, peer, ready, self, self.place)

    def close(self) -> None:
        self.listener.close()
        for peer in self._peers:
            peer.close()

    def log(self) -> str:
        return "".join(path.read_text() for path in sorted(self.log_dir.iterdir()))


@dataclass
class Running:
    """An executor that is connected and ready."""

    process: subprocess.Popen[bytes]
    peer: Peer
    ready: Ready
    server: Server
    place: Place
    _tasks: int = 0

    @property
    def workspace(self) -> Path:
        return self.server.workspace

    def start(self, *argv: str | bytes, **changes: Any) -> int:
        """Send a task and return its number. Skips the test if the task needs an overlay that this host refuses."""
        if changes.get("capture", "overlay") == "overlay" and "overlay" not in self.ready.captures:
            needs.overlay(self.place.who.uid)
        self._tasks += 1
        words = tuple(os.fsencode(word) for word in argv)
        values: dict[str, Any] = {
            "task": self._tasks,
            "attempt": 1,
            "capture": "overlay",
            "argv": words,
            "program": os.fsencode(shutil.which(os.fsdecode(words[0])) or words[0]),
            "cwd": bytes(self.workspace),
            "env": (b"PATH=/usr/bin:/bin", b"LC_ALL=C"),
            "umask": 0o022,
            "rlimits": (),
            "nice": 0,
            "one_stream": False,
            "roots": (bytes(self.workspace),),
            "optional_roots": (),
            "outputs": (),
        }
        self.peer.send(StartTask(**(values | changes)))
        return self._tasks

    def run(self, *argv: str | bytes, **changes: Any) -> Result:
        self.start(*argv, **changes)
        return self.peer.result()

    def shell(self, script: str, **changes: Any) -> Result:
        return self.run("sh", "-c", script, **changes)

    def leave(self) -> None:
        """Ask it to leave; it must end with status 0 and leave nothing behind."""
        self.peer.send(Leave())
        assert self.process.wait(HANG_S) == 0
        assert scratch_left(self.server.scratch) == []


def scratch_left(scratch: Path) -> list[str]:
    """Directories of executors below a scratch base."""
    return sorted(path.name for path in scratch.glob("spraycc-*/*-*"))


@pytest.fixture
def launch(who: Who, box: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start executor processes; those left over are killed at the end."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(
        session: Path,
        executor_id: str = "e1",
        *,
        first_as_root: str = "",
        pass_fds: tuple[int, ...] = (),
        enter: tuple[str, ...] = (),
        **environment: str,
    ) -> subprocess.Popen[bytes]:
        words = [who.python, "-m", "spraycc.executor", "--session", str(session), "--id", executor_id]
        credentials = who.credentials
        if first_as_root:  # a shell line as root in a new mount namespace, before it changes its user
            drop = f"exec setpriv --reuid {who.uid} --regid {who.gid} --groups {who.other_group}"
            words = ["unshare", "-m", "sh", "-ec", f'{first_as_root}\n{drop} "$@"', "sh", *words]
            credentials = {}
        elif enter:  # words before a command line as root, such as those of another host
            change = ["setpriv", "--reuid", str(who.uid), "--regid", str(who.gid), "--clear-groups"]
            words = [*enter, *change, *words]
            credentials = {}
        process = subprocess.Popen(
            words,
            env={
                "PATH": "/usr/bin:/bin",
                "PYTHONPATH": who.pythonpath,
                "SPRAYCC_BOX": str(box),
                **measured.ENVIRONMENT,
                **environment,
            },
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=pass_fds,
            **credentials,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(HANG_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        assert process.stdout is not None
        said = process.stdout.read()
        process.stdout.close()
        assert said == b"" or process.returncode in (1, 2), said.decode()


@pytest.fixture
def server(place: Place) -> Iterator[Server]:
    server = Server(place, place.directory("ws"), place.directory("scratch"))
    yield server
    server.close()


@pytest.fixture
def executor(server: Server, launch: Callable[..., subprocess.Popen[bytes]], place: Place) -> Iterator[Running]:
    """A ready executor. At the end it is asked to leave if it is still running."""
    process = launch(server.session_file())
    running = server.running(process)
    yield running
    if process.poll() is None:
        running.leave()
    assert "fault of the executor" not in server.log()


@dataclass(frozen=True)
class Marker:
    """An environment variable that marks a test's processes, so that the test finds them everywhere."""

    entry: str

    @property
    def env(self) -> tuple[bytes, ...]:
        return (b"PATH=/usr/bin:/bin", self.entry.encode())

    def processes(self) -> list[int]:
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                if self.entry.encode() in (directory / "environ").read_bytes().split(b"\0"):
                    found.append(int(directory.name))
            except OSError:
                continue
        return found


@pytest.fixture
def marker(place: Place) -> Marker:
    return Marker(f"SPRAYCC_MARK={place.top.name}")
