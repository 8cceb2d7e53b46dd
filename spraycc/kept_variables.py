"""The environment variables of the user that a server, its executors and the cluster manager's commands keep. Pure.

A server outlives the build that starts it. A variable of that build (LD_PRELOAD, FAKETIME, SOURCE_DATE_EPOCH, a token)
would act on every later build of the workspace, so only the names in this module go with the server. The setting
`kept_variables` adds names. A command on an executor has the environment of its own runner, not this environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from spraycc.build_tools import MAKE_VARIABLES

#: Patterns of the names that all of them keep.
KEPT = (
    # the user, and the programs and libraries of the user
    *("HOME", "USER", "LOGNAME", "SHELL", "PATH", "LD_LIBRARY_PATH"),
    # the language and the time zone of messages and logs
    *("LANG", "LANGUAGE", "LC_*", "TZ"),
    # the places of the user's files: configuration, state, data, cache
    "XDG_*_HOME",
    # credentials, by the name of a file or socket: Kerberos, and the agent for cluster ssh
    *("KRB5CCNAME", "SSH_AUTH_SOCK"),
    # the clients of cluster managers, and the user's defaults for what they submit. No other SLURM_…, SBATCH_…, SGE_…,
    # PBS_…, LSF_… and LSB_…: if the server is started in a batch job, they describe that batch job, and they change the
    # defaults of the next one.
    *("SLURM_CONF", "SBATCH_ACCOUNT", "SBATCH_PARTITION", "SBATCH_QOS", "SBATCH_RESERVATION"),
    *("SGE_ROOT", "SGE_CELL", "SGE_CLUSTER_NAME", "SGE_QMASTER_PORT", "SGE_EXECD_PORT"),
    *("PBS_CONF_FILE", "PBS_DEFAULT", "PBS_SERVER", "PBS_EXEC", "PBS_HOME"),
    *("LSF_ENVDIR", "LSF_SERVERDIR", "LSF_LIBDIR", "LSF_BINDIR", "XLSF_UIDDIR", "EGO_TOP"),
    *("LSB_DEFAULTQUEUE", "LSB_DEFAULTPROJECT", "LSB_DEFAULT_JOBGROUP", "LSB_DEFAULT_USERGROUP"),
)  # fmt: skip
#: Names that mean something on the submit host only. Slurm and LSF would pass them on to executors' hosts.
_OF_THIS_HOST = frozenset({"TMPDIR"})
#: Variables that tell a batch script from a shell at a terminal (server/host/surroundings.py).
OF_A_BATCH_JOB = frozenset({"ENVIRONMENT", "PBS_ENVIRONMENT", "LSB_JOBID", "LSB_INTERACTIVE"})
#: These, and SprayCC's own variables that a server reads. It gets the settings by its standard input.
_OF_THE_SERVER = frozenset({"SPRAYCC_RUNTIME_DIR", "SPRAYCC_LOG_LEVEL", "SPRAYCC_BOX"}) | OF_A_BATCH_JOB
#: Variables of the server, not of the user, that an executor needs: where its modules and its box are.
OF_AN_EXECUTOR = ("PYTHONPATH", "SPRAYCC_BOX")


def for_server(environ: Mapping[str, str], more: Iterable[str] = ()) -> dict[str, str]:
    """The part of the user's environment that a server keeps. ``more``: the patterns of `kept_variables`."""
    patterns = (*KEPT, *more)
    kept = _OF_THIS_HOST | _OF_THE_SERVER
    return {name: value for name, value in environ.items() if name in kept or _fits(name, patterns)}


def for_executor(environ: Mapping[str, str], more: Iterable[str] = ()) -> dict[str, str]:
    """The environment of a process that starts executors, or is an executor, of the server with ``environ``."""
    own = {name: environ[name] for name in OF_AN_EXECUTOR if name in environ}
    return {name: value for name, value in for_server(environ, more).items() if name not in _OF_THE_SERVER} | own


def for_cluster_command(environ: Mapping[str, str], more: Iterable[str] = ()) -> dict[str, str]:
    """The environment of a cluster manager's command. Slurm and LSF pass it on to the batch job."""
    patterns = (*KEPT, *more)
    return {name: value for name, value in environ.items() if _fits(name, patterns)}


def _fits(name: str, patterns: Iterable[str]) -> bool:
    """True if a pattern fits. No pattern fits the variables of a build: SprayCC's own, and those of make."""
    if name.startswith("SPRAYCC_") or name in MAKE_VARIABLES:
        return False
    return any(fnmatchcase(name, pattern) for pattern in patterns)
