"""Fixtures of the faults: the plain builds for comparison, and private namespaces."""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.faults.faultlab import GATED, Reference, Scale, make_reference
from tests.system.harness.sandbox import Account

_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
_MS_REC_PRIVATE = 0x4000 | 0x40000


def reference_of(scale: Scale) -> Iterator[Reference]:
    """A plain make of the project: its files, diagnostics and status."""
    with tempfile.TemporaryDirectory(prefix="spraycc-faults-", dir=os.environ.get("E2E_DIR", "/var/tmp")) as directory:
        yield make_reference(Account.unprivileged(), Path(directory), scale)


@pytest.fixture(scope="session")
def gated_reference() -> Iterator[Reference]:
    """A plain make of the project for faults at the gate."""
    yield from reference_of(GATED)


@pytest.fixture
def own_namespaces() -> Iterator[None]:
    """Private mounts and a private loopback, for faults of disks and networks. For root only."""
    if os.geteuid() != 0:
        pytest.skip("needs to be root")
    libc = ctypes.CDLL(None, use_errno=True)
    before = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("mnt", "net")]
    if libc.unshare(_CLONE_NEWNS | _CLONE_NEWNET):
        pytest.skip(f"the kernel refuses namespaces: {os.strerror(ctypes.get_errno())}")
    assert libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC_PRIVATE), None) == 0
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    directory = Path.cwd()
    yield
    for fd in before:
        assert libc.setns(fd, 0) == 0, os.strerror(ctypes.get_errno())
        os.close(fd)
    os.chdir(directory)
