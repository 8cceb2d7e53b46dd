"""Command lines that start executors over ssh or by the user's own command. Pure.

There is nothing to list or cancel: an executor ends with its server or its process.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from spraycc.errors import ConfigError
from spraycc.settings import Settings

_HOST = re.compile(r"(?P<host>[^\s:\[\]-][^\s:\[\]]*|\[[0-9A-Fa-f:.%]+\])(?::(?P<slots>[0-9]+))?")
#: ssh must ask no questions, give up on a host that is down, and notice when a connected host goes down.
SSH_OPTIONS = (
    "-T", "-x", "-oBatchMode=yes", "-oConnectTimeout=15", "-oServerAliveInterval=15", "-oServerAliveCountMax=4",
    "-oForwardAgent=no", "-oClearAllForwardings=yes", "-oPermitLocalCommand=no",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Host:
    """A host for ssh, and the most executors on the host."""

    name: str
    slots: int


def read_hosts(words: Sequence[str]) -> tuple[Host, ...]:
    """Hosts from words like ``host`` or ``host:slots``; ``user@host`` and ``[IPv6]`` too.

    Raises:
        ConfigError: a word is wrong; the text names the word.
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
    """The ssh command that starts an executor for each id. It ends when all of them have ended.

    One connection serves all executors, because sshd limits connections (MaxStartups). The user's login shell only
    starts sh, because it may have another syntax.
    """
    lines = [settings.setup] if settings.setup else []
    starts = [shlex.join((*command, "--id", executor_id)) for executor_id in ids]
    if len(starts) == 1:
        lines.append(f"exec {starts[0]}")
    else:
        lines += [f"{start} &" for start in starts] + ["wait"]
    return ("ssh", *SSH_OPTIONS, *settings.submit_arguments, host, "exec /bin/sh -c " + shlex.quote("\n".join(lines)))


def template_argv(template: Sequence[str], command: Sequence[str], executor_id: str) -> tuple[str, ...]:
    """The user's own command. ``{command}`` is the executor's command line, quoted for a shell; ``{id}`` is its id.

    A template without ``{command}`` gets the words of the command line at its end.

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
