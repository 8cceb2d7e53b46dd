"""Fixtures of the fault harness: the plain build that every other one is compared with, namespaces of its own, the count.

FAULT_RUNS is the number of runs over all faults, in turn (default: a short one); FAULT_LANE=1/2 and FAULT_LANE=2/2, with one
FAULT_SEED, are halves of them to run side by side; FAULT_SECONDS ends them early; FAULT_SEED makes the moments the same again; FAULT_ONLY is a comma-separated choice of faults; FAULT_TABLE is a file to which each run
adds a line of JSON, of which ``python tests/stress/table.py FILE`` makes the table in docs/reliability.md.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.faults.faultlab import Reference, make_reference
from tests.system.harness.sandbox import Account

_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
_MS_REC_PRIVATE = 0x4000 | 0x40000


@pytest.fixture(scope="session")
def reference() -> Iterator[Reference]:
    """A plain make of the project: its files, diagnostics and status."""
    with tempfile.TemporaryDirectory(prefix="spraycc-faults-", dir=os.environ.get("E2E_DIR", "/var/tmp")) as directory:
        yield make_reference(Account.unprivileged(), Path(directory))


@pytest.fixture(scope="session")
def own_namespaces() -> Iterator[None]:
    """Mounts and a loopback that are nobody else's, for faults of disks and networks. For root only."""
    if os.geteuid() != 0:
        pytest.skip("needs to be root")
    libc = ctypes.CDLL(None, use_errno=True)
    before = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("mnt", "net")]
    if libc.unshare(_CLONE_NEWNS | _CLONE_NEWNET):
        pytest.skip(f"no namespaces here: {os.strerror(ctypes.get_errno())}")
    assert libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC_PRIVATE), None) == 0
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    directory = Path.cwd()
    yield
    for fd in before:
        assert libc.setns(fd, 0) == 0, os.strerror(ctypes.get_errno())
        os.close(fd)
    os.chdir(directory)


@pytest.fixture(scope="session")
def clock_end() -> float:
    """When no further run begins."""
    return time.monotonic() + float(os.environ.get("FAULT_SECONDS", "inf"))
