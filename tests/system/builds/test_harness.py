"""The tools that the end-to-end tests rely on: the read-only workspace, the comparison of trees, the search for leaks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.harness import needs
from tests.system.harness.projects import CountingCompilers, c_project
from tests.system.harness.sandbox import EXAMPLES, Account, Sandbox, internal_error
from tests.system.harness.waiting import HANG_S

pytestmark = pytest.mark.e2e

#: Does the same as an executor in its own namespace: an overlay over the workspace, a file in it, a check of the lower one.
NESTED_OVERLAY = """
import ctypes, os, sys
workspace, scratch = map(os.fsencode, sys.argv[1:])
libc = ctypes.CDLL(None, use_errno=True)
uid, gid = os.getuid(), os.getgid()
assert libc.unshare(0x00020000 | (0x10000000 if uid else 0)) == 0, ctypes.get_errno()
if uid:
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
assert libc.mount(b"none", b"/", None, ctypes.c_ulong(0x44000), None) == 0, ctypes.get_errno()
os.makedirs(scratch + b"/upper")
os.makedirs(scratch + b"/work")
options = b"lowerdir=%s,upperdir=%s/upper,workdir=%s/work,userxattr" % (workspace, scratch, scratch)
assert libc.mount(b"overlay", workspace, b"overlay", ctypes.c_ulong(0), options) == 0, ctypes.get_errno()
os.chdir(workspace)
with open("made", "w") as file:
    file.write("x")
print(sorted(os.listdir(".")))
"""


def check_read_only(sandbox: Sandbox) -> None:
    tree = sandbox.write({"old": "x"})
    wrapper = sandbox.tools / "read-only-workspace"
    refused = sandbox.run(wrapper, tree, "sh", "-c", "echo new >new")
    assert refused.status != 0
    assert b"Read-only file system" in refused.err
    assert sandbox.run(wrapper, tree, "sh", "-c", f"cat old; touch {sandbox.aside}/new").ok().out == b"x"
    assert (sandbox.aside / "new").exists()

    scratch = sandbox.aside / "overlay"
    seen = sandbox.run(wrapper, tree, "python3", "-c", NESTED_OVERLAY, tree, scratch).ok()
    assert seen.out == b"['.spraycc.toml', 'made', 'old']\n"
    assert (scratch / "upper/made").read_text() == "x"
    assert sorted(os.listdir(tree)) == [".spraycc.toml", "old"]


@pytest.mark.overlay
def test_read_only_workspace(sandbox: Sandbox) -> None:
    check_read_only(sandbox)


@pytest.mark.overlay
@pytest.mark.root
def test_read_only_workspace_as_root(root_sandbox: Sandbox) -> None:
    check_read_only(root_sandbox)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda tree: None, []),
        (lambda tree: (tree / "new").touch(), ["new: only in {b}"]),
        (lambda tree: (tree / "d/f").unlink(), ["d/f: only in {a}"]),
        (lambda tree: (tree / "d/f").write_text("y"), ["d/f: bytes differ"]),
        (lambda tree: (tree / "d/f").write_text("xx"), ["d/f: sizes 1 and 2"]),
        (lambda tree: (tree / "d/f").chmod(0o600), ["d/f: modes 0644 and 0600"]),
        (lambda tree: ((tree / "l").unlink(), (tree / "l").symlink_to("e")), ["l: links to d and e"]),
        (
            lambda tree: ((tree / "l").unlink(), (tree / "l").mkdir()),
            ["l: a symbolic link in one, a directory in the other"],
        ),
        (lambda tree: (tree / "d/skipped.tmp").touch(), []),
    ],
    ids=["same", "added", "removed", "bytes", "size", "mode", "link", "kind", "excluded"],
)
def test_compare(tmp_path: Path, change: Callable[[Path], object], expected: list[str]) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    for tree in (a, b):
        (tree / "d").mkdir(parents=True)
        (tree / "d/f").write_text("x")
        (tree / "d/f").chmod(0o644)
        (tree / "l").symlink_to("d")
    change(b)
    compared = subprocess.run(
        [sys.executable, EXAMPLES / "compare", "--exclude", "*.tmp", a, b], capture_output=True, text=True, check=False
    )
    assert compared.stdout.splitlines() == [line.format(a=a, b=b) for line in expected]
    assert compared.returncode == (1 if expected else 0)


def test_a_missing_program_is_a_skip_by_name_and_a_failure_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    assert needs.program("sh") == shutil.which("sh")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-ninja; apt-get install ninja-build"):
        needs.program("no-ninja", package="ninja-build")
    with pytest.raises(pytest.skip.Exception, match="no-qsub, no-qstat; apt-get install gridengine-client"):
        needs.programs({"no-qsub": "gridengine-client", "sh": "dash", "no-qstat": "gridengine-client"})
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-ninja; apt-get install ninja-build"):
        needs.program("no-ninja", package="ninja-build")


@pytest.mark.overlay
def test_the_reason_for_a_refused_overlay_is_known(tmp_path: Path) -> None:
    """The mount is refused to the root of a user namespace without the capability to mount."""
    powerless = ["unshare", "--user", "--map-root-user", "setpriv", "--bounding-set=-all"]
    probe = "from tests.system.harness import needs; print(needs.overlay_refusal(0))"
    environment = {**os.environ, "E2E_DIR": str(tmp_path)}
    command = [*powerless, sys.executable, "-c", probe]
    done = subprocess.run(command, cwd=EXAMPLES.parent, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("unshare: "), done.stdout
    assert list(tmp_path.iterdir()) == []


def test_counting_compilers(sandbox: Sandbox) -> None:
    compilers = CountingCompilers(sandbox)
    sandbox.path_front = [compilers.directory]
    sandbox.write(c_project(3))
    sandbox.run("make").ok()
    assert sorted(compilers.translation_units()) == ["main.c", "u1.c", "u2.c", "u3.c"]


def test_leaks_are_found() -> None:
    """The search for leaks at the end of each test finds leaks."""
    sandbox = Sandbox(Account.unprivileged())
    sandbox.leave_s = 0
    sandbox.write({".u1.o.spraycc-1": "", "ok": ""})
    os.mkfifo(sandbox.runtime / "fifo")
    (sandbox.scratch / "upper").mkdir()
    # The second process has no marker.
    command = ["sh", "-c", "env -i sleep 1001 & exec sleep 1000"]
    with sandbox.start(command) as process:
        sandbox.wait_for(
            "both sleep", lambda: len([p for p in sandbox.processes() if p.command.startswith("sleep")]) == 2
        )
        with pytest.raises(AssertionError) as caught:
            sandbox.close()
        assert process.wait(HANG_S) == -signal.SIGKILL
    for words in ("sleep 1000", "sleep 1001", ".u1.o.spraycc-1", "run/fifo", "scratch/upper"):
        assert words in str(caught.value)
    assert not sandbox.base.exists()


_START = b"Traceback (most recent call last):\n"
_SITE = b'  File "<frozen site>", line 536, in venv\n'
_FULL = b"OSError: [Errno 23] Too many open files in system: 'pyvenv.cfg'\n"
_OURS = b"KeyError: 3\n"


@pytest.mark.parametrize(
    ("log", "error", "error_when_short"),
    [
        (b"INFO ready\nFatal Python error\n", False, False),
        (_START + _SITE + _FULL, True, False),
        (_START + _SITE + b"MemoryError\n", True, False),
        (_START + _START + _SITE + _SITE + _FULL + _FULL, True, False),  # two interpreters at once
        (
            _START + _SITE + b"Fatal Python error: " + _FULL + _START + b"init_import_site: Failed\n" + _FULL,
            True,
            False,
        ),
        (_START + _SITE + _OURS, True, True),
        (_START + _START + _SITE + _OURS + _FULL, True, True),
        (_START + _SITE + _FULL + b"\nDuring handling of the above exception ...\n\n" + _START + _OURS, True, True),
        (_START + b"KeyError: 'MemoryError'\n", True, True),
    ],
)
def test_internal_errors_in_logs(log: bytes, error: bool, error_when_short: bool) -> None:
    assert internal_error(log, short_of_memory=False) == error
    assert internal_error(log, short_of_memory=True) == error_when_short
