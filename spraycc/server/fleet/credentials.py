"""The session's credentials: a certificate and a secret, valid as long as this server; writes the session file."""

from __future__ import annotations

import datetime
import os
import secrets
import ssl
from dataclasses import dataclass
from pathlib import Path

from spraycc.errors import SprayccError
from spraycc.notices import starting
from spraycc.wire.session_file import SECRET_BYTES, Session


@dataclass(frozen=True, slots=True)
class Credentials:
    """The server's proof to its executors, and the secret with which executors prove themselves."""

    #: PEM; the only trust anchor of this session's executors
    certificate: str
    secret: bytes
    #: holds the certificate's key, which never leaves this process
    context: ssl.SSLContext


def make_credentials() -> Credentials:
    """A new certificate, its key and a new secret. Takes some 50 ms: call it in a thread."""
    # Imported in the function: the import takes 45 ms, and `make clean` needs no session.
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
        # Clocks of a cluster's hosts differ. Executors compare the certificate itself, so the dates need not be exact.
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
    # Executors connect once. Tickets would be the first bytes of a stream, before any coroutine reads it.
    context.num_tickets = 0
    # load_cert_chain reads only files: give it a file in memory, which no other process can open.
    fd = os.memfd_create("spraycc-session", os.MFD_CLOEXEC)
    try:
        os.write(fd, pem + key_pem)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    return Credentials(pem.decode("ascii"), secrets.token_bytes(SECRET_BYTES), context)


class NoSessionFile(SprayccError):
    """The session file can't be written, so no executor can start."""


def write_session_file(session: Session, directory: Path) -> Path:
    """Write the session file (mode 0600) under a new random name. The caller removes the file.

    Raises:
        NoSessionFile: the file can't be written.
    """
    path = directory / f"session-{secrets.token_hex(8)}.json"
    try:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(session.to_json())
    except OSError as exc:
        path.unlink(missing_ok=True)
        raise NoSessionFile(starting.NO_SESSION_FILE.text(directory=directory, cause=exc.strerror)) from None
    return path
