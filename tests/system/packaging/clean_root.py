"""A Debian without a compiler, in a directory: for tests of an installation.

Programs run in it by bubblewrap, with a network and processes of their own. So nothing is fetched from anywhere, and no
process or mount is left when the program ends. In a chroot, programs can make no user namespace.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.system.harness import needs

USER_ID = 1000
HOME = "/home/user"
#: The directory of the wheels, in the root.
WHEELS = "/wheels"
#: pip and uv take packages from the wheels only.
VARIABLES = {
    "PATH": f"{HOME}/.local/bin:/usr/bin:/bin",
    "HOME": HOME,
    "USER": "user",
    "LC_ALL": "C.UTF-8",
    "PIP_NO_INDEX": "1",
    "PIP_FIND_LINKS": WHEELS,
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "UV_NO_INDEX": "1",
    "UV_OFFLINE": "1",
    "UV_FIND_LINKS": WHEELS,
}


def mirror(release: str) -> str:
    """The Debian mirror of this machine's apt, for its own release."""
    layout = "$(CREATED_BY) $(CODENAME) $(ORIGIN) $(REPO_URI)"
    lines = subprocess.run(["apt-get", "indextargets", "--format", layout], capture_output=True, text=True, check=True).stdout  # fmt: skip
    found = [line.split() for line in lines.splitlines() if line.startswith(f"Packages {release} Debian ")]
    assert found, f"the apt sources of this host name no Debian {release}"
    return found[0][3]


@dataclass(frozen=True)
class CleanRoot:
    path: Path

    @staticmethod
    def make(path: Path, release: str, packages: Sequence[str]) -> CleanRoot:
        """Debian's smallest system with these packages and a user."""
        debootstrap = needs.program("debootstrap")
        needs.program("bwrap", "bubblewrap")
        command: list[str | Path] = [
            debootstrap,
            "--variant=minbase",
            f"--include={','.join(packages)}",
            release,
            path,
            mirror(release),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stdout[-2000:]
        subprocess.run(["chroot", path, "useradd", "--uid", str(USER_ID), "--create-home", "user"], check=True)
        return CleanRoot(path)

    def run(
        self, script: str, *, cwd: str = HOME, timeout_s: float = 120, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell script as the user."""
        command: list[str | Path] = [
            "bwrap",
            "--bind",
            self.path,
            "/",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "--unshare-pid",
            "--unshare-ipc",
        ]
        command += ["--unshare-uts", "--unshare-net", "--die-with-parent", "--chdir", cwd, "--"]
        command += ["setpriv", f"--reuid={USER_ID}", f"--regid={USER_ID}", "--clear-groups", "--", "sh", "-euc", script]
        return subprocess.run(
            command,
            env={**VARIABLES, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def output(self, script: str, **words: str) -> str:
        """The output of a shell script that must succeed."""
        done = self.run(script, **words)  # type: ignore[arg-type]
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """A file below the user's home."""
        path = self.path / HOME[1:] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        for each in (path, *path.parents):
            if each == self.path / HOME[1:]:
                break
            os.chown(each, USER_ID, USER_ID)
