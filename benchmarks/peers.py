"""distcc, icecream and nocc on this machine, for comparison: daemons on loopback, and the environment to use them."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.harness import Place
from benchmarks.simulated_runners import cpu_s

_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
_READY_S = 20.0
#: One distccd takes at most this many compiles at once.
_DISTCCD_JOBS = 200
_NOCC_SOCKET = Path("/tmp/nocc.sock")


class Missing(Exception):
    """A peer is not installed, or can't run here; the text says why."""


@dataclass
class Hosts:
    """The hosts that compile for a peer; all of them are this machine."""

    #: compiles at once on all hosts together
    slots: int = 2
    #: words put before PATH of the daemons that compile, to give them another compiler; empty: this host's compiler
    path_front: str = ""
    #: icecream's archive of the compiler and its files; None: icecream makes the archive of this host's compiler
    toolchain: Path | None = None
    #: filled by the peer: processes of the submit host that outlive a command
    near: list[int] = field(default_factory=list)

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """The variables of a daemon that compiles."""
        return {**env, "PATH": f"{self.path_front}:{env['PATH']}"} if self.path_front else dict(env)


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
def _daemon(words: list[str], is_ready: Callable[[], bool], env: Mapping[str, str] | None = None) -> Iterator[int]:
    """A process that is ready, by its id; ended at the end of the block."""
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
            yield process.pid
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    """Checks without a connection: a silent connection breaks icecream's scheduler."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(fields[1].endswith(f":{port:04X}") and fields[3] == "0A" for fields in map(str.split, lines))


def _has(log: Path, words: str) -> bool:
    return log.exists() and words in log.read_text(errors="replace")


@contextlib.contextmanager
def distcc(place: Place, options: str = "", hosts: Hosts | None = None) -> Iterator[dict[str, str]]:
    """distccd, by default for two compiles at once. ``options`` are distcc's host options, such as ",lzo"."""
    client, directory = _program("distcc"), place.root / "distcc"
    directory.mkdir(exist_ok=True)
    given = hosts or Hosts()
    words = [_program("distccd"), "--daemon", "--no-detach", "--listen", "127.0.0.1", "--allow", "127.0.0.1"]
    words += ["--log-stderr"]  # as root it becomes its own user
    names = []
    with contextlib.ExitStack() as stack:
        for first in range(0, given.slots, _DISTCCD_JOBS):
            jobs, port = min(_DISTCCD_JOBS, given.slots - first), _free_port()
            daemon = [*words, "--port", str(port), "--jobs", str(jobs)]
            stack.enter_context(_daemon(daemon, functools.partial(_listens, port), given.environment(place.env)))
            # With two slots of this machine's own a third and fourth unit can be on the way while two are compiled.
            names.append(f"127.0.0.1:{port}/{4 if hosts is None else jobs}{options}")
        yield place.env | {
            "DISTCC_HOSTS": " ".join(names),
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
def icecream(place: Place, hosts: Hosts | None = None) -> Iterator[dict[str, str]]:
    """A scheduler, a daemon that takes jobs, and a daemon that only sends them. Needs root: the daemon uses chroot."""
    apart, hosts = hosts is not None, hosts or Hosts()
    if os.geteuid() != 0:
        raise Missing("iceccd takes jobs of others as root only")
    client, scheduler, daemon = _program("icecc"), _program("icecc-scheduler"), _program("iceccd")
    directory = Path("/var/tmp") / f"spraycc-icecc-{os.getpid()}"
    directory.mkdir(mode=0o755)
    net = f"spraycc{os.getpid()}"
    port, worker_port, own_port = _free_port(), _free_port(), _free_port()
    near = [daemon, "-n", net, "-s", f"127.0.0.1:{port}", "-u", "icecc", "-vvv"]
    worker = [*near, "-N", "worker", "-m", str(hosts.slots), "-b", str(directory / "worker"), "-p", str(worker_port),
              "-l", str(directory / "worker.log")]  # fmt: skip
    if apart:
        # A daemon takes no jobs while its host is busy. The farm's hosts are not busy with the work of the submit host.
        (directory / "stat").write_text("cpu 0 0 0 1000000 0 0 0 0 0 0\n")
        script = 'mount --bind "$0" /proc/stat && exec "$@"'
        worker = ["unshare", "--mount", "sh", "-c", script, str(directory / "stat"), *worker]
    own = [*near, "-N", "own", "-m", "0", "--no-remote", "-b", str(directory / "own"), "-p", str(own_port),
           "-l", str(directory / "own.log")]  # fmt: skip
    shutil.chown(directory, "icecc", "icecc")
    env = place.env | {
        "ICECC_TEST_SOCKET": str(directory / "socket"), "ICECC_TEST_REMOTEBUILD": "1", "ICECC_PREFERRED_HOST": "worker",
        "ICECC_REMOTE_CPP": "0", "WRAPPER": client,
        # Otherwise a unit with a warning is compiled here again, for the warning's colours.
        "ICECC_CARET_WORKAROUND": "0",
    }  # fmt: skip
    if hosts.toolchain is not None:
        env["ICECC_VERSION"] = str(hosts.toolchain)
    # The daemons send their broadcasts to the loopback interface only.
    local = place.env | {"ICECC_TESTS": "1"}
    try:
        with contextlib.ExitStack() as stack:
            scheduler_log = directory / "log"
            words = [scheduler, "-n", net, "-p", str(port), "-l", str(scheduler_log), "-u", "icecc", "-vvv"]
            hosts.near.append(stack.enter_context(_daemon(words, lambda: _listens(port), local)))
            worker_env = local | {"ICECC_TEST_SOCKET": str(directory / "worker-socket")}
            # A daemon looks for its scheduler every 3 s. A daemon that takes no jobs listens on no port.
            stack.enter_context(_daemon(worker, lambda: _has(scheduler_log, "login worker"), worker_env))
            login = lambda: _has(scheduler_log, "login own")  # noqa: E731
            hosts.near.append(stack.enter_context(_daemon(own, login, env | {"ICECC_TESTS": "1"})))
            yield env
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def nocc(place: Place, hosts: Hosts | None = None) -> Iterator[dict[str, str]]:
    """nocc's server and its daemon on the submit host. One daemon a host: its socket has a fixed name."""
    hosts = hosts or Hosts()
    client, server, daemon = _program("nocc"), _program("nocc-server"), _program("nocc-daemon")
    if _NOCC_SOCKET.exists():
        raise Missing(f"a nocc-daemon is running, or has left {_NOCC_SOCKET}")
    directory = place.root / f"nocc-{hosts.slots}"
    directory.mkdir(exist_ok=True)
    port, log = _free_port(), directory / "log"
    words = [server, "-host", "127.0.0.1", "-port", str(port), "-cpp-dir", str(directory / "cpp"), "-obj-dir",
             str(directory / "obj"), "-log-filename", str(directory / "server.log"),
             "-max-parallel-cxx", str(hosts.slots)]  # fmt: skip
    env = place.env | {
        "NOCC_SERVERS": f"127.0.0.1:{port}", "NOCC_GO_EXECUTABLE": daemon, "NOCC_LOG_FILENAME": str(log),
        # A unit is compiled once in a run. Without remote hosts it fails instead of being compiled here.
        "NOCC_DISABLE_OBJ_CACHE": "1", "NOCC_LOCAL_CXX_QUEUE_SIZE": "0", "WRAPPER": client,
    }  # fmt: skip
    try:
        with (
            _daemon(words, lambda: _listens(port), hosts.environment(place.env)),
            _daemon([daemon, "start"], _NOCC_SOCKET.exists, env) as pid,
        ):
            hosts.near.append(pid)
            yield env
    finally:
        _NOCC_SOCKET.unlink(missing_ok=True)
        shutil.rmtree(directory, ignore_errors=True)
