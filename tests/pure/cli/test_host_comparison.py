"""Differences among the hosts of executors and the submit host."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spraycc.cli import server_start
from spraycc.cli.doctor import probe_build
from spraycc.cli.doctor.finding import Finding
from spraycc.cli.doctor.host_comparison import Arrived, compare
from spraycc.cli.doctor.probe_build import split_advice, trouble_of, why_missing, with_age
from spraycc.cli.server_connection import ConnectionEnded
from spraycc.executor.host_report import HostReport, file_system_of, parsed

HERE = HostReport(
    host="login",
    clock_s=1000.0,
    compilers={"gcc": "/usr/bin/gcc: gcc 12"},
    probe="token",
    file_system="nfs4 server:/home",
    cpu="AMD EPYC",
    cpu_flags="12345678",
    cpus=8,
    memory_mb=32768,
    scratch="/var/tmp/x",
    scratch_free_mb=50_000,
    glibc="glibc 2.36",
    kernel="6.1",
)


def arrived(host: str, **different: Any) -> Arrived:
    report = {**HERE, "host": host, **different}
    return Arrived(report, 1000.2)  # type: ignore[arg-type]


def findings(*reports: Arrived, captures: dict[str, set[str]] | None = None) -> dict[str, Finding]:
    if captures is None:
        captures = {one.report["host"]: {"overlay"} for one in reports}
    return {finding.subject: finding for finding in compare(HERE, reports, captures)}


def test_hosts_that_are_alike() -> None:
    found = findings(arrived("node1"), arrived("node2"), arrived("node1"))
    assert all(finding.ok for finding in found.values())
    assert {subject: finding.text for subject, finding in found.items()} == {
        "hosts": "3 executors on 2 hosts: node1 (2), node2",
        "capture": "overlay on node1, node2",
        "compiler gcc": "the same everywhere: /usr/bin/gcc: gcc 12",
        "workspace": "all hosts see a file that this host has just written; nfs4 server:/home on this host, node1, node2",
        "clock": "the hosts' clocks differ from this host's by less than 1 s",
        "CPU": "the same everywhere: AMD EPYC, flags 12345678",
        "C library": "the same everywhere: glibc 2.36",
        "scratch space": "free: node1 50000 MiB, node2 50000 MiB",
        "CPUs": "8 on this host, node1, node2",
        "memory": "32.0 GiB on this host, node1, node2",
        "kernel": "6.1 on this host, node1, node2",
    }


@pytest.mark.parametrize(
    ("subject", "different", "text", "remedy"),
    [
        (
            "compiler gcc",
            {"compilers": {"gcc": "/usr/bin/gcc: gcc 11"}},
            "/usr/bin/gcc: gcc 12 on this host, node1; /usr/bin/gcc: gcc 11 on node2",
            "install the same one everywhere",
        ),
        ("compiler gcc", {"compilers": {}}, "/usr/bin/gcc: gcc 12 on this host, node1; missing on node2", "install"),
        (
            "workspace",
            {"probe": "No such file or directory", "file_system": "ext4 /dev/sda"},
            "a file that this host has just written is not seen by node2 (No such file or directory); "
            "nfs4 server:/home on this host, node1; ext4 /dev/sda on node2",
            'see the page "Builds on NFS"',
        ),
        ("clock", {"clock_s": 925.0}, "node2 is 75 s behind", "NTP"),
        ("clock", {"clock_s": 1060.0}, "node2 is 60 s ahead", "NTP"),
        ("CPU", {"cpu": "Xeon"}, "AMD EPYC, flags 12345678 on this host, node1; Xeon, flags 12345678 on node2", "native"),
        ("CPU", {"cpu_flags": "0"}, "AMD EPYC, flags 12345678 on this host, node1; AMD EPYC, flags 0 on node2", "native"),
        ("C library", {"glibc": "glibc 2.17"}, "glibc 2.36 on this host, node1; glibc 2.17 on node2", "`queues`"),
        ("scratch space", {"scratch_free_mb": 12}, "little is free: node2 12 MiB", "scratch_dir"),
    ],
)  # fmt: skip
def test_a_host_that_differs(subject: str, different: dict[str, Any], text: str, remedy: str) -> None:
    found = findings(arrived("node1"), arrived("node2", **different))
    assert {name for name, finding in found.items() if not finding.ok} == {subject}
    assert found[subject].text == text
    assert remedy in found[subject].remedy


def test_a_host_without_overlays() -> None:
    found = findings(arrived("node1"), arrived("node2"), captures={"node1": {"overlay"}, "node2": {"predict"}})
    assert found["capture"].text == "overlay on node1; predict on node2"
    assert found["capture"].remedy == "`spraycc doctor` on node2 says why there is no overlay"


MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:30 / /home rw,relatime - nfs4 server:/home rw,vers=4.2
31 22 0:31 / /home/my\\040tree rw - xfs /dev/vdb rw
40 30 0:40 / /home/u/ws rw - overlay overlay rw,lowerdir=/home/u/ws
41 22 0:41 / /homework rw - tmpfs tmpfs rw
damaged
"""


@pytest.mark.parametrize(
    ("path", "file_system"),
    [
        ("/home/u/ws/probe", "nfs4 server:/home"),
        ("/home/my tree/x", "xfs /dev/vdb"),
        ("/homework/x", "tmpfs tmpfs"),
        ("/homes", "ext4 /dev/vda"),
    ],
)
def test_the_file_system_below_the_capture(path: str, file_system: str) -> None:
    assert file_system_of(path, MOUNTS) == file_system


def test_a_report_is_a_line_of_json() -> None:
    assert parsed(json.dumps(HERE).encode()) == HERE
    for line in (b"", b"{", b"[]", b"{}", b'"x"', b"\xff", b'{"host": "x"}', b"a banner"):
        assert parsed(line) is None


def test_no_mounts_are_known() -> None:
    assert file_system_of("/x", "") == "unknown"


SHOW = "`spraycc cluster show` prints what is submitted"


@pytest.mark.parametrize(
    ("trouble", "cluster", "text", "remedy"),
    [
        ("Slurm refused: no (x) queue (correct `queues`; see)", "slurm", "Slurm refused: no (x) queue", "correct `queues`; see"),
        (
            "PBS can't be reached: timeout (SprayCC tries again)",
            "pbs",
            "PBS can't be reached: timeout",
            "try `qstat` by hand: if that fails as well, the cluster or its set-up on this host is down",
        ),
        ("it failed (SprayCC tries again later)", "command", "it failed", SHOW),
        ("it failed", "slurm", "it failed", SHOW),
        ("", "slurm", "", SHOW),
        (
            "an executor could not be started: no server: 127.0.0.1:5: Network is unreachable (see /s/executors.log)",
            "local",
            "an executor could not be started: no server: 127.0.0.1:5: Network is unreachable (see /s/executors.log)",
            "executors on this host connect by the loopback interface: is it up (`ip link set lo up`)?",
        ),
        (
            "an executor ended before connecting: no server: 192.0.2.2:5: no answer (see /s/executors.log)",
            "slurm",
            "an executor ended before connecting: no server: 192.0.2.2:5: no answer (see /s/executors.log)",
            "let the executors' hosts connect to this host: open the port in its firewall (`listen_ports`), or set `listen`; "
            'see the page "Open the way through firewalls" of the documentation',
        ),
        ("it failed (see /s/executors.log)", "local", "it failed (see /s/executors.log)", "`spraycc doctor` checks this host"),
        ("it failed (see /s/executors.log)", "ssh", "it failed (see /s/executors.log)", SHOW),
    ],
)  # fmt: skip
def test_the_servers_words_are_split(trouble: str, cluster: str, text: str, remedy: str) -> None:
    assert split_advice(trouble, cluster) == (text, remedy)


def figures(age_s: float, *, asked: int, waiting: int) -> dict[str, Any]:
    return {
        "trouble": "refused",
        "trouble_age_s": age_s,
        "scheduler": {"executors": {"asked": asked}},
        "builds": [{"waiting": waiting}],
    }


@pytest.mark.parametrize(
    ("age_s", "asked", "waiting", "text"),
    [
        (1.0, 2, 1, "refused"),  # the probe's own
        (90.0, 0, 1, "refused"),  # an earlier build's, and the pause after it lasts
        (90.0, 2, 1, ""),  # the server tries again
        (90.0, 0, 0, ""),  # the probe's task has not arrived
    ],
)
def test_the_trouble_that_counts_for_a_probe(age_s: float, asked: int, waiting: int, text: str) -> None:
    assert trouble_of(figures(age_s, asked=asked, waiting=waiting), 5.0) == text
    assert trouble_of({}, 5.0) == ""


def test_an_old_trouble_has_its_age() -> None:
    assert with_age("correct it", figures(1.0, asked=0, waiting=1), 5.0) == "correct it"
    assert with_age("correct it", figures(90.0, asked=0, waiting=1), 5.0) == (
        "correct it; this was 90 s ago: `spraycc server stop`, then another probe tries again"
    )


def test_the_reason_for_missing_executors_is_the_cluster_managers() -> None:
    group = {
        "system": "Slurm", "queue": "", "batch_jobs": 2, "executors": 2, "reason": "Resources", "started": False, "age_s": 5.0,
    }  # fmt: skip
    said = b"spraycc: no executor has connected yet: 2 batch jobs\n"
    assert why_missing({"pending": [group]}, said) == "2 batch jobs, submitted to Slurm 5 s ago, wait: Resources"
    assert why_missing({"pending": []}, said) == "no executor has connected yet: 2 batch jobs"
    assert why_missing({}, b"\n") == ""


def test_a_server_that_ends_just_now_is_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ending:
        def status(self) -> dict[str, Any]:
            raise ConnectionEnded("the server is gone")

        def stop_if_idle(self) -> bool:
            raise ConnectionEnded("the server is gone")

        def close(self) -> None:
            pass

    servers = [Ending(), Ending()]
    monkeypatch.setattr(server_start, "connect", lambda *_: servers.pop(0))
    assert probe_build.status(b"/w") == {}
    assert probe_build.end_server(b"/w")
    assert not servers
