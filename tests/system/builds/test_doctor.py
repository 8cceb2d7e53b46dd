"""``spraycc doctor`` on hosts that refuse an overlay: it tries one, and names the cause."""

from __future__ import annotations

import shlex

import pytest

from spraycc.cli.doctor.capture_reasons import WITHOUT
from tests.system.harness.sandbox import Account, Sandbox

pytestmark = [pytest.mark.e2e, pytest.mark.overlay]


def captures(sandbox: Sandbox, *around: str) -> list[str]:
    """The lines about the capture, of a doctor below the command ``around``."""
    done = sandbox.run(*around, sandbox.bin / "spraycc", "doctor")
    lines = done.out.decode().splitlines()
    found = [at for at, line in enumerate(lines) if line[9:].startswith("capture: ")]
    assert found, done.words()
    at = found[0]
    return [line.strip() for line in lines[at : at + 2]]


def test_a_host_that_can(sandbox: Sandbox) -> None:
    assert captures(sandbox)[0].startswith("ok       capture: overlay, predict, in-place; scratch files in ")


def test_no_namespaces_are_left(sandbox: Sandbox) -> None:
    """The limits hold in the user namespace where they are set, and below."""
    script = 'echo 0 >/proc/sys/user/max_mnt_namespaces; exec "$@"'
    line, remedy = captures(sandbox, "unshare", "--user", "--map-root-user", "sh", "-c", script, "sh")
    assert line.startswith("note     capture: no overlay, only predict and in-place; scratch files in ")
    assert ": the limit on namespaces is used up [namespace: No space left on device (scratch files in " in line
    assert remedy.startswith("root can raise user.max_user_namespaces, user.max_mnt_namespaces (sysctl)")
    assert remedy.endswith(WITHOUT)


@pytest.mark.root
def test_a_chroot(root_sandbox: Sandbox) -> None:
    """All kernel settings allow user namespaces. The kernel refuses them in a chroot only."""
    user = Account.unprivileged()
    root_sandbox.workspace.chmod(0o755)
    inside = f'cd {shlex.quote(str(root_sandbox.workspace))}; exec "$@"'
    script = 'mount --rbind / /mnt; exec /usr/sbin/chroot --userspec="$0" /mnt sh -c "$1" sh "${@:2}"'
    around = ("unshare", "--mount", "bash", "-c", script, f"{user.uid}:{user.gid}", inside)
    line, remedy = captures(root_sandbox, *around)
    assert line.startswith("note     capture: no overlay, only ")
    assert "this is probably a chroot [" in line
    assert "namespace: Operation not permitted (scratch files in " in line
    assert remedy.startswith("enter the tree by a program that makes it the root of a mount namespace (bwrap ")


def test_executors_of_a_host_without_a_network(sandbox: Sandbox) -> None:
    """The cause is the executor's own last line, and the next step is one for this host."""
    around = ("unshare", "--user", "--map-root-user", "--net")
    done = sandbox.run(*around, sandbox.bin / "spraycc", "--cluster", "local", "doctor", "--executors", "2")
    assert done.status == 1
    line, remedy = done.out.decode().splitlines()[-2:]
    assert "an executor could not be started: spraycc executor on " in line, done.words()
    assert ": no server: 127.0.0.1:" in line
    assert ": Network is unreachable (see " in line
    assert remedy.strip().startswith("executors on this host connect by the loopback interface: is it up")
