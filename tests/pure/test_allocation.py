"""Allocations from variables and files, and the executors that have a place in them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spraycc.allocation import Allocation, expand_counts, expand_hosts, find_allocation

SLURM = {"SLURM_JOB_ID": "123", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_CPUS_PER_NODE": "4(x2)"}
LSF = {"LSB_JOBID": "9", "LSB_JOBINDEX": "0", "LSB_MCPU_HOSTS": "hostA 4 hostB 8 "}
PBS = {"PBS_JOBID": "5.server", "PBS_NODEFILE": "/nodes"}
GRID_ENGINE = {"JOB_ID": "7", "SGE_TASK_ID": "undefined", "NSLOTS": "6", "PE_HOSTFILE": "/pe"}


def found(
    environ: Mapping[str, str], files: Mapping[str, str] | None = None, host: str = "login", manager: str | None = None
) -> Allocation | None:
    def read(path: str) -> str:
        if files is None or path not in files:
            raise FileNotFoundError(path)
        return files[path]

    return find_allocation(environ, read, host, manager)


def hosts(environ: Mapping[str, str], files: Mapping[str, str] | None = None) -> tuple[tuple[str, int], ...]:
    allocation = found(environ, files)
    assert allocation is not None
    return allocation.hosts


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("vm", ["vm"]),
        ("node[01-03,7],x", ["node01", "node02", "node03", "node7", "x"]),
        ("r[1-2]n[09-10]", ["r1n09", "r1n10", "r2n09", "r2n10"]),
        ("a-b.example,c[5]d", ["a-b.example", "c5d"]),
    ],
)
def test_host_lists(text: str, names: list[str]) -> None:
    assert expand_hosts(text) == names


@pytest.mark.parametrize("text", ["node[1-", "node[a-b]", "node]1[", "a b", "-x[1,]"])
def test_what_is_no_host_list(text: str) -> None:
    with pytest.raises(ValueError, match="no list of hosts"):
        expand_hosts(text)


@given(st.lists(st.tuples(st.integers(0, 999), st.integers(1, 3)), min_size=1, max_size=5))
def test_a_host_list_of_many_ranges(ranges: list[tuple[int, int]]) -> None:
    names = [f"n{number:03d}" for first, count in ranges for number in range(first, first + count)]
    assert expand_hosts("n[" + ",".join(f"{a:03d}-{a + n - 1:03d}" for a, n in ranges) + "]") == names


def test_counts() -> None:
    assert expand_counts("4(x3),2") == [4, 4, 4, 2]
    for text in ("", "4(x3", "x", "4,,2"):
        with pytest.raises(ValueError, match="no number of CPUs"):
            expand_counts(text)


def test_slurm() -> None:
    allocation = found(SLURM)
    assert allocation == Allocation("slurm", "123", (("node1", 4), ("node2", 4)))
    assert allocation.cluster == "slurm-step"
    assert allocation.name == "the allocation 123 of Slurm"
    tasks = {
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NODELIST": "a,b",
        "SLURM_TASKS_PER_NODE": "2,1",
        "SLURM_CPUS_PER_TASK": "3",
    }
    assert hosts(tasks) == (("a", 6), ("b", 3))


def test_lsf() -> None:
    assert hosts(LSF) == (("hostA", 4), ("hostB", 8))
    assert hosts({"LSB_JOBID": "9", "LSB_HOSTS": "a b a"}) == (("a", 2), ("b", 1))
    assert hosts({"LSB_JOBID": "9", "LSB_DJOB_HOSTFILE": "/hosts"}, {"/hosts": "a\na\nb\n"}) == (("a", 2), ("b", 1))
    element = found(LSF | {"LSB_JOBINDEX": "3"})
    assert element is not None
    assert element.job == "9[3]"


@pytest.mark.parametrize(
    ("variables", "nodes", "cpus"),
    [
        ({"NCPUS": "8"}, "a\nb\n", {"a": 8, "b": 8}),  # select=2:ncpus=8
        ({"NCPUS": "8", "OMP_NUM_THREADS": "1"}, "a\n" * 8, {"a": 8}),  # ncpus=8:mpiprocs=8
        ({"OMP_NUM_THREADS": "4"}, "a\n", {"a": 4}),
        ({}, "a\na\nb\n", {"a": 2, "b": 1}),
    ],
)
def test_pbs(variables: dict[str, str], nodes: str, cpus: dict[str, int]) -> None:
    assert dict(hosts(PBS | variables, {"/nodes": nodes})) == cpus


def test_grid_engine() -> None:
    rows = "n1.example 4 all.q@n1 UNDEFINED\nn2.example 1 all.q@n2 UNDEFINED\nn2.example 1 brief.q@n2 UNDEFINED\n"
    assert hosts(GRID_ENGINE, {"/pe": rows}) == (("n1.example", 4), ("n2.example", 2))
    serial = {name: text for name, text in GRID_ENGINE.items() if name != "PE_HOSTFILE"} | {"NSLOTS": "1"}
    assert hosts(serial) == (("login", 1),)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"JOB_ID": "7", "NSLOTS": "4"},  # anybody may set these
        {"SLURM_JOB_ID": "123"},
        SLURM | {"SLURM_JOB_NODELIST": "node[1-"},
        SLURM | {"SLURM_JOB_CPUS_PER_NODE": "4(x3)"},
        LSF | {"LSB_MCPU_HOSTS": "hostA 4 hostB"},
        LSF | {"LSB_MCPU_HOSTS": "hostA 0"},
        PBS,  # without its file
        GRID_ENGINE,
    ],
    ids=lambda environ: " ".join(environ) or "nothing",
)
def test_no_allocation(environ: dict[str, str]) -> None:
    assert found(environ) is None


def test_only_the_named_manager_counts() -> None:
    both = SLURM | LSF
    assert [found(both, manager=name).job for name in ("slurm", "lsf")] == ["123", "9"]  # type: ignore[union-attr]
    assert found(both, manager="pbs") is None


def test_the_submit_host_is_found_by_its_short_name() -> None:
    for own, name in (("node2", "node2"), ("node2.example", "node2"), ("login", "")):
        allocation = found(SLURM, host=own)
        assert allocation is not None
        assert allocation.here == name
    step = found(SLURM | {"SLURMD_NODENAME": "node1"}, host="nid0017")
    assert step is not None
    assert step.here == "node1"


def test_variables_of_the_command() -> None:
    environ = PBS | {"PBS_JOBCOOKIE": "secret", "PBS_MOMPORT": "15003", "HOME": "/home/u", "LS_COLORS": "x"}
    allocation = found(environ, {"/nodes": "a\n"})
    assert allocation is not None
    assert dict(allocation.variables) == {name: text for name, text in environ.items() if name.startswith("PBS_")}
    assert "secret" not in repr(allocation)
    lsf = found(LSF | {"LS_COLORS": "x", "LSF_ENVDIR": "/lsf"})
    assert lsf is not None
    assert dict(lsf.variables) == LSF | {"LSF_ENVDIR": "/lsf"}


def test_places_for_executors() -> None:
    two = (("n1", 4), ("n2", 8))
    assert Allocation("slurm", "1", two).slots(local_slots=2) == two
    assert Allocation("slurm", "1", two, here="n1").slots(local_slots=1) == (("n1", 3), ("n2", 8))
    assert Allocation("slurm", "1", two, here="n1").slots(local_slots=4) == (("n2", 8),)
    assert Allocation("slurm", "1", (("n1", 2),), here="n1").slots(local_slots=4) == (("n1", 1),)


@pytest.mark.parametrize(
    "changes",
    [
        {"SLURM_JOB_NODELIST": "n[1]" * 3000},
        {"SLURM_JOB_NODELIST": "n[1-30000000]"},
        {"SLURM_JOB_NODELIST": "n[1-1000]x[1-1000]"},
        {"SLURM_JOB_NODELIST": "-x"},
        {"SLURM_JOB_CPUS_PER_NODE": "1(x100000000)"},
        {"SLURM_JOB_ID": ""},
        {"SLURM_JOB_ID": "1 --bad;x\n"},
    ],
)
def test_a_damaged_or_hostile_description_is_no_allocation(changes: dict[str, str]) -> None:
    environ = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1", "SLURM_JOB_CPUS_PER_NODE": "2"}
    assert find_allocation(environ, _no_file, "here") is not None
    assert find_allocation(environ | changes, _no_file, "here") is None


def _no_file(path: str) -> str:
    raise FileNotFoundError(path)
