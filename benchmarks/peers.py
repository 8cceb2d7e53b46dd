"""distcc and icecream on this machine, for comparison: their daemons on loopback, and the environment to use them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks.harness import Place
from benchmarks.simulated_runners import cpu_s

_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
_READY_S = 20.0


class Missing(Exception):
    """A peer is not installed, or can't run here; the text says why."""


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SBIN}")
    if found is None:
        raise Missing(f"{name} is not installed")
    return found


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def _daemon(words: list[str], is_ready: Callable[[], bool], env: Mapping[str, str] | None = None) -> Iterator[None]:
    """A process that is ready; ended at the end of the block."""
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            deadline = time.monotonic() + _READY_S
            while not is_ready():
                if process.poll() is not None:
                    raise Missing(f"{words[0]} ended with status {process.returncode}")
                if time.monotonic() > deadline:
                    raise Missing(f"{words[0]} was not ready after {_READY_S:g} s")
                time.sleep(0.05)
            yield
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    """Checks without a connection: a silent connection breaks icecream's scheduler."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(fields[1].endswith(f":{port:04X}") and fields[3] == "0A" for fields in map(str.split, lines))


def _has(log: Path, words: str) -> bool:
    return log.exists() and words in log.read_text(errors="replace")


@contextlib.contextmanager
def distcc(place: Place, options: str = "") -> Iterator[dict[str, str]]:
    """distccd for two compiles at once. ``options`` are distcc's host options, such as ",lzo"."""
    client, port = _program("distcc"), _free_port()
    directory = place.root / "distcc"
    directory.mkdir(exist_ok=True)
    words = [_program("distccd"), "--daemon", "--no-detach", "--listen", "127.0.0.1", "--allow", "127.0.0.1"]
    words += ["--port", str(port), "--jobs", "2", "--log-stderr"]  # as root it becomes its own user
    with _daemon(words, lambda: _listens(port)):
        yield place.env | {
            "DISTCC_HOSTS": f"127.0.0.1:{port}/4{options}",
            "DISTCC_DIR": str(directory),
            "DISTCC_FALLBACK": "0",
            "WRAPPER": client,
        }


@contextlib.contextmanager
def distcc_pump(place: Place, project: Path) -> Iterator[tuple[dict[str, str], list[float]]]:
    """distccd with the include server, whose CPU seconds are in the list at the end."""
    pump = _program("distcc-pump")
    used: list[float] = []
    with distcc(place, ",lzo,cpp") as env:
        text = subprocess.run(
            [pump, "--startup"], cwd=project, env=env, check=True, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ).stdout  # fmt: skip
        given = dict(
            line.removeprefix("export ").rstrip(";").split("=", 1)
            for line in text.replace("; ", ";\n").splitlines()
            if "=" in line
        )
        given = {name.strip(): value.strip("'\";") for name, value in given.items()}
        env |= given
        pid = int(given["INCLUDE_SERVER_PID"])
        try:
            before = cpu_s(pid)
            yield env, used
            # If it fails, distcc preprocesses here and prints nothing. (Debian 12's fails with its own Python 3.11.)
            complaint = (Path(given["INCLUDE_SERVER_DIR"]) / "stderr").read_text()
            if found := re.search("internal error: (.*)", complaint):
                raise Missing(f"its include server fails: {found[1][:150]}")
            used.append(cpu_s(pid) - before)
        except FileNotFoundError:
            raise Missing("its include server has ended") from None
        finally:
            subprocess.run(
                [pump, "--shutdown"], cwd=project, env=env, check=False, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip


@contextlib.contextmanager
def icecream(place: Place) -> Iterator[dict[str, str]]:
    """A scheduler, a daemon that takes jobs, and a daemon that only sends them. Needs root: the daemon uses chroot."""
    if os.geteuid() != 0:
        raise Missing("iceccd takes jobs of others as root only")
    client, scheduler, daemon = _program("icecc"), _program("icecc-scheduler"), _program("iceccd")
    directory = Path("/var/tmp") / f"spraycc-icecc-{os.getpid()}"
    directory.mkdir(mode=0o755)
    net = f"spraycc{os.getpid()}"
    port, worker_port, own_port = _free_port(), _free_port(), _free_port()
    near = [daemon, "-n", net, "-s", f"127.0.0.1:{port}", "-u", "icecc", "-vvv"]
    worker = [*near, "-N", "worker", "-m", "2", "-b", str(directory / "worker"), "-p", str(worker_port),
              "-l", str(directory / "worker.log")]  # fmt: skip
    own = [*near, "-N", "own", "-m", "0", "--no-remote", "-b", str(directory / "own"), "-p", str(own_port),
           "-l", str(directory / "own.log")]  # fmt: skip
    shutil.chown(directory, "icecc", "icecc")
    env = place.env | {
        "ICECC_TEST_SOCKET": str(directory / "socket"), "ICECC_TEST_REMOTEBUILD": "1", "ICECC_PREFERRED_HOST": "worker",
        "ICECC_REMOTE_CPP": "0", "WRAPPER": client,
        # Otherwise a unit with a warning is compiled here again, for the warning's colours.
        "ICECC_CARET_WORKAROUND": "0",
    }  # fmt: skip
    try:
        with contextlib.ExitStack() as stack:
            scheduler_log = directory / "log"
            words = [scheduler, "-n", net, "-p", str(port), "-l", str(scheduler_log), "-u", "icecc", "-vvv"]
            stack.enter_context(_daemon(words, lambda: _listens(port), place.env))
            worker_env = place.env | {"ICECC_TEST_SOCKET": str(directory / "worker-socket")}
            # A daemon looks for its scheduler every 3 s. A daemon that takes no jobs listens on no port.
            stack.enter_context(_daemon(worker, lambda: _has(scheduler_log, "login worker"), worker_env))
            own_env = env | {"ICECC_TESTS": "1"}
            stack.enter_context(_daemon(own, lambda: _has(scheduler_log, "login own"), own_env))
            yield env
    finally:
        shutil.rmtree(directory, ignore_errors=True)
