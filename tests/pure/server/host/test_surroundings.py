"""Whether a server may stay after its last build, by what /proc shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from spraycc.server.host import surroundings
from spraycc.server.host.surroundings import why_not_linger

ME = 9


def proc(tmp_path: Path, *processes: tuple[int, str, int, int, int], tracer: int = 0, me: int = ME) -> Path:
    """A /proc with processes: pid, name, parent, session, terminal."""
    for pid, name, parent, session, terminal in processes:
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} ({name}) S {parent} {pid} {session} {terminal} -1 0 0\n")
    (tmp_path / str(me)).mkdir(exist_ok=True)
    (tmp_path / str(me) / "status").write_text(f"Name:\tpython\nTracerPid:\t{tracer}\n")
    (tmp_path / str(me) / "ns").mkdir()
    (tmp_path / str(me) / "ns/pid").touch()
    (tmp_path / "self").symlink_to(str(me))
    return tmp_path


def test_on_a_host_it_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = proc(tmp_path, (1, "sandbox", 0, 1, 0), (8, "spraycc", 1, 8, 0), (ME, "python", 8, ME, 0))
    monkeypatch.setattr(surroundings, "_FIRST_PID_NAMESPACE", (host / "self/ns/pid").stat().st_ino)
    assert why_not_linger(host, ME) == ""


@pytest.mark.parametrize(
    ("environ", "stays"),
    [
        ({"ENVIRONMENT": "BATCH", "SLURM_JOB_ID": "7"}, False),
        ({"PBS_ENVIRONMENT": "PBS_BATCH"}, False),
        ({"PBS_ENVIRONMENT": "PBS_INTERACTIVE"}, True),
        ({"LSB_JOBID": "7"}, False),
        ({"LSB_JOBID": "7", "LSB_INTERACTIVE": "Y"}, True),
        ({"ENVIRONMENT": "staging"}, True),
    ],
)
def test_in_a_batch_script_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], stays: bool
) -> None:
    host = proc(tmp_path, (1, "init", 0, 1, 0), (8, "sh", 1, 8, 0), (ME, "python", 8, ME, 0))
    monkeypatch.setattr(surroundings, "_FIRST_PID_NAMESPACE", (host / "self/ns/pid").stat().st_ino)
    assert (why_not_linger(host, ME, environ) == "") == stays


def test_under_a_tracer_it_ends(tmp_path: Path) -> None:
    assert why_not_linger(proc(tmp_path, tracer=77), ME) == "process 77 traces it"


@pytest.mark.parametrize(
    ("init", "starter", "stays"),
    [
        pytest.param((1, "bwrap", 0, 0, 34816), (8, "spraycc", 1, 8, 0), False, id="the init of a sandbox"),
        pytest.param((1, "spraycc", 0, 1, 0), (8, "sh", 1, 1, 0), False, id="the build as the init of a container"),
        pytest.param((1, "bash", 0, 1, 34816), (8, "spraycc", 1, 8, 34816), True, id="a shell at its terminal"),
        pytest.param((1, "systemd", 0, 1, 0), (8, "sshd", 1, 8, 0), True, id="a container with systemd"),
        pytest.param((1, "sleep", 0, 1, 0), (8, "spraycc", 0, 8, 0), True, id="started from outside"),
        pytest.param((1, "a) S 0 (", 0, 0, 0), (8, "x) S 1 (", 1, 8, 0), False, id="odd names"),
    ],
)  # fmt: skip
def test_in_a_pid_namespace(
    tmp_path: Path, init: tuple[int, str, int, int, int], starter: tuple[int, str, int, int, int], stays: bool
) -> None:
    why = why_not_linger(proc(tmp_path, init, starter, (ME, "python", 8, ME, 0)), ME)
    assert (why == "") == stays
    assert stays or init[1] in why


def test_in_doubt_it_ends(tmp_path: Path) -> None:
    foreign = proc(tmp_path, (1, "systemd", 0, 1, 0), (4711, "python", 1, 1, 0), me=4711)
    assert "another namespace's" in why_not_linger(foreign, ME)
    assert "does not show" in why_not_linger(tmp_path / "missing", ME)
