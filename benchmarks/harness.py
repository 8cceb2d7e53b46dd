"""Helpers of all parts: an isolated place, timed processes, medians, the machine's name."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import inner

SCRIPTS = Path(sysconfig.get_path("scripts"))
SPRAYCC = SCRIPTS / "spraycc"
RUNNER = SCRIPTS / "spraycc-run"

_TRUE = "int main(void) { return 0; }\n"


@dataclass
class Place:
    """A temporary place with its own home and runtime directory: no server or setting of the user takes part."""

    root: Path
    quick: bool
    env: dict[str, str] = field(default_factory=dict)

    @property
    def workspace(self) -> Path:
        return self.root / "ws"

    def spraycc(self, *words: str | Path, cwd: Path | None = None, **settings: Any) -> subprocess.CompletedProcess[str]:
        """Run spraycc with settings as environment variables; fails loudly."""
        env = self.env | {f"SPRAYCC_{k.upper()}": str(v) for k, v in settings.items()}
        done = subprocess.run(
            [str(SPRAYCC), *map(str, words)], cwd=cwd or self.workspace, env=env, text=True,
            stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(
                f"spraycc {' '.join(map(str, words))}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done

    def inner(self, *words: str | Path | int, directory: Path | None = None, **settings: Any) -> dict[str, Any]:
        """Run ``inner.py`` inside a build; its last line of output is JSON."""
        return self.script(inner.__file__, *words, directory=directory, **settings)

    def script(
        self, path: str, *words: str | Path | int, directory: Path | None = None, **settings: Any
    ) -> dict[str, Any]:
        """Run a script of this package inside a build; its last line of output is JSON."""
        module = f"benchmarks.{Path(path).stem}"
        command = ["env", f"PYTHONPATH={Path(__file__).resolve().parents[1]}", sys.executable, "-m", module]
        out = self.spraycc("build", "--", *command, *map(str, words), cwd=directory, **settings).stdout
        return json.loads(out.splitlines()[-1])  # type: ignore[no-any-return]

    def status(self) -> dict[str, Any]:
        return json.loads(self.spraycc("status", "--json").stdout)  # type: ignore[no-any-return]

    def stop(self) -> None:
        subprocess.run(
            [str(SPRAYCC), "server", "stop", "--now"], cwd=self.workspace, env=self.env, check=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip


@contextlib.contextmanager
def place(quick: bool, directory: Path = Path("/var/tmp")) -> Iterator[Place]:
    """A fresh :class:`Place` in this directory, whose server is stopped and whose files are removed at the end."""
    root = Path(tempfile.mkdtemp(prefix="spraycc-bench-", dir=directory))
    try:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("SPRAYCC_", "XDG_")) and k != "MAKEFLAGS"}
        env["HOME"] = str(root / "home")
        env["SPRAYCC_RUNTIME_DIR"] = str(root / "run")
        # Executors on this machine, with cluster local: they are what most parts measure. By default there are none.
        env["SPRAYCC_CAPTURE"] = "overlay"
        (root / "home").mkdir()
        (root / "ws").mkdir()
        (root / "ws/.spraycc.toml").touch()
        here = Place(root, quick, env)
        try:
            yield here
        finally:
            here.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)


def static_true(directory: Path) -> Path:
    """A static program that does nothing, to compare a runner's cost with."""
    source = directory / "true.c"
    source.write_text(_TRUE)
    program = directory / "true"
    subprocess.run(["cc", "-O2", "-static", "-o", program, source], check=True)
    return program


def timed_spawn(argv: Sequence[str | Path], env: dict[str, str] | None = None) -> float:
    """Milliseconds from posix_spawn(3) to the process's end; a status other than 0 is an error."""
    words = [str(word) for word in argv]
    start = time.perf_counter()
    pid = os.posix_spawn(words[0], words, os.environ if env is None else env)
    _, status = os.waitpid(pid, 0)
    elapsed = (time.perf_counter() - start) * 1e3
    if status:
        raise RuntimeError(f"{words}: wait status {status:#x}")
    return elapsed


def spread(values: Sequence[float]) -> dict[str, float]:
    """Count, median, 99th percentile and extremes of a sample."""
    ordered = sorted(values)
    return {
        "n": len(ordered),
        "min": round(ordered[0], 4),
        "median": round(statistics.median(ordered), 4),
        "p99": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], 4),
        "max": round(ordered[-1], 4),
    }


def machine() -> dict[str, Any]:
    """The machine on which the figures were measured."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {
        "cpu": model,
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "user": "root" if os.geteuid() == 0 else "unprivileged",
    }


def upstream(name: str, directory: Path) -> Path:
    """The upstream sources of a Debian package, unpacked into a new directory."""
    script = Path(__file__).resolve().parents[1] / "examples" / "fetch-upstream"
    target = directory / name
    subprocess.run([script, name, target], check=True, stdout=subprocess.DEVNULL)
    return target
