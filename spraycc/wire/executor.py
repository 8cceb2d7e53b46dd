"""The messages between server and executor, after the handshake. Grammar and handshake: docs/protocol.md."""

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
EXECUTOR_PROTOCOL = 1

#: The most lookups that one command can have: records of the recorder (spraycc/native/recorder/recorder.h).
MOST_READS = 262_144

NONCE_BYTES = 32
EXECUTOR_ID_BYTES = 16

# Inside TLS, before any CBOR is decoded: fixed sizes, so that a peer who has proved nothing has nothing for us to
# parse.
_MAGIC = b"spraycc\n"
_CHALLENGE = struct.Struct(f">8sI{NONCE_BYTES}s")
_PROOF = struct.Struct(f">8sI{EXECUTOR_ID_BYTES}s32s")
CHALLENGE_BYTES = _CHALLENGE.size
PROOF_BYTES = _PROOF.size


def challenge(nonce: bytes) -> bytes:
    """Server's first bytes: magic, version, nonce."""
    return _CHALLENGE.pack(_MAGIC, EXECUTOR_PROTOCOL, nonce)


def read_challenge(data: bytes) -> bytes:
    """The nonce.

    Raises:
        ProtocolError: not a SprayCC server. VersionMismatch: of another version.
    """
    magic, version, nonce = _CHALLENGE.unpack(data)
    _check(magic, version)
    return bytes(nonce)


def proof(secret: bytes, nonce: bytes, executor_id: bytes) -> bytes:
    """Executor's answer: magic, version, its id (16 bytes, NUL-padded), HMAC-SHA256(secret, nonce + id)."""
    padded = executor_id.ljust(EXECUTOR_ID_BYTES, b"\0")
    assert len(padded) == EXECUTOR_ID_BYTES
    return _PROOF.pack(_MAGIC, EXECUTOR_PROTOCOL, padded, _mac(secret, nonce, padded))


def check_proof(secret: bytes, nonce: bytes, data: bytes) -> bytes:
    """The id of an executor that knows the secret.

    Raises:
        ProtocolError: it does not. VersionMismatch: it is of another version.
    """
    magic, version, padded, mac = _PROOF.unpack(data)
    _check(magic, version)
    if not hmac.compare_digest(mac, _mac(secret, nonce, padded)):
        raise ProtocolError("executor does not know the session's secret")
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
    """Executor → server, first frame: its identity and abilities."""

    TAG: ClassVar[str] = "ready"
    release: str
    host: str
    pid: int
    #: capture modes that work on its host, best first: "overlay", "predict", "in-place"
    captures: tuple[str, ...]
    #: the reason for each capture mode that does not work
    refusals: dict[str, str]
    #: the cluster's own id of its batch job, empty without one
    batch_job: str = ""
    #: the part of the host's memory that its batch job is confined to, empty for all of it; and how much that is, 0 if
    #: not known
    memory_part: str = ""
    memory_bytes: int = 0
    #: stamps of the files that the session names as landmarks, in its order
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
    #: stdout and stderr are one pipe, all output is sent as descriptor 1
    one_stream: bool
    #: absolute directories whose changes are its outputs: ``roots`` must be captured, ``optional_roots`` if they can be
    roots: tuple[bytes, ...]
    optional_roots: tuple[bytes, ...]
    #: absolute paths of its known outputs, the file of -o last. The capture has their directories from the start
    outputs: tuple[bytes, ...]
    #: with "predict": (name below a scratch directory, absolute path) of all that it writes. In ``argv`` a byte 0,
    #: which no argument can hold, stands for that directory
    redirected: tuple[tuple[bytes, bytes], ...] = ()
    #: must be the same on the executor's host: (a program's path, or "cpu"; its identity on the submit host)
    same: tuple[tuple[bytes, str], ...] = ()
    #: which of descriptors 1 and 2 are terminals to the command, as they are to its runner
    terminals: tuple[int, ...] = ()
    #: their rows and columns
    window: tuple[int, int] = (0, 0)
    #: the server wants to hear what the command read (Reads)
    prove: bool = False
    #: stamps of the submit host (spraycc/stamps.py) that are new to this executor: (number, lookup, stamp). A number
    #: that was told before has a new stamp now, or none any more where the stamp is empty
    stamps: tuple[tuple[int, bytes, bytes], ...] = ()
    #: directories to refresh first if the command can't be recorded: it may read anything that builds have made
    refresh: tuple[bytes, ...] = ()
    #: the last record of such a command was incomplete, so they are refreshed in any case
    incomplete: bool = False

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
    ) -> StartTask:
        """``env`` replaces the command's: the server takes off what belongs to the build on the submit host."""
        return cls(
            task, attempt, capture, command.argv, command.program, command.cwd, env, command.umask, command.rlimits,
            command.nice, command.streams_are_one, roots, optional_roots, outputs,
            terminals=command.terminals, window=command.window,
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
    """Either way; answered by Pong with the same number."""

    TAG: ClassVar[str] = "ping"
    number: int


@dataclass(frozen=True, slots=True)
class Pong(Message):
    """The executor's own counters (docs/protocol.md) come with it; the server's map is empty."""

    TAG: ClassVar[str] = "pong"
    number: int
    counters: dict[str, Any]
    #: free memory of the executor's host, or of its part of the host; 0 if unknown
    available_bytes: int = 0


@dataclass(frozen=True, slots=True)
class TaskOutput(Message):
    """Executor → server: bytes of stdout (1) or stderr (2), when they arrive."""

    TAG: ClassVar[str] = "out"
    task: TaskId
    fd: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Deleted(Message):
    """Executor → server: the command removed this file or directory (with all below it)."""

    TAG: ClassVar[str] = "deleted"
    task: TaskId
    path: bytes


@dataclass(frozen=True, slots=True)
class MadeDirectory(Message):
    """Executor → server: a new directory, or a changed mode or time. ``emptied``: its old contents are gone."""

    TAG: ClassVar[str] = "dir"
    task: TaskId
    path: bytes
    mode: int
    emptied: bool
    #: explicit or unchanged modification time; None is "now"
    mtime_ns: int | None


@dataclass(frozen=True, slots=True)
class MadeSymlink(Message):
    TAG: ClassVar[str] = "symlink"
    task: TaskId
    path: bytes
    target: bytes
    #: explicit modification time; None is "now"
    mtime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class MadeFile(Message):
    """Executor → server: a new or changed file. ``data`` and the FileData that follow are ``size_bytes`` in all."""

    TAG: ClassVar[str] = "file"
    task: TaskId
    path: bytes
    mode: int
    size_bytes: int
    mtime_ns: int | None
    data: bytes


@dataclass(frozen=True, slots=True)
class FileData(Message):
    """Executor → server: the next piece of the last MadeFile's content, at most CHUNK_BYTES."""

    TAG: ClassVar[str] = "data"
    task: TaskId
    data: bytes


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
    #: False if the command could not be recorded, or only in part
    complete: bool
    #: the directories that came with the task were refreshed before the command began
    refreshed: bool = False
    #: numbers of the lookups whose stamps were those that the server told: a bit set, little endian
    matched: bytes = b""
    #: the other lookups, each with the stamp of this host
    others: tuple[tuple[bytes, bytes], ...] = ()

    def check(self) -> None:
        """Raise ProtocolError: no recorder has so many lookups, or stamps of that size."""
        if len(self.others) > MOST_READS or any(len(stamp) != STAMP_BYTES for _, stamp in self.others):
            raise ProtocolError(f"{len(self.others)} lookups, or a stamp of a wrong size")


@dataclass(frozen=True, slots=True)
class TaskEnded(Message):
    """Executor → server: the attempt is over; every output and file frame of it came before.

    ``refusal`` is empty, or a CaptureRefusal's value: then nothing of the attempt counts, and ``text`` says why.
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
    FileData,
    FileHole,
    Reads,
    TaskEnded,
    Ping,
    Pong,
)
