"""Hundreds of runners in one process, inside a build: the real protocol, and no process for each compile line.

``simulated_runners.py PLAN`` (by way of ``spraycc build --``) waits until the executors that the plan names are
connected, keeps so many tasks in flight until all have their results, looks at each result on disk (it is there, and of
the size that was asked for), empties it, and prints JSON: rates, latencies, what the server has used meanwhile.

The plan is a JSON file: ``executors``, ``in_flight``, ``directory`` (where outputs go), ``tasks`` ([[seconds, size in
bytes] ...]), ``probe_s`` (a compiler's query is sent so often, to see how long the server's loop keeps one waiting; 0:
never) and ``empty`` (outputs are emptied once they were looked at. They are not removed, as some file systems look at
each inode that was freed lately when they want a new one: ext4 without a journal does).
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import resource
import select
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spraycc.wire.framing import FrameReader, encode_frame
from spraycc.wire.runner import RUNNER_PROTOCOL, TO_SERVER, AskStatus, Hello, RunTask

#: A compile line of a large C++ project.
_WORDS = [b"-std=c++17", b"-O3", b"-g", b"-Wall", b"-Wextra", b"-Wshadow", b"-fPIC", b"-fno-exceptions"]
_WORDS += [b"-I/usr/include/lib%d" % number for number in range(12)] + [b"-DOPTION_%d=1" % n for n in range(10)]
_STREAMS = (("null", 0, 0), ("pipe", 0, 1), ("pipe", 0, 2))
_CONNECTED_S = 120.0


@dataclass(slots=True)
class _Runner:
    sock: socket.socket
    reader: FrameReader
    sent_at: float
    #: the output that must be there at the end; None for a query
    output: bytes | None
    size_bytes: int


class Runners:
    """The tasks of a plan, over connections to the server of the build that this process is in."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._socket = os.environ["SPRAYCC_SOCKET"]
        self._build = os.fsencode(os.environ["SPRAYCC_BUILD"])
        environment = {k: v for k, v in os.environb.items() if not k.startswith(b"SPRAYCC_")}
        self._env = tuple(name + b"=" + value for name, value in environment.items())
        self._directory = os.fsencode(plan["directory"])
        self._poll = select.epoll()
        self._open: dict[int, _Runner] = {}
        self.task_ms: list[float] = []
        self.probe_ms: list[float] = []
        self.bytes = 0
        self.wrong: list[str] = []
        #: tasks of :meth:`send_tasks`
        self._held = 0

    def run(self) -> float:
        """Run all tasks once; seconds from the first to the last."""
        tasks = list(reversed(self._plan["tasks"]))
        wanted, done, number = len(tasks), 0, 0
        probe_s = self._plan["probe_s"]
        start = time.perf_counter()
        next_probe = start + probe_s if probe_s else float("inf")
        running = 0
        while done < wanted:
            while tasks and running < self._plan["in_flight"]:
                seconds, size = tasks.pop()
                self._send_task(number, seconds, size)
                number += 1
                running += 1
            now = time.perf_counter()
            if now >= next_probe:
                self._send_probe()
                next_probe = now + probe_s
            for fd, _ in self._poll.poll(min(1.0, max(0.0, next_probe - now))):
                is_task = self._open[fd].output is not None
                if self._receive_and_close(fd) and is_task:
                    done += 1
                    running -= 1
        return time.perf_counter() - start

    def send_tasks(self, count: int, seconds: float) -> None:
        """Send ``count`` tasks of these seconds, to be held."""
        for _ in range(count):
            self._send_task(self._held, seconds, 0)
            self._held += 1

    def still_open(self) -> int:
        """Tasks that have not ended."""
        for fd, _ in self._poll.poll(0):
            self._receive_and_close(fd)
        return len(self._open)

    def _receive_and_close(self, fd: int) -> bool:
        runner = self._open[fd]
        if not self._receive(runner):
            return False
        self._poll.unregister(fd)
        del self._open[fd]
        runner.sock.close()
        return True

    def _send_task(self, number: int, seconds: float, size: int) -> None:
        output = b"%s/unit-%d.o" % (self._directory, number)
        argv = (b"g++", *_WORDS, b"-DSIMULATED_S=%g" % seconds, b"-DSIMULATED_BYTES=%d" % size,
                b"-c", b"-o", output, b"unit-%d.cc" % number)  # fmt: skip
        self._send(argv, output, size)

    def _send_probe(self) -> None:
        self._send((b"g++", b"--version"), None, 0)

    def _send(self, argv: tuple[bytes, ...], output: bytes | None, size: int) -> None:
        request = RunTask(
            RUNNER_PROTOCOL, "auto", self._build, argv, b"/usr/bin/g++", self._directory, self._env, 0o022,
            tuple((number, 2**64 - 1, 2**64 - 1) for number in range(16)), 0, _STREAMS,
        )  # fmt: skip
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sent_at = time.perf_counter()
        sock.connect(self._socket)
        sock.sendall(encode_frame(TO_SERVER.pack(request)))
        sock.setblocking(False)
        self._open[sock.fileno()] = _Runner(sock, FrameReader(), sent_at, output, size)
        self._poll.register(sock, select.EPOLLIN)

    def _receive(self, runner: _Runner) -> bool:
        """Whether this was the task's last frame."""
        try:
            data = runner.sock.recv(65536)
        except BlockingIOError:
            return False
        if not data:
            self.wrong.append(f"{runner.output!r}: the server hung up")
            return True
        runner.reader.feed(data)
        while (item := runner.reader.next_item()) is not None:
            if item[0] in ("exit", "here"):
                elapsed_ms = (time.perf_counter() - runner.sent_at) * 1e3
                if runner.output is None:
                    self.probe_ms.append(elapsed_ms)
                else:
                    self.task_ms.append(elapsed_ms)
                    self._look(runner, item)
                return True
        return False

    def _look(self, runner: _Runner, item: list[Any]) -> None:
        assert runner.output is not None
        if item != ["exit", 0, 0]:
            self.wrong.append(f"{runner.output!r}: {item}")
            return
        try:
            size = os.stat(runner.output).st_size
        except OSError as exc:
            self.wrong.append(f"{runner.output!r}: {exc.strerror}")
            return
        if size != runner.size_bytes:
            self.wrong.append(f"{runner.output!r}: {size} of {runner.size_bytes} bytes")
        self.bytes += size
        if self._plan["empty"]:
            os.truncate(runner.output, 0)


class Control:
    """A control connection, for status."""

    def __init__(self) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.connect(os.environ["SPRAYCC_SOCKET"])
        self._reader = FrameReader()
        self._sock.sendall(encode_frame(TO_SERVER.pack(Hello(RUNNER_PROTOCOL, "benchmarks"))))
        self._next()

    def _next(self) -> list[Any]:
        while (item := self._reader.next_item()) is None:
            data = self._sock.recv(65536)
            if not data:
                raise SystemExit("the server hung up")
            self._reader.feed(data)
        return item  # type: ignore[no-any-return]

    def status(self) -> dict[str, Any]:
        self._sock.sendall(encode_frame(TO_SERVER.pack(AskStatus())))
        return self._next()[1]  # type: ignore[no-any-return]

    def wait_for_executors(self, count: int) -> int:
        """Wait until this many executors are connected; the server's process id."""
        deadline = time.monotonic() + _CONNECTED_S
        while True:
            status = self.status()
            connected = len(status["executors"])
            if connected >= count:
                return int(status["server"]["pid"])
            if time.monotonic() > deadline:
                raise SystemExit(f"{connected} of {count} executors have connected")
            time.sleep(0.2)


def cpu_s(pid: int) -> float:
    """User and system seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def loop_cpu_s(pid: int) -> float:
    """Seconds that the main thread of a process has had a CPU: in a server, the event loop."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def memory_kib(pid: int, name: str) -> int:
    """A value of /proc/PID/status: VmRSS or VmHWM."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


def least_makespan(seconds: list[float], slots: int) -> float:
    """The bound that no schedule beats: the longest task, or all of them spread evenly."""
    return max(*seconds, sum(seconds) / slots) if seconds else 0.0


def first_fit_makespan(seconds: list[float], slots: int) -> float:
    """The time without any overhead in order of arrival: each task goes to the slot that is free first."""
    ends = [0.0] * min(slots, len(seconds))
    for task in seconds:
        heapq.heapreplace(ends, ends[0] + task)
    return max(ends)


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    plan = json.loads(Path(sys.argv[1]).read_text())
    control = Control()
    first = Runners(plan | {"tasks": [[0.0, 10]], "in_flight": 1, "probe_s": 0})
    first.run()
    pid = control.wait_for_executors(plan["executors"])
    warm_up = Runners(plan | {"tasks": [[0.01, 1000]] * min(200, plan["executors"]), "probe_s": 0})
    warm_up.run()
    idle_rss = memory_kib(pid, "VmRSS")
    with contextlib.suppress(OSError):  # the peak begins anew
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    runners = Runners(plan)
    server_before, loop_before, own_before = cpu_s(pid), loop_cpu_s(pid), time.process_time()
    elapsed_s = runners.run()
    server_s, loop_s = cpu_s(pid) - server_before, loop_cpu_s(pid) - loop_before
    own_s = time.process_time() - own_before
    seconds = [task[0] for task in plan["tasks"]]
    result = {
        "tasks_sent": len(plan["tasks"]) + len(first.task_ms) + len(warm_up.task_ms),
        "results_seen": len(first.task_ms) + len(warm_up.task_ms) + len(runners.task_ms),
        "bytes_seen": first.bytes + warm_up.bytes + runners.bytes,
        "wrong": [*first.wrong, *warm_up.wrong, *runners.wrong],
        "measured_tasks": len(runners.task_ms),
        "measured_bytes": runners.bytes,
        "elapsed_s": elapsed_s,
        "server_cpu_s": server_s,
        "loop_cpu_s": loop_s,
        "runners_cpu_s": own_s,
        "server_idle_rss_kib": idle_rss,
        "server_peak_rss_kib": memory_kib(pid, "VmHWM"),
        # of the last minute or two, the warm-up included
        "loop_lag": control.status()["server"]["loop_lag"],
        "task_ms": runners.task_ms,
        "probe_ms": runners.probe_ms,
        "bound_s": least_makespan(seconds, plan["executors"]),
        "order_bound_s": first_fit_makespan(seconds, plan["executors"]),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
