"""The messages between server and executor, after the handshake. Grammar and handshake: docs/reference/protocol.md."""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass
from typing import Any, ClassVar

from spraycc.errors import ProtocolError, VersionMismatch
from spraycc.model import Command, TaskId
from spraycc.stamps import STAMP_BYTES
from spraycc.wire.schema import Grammar, Message

#: Version of everything in this module, the handshake included.
EXECUTOR_PROTOCOL = 2

#: The most lookups that one command can have: records of the recorder (spraycc/native/recorder/recorder.h).
MOST_READS = 262_144

#: The largest piece of a file's contents. Other messages may come between two pieces, and an unpacked piece is held in
#: memory.
PIECE_BYTES = 1024 * 1024

NONCE_BYTES = 32
EXECUTOR_ID_BYTES = 16

# The messages of the handshake, inside TLS. They have fixed sizes, because nothing is parsed before the peer has proved
# itself.
_MAGIC = b"spraycc\n"
_CHALLENGE = struct.Struct(f">8sI{NONCE_BYTES}s")
_PROOF = struct.Struct(f">8sI{EXECUTOR_ID_BYTES}s32s")
CHALLENGE_BYTES = _CHALLENGE.size
PROOF_BYTES = _PROOF.size


def challenge(nonce: bytes) -> bytes:
    """The server's first bytes: magic, version, nonce."""
    return _CHALLENGE.pack(_MAGIC, EXECUTOR_PROTOCOL, nonce)


def read_challenge(data: bytes) -> bytes:
    """The nonce in the server's first bytes.

    Raises:
        ProtocolError: the peer is not a SprayCC server.
        VersionMismatch: the server has another version.
    """
    magic, version, nonce = _CHALLENGE.unpack(data)
    _check(magic, version)
    return bytes(nonce)


def proof(secret: bytes, nonce: bytes, executor_id: bytes) -> bytes:
    """The executor's answer: magic, version, the id (16 bytes, NUL-padded), HMAC-SHA256(secret, nonce + id)."""
    padded = executor_id.ljust(EXECUTOR_ID_BYTES, b"\0")
    assert len(padded) == EXECUTOR_ID_BYTES
    return _PROOF.pack(_MAGIC, EXECUTOR_PROTOCOL, padded, _mac(secret, nonce, padded))


def check_proof(secret: bytes, nonce: bytes, data: bytes) -> bytes:
    """The id of an executor that knows the secret.

    Raises:
        ProtocolError: the peer does not know the secret.
        VersionMismatch: the executor has another version.
    """
    magic, version, padded, mac = _PROOF.unpack(data)
    _check(magic, version)
    if not hmac.compare_digest(mac, _mac(secret, nonce, padded)):
        raise ProtocolError("the executor does not know the session's secret")
    return bytes(padded.rstrip(b"\0"))


def _mac(secret: bytes, nonce: bytes, padded_id: bytes) -> bytes:
    return hmac.new(secret, nonce + padded_id, hashlib.sha256).digest()


def _check(magic: bytes, version: int) -> None:
    if magic != _MAGIC:
        raise ProtocolError("peer is not SprayCC")
    if version != EXECUTOR_PROTOCOL:
        raise VersionMismatch(f"peer speaks executor protocol {version}, this is {EXECUTOR_PROTOCOL}")


@dataclass(frozen=True, slots=True)
class Ready(Message):
    """Executor → server, first frame: the executor's identity and abilities."""

    TAG: ClassVar[str] = "ready"
    release: str
    host: str
    pid: int
    #: capture modes that work on the executor's host, best first: "overlay", "predict", "in-place"
    captures: tuple[str, ...]
    #: the reason for each capture mode that does not work
    refusals: dict[str, str]
    #: the cluster manager's id of the executor's batch job, empty without a batch job
    batch_job: str = ""
    #: name of the part of the host's memory to which the batch job is confined; empty without a limit
    memory_part: str = ""
    #: size of that part, or of the host's memory; 0 if not known
    memory_bytes: int = 0
    #: stamps of the files that the session names as landmarks, in the session's order
    landmarks: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class StartTask(Message):
    """Server → executor: run this command. Never sent before the executor's last task has ended."""

    TAG: ClassVar[str] = "start"
    task: TaskId
    attempt: int
    #: "overlay", "predict" or "in-place"
    capture: str
    argv: tuple[bytes, ...]
    program: bytes
    cwd: bytes
    env: tuple[bytes, ...]
    umask: int
    rlimits: tuple[tuple[int, int, int], ...]
    nice: int
    #: True if stdout and stderr are one pipe. All output is then sent as descriptor 1
    one_stream: bool
    #: absolute directories whose changes are the command's outputs, and must be captured
    roots: tuple[bytes, ...]
    #: further such directories, which are captured if possible
    optional_roots: tuple[bytes, ...]
    #: absolute paths of the known outputs, the file of -o last. The capture has their directories from the start. A
    #: path that ends with a slash is a directory in which the command makes files with unknown names
    outputs: tuple[bytes, ...]
    #: with "predict": (name below a scratch directory, absolute path) of each file that the command writes. In ``argv``
    #: a byte 0, which no argument can hold, stands for the scratch directory
    redirected: tuple[tuple[bytes, bytes], ...] = ()
    #: (a program's path or "cpu", the identity on the submit host) that must be the same on the executor's host
    same: tuple[tuple[bytes, str], ...] = ()
    #: the descriptors (1, 2) that are terminals to the runner, and so to the command
    terminals: tuple[int, ...] = ()
    #: rows and columns of the terminals
    window: tuple[int, int] = (0, 0)
    #: True if the server wants the message Reads
    prove: bool = False
    #: stamps of the submit host (spraycc/stamps.py) that are new to this executor: (number, lookup, stamp). A number
    #: that was told before gets a new stamp; an empty stamp makes the executor forget the number
    stamps: tuple[tuple[int, bytes, bytes], ...] = ()
    #: directories to refresh first if the command can't be recorded: such a command may read any product of builds
    refresh: tuple[bytes, ...] = ()
    #: True if the last record of a similar command was incomplete: ``refresh`` is then refreshed in any case
    incomplete: bool = False
    #: True if the server can restore compressed contents of files
    may_pack: bool = False

    @classmethod
    def of(
        cls,
        task: TaskId,
        attempt: int,
        capture: str,
        command: Command,
        env: tuple[bytes, ...],
        roots: tuple[bytes, ...],
        optional_roots: tuple[bytes, ...],
        outputs: tuple[bytes, ...],
        same: tuple[tuple[bytes, str], ...] = (),
        may_pack: bool = False,
    ) -> StartTask:
        """The message for a command. ``env`` replaces the command's environment, without the variables of the build."""
        return cls(
            task, attempt, capture, command.argv, command.program, command.cwd, env, command.umask, command.rlimits,
            command.nice, command.streams_are_one, roots, optional_roots, outputs, same=same,
            terminals=command.terminals, window=command.window, may_pack=may_pack,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class CancelTask(Message):
    """Server → executor: kill the task. TaskEnded with ``cancelled`` follows, also for an unknown task."""

    TAG: ClassVar[str] = "cancel"
    task: TaskId


@dataclass(frozen=True, slots=True)
class Leave(Message):
    """Server → executor: kill the running task, and end."""

    TAG: ClassVar[str] = "leave"


@dataclass(frozen=True, slots=True)
class Ping(Message):
    """In either direction. The answer is Pong with the same number."""

    TAG: ClassVar[str] = "ping"
    number: int


@dataclass(frozen=True, slots=True)
class Pong(Message):
    """The answer to Ping. The executor sends its counters (docs/reference/protocol.md), the server an empty map."""

    TAG: ClassVar[str] = "pong"
    number: int
    counters: dict[str, Any]
    #: free memory of the executor's host, or of its part of the host; 0 if unknown
    available_bytes: int = 0


@dataclass(frozen=True, slots=True)
class TaskOutput(Message):
    """Executor → server: bytes of stdout (1) or stderr (2), sent as they arrive."""

    TAG: ClassVar[str] = "out"
    task: TaskId
    fd: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Deleted(Message):
    """Executor → server: the command removed this file, or this directory with everything below it."""

    TAG: ClassVar[str] = "deleted"
    task: TaskId
    path: bytes


@dataclass(frozen=True, slots=True)
class MadeDirectory(Message):
    """Executor → server: a new directory, or a directory with another mode or time."""

    TAG: ClassVar[str] = "dir"
    task: TaskId
    path: bytes
    mode: int
    #: True if the directory's old contents are gone
    emptied: bool
    #: explicit or unchanged modification time; None means "now"
    mtime_ns: int | None


@dataclass(frozen=True, slots=True)
class MadeSymlink(Message):
    """Executor → server: a new or changed symbolic link."""

    TAG: ClassVar[str] = "symlink"
    task: TaskId
    path: bytes
    target: bytes
    #: explicit modification time; None means "now"
    mtime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class MadeFile(Message):
    """Executor → server: a new or changed file.

    ``data``, the FileContents and the FileHole that follow are ``size_bytes`` in all.
    """

    TAG: ClassVar[str] = "file"
    task: TaskId
    path: bytes
    mode: int
    size_bytes: int
    mtime_ns: int | None
    data: bytes


@dataclass(frozen=True, slots=True)
class FileContents(Message):
    """Executor → server: raw bytes follow this frame directly, outside any frame.

    They are the next piece of the last MadeFile's contents.
    """

    TAG: ClassVar[str] = "contents"
    task: TaskId
    #: size of the piece in the file, at most PIECE_BYTES
    size_bytes: int
    #: 0: ``size_bytes`` bytes follow as they are in the file. Otherwise this many compressed bytes follow
    packed_bytes: int = 0

    def check(self) -> None:
        """Raise ProtocolError for a size that no honest executor sends."""
        if not 0 < self.size_bytes <= PIECE_BYTES or not 0 <= self.packed_bytes < self.size_bytes:
            raise ProtocolError(f"a piece of {self.size_bytes} bytes, packed into {self.packed_bytes}")

    @property
    def raw_bytes(self) -> int:
        """The number of bytes that follow the frame."""
        return self.packed_bytes or self.size_bytes


@dataclass(frozen=True, slots=True)
class FileHole(Message):
    """Executor → server: a hole of this size in the last MadeFile's content (lseek(2), SEEK_HOLE)."""

    TAG: ClassVar[str] = "hole"
    task: TaskId
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Reads(Message):
    """Executor → server: the files and missing names that the command looked up (executor/proof.py)."""

    TAG: ClassVar[str] = "reads"
    task: TaskId
    #: False if the command was recorded only in part, or not at all
    complete: bool
    #: True if the directories in ``StartTask.refresh`` were refreshed before the command began
    refreshed: bool = False
    #: numbers of the lookups whose stamps were the told stamps: a bit set, little endian
    matched: bytes = b""
    #: the other lookups, each with the stamp of the executor's host
    others: tuple[tuple[bytes, bytes], ...] = ()

    def check(self) -> None:
        """Raise ProtocolError for more lookups than the recorder can hold, or a stamp of a wrong size."""
        if len(self.others) > MOST_READS or any(len(stamp) != STAMP_BYTES for _, stamp in self.others):
            raise ProtocolError(f"{len(self.others)} lookups, or a stamp of a wrong size")


@dataclass(frozen=True, slots=True)
class TaskEnded(Message):
    """Executor → server: the attempt is over. All frames with its output and files came before.

    ``refusal`` is empty, or the value of a CaptureRefusal. With a refusal nothing of the attempt counts, and ``text``
    says why.
    """

    TAG: ClassVar[str] = "ended"
    task: TaskId
    code: int
    signal: int
    cancelled: bool
    refusal: str
    text: str
    user_s: float
    system_s: float
    wall_s: float
    peak_rss_bytes: int
    #: killed or failed for lack of memory
    out_of_memory: bool = False


TO_EXECUTOR = Grammar(StartTask, CancelTask, Leave, Ping, Pong)
FROM_EXECUTOR = Grammar(
    Ready,
    TaskOutput,
    Deleted,
    MadeDirectory,
    MadeSymlink,
    MadeFile,
    FileContents,
    FileHole,
    Reads,
    TaskEnded,
    Ping,
    Pong,
)
