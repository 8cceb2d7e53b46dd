"""A cluster manager for tests. It holds the states of batch jobs, runs them on this host, and answers with the recorded
output of real ones.

Run as ``scheduler.py DIRECTORY PROGRAM ARGUMENT…``, where PROGRAM is qsub, qstat, qdel, qselect, bsub, bjobs or bkill. The
answers are the bytes that real systems printed: files of ``DIRECTORY/replies``. Only ids and names are replaced by the
present ones. It shares no code with the drivers. It has no daemon: each program, and the keeper of each batch job at its
end, starts the batch jobs that fit into the slots.

Faults are files in ``DIRECTORY/faults`` with the name of the program. They contain ``hang``, ``garbage``, ``accept and
hang`` or ``reply NAME``. If a file ``half`` exists, only the first half of each array starts; with ``vanish`` the second
half disappears. ``full`` contains the name of a queue in which nothing starts.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

#: Seconds from the signal that ends a batch job to the signal that kills it.
KILL_AFTER_S = 10.0
#: The search for leftover processes of a build must not find the keepers.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "E2E_SANDBOX": "fake scheduler"}

PENDING, RUNNING, ENDED = "pending", "running", "ended"
State = dict[str, Any]


class Directory:
    """The paths of the manager's files."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    @contextlib.contextmanager
    def state(self) -> Iterator[State]:
        """The batch jobs, locked against other processes; changes are saved."""
        with open(self.path / "lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            file = self.path / "state.json"
            state = json.loads(file.read_text()) if file.exists() else {"next": 10, "jobs": {}}
            yield state
            self.start_what_fits(state)
            (self.path / "new.json").write_text(json.dumps(state))
            os.replace(self.path / "new.json", file)

    def start_what_fits(self, state: State) -> None:
        slots = int((self.path / "slots").read_text())
        elements = [(job, index, e) for job, all_ in state["jobs"].items() for index, e in all_["elements"].items()]
        free = slots - sum(element["state"] == RUNNING for _, _, element in elements)
        for job, index, element in elements:
            if free <= 0:
                return
            if element["state"] == PENDING and not element.get("held"):
                element["state"] = RUNNING
                free -= 1
                subprocess.Popen(
                    [sys.executable, "-S", __file__, str(self.path), "keep", job, index],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    start_new_session=True, cwd="/", env=ENVIRONMENT,
                )  # fmt: skip

    def reply(self, name: str, part: str = "out") -> bytes:
        return (self.path / "replies" / f"{name}.{part}").read_bytes()

    def has_fault(self, name: str) -> bool:
        return (self.path / "faults" / name).exists()

    def fault(self, program: str) -> str:
        path = self.path / "faults" / program
        return path.read_text() if path.exists() else ""


def give(directory: Directory, name: str, *exchanges: tuple[bytes, bytes]) -> NoReturn:
    """Print a recorded reply, and exit with its status."""
    for part, stream in (("out", sys.stdout.buffer), ("err", sys.stderr.buffer)):
        text = directory.reply(name, part)
        for old, new in exchanges:
            text = text.replace(old, new)
        stream.write(text)
        stream.flush()
    sys.exit(int(directory.reply(name, "status")) & 255)


def exchange(row: bytes, old: bytes, new: bytes) -> bytes:
    """Replace a word of a row; the words after it stay in their columns if possible."""
    before, _, after = row.partition(old)
    blanks = len(after) - len(after.lstrip(b" "))
    room = max(1, blanks + len(old) - len(new)) if blanks else 0
    return before + new + b" " * room + after.lstrip(b" ")


def row_with(directory: Directory, replies: list[str], pattern: bytes) -> bytes:
    """The first row of these replies that matches the pattern."""
    for name in replies:
        for line in directory.reply(name).splitlines():
            if re.search(pattern, line):
                return line
    raise LookupError(pattern)


# ---- what batch jobs do


def submit(directory: Directory, words: list[str], name: str, count: int, array: bool, family: str) -> str:
    """Accept a batch job from the script on standard input; returns its number."""
    queue = words[words.index("-q") + 1] if "-q" in words else ""
    full = bool(queue) and directory.fault("full") == queue
    script = sys.stdin.read()
    with directory.state() as state:
        job = str(state["next"])
        state["next"] += 1
        elements: dict[str, dict[str, Any]] = {
            str(index): {"state": PENDING} for index in (range(1, count + 1) if array else [0])
        }
        for index, element in elements.items():
            second_half = int(index) > count / 2
            element["held"] = full or (second_half and (directory.has_fault("half") or directory.has_fault("vanish")))
            element["hidden"] = second_half and directory.has_fault("vanish")
        state["jobs"][job] = {"name": name, "array": array, "family": family, "elements": elements}
        (directory.path / f"{job}.sh").write_text(script)
    return job


def keep(directory: Directory, job: str, index: str) -> None:
    """Run one batch job to its end."""
    with directory.state() as state:
        family = state["jobs"][job]["family"]
        if family == "pbs":
            extra = {"PBS_JOBID": f"{job}[{index}].pbsvm" if index != "0" else f"{job}.pbsvm"}
            extra |= {"PBS_ARRAY_INDEX": index} if index != "0" else {}
        else:
            extra = {"LSB_JOBID": job, "LSB_JOBINDEX": index}
        environment = {
            **ENVIRONMENT,
            "HOME": os.path.expanduser("~"),
            "LOGNAME": os.environ.get("LOGNAME", ""),
            **extra,
        }
        process = subprocess.Popen(
            ["/bin/sh", str(directory.path / f"{job}.sh")],
            stdin=subprocess.DEVNULL, env=environment, start_new_session=True,
        )  # fmt: skip
        state["jobs"][job]["elements"][index]["pid"] = process.pid
    kill_at = None
    while process.poll() is None:
        time.sleep(0.05)
        if kill_at is None and (directory.path / f"cancelled.{job}.{index}").exists():
            kill_at = time.monotonic() + KILL_AFTER_S
            os.killpg(process.pid, signal.SIGTERM if family == "pbs" else signal.SIGINT)
        elif kill_at is not None and time.monotonic() > kill_at:
            os.killpg(process.pid, signal.SIGKILL)
    with directory.state() as state:
        state["jobs"][job]["elements"][index].update(state=ENDED, status=process.returncode)


def cancel(directory: Directory, state: State, job: str, indices: list[str]) -> None:
    for index in indices:
        element = state["jobs"][job]["elements"][index]
        if element["state"] == RUNNING:
            (directory.path / f"cancelled.{job}.{index}").touch()
        elif element["state"] == PENDING:
            element.update(state=ENDED, status=None)


def is_over(job: State) -> bool:
    return all(element["state"] == ENDED for element in job["elements"].values())


def chosen(state: State, word: str) -> tuple[str, list[str]] | None:
    """``7``, ``7[]``, ``7[3]``, ``7[1-3]`` or ``7[1,3-4]``: the batch job and its existing indices."""
    found = re.fullmatch(r"(\d+)(?:\[([\d,-]*)\])?(?:\.\w+)?", word)
    if found is None or found[1] not in state["jobs"]:
        return None
    elements = state["jobs"][found[1]]["elements"]
    if not found[2]:
        return found[1], list(elements)
    indices = []
    for span in found[2].split(","):
        low, _, high = span.partition("-")
        indices += [str(index) for index in range(int(low), int(high or low) + 1)]
    return found[1], [index for index in indices if index in elements]


# ---- PBS


def qsub(directory: Directory, words: list[str]) -> None:
    name = words[words.index("-N") + 1]
    array = "-J" in words
    count = int(words[words.index("-J") + 1].partition("-")[2]) if array else 1
    job = submit(directory, words, name, count, array, "pbs").encode()
    if array:
        give(directory, "submitted array", (b"10[]", job + b"[]"))
    give(directory, "submitted", (b"3.", job + b"."))


def qstat(directory: Directory, words: list[str]) -> None:
    if words[0] == "-f":
        give(directory, "why")
    rows, unknown = [], []
    with directory.state() as state:
        for word in words[1:]:
            job = state["jobs"].get(word.removesuffix("[]"))
            if job is None or job["array"] != word.endswith("[]") or is_over(job):
                unknown.append(word)
                continue
            number, name = word.removesuffix("[]").encode(), job["name"].encode()
            if job["array"]:
                row = row_with(directory, ["listing"], rb"^8\[\]")
                rows.append(exchange(exchange(row, b"8[]", number + b"[]"), b"spraycc", name))
            for index, element in job["elements"].items():
                if not element["hidden"]:
                    letter = {PENDING: b"Q", RUNNING: b"R", ENDED: b"X"}[element["state"]]
                    row = row_with(directory, ["listing", "listing later"], rb"^8\[\d\].* %b " % letter)
                    old = row.partition(b".")[0]
                    new = number + (f"[{index}]".encode() if job["array"] else b"")
                    rows.append(exchange(exchange(row, old + b".pbsvm", new + b".pbsvm"), b"spraycc", name))
    if rows:
        head = directory.reply("listing").splitlines()[:2]
        sys.stdout.buffer.write(b"\n".join([*head, *rows]) + b"\n")
    for word in unknown:
        sys.stderr.buffer.write(directory.reply("unknown", "err").replace(b"8.", word.encode() + b"."))
    sys.stdout.flush()
    sys.exit(int(directory.reply("unknown", "status")) if unknown else 0)


def qselect(directory: Directory, words: list[str]) -> None:
    name = words[words.index("-N") + 1]
    with directory.state() as state:
        jobs = [
            (number, job["array"]) for number, job in state["jobs"].items() if job["name"] == name and not is_over(job)
        ]
    for number, array in jobs:
        reply = directory.reply("submitted array" if array else "submitted")
        sys.stdout.buffer.write(
            reply.replace(b"10[]" if array else b"3.", number.encode() + (b"[]" if array else b"."))
        )


def qdel(directory: Directory, words: list[str]) -> None:
    with directory.state() as state:
        known = [found for word in words if (found := chosen(state, word)) is not None]
        for job, indices in known:
            cancel(directory, state, job, indices)
    if not known:
        give(directory, "no such to delete", (b"9999", words[0].encode()))


# ---- LSF and OpenLava


def bsub(directory: Directory, words: list[str]) -> None:
    found = re.fullmatch(r"(.+)\[1-(\d+)\]", words[words.index("-J") + 1])
    assert found is not None
    job = submit(directory, words, found[1], int(found[2]), True, "lsf")
    give(directory, "submitted", (b"108", job.encode()))


def bjobs(directory: Directory, words: list[str]) -> None:
    if words[0] == "-p":
        number = words[1].partition("[")[0].encode()
        give(directory, "why", (b"108 ", number + b" "))
    with directory.state() as state:
        if "-J" in words:
            name = words[words.index("-J") + 1]
            wanted = [number for number, job in state["jobs"].items() if job["name"] == name and not is_over(job)]
        else:
            wanted = [word for word in words if word in state["jobs"]]
        rows = []
        for number in wanted:
            job = state["jobs"][number]
            for index, element in job["elements"].items():
                ended = "EXIT" if element.get("status") else "DONE"
                letters = {PENDING: "PEND", RUNNING: "RUN", ENDED: ended}[element["state"]]
                if element["hidden"] or ("-a" not in words and letters in ("EXIT", "DONE")):
                    continue
                row = row_with(directory, ["listing", "ended", "done"], rb"^\d+ +\S+ +%b " % letters.encode())
                old = row.split()
                row = exchange(row, old[0], number.encode())
                rows.append(exchange(row, old[6], f"{job['name']}[{index}]".encode()))
    if not rows:
        give(directory, "nothing")
    head = directory.reply("listing").splitlines()[0]
    sys.stdout.buffer.write(b"\n".join([head, *rows]) + b"\n")


def bkill(directory: Directory, words: list[str]) -> None:
    with directory.state() as state:
        for word in words:
            if (found := chosen(state, word)) is not None:
                cancel(directory, state, *found)
    # For a whole array the real one prints this and exits with 255, although it succeeds.
    give(directory, "killed", (b"108", words[0].partition("[")[0].encode()))


def main() -> None:
    directory, program, words = Directory(sys.argv[1]), sys.argv[2], sys.argv[3:]
    if program == "keep":
        keep(directory, *words)
        return
    with open(directory.path / "calls", "a") as calls:
        calls.write(json.dumps([time.monotonic(), program, *words]) + "\n")
    fault = directory.fault(program)
    if fault == "hang":
        time.sleep(600)
    if fault == "garbage":
        sys.stdout.buffer.write(b"<html>\xff\x00 proxy error 502</html>\n")
        return
    if fault.startswith("reply "):
        give(directory, fault.removeprefix("reply "))
    if fault == "accept and hang":
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until this process ends
        with contextlib.suppress(SystemExit):
            globals()[program](directory, words)
        time.sleep(600)
    globals()[program](directory, words)


if __name__ == "__main__":
    main()
