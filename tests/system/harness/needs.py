"""Requirements of tests: programs of Debian packages, and a kernel that lets this user mount an overlay.

If something is missing, the test is skipped and names the package to install. In CI (the variable CI is set) a missing
package is a failure, because nobody reads the list of skipped tests in CI.
"""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest

from spraycc.executor.scratch import remove_tree

#: E2E_USER names another user, so that several people can run tests on one machine.
TEST_USER = os.environ.get("E2E_USER", "spraycc-test")

#: Debian 12's packages of the compilers that tests run; Clang 14 comes with the package clang
_COMPILERS = {"gcc": "gcc", "g++": "g++", "clang": "clang", "clang-14": "clang", "clang++-14": "clang"}

#: Mounts an overlay in a mount namespace of its own. Executors use the option userxattr, too.
_TRY_OVERLAY = """\
mkdir lower upper work merged
exec unshare $0 --mount mount -t overlay -o userxattr,lowerdir=lower,upperdir=upper,workdir=work overlay merged
"""


def missing(what: str, package: str) -> NoReturn:
    """Skips the test, or fails it in CI, and names the Debian package (or packages) to install."""
    text = f"not installed: {what}; apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


def program(name: str, package: str | None = None, path: str | None = None) -> str:
    """The path of an installed program. ``package`` is its Debian package, if the package has another name."""
    found = shutil.which(name, path=path)
    if found is None:
        missing(name, package or name)
    return found


def compiler(name: str) -> str:
    """The path of an installed compiler."""
    return program(name, _COMPILERS[name])


def programs(packages: dict[str, str], path: str | None = None) -> None:
    """Requires all of these programs (name → Debian package). The message of a skip names all that are missing."""
    absent = [name for name in packages if shutil.which(name, path=path) is None]
    if absent:
        missing(", ".join(absent), " ".join(sorted({packages[name] for name in absent})))


def overlay(uid: int | None = None) -> None:
    """Skips the test if this user (default: the user of the builds in system tests) can't mount an overlay."""
    uid = _unprivileged_uid() if uid is None else uid
    if os.geteuid() not in (0, uid):
        return  # the test itself reports that it needs root
    if reason := overlay_refusal(uid):
        pytest.skip(f"no overlay can be mounted on this machine: {reason}")


def overlay_refusal(uid: int) -> str:
    """Why this user can't mount an overlay in a namespace of its own; empty if it can."""
    return _overlay_refusal(uid, os.environ.get("E2E_DIR", "/var/tmp"))


def notice() -> str:
    """The first line of the run if the kernel refuses overlays; else empty."""
    reason = overlay_refusal(_unprivileged_uid())
    if not reason:
        return ""
    return f"The kernel refuses user namespaces or overlays ({reason}): tests that need them are skipped."


def _unprivileged_uid() -> int:
    """This user; for root, the test user, or an ordinary user if the test user does not exist yet."""
    if os.geteuid() != 0:
        return os.geteuid()
    try:
        return pwd.getpwnam(TEST_USER).pw_uid
    except KeyError:
        return 65534


@functools.cache
def _overlay_refusal(uid: int, where: str) -> str:
    # Not with spraycc-box: a fault of the box must fail the tests, not skip them.
    directory = Path(tempfile.mkdtemp(prefix="spraycc-test-overlay-", dir=where))
    try:
        command = ["sh", "-ec", _TRY_OVERLAY, "--fork" if uid == 0 else "--map-root-user"]
        if uid != os.geteuid():
            os.chown(directory, uid, uid)
            command = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *command]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, errors="replace", check=False)
        said = done.stderr.strip().splitlines()
        return (said[0] if said else f"status {done.returncode}") if done.returncode else ""
    finally:
        remove_tree(os.fsencode(directory))
