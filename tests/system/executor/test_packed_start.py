"""The packed start: from one file, copied once to the host's own disk; and the ordinary start if anything is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from spraycc.cluster.executor_command import executor_command
from spraycc.executor import start
from spraycc.executor.pack import make
from spraycc.executor.recorder import LIBRARY_NAME
from spraycc.server.fleet.pack import existing_pack, ready_pack
from spraycc.server.host.subprocesses import run_command
from tests.system.harness.waiting import HANG_S

#: Words before a program: the names of the files that the program opens go to $OPENED.
_WATCH = """
import atexit, os, runpy, sys
opened = []
def note(event, arguments):
    if event == "open" and isinstance(arguments[0], str): opened.append(arguments[0])
atexit.register(lambda: open(os.environ["OPENED"], "w").write("\\n".join(opened)))
sys.addaudithook(note)
"""
_START = "sys.argv[:] = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')\n"
_ORDINARY = "import spraycc.executor.main\n"


@pytest.fixture(scope="module")
def packs() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="spraycc-test-packs-", dir="/var/tmp") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def pack(packs: Path) -> Path:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "spraycc.executor.pack", packs, "key"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture
def local() -> Iterator[Path]:
    """The directory that stands for a host's own disk."""
    with tempfile.TemporaryDirectory(prefix="spraycc-test-local-", dir="/var/tmp") as directory:
        yield Path(directory)


async def test_a_maker_that_is_ended_leaves_nothing(tmp_path: Path) -> None:
    """A server may end while it makes its first pack."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environ = {**os.environ, "TMPDIR": str(temporary)}
    argv = [sys.executable, "-P", "-m", "spraycc.executor.pack", str(tmp_path), "key"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_command, argv, b"", environ, HANG_S)
        with trio.fail_after(HANG_S):
            while not list(temporary.iterdir()):
                await trio.sleep(0.001)
        nursery.cancel_scope.cancel()
    assert list(temporary.iterdir()) == []


def light(pack: Path, local: Path, *arguments: str) -> list[str]:
    command = executor_command(Path("session"), pack=pack, scratch_dir=str(local))
    return [*command[: command.index("--session")], *arguments]


def run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=HANG_S, check=False)


def copies(local: Path) -> list[Path]:
    return sorted((local / f"spraycc-packs-{os.geteuid()}").iterdir())


def test_it_starts_from_the_pack(pack: Path, local: Path) -> None:
    done = run(light(pack, local, "--help"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: spraycc.executor" in done.stdout
    (copy,) = copies(local)
    assert pack.name.endswith(f"{copy.name}.pack")
    assert copy.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in copy.iterdir()} >= {start.MODULES, "spraycc-box", LIBRARY_NAME}


def test_a_later_start_opens_nothing_of_the_installation(pack: Path, local: Path, tmp_path: Path) -> None:
    argv = light(pack, local, "--check")
    assert run(argv).returncode == 0
    opened = tmp_path / "opened"

    def files_opened(*argv: str) -> list[str]:
        done = subprocess.run(argv, env={"OPENED": str(opened)}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        roots = (sys.prefix, str(pack.parent), str(Path(start.__file__).parent))
        return [path for path in opened.read_text().splitlines() if path.startswith(roots)]

    assert set(files_opened(*argv[:4], "-c", _WATCH + _START, *argv[4:])) == {start.__file__}
    assert len(files_opened(sys.executable, "-P", "-c", _WATCH + _ORDINARY)) > 50  # so a wrong start would show


#: Modules that an executor imports later, when the installation can be far away.
_LATE = """
import sys
sys.path.insert(0, os.path.dirname(START))
import start
start.load(start.local_copy(PACK, [LOCAL]))
assert "zstandard" not in sys.modules
from spraycc.system.compression import pack
assert len(pack(b"contents" * 1000) or b"") in range(1, 100)
print(sys.modules["zstandard.backend_c"].__file__)
"""


def test_the_pack_holds_the_modules_of_compression(pack: Path, local: Path) -> None:
    program = f"import os\nSTART, PACK, LOCAL = {start.__file__!r}, {str(pack)!r}, {str(local)!r}\n{_LATE}"
    argv = [sys.executable, "-E", "-P", "-S", "-c", program]
    done = subprocess.run(argv, env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    (copy,) = copies(local)
    extension = copy / "zstandard.backend_c.so"
    assert done.stdout.strip() == str(extension)
    assert extension.stat().st_size < 3_000_000  # ten times as much with its debug information


#: Without SPRAYCC_RECORDER the executor would search for the recorder beside these modules.
_FIND = """
import sys, sysconfig
sys.argv[0] = "/nowhere/bin/executor"
sys.executable = "/nowhere/bin/python"
sysconfig.get_path = lambda name: "/nowhere"
sys.path.insert(0, os.path.dirname(START))
import start
start.load(start.local_copy(PACK, [LOCAL]))
from spraycc.executor.recorder import find_recorder
print(os.fsdecode(find_recorder() or b"none"))
"""


@pytest.mark.parametrize("named", [None, "/nowhere/named.so"])
def test_an_executor_finds_the_recorder_beside_its_modules(pack: Path, local: Path, named: str | None) -> None:
    program = f"import os\nSTART, PACK, LOCAL = {start.__file__!r}, {str(pack)!r}, {str(local)!r}\n{_FIND}"
    environment = {"SPRAYCC_RECORDER": named} if named else {}
    done = subprocess.run(
        [sys.executable, "-E", "-P", "-S", "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    (copy,) = copies(local)
    assert done.stdout.strip() == ("none" if named else str(copy / LIBRARY_NAME))


@pytest.mark.slow
def test_many_start_at_once(pack: Path, local: Path) -> None:
    argv = light(pack, local, "--check")
    processes = [subprocess.Popen(argv, stderr=subprocess.PIPE) for _ in range(8)]
    assert [(p.communicate()[1], p.returncode) for p in processes] == [(b"", 0)] * len(processes)
    assert len(copies(local)) == 1  # no partial file is left


def _cut(pack: Path) -> None:
    pack.write_bytes(pack.read_bytes()[:-1000])


def _of_another_layout(pack: Path) -> None:
    pack.write_bytes(b"spraycc pack 9\n" + pack.read_bytes()[len(start.MAGIC) :])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (Path.unlink, "No such file"),
        (_cut, "damaged, or of another layout"),
        (_of_another_layout, "damaged, or of another layout"),
        (lambda pack: pack.chmod(0o622), "not a file of ours alone"),
    ],
)
def test_a_bad_pack_means_the_ordinary_start(
    pack: Path, local: Path, tmp_path: Path, spoil: Callable[[Path], object], words: str
) -> None:
    bad = tmp_path / pack.name
    bad.write_bytes(pack.read_bytes())
    bad.chmod(0o600)
    spoil(bad)
    # No other directory may be used in its place: earlier runs have left good packs in them.
    with pytest.raises(start.PackError, match=words):
        start.local_copy(str(bad), [str(local)])
    done = run(light(bad, local / "missing", "--help"))
    assert done.returncode == 0
    assert "usage: spraycc.executor" in done.stdout


def test_strangers_directories_are_not_used(pack: Path, local: Path) -> None:
    parent = local / f"spraycc-packs-{os.geteuid()}"
    parent.mkdir()
    parent.chmod(0o755)
    with pytest.raises(start.PackError, match="not a directory of ours alone"):
        start.local_copy(str(pack), [str(local)])
    parent.rmdir()
    parent.symlink_to("/tmp")
    with pytest.raises(start.PackError, match="not a directory of ours alone"):
        start.local_copy(str(pack), [str(local)])


@pytest.mark.slow
def test_a_damaged_copy_is_made_anew(pack: Path, local: Path) -> None:
    argv = light(pack, local, "--help")
    run(argv)
    (copy,) = copies(local)
    for spoil in (
        lambda: (copy / start.MODULES).write_bytes(b"\0" * 100),
        lambda: (copy / "spraycc-box").unlink(),
        lambda: (copy / LIBRARY_NAME).unlink(),
    ):
        spoil()
        done = run(argv)
        assert "not started from" in done.stderr
        assert "usage: spraycc.executor" in done.stdout
        done = run(argv)
        assert (done.returncode, done.stderr) == (0, "")


def test_another_python_has_the_ordinary_start(pack: Path, local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = start.local_copy(str(pack), [str(local)])
    monkeypatch.setattr(start, "python_identity", lambda: "2.7")
    with pytest.raises(start.PackError, match="another Python"):
        start.load(copy)
    os.close(copy[1])
    assert len(copies(local)) == 1


@pytest.mark.slow
def test_old_copies_are_cleared_away(pack: Path, local: Path) -> None:
    parent = local / f"spraycc-packs-{os.geteuid()}"
    parent.mkdir(mode=0o700)
    long_ago = time.time() - 30 * 24 * 3600
    for name in ("old", "used", "young", ".new-killed"):
        (parent / name).mkdir()
        (parent / name / start.MODULES).touch()
    used = start._open_copy(str(parent / "used"))
    for name in ("old", "used", ".new-killed"):
        os.utime(parent / name / start.MODULES, (long_ago, long_ago))
        os.utime(parent / name, (long_ago, long_ago))
    assert run(light(pack, local, "--check")).returncode == 0
    os.close(used)
    assert {path.name for path in copies(local)} == {"used", "young", pack.stem.rpartition("-")[2]}


@pytest.mark.slow
async def test_one_pack_for_as_long_as_nothing_changes(packs: Path) -> None:
    assert existing_pack(packs) is None
    made = await ready_pack(packs)
    assert made is not None
    assert existing_pack(packs) == made == await ready_pack(packs)
    (note,) = [path for path in packs.glob("executor-*.json") if path.name != "executor-key.json"]
    content = json.loads(note.read_text())
    content["sources"][0][2] += 1  # as if that module had changed
    note.write_text(json.dumps(content))
    assert existing_pack(packs) is None


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        make(str(tmp_path / "missing"), "key")
