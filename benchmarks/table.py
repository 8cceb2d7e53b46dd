"""``python -m benchmarks.table FILE.json``: prints a run's figures as the tables of docs/explanation/performance.md."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: the measured thing, figure, aim
Row = tuple[str, str, str]


def rows(parts: dict[str, Any]) -> Iterator[Row]:
    """A row for each figure of the run."""
    for name, part in parts.items():
        if "failed" in part:
            yield name, f"failed: {part['failed']}", ""
        elif name in _OF_PART:
            yield from _OF_PART[name](part)


def _sample(sample: dict[str, float]) -> str:
    return f"{sample['median']:.2f}, {sample['p99']:.2f}"


def _runner(part: dict[str, Any]) -> Iterator[Row]:
    yield "runner over a bare exec of a static program", f"{part['over_bare_ms']:.2f} ms", "0.5 ms"
    size, each = part["held_pss_kib"] / 1024, part["held_rss_kib_each"]
    yield f"{part['held']:,} runners that wait, PSS together", f"{size:.0f} MiB (RSS {each:.0f} KiB each)", "300 MB"
    calls = part["system_calls_without_server"], part["system_calls_of_a_task"]
    yield "system calls of a runner: without a server / with a task", f"{calls[0]} / {calls[1]}", ""


def _interception(part: dict[str, Any]) -> Iterator[Row]:
    figure = f"{part['over_plain_ms']:.2f} ms ({part['ratio']:.2f} times plain)"
    yield "an execution of a program that is not wrapped, with the library over without", figure, "0.1 ms"


def _probe(part: dict[str, Any]) -> Iterator[Row]:
    yield "probe (`gcc --version`, a static program) over plain", f"{part['over_plain_ms']:.2f} ms", "1.5 ms"


def _round_trip(part: dict[str, Any]) -> Iterator[Row]:
    yield "round trip, overlay, idle: median, p99", f"{_sample(part['overlay']['ms'])} ms", "3.5 ms"
    yield "without a capture (`in-place`)", f"{_sample(part['in-place']['ms'])} ms", ""
    beside = part["overlay, 400 in flight"]
    yield "overlay, beside 400 other tasks in flight: median, p99", f"{_sample(beside)} ms", "p99 30 ms"


def _record(part: dict[str, Any]) -> Iterator[Row]:
    figure = f"{part['task_us']['median']:.0f} µs, with the writes {part['mean_us']:.0f} µs on average"
    yield "a task in the build's record, on the event loop", figure, f"{part['target_us']} µs"


def _report(part: dict[str, Any]) -> Iterator[Row]:
    made = f"{part['make_cpu_s']['median']:.1f} s of CPU, {part['bytes'] / 1e6:.1f} MB"
    yield f"the report of {part['tasks']:,} tasks: making the page", made, ""
    if "open_s" in part:
        yield "the same: from opening the page in Chromium to its last bar", f"{part['open_s']['median']:.2f} s", "3 s"


def _dispatch(part: dict[str, Any]) -> Iterator[Row]:
    sizes = {name: run for name, run in part.items() if name.isdigit()}
    for label, key, unit, aim in (
        ("tasks/s", "tasks_per_s", "", "700 on 1,000"),
        ("server CPU a task", "server_cpu_ms", " ms", "1.2 ms"),
        ("server memory", "server_rss_mib", " MiB", "300 MB"),
    ):
        yield f"dispatch, {' / '.join(sizes)} executors: {label}", _joined(sizes, key) + unit, aim
    lags = {name: run["loop_lag"] for name, run in sizes.items() if "loop_lag" in run}
    if lags:
        yield "lag of the server's loop meanwhile, p99", _joined(lags, "p99_ms") + " ms", ""


def _joined(sizes: dict[str, Any], key: str, digits: int = 1) -> str:
    return " / ".join(f"{run[key]:.{digits}f}" if run[key] < 10 else f"{run[key]:,.0f}" for run in sizes.values())


def _fill(part: dict[str, Any]) -> Iterator[Row]:
    for name, run in part.items():
        if name.isdigit():
            told = f"fill, {name} executors, {run['tasks']:,} tasks: over the bound"
            best = f"{run['over_bound']:.3f} (their order allows {run['order_over_bound']:.3f})"
            yield told, best, str(part["targets"].get(name, ""))


def _fill_ninja(part: dict[str, Any]) -> Iterator[Row]:
    for name, told in (("without_log", "without a log"), ("with_log", "with its log")):
        run = part[name]
        words = f"fill, ninja {told}, {part['executors']} executors, {part['tasks']:,} tasks: over the bound"
        yield words, f"{run['over_bound']:.3f} (its order allows {run['order_over_bound']:.3f})", ""


def _data(part: dict[str, Any]) -> Iterator[Row]:
    sizes = {name: run for name, run in part.items() if isinstance(run, dict) and "mb_per_s" in run}
    yield f"data, 50 executors: outputs of {' / '.join(sizes)}", _joined(sizes, "mb_per_s") + " MB/s", "350 MB/s"
    yield "server CPU in that, a megabyte", _joined(sizes, "server_cpu_ms_per_mb", 2) + " ms", "1.0 ms and the task"
    if "task" in part:
        yield "the event loop's own CPU of it", _joined(sizes, "loop_cpu_ms_per_mb", 2) + " ms", "0.3 ms and the task"
        task = part["task"]
        figure = f"{task['server_cpu_ms']:.2f} ms, of it the loop {task['loop_cpu_ms']:.2f}"
        yield "a task with an output of 1 kB in the same surroundings", figure, ""
    yield "server memory in that", _joined(sizes, "server_rss_mib") + " MiB", "bounded"


def _submit_host(part: dict[str, Any]) -> Iterator[Row]:
    for name, run in part.items():
        if not isinstance(run, dict):
            continue
        ours = run["spraycc"]
        label = f"submit host's CPU for a unit of {name}, {run['units']} units two at a time: SprayCC"
        of_it = f"runner {ours['runner_ms']:.2f}, server {ours['server_ms']:.2f}"
        yield label, f"{ours['cpu_ms']:.1f} ms ({of_it})", "2.2 ms" if name == "lua" else "3.5 ms, a 20th of distcc's"
        for peer in ("distcc", "distcc lzo", "distcc pump", "icecream"):
            found = run.get(peer)
            if isinstance(found, dict):
                times = f"{found['cpu_ms'] / ours['cpu_ms']:.1f} times as much"
                yield f"the same: {peer}", f"{found['cpu_ms']:.1f} ms: {times}", ""
            elif found:
                yield f"the same: {peer}", found, ""


def _no_op(part: dict[str, Any]) -> Iterator[Row]:
    ours = f"{part['spraycc_in-place_per_s']:.0f} / {part['spraycc_overlay_per_s']:.0f} a second"
    yield "tasks that do nothing, 2 local executors: `in-place` / overlay", ours, "ahead of HyperQueue"
    peer = part["hyperqueue_per_s"]
    yield "HyperQueue, LocalCluster, same cores", peer if isinstance(peer, str) else f"{peer:.0f} a second", ""
    yield "bare posix_spawn, one after the other", f"{part['posix_spawn_per_s']:,.0f} a second", ""


def _wall(part: dict[str, Any]) -> Iterator[Row]:
    for name, run in part.items():
        if name == "targets" or not isinstance(run, dict):
            continue
        yield f"wall, {name}: make -j2 under SprayCC, warm, over plain", f"{run['warm_over_plain']:.2f}", "1.03"
        yield f"wall, {name}: cold, more than plain", f"{run['cold_minus_plain_s']:.2f} s", "0.35 s"
        if "executors_over_plain" in run:  # not in results from before compile slots
            yield (
                f"wall, {name}: the same on 2 executors here, over plain",
                f"{run['executors_over_plain']:.2f}",
                "1.05",
            )
        for peer in ("distcc", "icecream"):
            if isinstance(run.get(peer), dict):
                yield f"wall, {name}: {peer} over plain", f"{run[peer]['over_plain']:.2f}", ""


def _clean(part: dict[str, Any]) -> Iterator[Row]:
    yield (
        "`make clean` with no server: SprayCC / plain",
        (f"{part['spraycc_ms']['median']:.0f} / {part['plain_ms']['median']:.0f} ms"),
        "400 ms",
    )


def _tokens(part: dict[str, Any]) -> Iterator[Row]:
    for width in (200, 400):
        if (sample := part.get(f"ramp_to_{width}_s")) is not None:
            yield f"ramp: from 1 to {width} running tasks", f"{sample['median']:.2f} s", "0.5 s" if width == 200 else ""


def _progress(part: dict[str, Any]) -> Iterator[Row]:
    for who, name in (("`spraycc`", "command_line_percent"), ("the server", "server_percent")):
        figure = f"{part['more_' + name]:.2f} % of a core ({part['auto'][name]:.2f} over {part['none'][name]:.2f})"
        yield f"the progress line: CPU of {who}", figure, "0.5 %" if name.startswith("command") else ""


_OF_PART = {
    "runner": _runner, "interception": _interception, "probe": _probe, "round-trip": _round_trip, "dispatch": _dispatch,
    "fill": _fill, "fill-ninja": _fill_ninja, "data": _data, "submit-host": _submit_host, "no-op": _no_op,
    "wall": _wall, "clean": _clean, "tokens": _tokens, "record": _record, "progress": _progress, "report": _report,
}  # fmt: skip


def peers(part: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """The table of the part *peers-farm*, which has more columns: its head, then a row for each width and tool."""
    yield "slots", "tool", "time over the bound", "CPU a unit", "memory", "processes"
    for width, run in part.items():
        for tool, found in run.items() if width.isdigit() else ():
            if isinstance(found, str):
                yield width, tool, found, "", "", ""
            elif isinstance(found, dict):
                time = f"{found['over_bound']:.2f} ({found['elapsed_s']:.1f} s over {run['bound_s']:.1f} s)"
                cpu, memory = f"{found['cpu_ms']:.1f} ms", f"{found['pss_mib']:,.0f} MiB"
                yield width, tool, time, cpu, memory, f"{found['processes']:,}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description="A run's figures as tables.")
    parser.add_argument("file", type=Path)
    run = json.loads(parser.parse_args().file.read_text())
    print("| part | measured | aim |\n| --- | --- | --- |")
    for row in rows(run["parts"]):
        _print(row)
    if "units" in run["parts"].get("peers-farm", {}):
        head, *others = peers(run["parts"]["peers-farm"])
        print()
        _print(head)
        _print(("---",) * len(head))
        for other in others:
            _print(other)


def _print(row: tuple[str, ...]) -> None:
    print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
