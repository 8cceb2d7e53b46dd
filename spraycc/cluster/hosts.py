"""Command lines that start executors on hosts, or by the user's own command. Pure.

:data:`WAYS` has a way for each kind of hosts: those that ssh reaches, and those of an allocation. There is nothing to
list or cancel: an executor ends with its server or its process.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from spraycc import isolated
from spraycc.allocation import SYSTEMS
from spraycc.errors import ConfigError
from spraycc.notices import configuration
from spraycc.settings import Settings

_HOST = re.compile(r"(?P<host>[^\s:\[\]-][^\s:\[\]]*|\[[0-9A-Fa-f:.%]+\])(?::(?P<slots>[0-9]+))?")
#: ssh must ask no questions, give up on a host that is down, and notice when a connected host goes down.
SSH_OPTIONS = (
    "-T", "-x", "-oBatchMode=yes", "-oConnectTimeout=15", "-oServerAliveInterval=15", "-oServerAliveCountMax=4",
    "-oForwardAgent=no", "-oClearAllForwardings=yes", "-oPermitLocalCommand=no",
)  # fmt: skip

#: Signs that mean something between single quotes of a shell, or between double quotes of sh
_NOT_PLAIN = re.compile(r"""[\n'"$`\\!]""")

_SHELL_LINE = Path(__file__).parents[1] / "executor" / "shell_line.py"


@dataclass(frozen=True, slots=True)
class Host:
    """A host, and the most executors on the host."""

    name: str
    slots: int


@dataclass(frozen=True, slots=True)
class Way:
    """How executors are started on other hosts: one command for all new executors of a host."""

    #: the hosts in the settings; a ConfigError if there are none
    hosts: Callable[[Settings], tuple[Host, ...]]
    #: the command that runs a script of shell on a host, and ends when the script ends
    argv: Callable[[str, str, Settings], tuple[str, ...]]
    #: a line of the command that says that the allocation (group 1, if the line names it) has ended
    ended: re.Pattern[str] | None = None


def start_argv(host: str, command: Sequence[str], ids: Sequence[str], settings: Settings) -> tuple[str, ...]:
    """The command that starts an executor for each id on a host of ``settings.cluster``, a key of WAYS.

    One command serves all executors of a host, because sshd limits connections (MaxStartups), and each step costs the
    cluster manager some work.
    """
    lines = [settings.setup] if settings.setup else []
    starts = [shlex.join((*command, "--id", executor_id)) for executor_id in ids]
    if len(starts) == 1:
        lines.append(f"exec {starts[0]}")
    else:
        lines += [f"{start} &" for start in starts] + ["wait"]
    return WAYS[settings.cluster].argv(host, "\n".join(lines), settings)


def read_hosts(words: Sequence[str]) -> tuple[Host, ...]:
    """Hosts from words like ``host`` or ``host:slots``; ``user@host`` and ``[IPv6]`` too.

    Raises:
        ConfigError: a word is wrong; the text names the word.
    """
    hosts = []
    for word in words:
        found = _HOST.fullmatch(word)
        if found is None or found["slots"] == "0":
            raise ConfigError(configuration.BAD_HOST.text(host=word))
        hosts.append(Host(found["host"].strip("[]"), int(found["slots"] or 1)))
    if not hosts:
        raise ConfigError(configuration.NO_HOSTS.text())
    return tuple(hosts)


def _named_hosts(settings: Settings) -> tuple[Host, ...]:
    return read_hosts(settings.hosts)


def _allocated_hosts(settings: Settings) -> tuple[Host, ...]:
    hosts = tuple(Host(name, slots) for name, slots in settings.step_slots)
    if not hosts:
        name = SYSTEMS[settings.cluster.removesuffix("-step")].name
        raise ConfigError(configuration.NO_ALLOCATION.text(cluster=settings.cluster, system=name))
    return hosts


def _ssh(host: str, script: str, settings: Settings) -> tuple[str, ...]:
    # The user's login shell only starts sh, because it may have another syntax. Between single quotes csh refuses a
    # line's end and replaces "!", and fish reads some backslashes.
    plain = _NOT_PLAIN.sub(lambda sign: f"\\0{ord(sign[0]):03o}", script)
    command = f"""exec /bin/sh -c 'eval "$(printf %b "{plain}")"'"""
    return ("ssh", *SSH_OPTIONS, *settings.submit_arguments, host, command)


def _srun(host: str, script: str, settings: Settings) -> tuple[str, ...]:
    """srun, without the variables of the allocation: --jobid names it.

    --overlap and --mem=0 share the CPUs and the memory with other steps of the user, and with our own later steps.
    Without a number of CPUs a step may use all CPUs of the allocation on its host, and --cpu-bind=none keeps a site's
    default from binding all executors to one core.
    """
    assert settings.allocation is not None
    return (
        "srun", f"--jobid={settings.allocation.job}", "--overlap", "--nodes=1", "--ntasks=1", f"--nodelist={host}",
        "--mem=0", "--cpu-bind=none", "--mpi=none", "--input=none", f"--job-name={settings.batch_name}",
        *settings.submit_arguments, "/bin/sh", "-c", script,
    )  # fmt: skip


def _blaunch(host: str, script: str, settings: Settings) -> tuple[str, ...]:
    # The manual does not say whether a shell reads the words, so they hold no sign that a shell knows.
    words = (sys.executable, *isolated.OPTIONS, "-S", str(_SHELL_LINE), os.fsencode(script).hex())
    return ("blaunch", *settings.submit_arguments, "-n", host, *words)


def _pbs_tmrsh(host: str, script: str, settings: Settings) -> tuple[str, ...]:
    return ("pbs_tmrsh", *settings.submit_arguments, host, "/bin/sh", "-c", script)


def _qrsh(host: str, script: str, settings: Settings) -> tuple[str, ...]:
    words = ("-inherit", "-nostdin", "-noshell", *settings.submit_arguments, host)
    return ("qrsh", *words, "/bin/sh", "-c", script)


def template_argv(template: Sequence[str], command: Sequence[str], executor_id: str) -> tuple[str, ...]:
    """The user's own command. ``{command}`` is the executor's command line, quoted for a shell; ``{id}`` is its id.

    A template without ``{command}`` gets the words of the command line at its end.

    Raises:
        ConfigError: there is no template.
    """
    if not template:
        raise ConfigError(configuration.NO_START_COMMAND.text())
    words = (*command, "--id", executor_id)
    line = shlex.join(words)
    filled = tuple(word.replace("{id}", executor_id).replace("{command}", line) for word in template)
    return filled if any("{command}" in word for word in template) else (*filled, *words)


#: The values of `cluster` with hosts.
WAYS: dict[str, Way] = {
    "ssh": Way(_named_hosts, _ssh),
    # Slurm 22.05 says "Slurm job 1 has expired", or of a job that it has forgotten "Invalid job id specified".
    "slurm-step": Way(
        _allocated_hosts,
        _srun,
        re.compile(r"^srun: .*(?:[Jj]ob (\S+) has expired|[Ii]nvalid job id|already completing|has been revoked)"),
    ),
    "lsf-step": Way(_allocated_hosts, _blaunch),
    "pbs-step": Way(_allocated_hosts, _pbs_tmrsh),
    "gridengine-step": Way(_allocated_hosts, _qrsh),
}
