"""Real cluster managers on this machine, started for tests and stopped after them: one node, a few slots."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tests.system.cluster.accounting import Accounting
from tests.system.harness.sandbox import MARKER, Account
from tests.system.harness.waiting import HANG_S

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def free_ports(count: int) -> list[int]:
    """TCP ports of loopback that no process listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


class Slurm:
    """slurmctld and slurmd of an ordinary user: no authentication, on loopback, with more CPUs than the machine has.

    Accounting is on, as on most sites, so that :meth:`limit` can set a user's limits.
    The partition ``long`` is the default. ``brief`` allows a minute. ``closed`` starts nothing.
    Batch jobs in ``spare`` are cancelled when ``urgent`` needs the place. ``secret`` is hidden.
    """

    #: program → Debian package
    PROGRAMS: ClassVar = {
        "slurmctld": "slurmctld",
        "slurmd": "slurmd",
        **dict.fromkeys(("sbatch", "salloc", "srun", "squeue", "scancel", "sinfo", "sacctmgr"), "slurm-client"),
        **Accounting.PROGRAMS,
    }

    def __init__(self, account: Account, slots: int) -> None:
        self.account = account
        self.directory = Path(tempfile.mkdtemp(prefix="spraycc-slurm-", dir="/var/tmp"))
        self.conf = self.directory / "slurm.conf"
        self.slots = slots
        self._host = socket.gethostname().partition(".")[0]
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        control_port, node_port, *database_ports = free_ports(4)
        self._ports = control_port, node_port
        self._accounting = Accounting(account, self.directory, PATH, database_ports)

    def start(self) -> None:
        """Write the configuration and start the daemons; return when the node accepts batch jobs."""
        control_port, node_port = self._ports
        host = self._host
        options = {
            "ClusterName": "spraycctest",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmUser": self.account.name,
            "SlurmdUser": self.account.name,
            "AuthType": "auth/none",
            "CredType": "cred/none",
            "CommunicationParameters": "NoCtldInAddrAny,NoInAddrAny",
            "SlurmctldPort": control_port,
            "SlurmdPort": node_port,
            "StateSaveLocation": self.directory / "state",
            "SlurmdSpoolDir": self.directory / "spool",
            "SlurmctldPidFile": self.directory / "slurmctld.pid",
            "SlurmdPidFile": self.directory / "slurmd.pid",
            "SlurmctldLogFile": self.directory / "slurmctld.log",
            "SlurmdLogFile": self.directory / "slurmd.log",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "SwitchType": "switch/none",
            "MpiDefault": "none",
            "ReturnToService": 2,
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_CPU",
            "SlurmdParameters": "config_overrides",
            "AccountingStorageType": "accounting_storage/slurmdbd",
            "AccountingStorageHost": "127.0.0.1",
            "AccountingStoragePort": self._accounting.port,
            "AccountingStorageEnforce": "limits",
            "JobAcctGatherType": "jobacct_gather/none",
            "KillWait": 5,
            "MaxArraySize": 9,  # the highest index is 8
            "MinJobAge": 30,
            "PreemptType": "preempt/partition_prio",
            "PreemptMode": "CANCEL",
            "MessageTimeout": 10,
            "SchedulerParameters": "batch_sched_delay=0,sched_min_interval=0,sched_interval=1",
        }
        lines = [f"{name}={value}" for name, value in options.items()]
        lines.append(f"NodeName={host} NodeAddr=127.0.0.1 CPUs={self.slots} State=UNKNOWN")
        lines.append(f"PartitionName=long Nodes={host} Default=YES MaxTime=60 DefaultTime=10 PreemptMode=OFF State=UP")
        lines.append(f"PartitionName=brief Nodes={host} MaxTime=1 PreemptMode=OFF State=UP")
        lines.append(f"PartitionName=spare Nodes={host} MaxTime=60 State=UP")
        lines.append(f"PartitionName=urgent Nodes={host} MaxTime=60 PriorityTier=9 PreemptMode=OFF State=UP")
        lines.append(f"PartitionName=closed Nodes={host} State=INACTIVE")
        lines.append(f"PartitionName=secret Nodes={host} MaxTime=60 Hidden=YES PreemptMode=OFF State=UP")
        self.conf.write_text("\n".join(lines) + "\n")
        for name in ("state", "spool"):
            (self.directory / name).mkdir()
        self.directory.chmod(0o755)
        for path in (self.directory, *self.directory.iterdir()):
            os.chown(path, self.account.uid, self.account.gid)
        self._accounting.start(self.environment())
        # Before the controller starts: it refuses an unknown cluster's batch jobs.
        for words in ("cluster spraycctest", "account team", f"user {self.account.name} account=team"):
            self.run("sacctmgr", "--immediate", "add", *words.split())
        self.start_daemon("slurmctld")
        self.start_daemon("slurmd")
        self.wait_until_idle()

    def limit(self, name: str, value: int | None) -> None:
        """Set a limit of the user, such as MaxSubmitJobs (sacctmgr(1)); None: no limit. Return when the controller knows."""
        number = -1 if value is None else value
        self.run("sacctmgr", "--immediate", "modify", "user", self.account.name, "set", f"{name}={number}")
        shown = re.compile(rf"\b{name}=(\d+)")  # without a limit there is no number
        expected = [] if value is None else [str(value)]
        self._wait(f"{name}={number}", lambda: shown.findall(self.run("scontrol", "show", "assoc_mgr")) == expected)

    def start_daemon(self, name: str) -> None:
        """Start ``slurmctld`` or ``slurmd`` in the foreground, so that the daemon is a child of this process."""
        with open(self.directory / f"{name}.out", "ab") as out:
            self._daemons[name] = subprocess.Popen(
                self.account.command([shutil.which(name, path=PATH) or name, "-D", "-f", str(self.conf)]),
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.environment(), start_new_session=True,
            )  # fmt: skip

    def stop_daemon(self, name: str) -> None:
        """End a daemon, not by SIGKILL: after a kill the controller would restart with a state that is some seconds old."""
        process = self._daemons.pop(name)
        process.terminate()
        process.wait(HANG_S)

    def stop_master(self) -> None:
        self.stop_daemon("slurmctld")

    def start_master(self) -> None:
        """Start slurmctld again; return when it answers."""
        self.start_daemon("slurmctld")
        self.wait_until_answers()

    def drain(self) -> None:
        """From now on no batch job starts; those that run go on. The controller's restart keeps this state."""
        self.run("scontrol", "update", f"NodeName={self._host}", "State=DRAIN", "Reason=test")

    def resume(self) -> None:
        """Batch jobs may start again."""
        self.run("scontrol", "update", f"NodeName={self._host}", "State=RESUME")

    def wait_until_idle(self) -> None:
        self._wait("the node is idle", lambda: self._node() in ("idle", "mix") and not self.listed())

    def wait_until_answers(self) -> None:
        self._wait("the controller answers", self._node)

    def _node(self) -> str:
        """The node's state; empty if the controller does not answer."""
        return self.run("sinfo", "-h", "-p", "long", "-o", "%t").strip()

    def _wait(self, what: str, condition: Callable[[], object]) -> None:
        end = time.monotonic() + HANG_S
        while not condition():
            assert time.monotonic() < end, f"Slurm: not so: {what}\n{self.logs()}"
            time.sleep(0.1)

    def environment(self) -> dict[str, str]:
        return {"PATH": PATH, "SLURM_CONF": str(self.conf), MARKER: "slurm", "LC_ALL": "C"}

    def settings(self) -> Mapping[str, str]:
        """The settings with which a sandbox uses this Slurm."""
        return {"SLURM_CONF": str(self.conf), "SPRAYCC_CLUSTER": "slurm"}

    def run(self, *argv: str) -> str:
        """The output of a client command; empty if the daemon does not answer."""
        done = subprocess.run(
            self.account.command(argv),
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
        )
        return done.stdout

    def listed(self) -> list[tuple[str, str, str]]:
        """(id_index, state, name) of each batch job that has not ended."""
        lines = self.run("squeue", "-h", "--all", "--array", "--format=%i|%T|%j").splitlines()
        return [(fields[0], fields[1], fields[2]) for line in lines if len(fields := line.split("|")) == 3]

    def waiting(self) -> list[str]:
        """The ids of the pending batch jobs."""
        return [name for name, state, _ in self.listed() if state == "PENDING"]

    def cancel(self, batch_jobs: Sequence[str]) -> None:
        self.run("scancel", *batch_jobs)

    def logs(self) -> str:
        return "\n".join(
            f"--- {p.name}\n{p.read_text(errors='replace')[-3000:]}" for p in self.directory.glob("*.[lo]*")
        )

    def close(self) -> None:
        """Cancel everything, end the daemons and remove their files."""
        if "slurmctld" in self._daemons:
            self.run("scancel", f"--user={self.account.name}")
            end = time.monotonic() + HANG_S
            while self.listed() and time.monotonic() < end:
                time.sleep(0.2)
        for process in self._daemons.values():
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(HANG_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._accounting.close()
        shutil.rmtree(self.directory, ignore_errors=True)


_SGE_ROOT = Path("/var/lib/gridengine")
#: locked by the test run that uses the Grid Engine
_LOCK = Path("/var/tmp/spraycc-gridengine.lock")


@dataclass(frozen=True)
class InNamespace(Account):
    """An account whose commands run in a network namespace. Only root can do that."""

    namespace: str = ""

    @property
    def is_me(self) -> bool:
        return False

    def command(self, argv: Sequence[str | bytes | Path]) -> list[str | bytes | Path]:
        return [*enter(self.namespace), *super().command(argv)]


def enter(namespace: str) -> list[str | bytes | Path]:
    return ["nsenter", f"--net=/run/netns/{namespace}", "--"]


class GridEngine:
    """sge_qmaster and sge_execd from Debian's packages, as root, in a network namespace: they listen on all addresses.

    The parallel environment ``steps`` allows ``qrsh -inherit``.
    It uses the packages' own cell, so it starts only if that cell is not in use.
    """

    #: program → Debian package
    PROGRAMS: ClassVar = {
        "sge_qmaster": "gridengine-master",
        "sge_execd": "gridengine-exec",
        **dict.fromkeys(("qsub", "qstat", "qconf", "qrsh"), "gridengine-client"),
        "ip": "iproute2",
        "nsenter": "util-linux",
        "pgrep": "procps",
    }

    def __init__(self, account: Account, slots: int) -> None:
        self.namespace = f"spraycc-ge-{os.getpid()}"
        self.account = InNamespace(
            account.name, account.uid, account.gid, account.home, account.group, namespace=self.namespace
        )
        self.slots = slots
        self._common = _SGE_ROOT / "default" / "common"
        self._temporary = Path(tempfile.mkdtemp(prefix="spraycc-ge-", dir="/var/tmp"))
        self._temporary.chmod(0o755)
        self._host = socket.gethostname().partition(".")[0]
        #: the packages' files are changed, so :meth:`close` must restore them
        self._is_ours = False

    def start(self) -> None:
        """Start it; return when the queue ``all.q`` accepts batch jobs.

        The packages' directories hold one Grid Engine, so this waits until another run of the tests has released it.
        """
        self._alone = open(_LOCK, "a")  # noqa: SIM115 - until close
        fcntl.flock(self._alone, fcntl.LOCK_EX)
        act_qmaster = self._common / "act_qmaster"
        # A run of the tests that was killed left its host in act_qmaster, so only a running master counts.
        masters = subprocess.run(["pgrep", "-x", "sge_qmaster"], capture_output=True, text=True, check=False).stdout
        assert not masters, f"{act_qmaster}: this one is in use by processes {masters.split()}"
        self._is_ours = True
        subprocess.run(["ip", "netns", "add", self.namespace], check=True)
        subprocess.run([*enter(self.namespace), "ip", "link", "set", "lo", "up"], check=True)
        act_qmaster.write_text(f"{self._host}\n")
        # Otherwise a client on 127.0.0.1 counts as another host than the master.
        (self._common / "host_aliases").write_text(f"{self._host} localhost\n")
        self._run_as_root("sge_qmaster")
        self._wait("the master answers", lambda: self._admin("-sm") is not None)
        self._clear_away()
        self._admin("-as", self._host)
        self._edited("-ae", f"s/^hostname .*/hostname {self._host}/")
        self._edited("-ahgrp", f"s/^hostlist .*/hostlist {self._host}/", "@allhosts")
        self._edited(
            "-ap", f"s/^slots .*/slots {self.slots}/;s/^allocation_rule .*/allocation_rule $fill_up/;s/^control_slaves .*/control_slaves TRUE/",
            "steps",
        )  # fmt: skip
        for queue, limit in (("all.q", "INFINITY"), ("brief.q", "00:01:00")):
            # After `notify`, a batch job that got a warning is killed. Otherwise it may go on for a minute.
            edit = f"s/^notify .*/notify 00:00:05/;s/^hostlist .*/hostlist @allhosts/;s/^slots .*/slots {self.slots}/;s|^shell  .*|shell /bin/sh|;s/^pe_list .*/pe_list steps/"
            self._edited("-aq", f"{edit};s/^h_rt .*/h_rt {limit}/;s/^load_thresholds .*/load_thresholds NONE/", queue)
        # Schedule as soon as something is submitted or ends, not every 15 s.
        self._edited(
            "-msconf",
            "s/^flush_\\(submit\\|finish\\)_sec .*/flush_\\1_sec 1/;s/^schedule_interval .*/schedule_interval 0:0:1/",
        )
        self._edited(
            "-mconf",
            "s/^gid_range .*/gid_range 65600-66600/;s/^load_report_time .*/load_report_time 00:00:01/",
            "global",
        )
        self._run_as_root("sge_execd")
        self.wait_until_up()

    def _is_up(self) -> bool:
        """True if ``all.q`` has no state but d(isabled)."""
        rows = [line.split() for line in self.run("qstat", "-f", "-q", "all.q").splitlines()]
        return any(row[0].startswith("all.q@") and row[5:] in ([], ["d"]) for row in rows if len(row) > 4)

    def _wait(self, what: str, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + HANG_S
        while not condition():
            assert time.monotonic() < end, f"Grid Engine: not so: {what}\n{self.run('qstat', '-f')}"
            time.sleep(0.2)

    def environment(self) -> dict[str, str]:
        # The daemons pass their environment to every batch job, so it contains only this.
        return {"PATH": PATH, "SGE_ROOT": str(_SGE_ROOT), "SGE_CELL": "default", MARKER: "gridengine", "LC_ALL": "C"}

    def _run_as_root(self, *argv: str) -> None:
        null = subprocess.DEVNULL
        subprocess.run(
            [*enter(self.namespace), *argv], stdin=null, stdout=null, stderr=null, check=True, env=self.environment()
        )

    def _admin(self, *words: str, program: str = "qconf", editor: str = "/bin/true") -> str | None:
        """The output of qconf, or of another program, for the administrator that the package made; None if the program fails."""
        argv = [
            *enter(self.namespace),
            "setpriv",
            "--reuid=sgeadmin",
            "--regid=sgeadmin",
            "--clear-groups",
            program,
            *words,
        ]
        env = {**self.environment(), "EDITOR": editor}
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, check=False)
        return done.stdout if done.returncode == 0 else None

    def _edited(self, option: str, edit: str, *words: str) -> None:
        """A form of qconf, filled in by sed."""
        editor = self._temporary / "editor"
        editor.write_text(
            f"#!/bin/sh\nsleep 1.1  # qconf compares times of whole seconds\nexec sed -i '{edit}' \"$1\"\n"
        )
        editor.chmod(0o755)
        assert self._admin(option, *words, editor=str(editor)) is not None, (option, edit)

    def run(self, *argv: str) -> str:
        done = subprocess.run(
            self.account.command(argv),
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
        )
        return done.stdout

    def settings(self) -> Mapping[str, str]:
        return {
            "SGE_ROOT": str(_SGE_ROOT),
            "SGE_CELL": "default",
            "SPRAYCC_CLUSTER": "gridengine",
            "SPRAYCC_QUEUES": "all.q",
        }

    def stop_master(self) -> None:
        """End sge_qmaster; running batch jobs go on."""
        assert self._admin("-km") is not None
        self._wait("the master is gone", lambda: not self.run("qstat", "-f"))

    def start_master(self) -> None:
        """Start sge_qmaster again; return when it answers. It finds its hosts later."""
        self._run_as_root("sge_qmaster")
        self._wait("the master answers", lambda: self._admin("-sm") is not None)

    def wait_until_up(self) -> None:
        """Wait until the queue ``all.q`` accepts batch jobs."""
        self._wait("all.q is up", self._is_up)

    def limit(self, **values: int) -> None:
        """Set values of the global configuration, such as max_u_jobs (sge_conf(5))."""
        self._edited("-mconf", ";".join(f"s/^{name} .*/{name} {value}/" for name, value in values.items()), "global")

    @contextlib.contextmanager
    def defaults_of_qstat(self, text: str) -> Iterator[None]:
        """The site's file sge_qstat(5) has this text meanwhile."""
        path = self._common / "sge_qstat"
        path.write_text(text + "\n")
        try:
            yield
        finally:
            path.unlink()

    def set_prolog(self, program: str) -> None:
        """Let ``all.q`` run this program before each batch job. If the program fails, the queue gets the state E."""
        self._edited("-mq", f"s|^prolog .*|prolog {program}|", "all.q")

    def clear_errors(self) -> None:
        """Take the state E from ``all.q``."""
        assert self._admin("-c", "all.q", program="qmod") is not None

    def drain(self) -> None:
        """From now on no batch job starts; those that run go on. The master's restart keeps this state."""
        assert self._admin("-d", "all.q", program="qmod") is not None

    def resume(self) -> None:
        """Batch jobs may start again."""
        assert self._admin("-e", "all.q", program="qmod") is not None

    def waiting(self) -> list[str]:
        """The ids of the pending batch jobs."""
        return [name for name, state in self.listed() if "w" in state]

    def cancel(self, batch_jobs: Sequence[str]) -> None:
        self.run("qdel", *batch_jobs)

    def listed(self) -> list[tuple[str, str]]:
        """(id.index, state) of each batch job that has not ended."""
        rows = [line.split() for line in self.run("qstat", "-u", self.account.name, "-g", "d").splitlines()[2:]]
        return [(f"{row[0]}.{row[-1]}", row[4]) for row in rows]

    def close(self) -> None:
        """Cancel everything, end the daemons, and restore the packages' files."""
        if not self._is_ours:
            shutil.rmtree(self._temporary, ignore_errors=True)
            return
        self.run("qdel", "-u", self.account.name)
        self._admin("-ke", "all")
        self._unconfigure()
        self._admin("-km")
        end = time.monotonic() + 60
        while (left := self._daemons()) and time.monotonic() < end:
            time.sleep(0.2)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        subprocess.run(["ip", "netns", "delete", self.namespace], check=False)
        (self._common / "act_qmaster").write_text("")
        (self._common / "host_aliases").unlink(missing_ok=True)
        self._alone.close()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _clear_away(self) -> None:
        """Removes the leftovers of a killed run. A queue can't be deleted while the master counts running jobs in it."""
        self._admin("-as", self._host)
        self._admin("-f", "-u", "*", program="qdel")
        self._wait("no job is left", lambda: self._admin("-u", "*", program="qstat") == "")
        self._unconfigure()

    def _unconfigure(self) -> None:
        for words in (
            ("-dq", "all.q"),
            ("-dq", "brief.q"),
            ("-dp", "steps"),
            ("-dhgrp", "@allhosts"),
            ("-de", self._host),
            ("-ds", self._host),
        ):
            self._admin(*words)

    def _daemons(self) -> list[int]:
        """The processes in our namespace: all of them belong to us."""
        done = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=False)
        return [int(word) for word in done.stdout.split()]
