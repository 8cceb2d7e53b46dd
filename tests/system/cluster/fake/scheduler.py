"""A cluster manager for tests. It holds the states of batch jobs, runs them on this host, and answers with the recorded
output of real ones.

Run as ``scheduler.py DIRECTORY PROGRAM ARGUMENT…``, where PROGRAM is qsub, qstat, qdel, qselect, bsub, bjobs or bkill. The
answers are the bytes that real systems printed: files of ``DIRECTORY/replies``. Only ids and names are replaced by the
present ones. ``command_grammar.py`` refuses the command lines that the real ones refuse. Both share no code with the
drivers. There is no daemon: each program, and the keeper of each batch job at its end, starts the batch jobs that fit into
the slots.

Faults are files in ``DIRECTORY/faults``:

- the name of a program: ``hang``, ``crash``, ``garbage``, ``down``, ``accept and hang``, ``accept and down`` or ``reply NAME``
- ``down``: the daemon of all programs is down. A qdel that makes OpenPBS's server die makes this file.
- ``half``: only the first half of each array starts; with ``vanish`` the second half disappears
- ``full``: the name of a queue in which nothing starts
- ``lag``: for this many seconds after its end, a batch job is listed as running
- ``banner``: a site's wrapper prints this text before and after each answer, and on the standard error

Limits are files in ``DIRECTORY/limits``: ``queued`` (batch jobs of the user) and ``elements`` (of an array).
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

from command_grammar import Refused, check, check_several_ids, elements  # type: ignore[import-not-found]

#: Seconds from the signal that ends a batch job to the signal that kills it.
KILL_AFTER_S = 10.0
#: The search for leftover processes of a build must not find the keepers.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "E2E_SANDBOX": "fake scheduler"}

#: The words at a limit on a user's batch jobs. The exit statuses are not recorded.
TOO_MANY = {
    "pbs": "qsub: would exceed queue generic's per-user limit",
    "lsf": "User has reached the per-user job slot limit. Job not submitted.",
}

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
        all_of_them = [(job, index, e) for job, all_ in state["jobs"].items() for index, e in all_["elements"].items()]
        free = slots - sum(element["state"] == RUNNING for _, _, element in all_of_them)
        for job, index, element in all_of_them:
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

    def limit(self, name: str) -> float:
        path = self.path / "limits" / name
        return int(path.read_text()) if path.exists() else float("inf")


def give(directory: Directory, name: str, *exchanges: tuple[bytes, bytes]) -> NoReturn:
    """Print a recorded reply, and exit with its status."""
    for part, stream in (("out", sys.stdout.buffer), ("err", sys.stderr.buffer)):
        text = directory.reply(name, part)
        for old, new in exchanges:
            text = text.replace(old, new)
        stream.write(text)
        stream.flush()
    leave(directory, int(directory.reply(name, "status")) & 255)


def leave(directory: Directory, status: int, error: str = "") -> NoReturn:
    """Exit, after the last lines."""
    if error:
        sys.stderr.write(error + "\n")
    sys.stdout.write(directory.fault("banner"))
    sys.exit(status)


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


def submit(directory: Directory, command: Any, name: str, indices: list[int], family: str) -> str:
    """Accept a batch job from the script on standard input; returns its number. ``indices``: none for no array."""
    queue = command.value("q")
    full = bool(queue) and directory.fault("full") == queue
    script = sys.stdin.read()
    if len(indices) > directory.limit("elements"):
        give(directory, "too large")
    with directory.state() as state:
        queued = sum(e["state"] != ENDED for job in state["jobs"].values() for e in job["elements"].values())
        if queued + (len(indices) or 1) > directory.limit("queued"):
            leave(directory, 1, TOO_MANY[family])
        job = str(state["next"])
        state["next"] += 1
        array = bool(indices)
        made: dict[str, dict[str, Any]] = {str(index): {"state": PENDING} for index in indices or [0]}
        for index, element in made.items():
            second_half = int(index) > len(made) / 2
            element["held"] = full or (second_half and (directory.has_fault("half") or directory.has_fault("vanish")))
            element["hidden"] = second_half and directory.has_fault("vanish")
        state["jobs"][job] = {"name": name, "array": array, "family": family, "elements": made}
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
    kill_at, rerun, held = None, False, False
    again = directory.path / f"rerun.{job}.{index}"
    while process.poll() is None:
        time.sleep(0.05)
        if kill_at is None and (directory.path / f"cancelled.{job}.{index}").exists():
            kill_at = time.monotonic() + KILL_AFTER_S
            os.killpg(process.pid, signal.SIGTERM if family == "pbs" else signal.SIGINT)
        elif kill_at is None and again.exists():
            rerun, held, kill_at = True, again.read_text() == "held", time.monotonic() + KILL_AFTER_S
            again.unlink()
            os.killpg(process.pid, signal.SIGTERM)
        elif kill_at is not None and time.monotonic() > kill_at:
            os.killpg(process.pid, signal.SIGKILL)
    with directory.state() as state:
        if rerun and not (directory.path / f"cancelled.{job}.{index}").exists():
            state["jobs"][job]["elements"][index] = {"state": PENDING, "hidden": False, "held": held}
        else:
            state["jobs"][job]["elements"][index].update(
                state=ENDED, status=process.returncode, ended_at=time.monotonic()
            )


def cancel(directory: Directory, state: State, job: str, indices: list[str]) -> None:
    for index in indices:
        element = state["jobs"][job]["elements"][index]
        if element["state"] == RUNNING:
            (directory.path / f"cancelled.{job}.{index}").touch()
        elif element["state"] == PENDING:
            element.update(state=ENDED, status=None)


def shown(directory: Directory, element: dict[str, Any]) -> str:
    """The state that a listing has."""
    if element["state"] == ENDED and time.monotonic() < element.get("ended_at", -9e9) + float(
        directory.fault("lag") or 0
    ):
        return RUNNING
    return str(element["state"])


def is_over(directory: Directory, job: State) -> bool:
    return all(shown(directory, element) == ENDED for element in job["elements"].values())


def chosen(state: State, word: str) -> tuple[str, list[str]] | None:
    """``7``, ``7[]``, ``7[3]``, ``7[1-3]`` or ``7[1,3-4]``: the batch job and its existing indices."""
    found = re.fullmatch(r"(\d+)(?:\[(.*)\])?(?:\.\w+)?", word)
    if found is None or found[1] not in state["jobs"]:
        return None
    known = state["jobs"][found[1]]["elements"]
    if not found[2]:
        return found[1], list(known)
    return found[1], [str(index) for index in elements(found[2]) if str(index) in known]


# ---- PBS


def qsub(directory: Directory, command: Any) -> None:
    indices = elements(command.value("J").partition("%")[0]) if command.has("J") else []
    job = submit(directory, command, command.value("N"), indices, "pbs").encode()
    if indices:
        give(directory, "submitted array", (b"10[]", job + b"[]"))
    give(directory, "submitted", (b"3.", job + b"."))


def qstat(directory: Directory, command: Any) -> None:
    if command.has("f"):
        give(directory, "why")
    rows, unknown = [], []
    with directory.state() as state:
        for word in command.operands:
            job = state["jobs"].get(word.removesuffix("[]"))
            if job is None or job["array"] != word.endswith("[]") or is_over(directory, job):
                unknown.append(word)
                continue
            number, name = word.removesuffix("[]").encode(), job["name"].encode()
            if job["array"]:
                row = row_with(directory, ["listing"], rb"^8\[\]")
                rows.append(exchange(exchange(row, b"8[]", number + b"[]"), b"spraycc", name))
            if job["array"] and not command.has("t"):
                continue
            for index, element in job["elements"].items():
                if not element["hidden"]:
                    letter = {PENDING: b"Q", RUNNING: b"R", ENDED: b"X"}[shown(directory, element)]
                    row = row_with(directory, ["listing", "listing later"], rb"^8\[\d\].* %b " % letter)
                    old = row.partition(b".")[0]
                    new = number + (f"[{index}]".encode() if job["array"] else b"")
                    rows.append(exchange(exchange(row, old + b".pbsvm", new + b".pbsvm"), b"spraycc", name))
    if rows:
        head = directory.reply("listing").splitlines()[:2]
        sys.stdout.buffer.write(b"\n".join([*head, *rows]) + b"\n")
        sys.stdout.flush()
    errors = [directory.reply("unknown", "err").decode().strip().replace("8.", f"{word}.") for word in unknown]
    leave(directory, int(directory.reply("unknown", "status")) if unknown else 0, "\n".join(errors))


def qselect(directory: Directory, command: Any) -> None:
    name = command.value("N")
    with directory.state() as state:
        jobs = [
            (number, job["array"])
            for number, job in state["jobs"].items()
            if job["name"] == name and not is_over(directory, job)
        ]
    for number, array in jobs:
        reply = directory.reply("submitted array" if array else "submitted")
        line = reply.replace(b"10[]" if array else b"3.", number.encode() + (b"[]" if array else b"."))
        sys.stdout.buffer.write(line.rstrip() + b"\n")
    sys.stdout.flush()
    leave(directory, 0)


def qdel(directory: Directory, command: Any) -> None:
    with directory.state() as state:
        # An array is known with brackets only.
        known = [
            (word, *found)
            for word in command.operands
            if (found := chosen(state, word)) and state["jobs"][found[0]]["array"] == ("[" in word)
            if not all(e["state"] == ENDED for e in state["jobs"][found[0]]["elements"].values())
        ]
        try:
            check_several_ids([word for word, *_ in known])
        except Refused as refused:
            if refused.server_dies:
                (directory.path / "faults" / "down").touch()
            leave(directory, refused.status, refused.text)
        for _, job, indices in known:
            cancel(directory, state, job, indices)
        several = len(command.operands) > 1
    if not known and not several:
        give(directory, "no such to delete", (b"9999", command.operands[0].encode()))
    leave(directory, 0)


# ---- LSF and OpenLava


def bsub(directory: Directory, command: Any) -> None:
    name, _, spec = command.value("J").partition("[")
    indices = elements(spec.partition("]")[0]) if spec else []
    job = submit(directory, command, name, indices, "lsf")
    give(directory, "submitted", (b"108", job.encode()))


def bjobs(directory: Directory, command: Any) -> None:
    if command.has("p"):
        number = command.operands[0].partition("[")[0].encode()
        give(directory, "why", (b"108 ", number + b" "))
    with directory.state() as state:
        if command.has("J"):
            name = command.value("J")
            wanted = [number for number, job in state["jobs"].items() if job["name"] == name]
        else:
            wanted = [word for word in command.operands if word in state["jobs"]]
        unknown = [word for word in command.operands if word not in state["jobs"]]
        rows = []
        for number in wanted:
            job = state["jobs"][number]
            for index, element in job["elements"].items():
                ended = "EXIT" if element.get("status") else "DONE"
                letters = {PENDING: "PEND", RUNNING: "RUN", ENDED: ended}[shown(directory, element)]
                if element["hidden"] or (not command.has("a") and letters in ("EXIT", "DONE")):
                    continue
                row = row_with(directory, ["listing", "ended", "done"], rb"^\d+ +\S+ +%b " % letters.encode())
                old = row.split()
                row = exchange(row, old[0], number.encode())
                rows.append(exchange(row, old[6], f"{job['name']}[{index}]".encode()))
    if not rows and not unknown:
        give(directory, "nothing")
    if rows:
        head = directory.reply("listing").splitlines()[0]
        sys.stdout.buffer.write(b"\n".join([head, *rows]) + b"\n")
        sys.stdout.flush()
    errors = [directory.reply("unknown", "err").decode().strip().replace("9999", word) for word in unknown]
    leave(directory, 255 if unknown else 0, "\n".join(errors))


def bkill(directory: Directory, command: Any) -> None:
    """An array as a whole is killed later, and the exit status is 255 although this succeeds."""
    done, failed = [], []
    with directory.state() as state:
        for word in command.operands:
            found = chosen(state, word)
            if found is None or not found[1]:
                failed.append(f"Job <{word}>: No matching job found")
                continue
            job, indices = found
            alive = [index for index in indices if state["jobs"][job]["elements"][index]["state"] != ENDED]
            cancel(directory, state, job, alive)
            if not alive:
                failed.append(f"Job <{word}>: Job has already finished")
            elif "[" in word:
                done += [f"Job <{job}[{index}]> is being terminated" for index in alive]
            else:
                failed.append(directory.reply("killed", "err").decode().strip().replace("108", job))
    for line in done:
        print(line, flush=True)
    leave(directory, 255 if failed else 0, "\n".join(failed))


def down(directory: Directory, program: str) -> NoReturn:
    """The answer while the daemon is down. Without LSB_NTRIES the programs of LSF wait for ever."""
    if program.startswith("b") and "LSB_NTRIES" not in os.environ:
        time.sleep(600)
    give(directory, f"down {program}")


def main() -> None:
    directory, program, words = Directory(sys.argv[1]), sys.argv[2], sys.argv[3:]
    if program == "keep":
        keep(directory, *words)
        return
    with open(directory.path / "calls", "a") as calls:
        calls.write(json.dumps([time.monotonic(), program, *words]) + "\n")
    banner = directory.fault("banner")
    print(banner, end="", flush=True)
    print(banner, end="", flush=True, file=sys.stderr)
    fault = directory.fault(program)
    if fault == "hang":
        time.sleep(600)
    if fault == "crash":
        print("free(): invalid pointer", file=sys.stderr, flush=True)
        os.abort()
    if fault == "garbage":
        sys.stdout.buffer.write(b"<html>\xff\x00 proxy error 502</html>\n")
        return
    if fault == "down" or directory.has_fault("down"):
        down(directory, program)
    if fault.startswith("reply "):
        give(directory, fault.removeprefix("reply "))
    try:
        command = check((directory.path / "system").read_text(), [program, *words])
    except Refused as refused:
        leave(directory, refused.status, refused.text)
    if fault.startswith("accept and "):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        streams = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the rest of the work
        with contextlib.suppress(SystemExit):
            globals()[program](directory, command)
        sys.stdout, sys.stderr = streams
        if fault == "accept and down":
            down(directory, program)
        time.sleep(600)
    globals()[program](directory, command)


if __name__ == "__main__":
    main()
