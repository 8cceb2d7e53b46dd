"""*slow-link*: many executors behind one link of 1 Gbit/s, which compress contents because the link is full. For root.

The executors are simulated and send with the executor's own code. They are in a network namespace of their own, whose
cable to the submit host has a token bucket filter (tc-tbf(8)). Their outputs are the bytes of a real object with debug
information.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.farm import run_plan
from benchmarks.harness import Place

_EXECUTORS = 50
_OUTPUT_BYTES = 2_000_000
_RATE = "1gbit"
#: A quick run has a link that even a busy host with few CPUs fills, and few executors: each must send two pieces over
#: the full link before it compresses, and then has outputs left. So the executors compress for certain.
_QUICK_EXECUTORS = 10
_QUICK_RATE = "100mbit"

_SOURCE = """\
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <regex>
#include <sstream>
#include <string>
#include <vector>
int main(int count, char **words) {
  std::map<std::string, std::vector<std::string>> found;
  std::regex pattern("(a|b)*c");
  for (int i = 0; i < count; i++)
    if (std::regex_match(words[i], pattern)) found[words[i]].push_back(words[i]);
  std::vector<std::shared_ptr<std::string>> sorted{std::make_shared<std::string>("x")};
  std::sort(sorted.begin(), sorted.end());
  std::function<int(int)> next = [](int number) { return number + 1; };
  std::ostringstream out;
  for (auto &entry : found) out << entry.first;
  std::cout << out.str() << std::endl;
  return next(0);
}
"""


@dataclass(frozen=True)
class LimitedLink:
    """A cable between this host and a host of its own network namespace."""

    #: this host's address on the cable
    near: str
    #: words before a command line: the command runs on the other host
    enter: tuple[str, ...]


@contextlib.contextmanager
def limited_link(rate: str, queue: str = "1mb") -> Iterator[LimitedLink]:
    """A cable that carries ``rate`` (as tc(8) has it) towards this host. Its switch holds ``queue`` of packets.

    An empty ``rate`` means no limit.

    Raises:
        subprocess.CalledProcessError: not root, or the kernel lacks network namespaces, veth or tbf.
    """
    number = os.getpid()
    namespace, near_end, far_end = f"sprcc-link-{number}", f"sl{number}a", f"sl{number}b"
    third = number % 250
    near, far = f"10.78.{third}.1", f"10.78.{third}.2"
    _run("ip", "netns", "add", namespace)
    try:
        _run("ip", "link", "add", near_end, "type", "veth", "peer", "name", far_end, "netns", namespace)
        _run("ip", "address", "add", f"{near}/24", "dev", near_end)
        _run("ip", "link", "set", near_end, "up")
        within = ("ip", "-n", namespace)
        _run(*within, "link", "set", "lo", "up")
        _run(*within, "address", "add", f"{far}/24", "dev", far_end)
        _run(*within, "link", "set", far_end, "up")
        if rate:
            bucket = ("root", "tbf", "rate", rate, "burst", "256kb", "limit", queue)
            _run("tc", "-n", namespace, "qdisc", "add", "dev", far_end, *bucket)
        yield LimitedLink(near, ("ip", "netns", "exec", namespace))
    finally:
        # The namespace lives until its last process has ended; the cable must not.
        subprocess.run(["ip", "link", "delete", near_end], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "delete", namespace], check=False)


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True)


def real_object(directory: Path) -> Path:
    """An object of some megabytes: C++ with debug information."""
    source = directory / "unit.cc"
    source.write_text(_SOURCE)
    target = directory / "unit.o"
    subprocess.run(["g++", "-g", "-O0", "-c", source, "-o", target], check=True)
    return target


def slow_link(place: Place) -> dict[str, Any]:
    """2 MB outputs from 50 executors over one link of 1 Gbit/s: with and without compression, in turns.

    Also over a cable without a limit, where nothing should be compressed.
    """
    if os.geteuid() != 0:
        return {"skipped": "needs root"}
    contents = real_object(place.root)
    count, rounds, rate = (40, 1, _QUICK_RATE) if place.quick else (1000, 5, _RATE)
    with limited_link(rate) as link:
        runs = [(_run_once(place, link, contents, count, plain=True), _run_once(place, link, contents, count))
                for _ in range(rounds)]  # fmt: skip
    with limited_link("") as link:
        free = _run_once(place, link, contents, count)
    plain_s = statistics.median([plain["elapsed_s"] for plain, _ in runs])
    compressed_s = statistics.median([packed["elapsed_s"] for _, packed in runs])
    packed = runs[-1][1]
    size_mb = count * _OUTPUT_BYTES / 1e6
    return {
        "rate": rate,
        "outputs": count,
        "output_bytes": _OUTPUT_BYTES,
        "plain_s": round(plain_s, 2),
        "compressed_s": round(compressed_s, 2),
        "times_as_fast": round(plain_s / compressed_s, 2),
        "compressed_share": round(packed["packed_from_bytes"] / 1e6 / size_mb, 3),
        "ratio": round(packed["packed_from_bytes"] / max(1, packed["packed_bytes"]), 2),
        "server_cpu_ms_per_mb": {
            "plain": round(runs[-1][0]["server_cpu_s"] * 1e3 / size_mb, 3),
            "compressed": round(packed["server_cpu_s"] * 1e3 / size_mb, 3),
        },
        "without_limit": {
            "elapsed_s": round(free["elapsed_s"], 2),
            "compressed_share": round(free["packed_from_bytes"] / 1e6 / size_mb, 3),
        },
        "target_times_as_fast": 2.5,
    }


def _run_once(place: Place, link: LimitedLink, contents: Path, count: int, *, plain: bool = False) -> dict[str, Any]:
    words = ["--contents", str(contents), *(["--plain"] if plain else [])]
    executors = _QUICK_EXECUTORS if place.quick else _EXECUTORS
    return run_plan(
        place, executors, [(0.0, _OUTPUT_BYTES)] * count, executors, words=words, listen=link.near, enter=link.enter
    )
