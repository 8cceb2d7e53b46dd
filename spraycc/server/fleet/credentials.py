"""The session: a certificate and a secret that live as long as this server, and the file that tells executors of
them."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import secrets
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spraycc.stamps import Lookup
from spraycc.wire.executor import EXECUTOR_PROTOCOL

#: Version of the session file's layout.
SESSION_VERSION = 1


@dataclass(frozen=True, slots=True)
class Session:
    """What both sides must hold to trust each other."""

    #: PEM; the only trust anchor of this session's executors
    certificate: str
    secret: bytes
    context: ssl.SSLContext


def make_session() -> Session:
    """A new certificate, its key (which never leaves this process) and a new secret. Takes some 50 ms: call it in a
    thread."""
    # Here and not above: the import takes 45 ms, and `make clean` needs no session.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "spraycc session")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Clocks of a cluster's hosts differ; the pin is what counts, not the dates.
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = (
        0  # executors connect once; tickets would be the first bytes of a stream that nobody reads yet
    )
    # load_cert_chain reads files only: give it one that no directory ever shows.
    fd = os.memfd_create("spraycc-session", os.MFD_CLOEXEC)
    try:
        os.write(fd, pem + key_pem)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    return Session(pem.decode("ascii"), secrets.token_bytes(32), context)


def write_session_file(
    session: Session,
    directory: Path,
    *,
    addresses: list[tuple[str, int]],
    workspace: bytes,
    scratch_dir: str | None,
    heartbeat_s: float,
    lost_after_s: float,
    log_dir: Path,
    landmarks: Sequence[Lookup] = (),
) -> Path:
    """Write the session file, 0600, under a name that was never used before. The caller removes it at its end."""
    path = directory / f"session-{secrets.token_hex(8)}.json"
    content = {
        "version": SESSION_VERSION,
        "protocol": EXECUTOR_PROTOCOL,
        "addresses": [list(a) for a in addresses],
        "certificate": session.certificate,
        "secret": session.secret.hex(),
        "workspace": os.fsdecode(workspace),
        "scratch_dir": scratch_dir,
        "heartbeat_s": heartbeat_s,
        "lost_after_s": lost_after_s,
        "log_dir": str(log_dir),
        "landmarks": [os.fsdecode(lookup) for lookup in landmarks],
    }
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w") as file:
        json.dump(content, file)
    return path


def remove_session_file(path: Path) -> None:
    """Remove it; one that is gone already is fine."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
