"""``spraycc doctor --executors N``: what the hosts of N executors are like, and what differs among them."""

from __future__ import annotations

import os
import secrets
import selectors
import shlex
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import IO, Any

from spraycc import config, isolated, workspace
from spraycc.cli.doctor.finding import Finding, failed, passed
from spraycc.cli.doctor.host_comparison import Arrived, compare
from spraycc.cli.doctor.probe_build import (
    POLL_S,
    end_server,
    next_step_for_pending,
    probe_directory,
    reachable,
    running,
    split_advice,
    status,
    trouble_of,
    why_missing,
    with_age,
    without_other_executors,
)
from spraycc.executor.host_report import HostReport, parsed, report
from spraycc.runner_files import installed_runner

#: Compared on all hosts, as far as they are on PATH.
_COMPILERS = ("cc", "gcc", "g++", "clang", "clang++")
#: Each command holds its executor until the build reads a line or the end of its standard input. The end without a line
#: means that the doctor was killed.
_SCRIPT = """\
exec 3<&0 4>&2 2>/dev/null
i=0; commands=
while [ $i -lt {count} ]; do
  {command} </dev/null 3<&- 2>&4 4>&- & commands="$commands $!"; i=$((i+1))
done
read word <&3; status=$?
kill $commands 2>/dev/null
wait
[ $status = 0 ] || rm -rf {directory}
"""
_MOST_LINE_BYTES = 65536


def findings(flags: Mapping[str, Any], count: int, patience_s: float) -> Iterator[Finding]:
    """The findings, when ``count`` executors have reported, or after ``patience_s``.

    Raises:
        SprayccError: the configuration or the workspace is wrong.
        Stop: the cluster can't be probed.
    """
    root = workspace.find()
    settings = config.load(root, flags=flags).settings
    yield reachable(settings)
    yield from without_other_executors(root, settings)
    if count > settings.executors_in_force:
        flags = {**flags, "executors": str(count)}
    yield passed("executors", f"{count} asked for (cluster {settings.cluster}); waiting {patience_s:.0f} s at most")
    before = status(root)
    began = time.monotonic()
    try:
        with probe_directory(root) as directory:
            probe = os.path.join(directory, "probe")
            with open(probe, "w") as file:
                file.write(secrets.token_hex(8))
            here = report(probe, _COMPILERS)
            words = [str(installed_runner()), "--remote", "--"]
            words += isolated.command("spraycc.executor.host_report", probe, *_COMPILERS)
            script = _SCRIPT.format(count=count, command=shlex.join(words), directory=shlex.quote(directory))
            arrived, last, said = _reports(root, flags, script, count, patience_s)
    finally:
        if not before:
            end_server(root)
    waited_s = time.monotonic() - began
    trouble, remedy = split_advice(trouble_of(last, waited_s), settings.cluster)
    if trouble:
        remedy = with_age(remedy, last, waited_s)
    if len(arrived) < count:
        why = trouble or why_missing(last, said) or "the cluster may be full; --patience waits longer"
        text = f"{len(arrived)} of {count} executors have reported within {waited_s:.0f} s: {why}"
        if not trouble:
            remedy = next_step_for_pending(last, remedy)
        if not arrived:
            yield failed("executors", text, remedy, essential=True)
            return
        yield passed("executors", text) if not trouble else failed("executors", text, remedy)
    captures: dict[str, set[str]] = {}
    for executor in last.get("executors", ()):
        captures.setdefault(executor["host"], set()).add(executor["capture"])
    names = {one.report["host"] for one in arrived}
    yield from compare(here, arrived, {host: kinds for host, kinds in captures.items() if host in names})


def _reports(
    root: bytes, flags: Mapping[str, Any], script: str, count: int, patience_s: float
) -> tuple[list[Arrived], dict[str, Any], bytes]:
    """(reports, the server's last status, the errors of the build) of a build that runs ``script``."""
    arrived: list[Arrived] = []
    last: dict[str, Any] = {}
    began = time.monotonic()
    with tempfile.TemporaryFile() as said:
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb", buffering=0) as out:
            try:
                build = running(root, flags, count, ["/bin/sh", "-c", script], writing, said)
                with build as process:
                    os.close(writing)
                    writing = -1
                    lines = _Reports(out)
                    while len(arrived) < count and process.poll() is None:
                        arrived += [Arrived(one, time.time()) for one in lines.read(POLL_S)]
                        last = status(root) or last
                        waited_s = time.monotonic() - began
                        if waited_s >= patience_s or _is_hopeless(last, len(arrived), waited_s):
                            break
            finally:
                if writing >= 0:
                    os.close(writing)
        said.seek(0)
        return arrived, last, said.read()


def _is_hopeless(figures: Mapping[str, Any], arrived: int, waited_s: float) -> bool:
    """True if no more reports will come soon: the cluster has refused, and all executors have reported."""
    is_refused = bool(trouble_of(figures, waited_s))
    asked = figures.get("scheduler", {}).get("executors", {}).get("asked", 0)
    return is_refused and not asked and arrived >= len(figures.get("executors", ()))


class _Reports:
    """The reports that arrive at a pipe, among lines of others: a site's wrapper may print some."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._rest = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(pipe, selectors.EVENT_READ)

    def read(self, timeout_s: float) -> list[HostReport]:
        """The reports that have arrived; waits at most ``timeout_s``."""
        if not self._selector.select(timeout_s):
            return []
        data = os.read(self._pipe.fileno(), _MOST_LINE_BYTES)
        if not data:
            time.sleep(timeout_s)
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-_MOST_LINE_BYTES:]
        return [found for line in lines if (found := parsed(line)) is not None]
