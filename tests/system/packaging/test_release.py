"""The files of a release, from the real sources: the same bytes from two directories, and programs that run."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from spraycc import __version__
from tests.system.harness import needs
from tests.system.harness.waiting import HANG_S

ROOT = Path(__file__).resolve().parents[3]
# The group of these tests builds the release once (tests/distribution.py). The mark makes the group one of the first.
pytestmark = [pytest.mark.slow, pytest.mark.needs("cc", package="gcc"), pytest.mark.xdist_group("release")]

SDIST = f"spraycc-{__version__}.tar.gz"
X86_64 = f"spraycc-{__version__}-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
AARCH64 = f"spraycc-{__version__}-py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64.whl"
CROSS_PACKAGES = "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
#: Where Debian's cross compiler has the loader and the C library of its target.
CROSS_ROOT = "/usr/aarch64-linux-gnu"


def copy_sources(where: Path) -> Path:
    """The files that an sdist takes, in a directory without git."""
    junk = shutil.ignore_patterns("__pycache__", ".*cache", ".hypothesis")
    where.mkdir(parents=True)
    for name in ("spraycc", "tests", "docs", "examples", "benchmarks"):
        shutil.copytree(ROOT / name, where / name, ignore=junk)
    for name in (
        "pyproject.toml",
        "hatch_build.py",
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        ".gitignore",
    ):
        shutil.copy(ROOT / name, where / name)
    return where


def build(tree: Path, what: str, umask: int = 0o022, **env: str) -> None:
    clean = {k: v for k, v in os.environ.items() if k not in ("CC", "CFLAGS", "LDFLAGS", "SPRAYCC_RUNNER")}
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", what],
        cwd=tree,
        env={**clean, "SOURCE_DATE_EPOCH": "1700000000", "SPRAYCC_RUNNER": "native", **env},
        umask=umask,
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )
    assert done.returncode == 0, done.stderr


def build_all(tree: Path, umask: int) -> Path:
    """An sdist and the wheels of both machines. Returns their directory."""
    build(tree, "sdist", umask)
    if os.uname().machine == "x86_64":
        build(tree, "wheel", umask)
    build(tree, "wheel", umask, CC=needs.program("aarch64-linux-gnu-gcc", CROSS_PACKAGES))
    return tree / "dist"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_all(copy_sources(tmp_path_factory.mktemp("release") / "first"), 0o022)


def hashes(dist: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in dist.iterdir()}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the release is made on x86-64")
def test_two_builds_give_the_same_bytes(release: Path, tmp_path: Path) -> None:
    """In another directory, with other permissions and other times of the files."""
    tree = copy_sources(tmp_path / "a longer path" / "second")
    for path in tree.rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)
        os.utime(path, (1, 1))
    expected = hashes(release)
    assert expected.keys() == {SDIST, X86_64, AARCH64}
    assert hashes(build_all(tree, 0o077)) == expected


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the release is made on x86-64")
def test_the_sdist_gives_the_same_wheel(release: Path, tmp_path: Path) -> None:
    subprocess.run(["tar", "-xf", release / SDIST, "-C", tmp_path], check=True)
    [tree] = tmp_path.iterdir()
    build(tree, "wheel")
    assert (tree / "dist" / X86_64).read_bytes() == (release / X86_64).read_bytes()


def tool(name: str) -> Path:
    """A tool of the extra ``release``."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        text = f"not installed: {name}; .venv/bin/pip install '.[release]'"
        if os.environ.get("CI"):
            pytest.fail(text, pytrace=False)
        pytest.skip(text)
    return path


def test_auditwheel_agrees_with_the_tags(release: Path) -> None:
    auditwheel = tool("auditwheel")
    for wheel in release.glob("*.whl"):
        done = subprocess.run([auditwheel, "show", wheel], capture_output=True, text=True, check=True)
        machine = wheel.stem.rsplit("manylinux2014_", 1)[1]
        assert f'platform tag: "manylinux_2_17_{machine}"' in " ".join(done.stdout.split())


def test_twine_accepts_the_files(release: Path) -> None:
    subprocess.run([tool("twine"), "check", "--strict", *release.iterdir()], capture_output=True, check=True)


@pytest.fixture(scope="module")
def aarch64(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's data, unpacked: ``scripts`` and ``data``."""
    where = tmp_path_factory.mktemp("aarch64")
    with zipfile.ZipFile(release / AARCH64) as archive:
        archive.extractall(where)
    [data] = where.glob("*.data")
    for script in (data / "scripts").iterdir():
        script.chmod(0o755)
    return data


def run_aarch64(
    program: Path, *words: str | Path, emulator: tuple[str, ...] = (), cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    qemu = needs.program("qemu-aarch64", "qemu-user")
    return subprocess.run([qemu, *emulator, program, *words], cwd=cwd, capture_output=True, text=True, timeout=HANG_S)


def test_the_programs_for_aarch64_run(aarch64: Path, tmp_path: Path) -> None:
    done = run_aarch64(aarch64 / "scripts" / "spraycc-run", "--version")
    assert (done.returncode, done.stdout) == (0, f"spraycc-run {__version__} native\n")
    # The command starts the interpreter that the script beside it names. The script's path is the fifth word.
    interpreter = tmp_path / "python3"
    interpreter.write_text('#!/bin/sh\nshift 4\necho "$@"\n')
    interpreter.chmod(0o755)
    script = aarch64 / "scripts" / "spraycc-main"
    script.write_text(f"#!{interpreter}\n")
    done = run_aarch64(aarch64 / "scripts" / "spraycc", "status", "--json")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{script} status --json\n", "")


def test_the_runner_for_aarch64_runs_a_command_without_a_server(aarch64: Path, tmp_path: Path) -> None:
    done = run_aarch64(aarch64 / "scripts" / "spraycc-run", "/bin/sh", "-c", "pwd; exit 3", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, f"{tmp_path}\n"), done.stderr


PROBE = """
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
int main(void)
{
	struct stat status;
	FILE *file = fopen("made", "w");
	if (open("missing", O_RDONLY) != -1 || !file || fputs("x", file) < 0 || fclose(file) != 0)
		return 1;
	return stat("made", &status) != 0 || status.st_size != 1;
}
"""


@pytest.mark.parametrize("library", ["libspraycc-recorder.so", "libspraycc-exec.so"])
def test_a_program_for_aarch64_loads_the_libraries(aarch64: Path, tmp_path: Path, library: str) -> None:
    cc = needs.program("aarch64-linux-gnu-gcc", CROSS_PACKAGES)
    (tmp_path / "probe.c").write_text(PROBE)
    subprocess.run([cc, "probe.c", "-o", "probe"], cwd=tmp_path, check=True)
    preload = f"LD_PRELOAD={aarch64 / 'data' / 'lib' / 'spraycc' / library}"
    emulator = ("-L", CROSS_ROOT, "-E", preload, "-E", "LD_BIND_NOW=1")
    done = run_aarch64(tmp_path / "probe", cwd=tmp_path, emulator=emulator)
    assert (done.returncode, done.stderr) == (0, "")
