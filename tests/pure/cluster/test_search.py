"""The cluster manager of a host, by its programs, and its queues."""

from __future__ import annotations

import pytest

from spraycc.cluster.search import MANAGERS, PROGRAMS, Queue, parse_lsf, parse_names, parse_pbs, parse_sinfo

SINFO = """\
debug*|up|infinite|1|4
long|up|2-00:00:00|20|64
long|up|2-00:00:00|3|128+
old|drain|1:00:00|2|1
a site's banner
bad name|up|infinite|1|4
gpu:a100/ü|up|infinite|1|4
"""
PBS = """\
Queue              Max   Tot Ena Str   Que   Run   Hld   Wat   Trn   Ext Type
---------------- ----- ----- --- --- ----- ----- ----- ----- ----- ----- ----
workq                0     0 yes yes     0     0     0     0     0     0 Exec
night                0     0 yes  no     0     0     0     0     0     0 Exec
"""
LSF = """\
QUEUE_NAME      PRIO STATUS          MAX JL/U JL/P JL/H NJOBS  PEND   RUN  SUSP
owners           43  Open:Active       -    -    -    -     0     0     0     0
night            40  Open:Inact        -    -    -    -     0     0     0     0
"""


def test_partitions_of_slurm() -> None:
    assert parse_sinfo(SINFO) == [
        Queue("debug", True, "up, no time limit, 1 node of 4 CPUs"),
        Queue("long", False, "up, at most 2-00:00:00, 20 nodes of 64 CPUs"),
        Queue("old", False, "drain, at most 1:00:00, 2 nodes of 1 CPU", is_open=False),
        Queue("gpu:a100/ü", False, "up, no time limit, 1 node of 4 CPUs"),
    ]


def test_queues_of_the_others() -> None:
    assert parse_names("all.q\nlong.q\n\nerror: x y\n") == [Queue("all.q"), Queue("long.q")]
    assert parse_pbs(PBS) == [Queue("workq"), Queue("night", note="closed", is_open=False)]
    assert parse_lsf(LSF) == [Queue("owners", note="Open:Active"), Queue("night", note="Open:Inact")]


@pytest.mark.parametrize("parse", [manager.parse for manager in MANAGERS])
def test_other_text_is_no_queue(parse: object) -> None:
    assert callable(parse)
    assert parse("") == []
    assert parse("no such thing here\nat all, really\n") == []


@pytest.mark.parametrize(
    ("programs", "clusters"),
    [
        ({"sbatch", "squeue", "scancel", "sinfo"}, ["slurm"]),
        ({"qsub", "qstat", "qdel", "qselect"}, ["pbs"]),
        # Grid Engine has a qselect too, and PBS has no qconf.
        ({"qsub", "qstat", "qdel", "qselect", "qconf"}, ["gridengine"]),
        ({"bsub", "bjobs", "bkill", "bqueues"}, ["lsf"]),
        ({"qsub", "qstat"}, []),
        (set(PROGRAMS), ["slurm", "gridengine", "lsf"]),
    ],
)
def test_the_programs_tell_the_managers_apart(programs: set[str], clusters: list[str]) -> None:
    assert [manager.cluster for manager in MANAGERS if manager.is_installed(programs)] == clusters
