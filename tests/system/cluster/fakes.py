"""PBS and OpenLava as the programs of :mod:`fake.scheduler`: they answer with the recorded output of the real ones."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.pure.cluster import command_grammar
from tests.pure.cluster.transcripts import Transcript
from tests.system.harness.sandbox import Account

_SCHEDULER = Path(__file__).parent / "fake" / "scheduler.py"
#: The recorded reply behind each answer: a command of the transcript, and the number of its occurrence.
_PBS = {
    "submitted": ("qsub -N spraycc -j oe -o /dev/null -- /bin/sleep 25", 0),
    "submitted array": ("qsub -J 1-3 -N spraycc -j oe -o /dev/null -- /bin/sleep 10", 0),
    "listing": ("qstat -t '8[]'", 0),
    "listing later": ("qstat -t '8[]'", 1),
    "unknown": ("qstat 8", 0),
    "why": ("qstat -f 4", 0),
    "never": ("qsub -l select=1:ncpus=64 -j oe -o /dev/null -- /bin/true > pid; echo rc=$?; cat pid; sleep 2; qstat -f $(cat pid) | grep -E 'job_state|comment'; qdel $(cat pid)", 0),
    "no such to delete": ("qdel 9999", 0),
    "no such queue": ("qsub -q nosuch -j oe -o /dev/null -- /bin/true", 0),
    "too large": ("qsub -h -J 0-10000 -j oe -o /dev/null -- /bin/true", 0),
    "down qsub": ("qsub -j oe -o /dev/null -- /bin/true", 0),
    "down qstat": ("qstat", -1),
    "down qselect": ("qstat", -1),
    "down qdel": ("qdel 5", 0),
}  # fmt: skip
_OPENLAVA = {
    "submitted": (r"printf '#!/bin/sh\nsleep 40\n' | bsub -J 'spraycc[1-5]' -o /dev/null -q normal -W 10", 0),
    "listing": ("bjobs -w 108", 0),
    "ended": ("bjobs -a -w 108", 0),
    "done": ("bsub -o /nonexistent/dir/x true > jid; cat jid; sleep 12; bjobs -a -w $(grep -oE '<[0-9]+>' jid | tr -d '<>'); bjobs -l $(grep -oE '<[0-9]+>' jid | tr -d '<>') | head -14", 0),
    "nothing": ("bjobs -w", -1),
    "why": ("bjobs -p 108", 0),
    "killed": ("bkill 108", 0),
    "no such queue": ("bsub -q nosuch -o /dev/null true", 0),
    "too large": ("bsub -H -J 'spraycc[1-1001]' -o /dev/null true", 0),
    "unknown": ("bjobs 9999", 0),
    "down bsub": ("LSB_NTRIES=1 timeout 60 bsub -o /dev/null true", 0),
    "down bjobs": ("LSB_NTRIES=1 timeout 60 bjobs", 0),
    "down bkill": ("LSB_NTRIES=1 timeout 60 bkill 5", 0),
}  # fmt: skip
_SYSTEMS = {
    "pbs": (("qsub", "qstat", "qdel", "qselect"), "openpbs-23.06.06", _PBS),
    "openlava": (("bsub", "bjobs", "bkill"), "openlava-2.2", _OPENLAVA),
}
#: volclava has OpenLava's programs. It is used with ``cluster = "lsf"``.
_SYSTEMS["volclava"] = _SYSTEMS["openlava"]
_CLUSTER = {"volclava": "lsf"}


class FakeManager:
    """A directory with the programs of one system. Put ``path`` first on PATH."""

    def __init__(self, system: str, account: Account, slots: int) -> None:
        self.system = system
        self.account = account
        self.slots = slots
        programs, transcript_name, replies = _SYSTEMS[system]
        self.submits, self.lists = programs[:2]
        self.cancels = "qdel" if system == "pbs" else "bkill"
        self.searches = "qselect" if system == "pbs" else "bjobs"
        self.directory = Path(tempfile.mkdtemp(prefix="spraycc-fake-", dir="/var/tmp"))
        self.path = self.directory / "bin"
        for name in ("bin", "replies", "faults", "limits"):
            (self.directory / name).mkdir()
        for source in (_SCHEDULER, Path(command_grammar.__file__)):
            shutil.copy(source, self.directory)
        (self.directory / "system").write_text("pbs" if system == "pbs" else "openlava")
        (self.directory / "slots").write_text(str(slots))
        transcript = Transcript(transcript_name)
        for name, (command, number) in replies.items():
            reply = transcript.reply(command, number)
            for part, content in (("out", reply.stdout), ("err", reply.stderr), ("status", b"%d" % reply.status)):
                (self.directory / "replies" / f"{name}.{part}").write_bytes(content)
        for program in programs:
            path = self.path / program
            scheduler = self.directory / _SCHEDULER.name
            path.write_text(f'#!/bin/sh\nexec /usr/bin/python3 -S {scheduler} {self.directory} {program} "$@"\n')
            path.chmod(0o755)
        self.directory.chmod(0o755)
        for top, _, names in os.walk(self.directory):
            for path in (Path(top), *(Path(top) / name for name in names)):
                os.chown(path, account.uid, account.gid)

    def settings(self) -> Mapping[str, str]:
        return {"SPRAYCC_CLUSTER": _CLUSTER.get(self.system, self.system)}

    def fault(self, name: str, what: str = "") -> None:
        (self.directory / "faults" / name).write_text(what)

    def limit(self, name: str, most: int) -> None:
        """``queued`` or ``elements``."""
        (self.directory / "limits" / name).write_text(str(most))

    def no_fault(self, name: str) -> None:
        (self.directory / "faults" / name).unlink(missing_ok=True)

    def release(self) -> None:
        """Let the held-back batch jobs start, as soon as any program is called."""
        with open(self.directory / "lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            path = self.directory / "state.json"
            path.write_text(path.read_text().replace('"held": true', '"held": false'))

    def why(self, reply: str) -> None:
        """Give this reply to commands that ask why a batch job is pending."""
        for part in ("out", "err", "status"):
            shutil.copy(self.directory / "replies" / f"{reply}.{part}", self.directory / "replies" / f"why.{part}")

    def calls(self, program: str = "") -> list[list[str]]:
        """The command lines so far; those of one program, if ``program`` is given."""
        return [words[1:] for words in self._calls() if not program or words[1] == program]

    def times(self, program: str) -> list[float]:
        """The times at which a program was called (monotonic seconds)."""
        return [words[0] for words in self._calls() if words[1] == program]

    def _calls(self) -> list[list[Any]]:
        path = self.directory / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def elements(self) -> list[tuple[str, str]]:
        """(id, state) of each batch job, including ended ones."""
        path = self.directory / "state.json"
        jobs = json.loads(path.read_text())["jobs"] if path.exists() else {}
        return [(f"{job}[{index}]", e["state"]) for job, it in jobs.items() for index, e in it["elements"].items()]

    def listed(self) -> list[tuple[str, str]]:
        """The batch jobs that have not ended."""
        return [(name, state) for name, state in self.elements() if state != "ended"]

    def cancel(self, batch_job: str) -> None:
        """Cancels like qdel and bkill: ``10[2].pbsvm``, ``10[2]``."""
        self._note("cancelled", batch_job)

    def rerun(self, batch_job: str, *, held: bool = False) -> None:
        """Ends a running batch job and queues it again, as qrerun and brequeue do. ``held``: it does not start."""
        self._note("rerun", batch_job, "held" if held else "")

    def _note(self, what: str, batch_job: str, text: str = "") -> None:
        """Leave a file for the keeper of the batch job."""
        found = re.match(r"(\d+)(?:\[(\d+)\])?", batch_job)
        assert found is not None, batch_job
        path = self.directory / f"{what}.{found[1]}.{found[2] or 0}"
        path.with_suffix(".new").write_text(text)
        path.with_suffix(".new").chmod(0o644)
        path.with_suffix(".new").rename(path)

    def close(self) -> None:
        """End the remaining batch jobs and remove the files."""
        path = self.directory / "state.json"
        jobs = json.loads(path.read_text())["jobs"] if path.exists() else {}
        for job in jobs.values():
            for element in job["elements"].values():
                if element["state"] == "running" and "pid" in element:
                    try:
                        os.killpg(element["pid"], signal.SIGKILL)
                    except ProcessLookupError:
                        continue
        time.sleep(0.1)
        shutil.rmtree(self.directory, ignore_errors=True)
