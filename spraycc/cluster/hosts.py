"""Executors as processes that are started one by one: on this machine, over ssh, or by the user's own command.

Pure: which command starts them. Nothing is listed or cancelled: an executor goes with its server or its process.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from spraycc.errors import ConfigError
from spraycc.settings import Settings

_HOST = re.compile(r"(?P<host>[^\s:\[\]-][^\s:\[\]]*|\[[0-9A-Fa-f:.%]+\])(?::(?P<slots>[0-9]+))?")
#: No question can be answered, a host that is down is not waited for, and one that goes away is noticed.
SSH_OPTIONS = (
    "-T", "-x", "-oBatchMode=yes", "-oConnectTimeout=15", "-oServerAliveInterval=15", "-oServerAliveCountMax=4",
    "-oForwardAgent=no", "-oClearAllForwardings=yes", "-oPermitLocalCommand=no",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Host:
    """A host that ssh reaches, and how many executors it takes."""

    name: str
    slots: int


def read_hosts(words: Sequence[str]) -> tuple[Host, ...]:
    """``host`` or ``host:slots`` each; ``user@host`` and ``[IPv6]`` too.

    Raises:
        ConfigError: names the word.
    """
    hosts = []
    for word in words:
        found = _HOST.fullmatch(word)
        if found is None or found["slots"] == "0":
            raise ConfigError(f"hosts: {word!r}: allowed is host or host:slots, as in build1:8")
        hosts.append(Host(found["host"].strip("[]"), int(found["slots"] or 1)))
    if not hosts:
        raise ConfigError('cluster is "ssh", and `hosts` names none; set it, as in hosts = ["build1:8", "build2:8"]')
    return tuple(hosts)


def ssh_argv(host: str, command: Sequence[str], ids: Sequence[str], settings: Settings) -> tuple[str, ...]:
    """One connection that starts an executor for each id, and lasts as long as they do.

    A connection for each would meet sshd's MaxStartups. The remote shell may be any, so it only starts sh.
    """
    lines = [settings.setup] if settings.setup else []
    starts = [shlex.join((*command, "--id", executor_id)) for executor_id in ids]
    if len(starts) == 1:
        lines.append(f"exec {starts[0]}")
    else:
        lines += [f"{start} &" for start in starts] + ["wait"]
    return ("ssh", *SSH_OPTIONS, *settings.submit_arguments, host, "exec /bin/sh -c " + shlex.quote("\n".join(lines)))


def template_argv(template: Sequence[str], command: Sequence[str], executor_id: str) -> tuple[str, ...]:
    """The user's own command: ``{command}`` in a word is the executor's command line, quoted for a shell; ``{id}`` its
    id. A template without ``{command}`` gets the command line's words at its end.

    Raises:
        ConfigError: there is no template.
    """
    if not template:
        example = 'start_command = ["mysubmit", "{command}"]'
        raise ConfigError(f'cluster is "command", and `start_command` is not set; as in {example}')
    words = (*command, "--id", executor_id)
    line = shlex.join(words)
    filled = tuple(word.replace("{id}", executor_id).replace("{command}", line) for word in template)
    return filled if any("{command}" in word for word in template) else (*filled, *words)
