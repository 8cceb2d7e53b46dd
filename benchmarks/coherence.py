"""The CPU time of stamps that an executor is told, and of the proof of what a task has read.

The files are real, on a local disk, so reading a stamp is as cheap as possible: the figures show SprayCC's own work. In
the steady state the headers of a build don't change; "changed" is a task after all headers have changed.
"""

from __future__ import annotations

import os
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import trio

from benchmarks.harness import Place
from spraycc.executor.proof import ToldStamp, bit_set, prove
from spraycc.model import Command, Description, Kind, Placement
from spraycc.server.coherence.inputs import Inputs, Told
from spraycc.server.coherence.tracker import Tracker
from spraycc.server.coherence.watcher import Watcher
from spraycc.server.host.offload import Disk
from spraycc.stamps import FILE, MISSING, NAMES, Lookup, Stamp, look

#: A large C++ unit: headers that it reads, and names that it looks for in vain before each header.
_HEADERS = 600
_DIRECTORIES = 30
_MISSES = 4500


def coherence(place: Place) -> dict[str, Any]:
    tasks = 20 if place.quick else 300
    tree = _Tree(place.root / "coherence")
    server = trio.run(partial(_server, tree, tasks))
    return {"headers": _HEADERS, "directories": _DIRECTORIES, **server, **_executor(tree, tasks)}


class _Tree:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.directories = [root / f"inc{number}" for number in range(_DIRECTORIES)]
        for directory in (*self.directories, root / "obj", root / "src"):
            directory.mkdir(parents=True)
        self.headers = [self.directories[n % _DIRECTORIES] / f"h{n}.h" for n in range(_HEADERS)]
        for header in self.headers:
            header.write_text("int x;\n")

    def command(self, number: int) -> tuple[Command, Description, tuple[bytes, ...]]:
        cwd = bytes(self.root)
        source, output = b"src/u%d.cc" % number, cwd + b"/obj/u%d.o" % number
        searches = tuple(bytes(directory) for directory in self.directories)
        (self.root / os.fsdecode(source)).touch()
        command = Command((b"g++", b"-c", source, b"-o", output), b"/usr/bin/g++", cwd, (), 0o22)
        description = Description(Kind.COMPILE, Placement.REMOTE, "compile", (source,), (output,), searches=searches)
        return command, description, (output,)

    @property
    def reads(self) -> list[tuple[Lookup, Stamp]]:
        return [(FILE + bytes(header), look(FILE + bytes(header))) for header in self.headers]


async def _server(tree: _Tree, tasks: int) -> dict[str, Any]:
    watcher = Watcher.open()
    inputs = Inputs(Tracker(watcher), Disk())
    told = Told()
    numbers: dict[Lookup, int] = {}

    async def task(number: int, others: list[tuple[Lookup, Stamp]]) -> float:
        command, description, outputs = tree.command(number)
        began = time.process_time()
        expected = inputs.expect(command, description, outputs)
        await inputs.prepare(expected)
        stamps, version = inputs.tell(expected, told)
        for entry, lookup, _ in stamps:
            numbers[lookup] = entry
        spent = time.process_time() - began
        matched = b"" if others else bit_set({numbers[FILE + bytes(header)] for header in tree.headers})
        began = time.process_time()
        mismatch = await inputs.check(expected, told, version, matched, others)
        spent += time.process_time() - began
        assert mismatch is None, mismatch
        return spent * 1e3

    reads = tree.reads
    first = await task(0, reads)
    second = await task(0, [])
    steady = [await task(0, []) for _ in range(tasks)]
    for header in tree.headers:
        header.write_text("int xx;\n")
    changed = await task(0, [])
    return {
        "server_first_ms": round(first, 3),
        "server_told_ms": round(second, 3),
        "server_steady_ms": round(statistics.median(steady), 4),
        "server_steady_mean_ms": round(statistics.fmean(steady), 4),
        "server_changed_ms": round(changed, 3),
    }


def _always(directory: bytes) -> bool:
    return True


def _executor(tree: _Tree, tasks: int) -> dict[str, Any]:
    reads = tree.reads
    told = {lookup: ToldStamp(number, stamp) for number, (lookup, stamp) in enumerate(reads)}
    for directory in tree.directories:
        names = NAMES + bytes(directory)
        told[names] = ToldStamp(len(told), look(names))
    missing = [
        (FILE + bytes(tree.directories[n % _DIRECTORIES]) + b"/missing%d.h" % n, MISSING) for n in range(_MISSES)
    ]
    figures = {}
    for name, lookups in (("executor_proof_ms", reads), ("executor_proof_with_misses_ms", reads + missing)):
        spent = []
        for _ in range(tasks):
            began = time.process_time()
            proof = prove(lookups, told, _always, lambda lookup, stamp: None, _always, look)
            spent.append((time.process_time() - began) * 1e3)
            assert not proof.others
        figures[name] = round(statistics.median(spent), 4)
    return figures | {"misses": _MISSES}
