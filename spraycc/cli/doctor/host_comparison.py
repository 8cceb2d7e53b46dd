"""The differences among the executors' hosts and the submit host, as findings of ``spraycc doctor``. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from spraycc.cli.doctor.finding import Finding, failed, passed
from spraycc.executor.host_report import HostReport

T = TypeVar("T")

#: make compares the times of files. A host that is further off makes files that are too new or too old.
MOST_CLOCK_S = 1.0
#: Less free space is not enough for the outputs of a large link.
LEAST_SCRATCH_MB = 1024
_HERE = "this host"


@dataclass(frozen=True, slots=True)
class Arrived:
    """The report of one executor."""

    report: HostReport
    #: the submit host's clock when the report arrived (seconds since the epoch)
    at_s: float


def compare(here: HostReport, arrived: Sequence[Arrived], captures: Mapping[str, set[str]]) -> Iterator[Finding]:
    """The findings, one for each subject.

    Args:
        here: the submit host.
        arrived: the reports of executors, at least one; several may be of one host.
        captures: host -> the captures of its executors.
    """
    hosts = Counter(one.report["host"] for one in arrived)
    names = ", ".join(f"{host} ({count})" if count > 1 else host for host, count in sorted(hosts.items()))
    yield passed("hosts", f"{_count(len(arrived), 'executor')} on {_count(len(hosts), 'host')}: {names}")
    by_host = {one.report["host"]: one.report for one in arrived}
    yield from _captures(captures)
    yield from _compilers(here, by_host)
    yield _workspace(here, by_host)
    yield _clock(arrived)
    yield _same(
        "CPU",
        here,
        by_host,
        lambda host: f"{host['cpu']}, flags {host['cpu_flags']}",
        "lines with -march=native go only to hosts with this host's CPU; leave the flag out to use all hosts",
    )
    yield _same(
        "C library",
        here,
        by_host,
        lambda host: host["glibc"],
        "a program that the build makes and runs may fail on the older one; ask for hosts of one kind (`queues`)",
    )
    yield _scratch(by_host)
    for subject, value in _SIZES.items():
        yield passed(subject, _shown(_groups({_HERE: here, **by_host}, value)))


_SIZES: dict[str, Callable[[HostReport], str]] = {
    "CPUs": lambda host: str(host["cpus"]),
    "memory": lambda host: f"{host['memory_mb'] / 1024:.1f} GiB",
    "kernel": lambda host: host["kernel"],
}


def _captures(captures: Mapping[str, set[str]]) -> Iterator[Finding]:
    groups = _groups(captures, lambda kinds: " and ".join(sorted(kinds)))
    if set(groups) <= {"overlay"}:
        yield passed("capture", _shown(groups))
    else:
        others = [host for kind, hosts in groups.items() if kind != "overlay" for host in hosts]
        yield failed("capture", _shown(groups), f"`spraycc doctor` on {others[0]} says why there is no overlay")


def _compilers(here: HostReport, by_host: Mapping[str, HostReport]) -> Iterator[Finding]:
    names = dict.fromkeys(name for host in (here, *by_host.values()) for name in host["compilers"])
    for name in names:
        yield _same(
            f"compiler {name}",
            here,
            by_host,
            lambda host, name=name: host["compilers"].get(name, "missing"),  # type: ignore[misc]
            "its tasks go only to hosts with this host's compiler; install the same one everywhere",
        )


def _workspace(here: HostReport, by_host: Mapping[str, HostReport]) -> Finding:
    systems = _shown(_groups({_HERE: here, **by_host}, lambda host: host["file_system"]))
    blind = sorted(host for host, report in by_host.items() if report["probe"] != here["probe"])
    if not blind:
        return passed("workspace", f"all hosts see a file that this host has just written; {systems}")
    reason = by_host[blind[0]]["probe"][:100] or "the file is empty"
    text = f"a file that this host has just written is not seen by {', '.join(blind)} ({reason}); {systems}"
    return failed(
        "workspace", text, 'mount the same file system there; see the page "Builds on NFS" of the documentation'
    )


def _clock(arrived: Sequence[Arrived]) -> Finding:
    # A report arrives after it was made: by the way it is late, never early. The least lateness of a host counts.
    behind: dict[str, float] = {}
    for one in arrived:
        late_s = one.at_s - one.report["clock_s"]
        behind[one.report["host"]] = min(late_s, behind.get(one.report["host"], late_s))
    wrong = {host: late_s for host, late_s in behind.items() if abs(late_s) > MOST_CLOCK_S}
    if not wrong:
        return passed("clock", f"the hosts' clocks differ from this host's by less than {MOST_CLOCK_S:g} s")
    text = ", ".join(
        f"{host} is {abs(late_s):.0f} s {'behind' if late_s > 0 else 'ahead'}" for host, late_s in sorted(wrong.items())
    )
    return failed("clock", text, "have NTP set up there: make compares the times of files")


def _scratch(by_host: Mapping[str, HostReport]) -> Finding:
    low = sorted(host for host, report in by_host.items() if report["scratch_free_mb"] < LEAST_SCRATCH_MB)
    text = ", ".join(f"{host} {by_host[host]['scratch_free_mb']} MiB" for host in (low or sorted(by_host)))
    if low:
        return failed("scratch space", f"little is free: {text}", "free some, or set scratch_dir to a larger disk")
    return passed("scratch space", f"free: {text}")


def _same(
    subject: str,
    here: HostReport,
    by_host: Mapping[str, HostReport],
    value: Callable[[HostReport], str],
    remedy: str,
) -> Finding:
    groups = _groups({_HERE: here, **by_host}, value)
    if len(groups) == 1:
        return passed(subject, f"the same everywhere: {next(iter(groups))}")
    return failed(subject, _shown(groups), remedy)


def _groups(by_host: Mapping[str, T], value: Callable[[T], str]) -> dict[str, list[str]]:
    """value -> its hosts, the most frequent value first."""
    groups: dict[str, list[str]] = {}
    for host, found in by_host.items():
        groups.setdefault(value(found), []).append(host)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def _shown(groups: Mapping[str, Iterable[str]]) -> str:
    """``X on a, b; Y on c``."""
    return "; ".join(f"{value} on {', '.join(hosts)}" for value, hosts in groups.items())


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
