"""The variables of a user that outlive a build."""

from __future__ import annotations

from typing import Any

import pytest

from spraycc import kept_variables
from spraycc.cluster.registry import client_environment

USER = {
    "HOME": "/home/u", "USER": "u", "LOGNAME": "u", "SHELL": "/bin/zsh", "PATH": "/opt/slurm/bin:/usr/bin",
    "LD_LIBRARY_PATH": "/opt/python/lib", "LANG": "de_DE.UTF-8", "LC_TIME": "C", "TZ": "UTC",
    "XDG_STATE_HOME": "/state", "KRB5CCNAME": "FILE:/tmp/k", "SSH_AUTH_SOCK": "/tmp/agent", "SLURM_CONF": "/etc/s.conf",
    "SBATCH_ACCOUNT": "a", "SBATCH_PARTITION": "p", "SBATCH_QOS": "q", "SBATCH_RESERVATION": "r",
    "SGE_ROOT": "/sge", "PBS_DEFAULT": "head", "LSF_ENVDIR": "/lsf", "LSB_DEFAULTQUEUE": "q", "LSB_DEFAULTPROJECT": "p",
    "LSB_DEFAULT_JOBGROUP": "/g", "LSB_DEFAULT_USERGROUP": "g",
}  # fmt: skip
#: Of a build, of a wrapper around a build, of a surrounding batch job, or secret.
OF_A_BUILD = (
    "LD_PRELOAD", "LD_AUDIT", "LD_DEBUG", "LD_BIND_NOW", "MALLOC_PERTURB_", "GLIBC_TUNABLES", "FAKETIME", "NO_FAKE_STAT",
    "INTERCEPT_REPORT_COMMAND", "CCACHE_DIR", "DISTCC_HOSTS", "GCC_EXEC_PREFIX", "COMPILER_PATH", "SOURCE_DATE_EPOCH",
    "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "CARGO_MAKEFLAGS", "MAKE_TERMERR", "FAKEROOTKEY", "PYTHONSTARTUP", "PYTHONPATH",
    "SPRAYCC_SOCKET", "SPRAYCC_BUILD", "SPRAYCC_EXEC", "SPRAYCC_SLOT", "SPRAYCC_SHIMS", "SPRAYCC_PROGRAM",
    "SLURM_JOB_ID", "SLURM_JOB_PARTITION", "SBATCH_TIMELIMIT", "SBATCH_EXPORT", "SGE_TASK_ID", "PBS_JOBID", "PBS_QUEUE",
    "LSB_QUEUE", "LSB_SUB_HOST", "XDG_RUNTIME_DIR", "DISPLAY", "TOKEN",
)  # fmt: skip
HOST = {"TMPDIR": "/tmp/job.7"}
OURS = {"SPRAYCC_RUNTIME_DIR": "/run/u", "SPRAYCC_LOG_LEVEL": "DEBUG", "SPRAYCC_BOX": "/box"}
ENVIRONMENT = USER | HOST | OURS | dict.fromkeys(OF_A_BUILD, "x")


def test_a_server_keeps_the_users_own_variables_only() -> None:
    assert kept_variables.for_server(ENVIRONMENT) == USER | HOST | OURS


def test_an_executor_keeps_no_variable_of_sprayccs_but_those_of_its_start() -> None:
    server = kept_variables.for_server(ENVIRONMENT) | {"PYTHONPATH": "/spraycc"}
    expected = USER | HOST | {"SPRAYCC_BOX": "/box", "PYTHONPATH": "/spraycc"}
    assert kept_variables.for_executor(server) == expected


def test_a_cluster_command_gets_nothing_that_means_something_on_the_submit_host_only() -> None:
    assert kept_variables.for_cluster_command(ENVIRONMENT) == USER
    assert client_environment(ENVIRONMENT).items() >= {"LC_ALL": "C", "LSB_NTRIES": "1"}.items()


@pytest.mark.parametrize(
    "kept", [kept_variables.for_server, kept_variables.for_executor, kept_variables.for_cluster_command]
)
def test_the_setting_adds_names(kept: Any) -> None:
    environ = {"APPTAINER_BIND": "/data", "apptainer_bind": "x", "LD_PRELOAD": "/site.so", "OTHER": "x"}
    assert kept(environ, ("APPTAINER_*", "LD_PRELOAD")) == {"APPTAINER_BIND": "/data", "LD_PRELOAD": "/site.so"}


def test_no_pattern_keeps_the_variables_of_a_build() -> None:
    environ = {"MAKEFLAGS": "x", "MAKELEVEL": "1", "SPRAYCC_SOCKET": "/s", "SPRAYCC_EXEC": "/e", "A": "b"}
    assert kept_variables.for_server(environ, ("*",)) == {"A": "b"}
