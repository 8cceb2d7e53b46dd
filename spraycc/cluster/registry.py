"""Which driver a setting names, and what all of them share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from spraycc.cluster.driver import Driver
from spraycc.cluster.gridengine import GridEngine
from spraycc.cluster.lsf import OPENLAVA, Lsf
from spraycc.cluster.pbs import Pbs
from spraycc.cluster.slurm import Slurm
from spraycc.settings import Settings

#: cluster managers, which have batch jobs; the others start processes
BATCH = frozenset({"slurm", "gridengine", "pbs", "lsf", "openlava"})
#: Near the end of its wall time an executor gets no task any more that it could not end within this.
MOST_LAST_TASK_S = 120.0

#: What the submit commands get of the server's environment: where the user is, and where the cluster's software is.
#: Slurm and LSF hand all of it on to the batch job, where other users of the host may not see it but the site's logs
#: may; what is not named here, such as a token, is not handed on. SLURM_… and SBATCH_… of a batch job that the server
#: itself runs in would change the defaults.
_KEPT = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "LD_LIBRARY_PATH", "KRB5CCNAME",
    "SLURM_CONF", "SGE_ROOT", "SGE_CELL", "SGE_CLUSTER_NAME", "SGE_QMASTER_PORT", "SGE_EXECD_PORT", "PBS_CONF_FILE",
    "PBS_DEFAULT", "PBS_SERVER", "PBS_EXEC", "PBS_HOME", "LSF_ENVDIR", "LSF_SERVERDIR", "LSF_LIBDIR", "LSF_BINDIR",
    "XLSF_UIDDIR", "EGO_TOP",
})  # fmt: skip
#: LSB_NTRIES: LSF's commands else wait for ever for daemons that are down. No report is mailed for each batch job.
_SET = {"LSB_NTRIES": "1", "LSB_JOB_REPORT_MAIL": "N", "LC_ALL": "C"}


def batch_name(settings: Settings, server: str) -> str:
    """The name of all batch jobs of one server: the same after a crash, another for every workspace and submit host.

    Short, as old PBS takes 15 characters. ``server`` is the name of its state directory.
    """
    return f"{settings.batch_name}-{hashlib.sha256(server.encode('utf-8', 'surrogateescape')).hexdigest()[:6]}"


def useful_s(settings: Settings) -> float | None:
    """So long after its start an executor is given tasks; None is no limit.

    Its batch job's wall time, less what its last task may need: at the end the cluster manager kills it.
    """
    if settings.cluster not in BATCH or settings.wall_time_s is None:
        return None
    return settings.wall_time_s - min(MOST_LAST_TASK_S, settings.wall_time_s * 0.2)


def driver_for(settings: Settings, user: str) -> Driver:
    """The driver of ``settings.cluster``, which is in BATCH; ``user`` is whose batch jobs are listed."""
    match settings.cluster:
        case "slurm":
            return Slurm(settings, user)
        case "gridengine":
            return GridEngine(settings, user)
        case "pbs":
            return Pbs(settings, user)
        case "lsf":
            return Lsf(settings, user)
        case "openlava":
            return Lsf(settings, user, OPENLAVA)
        case other:
            raise AssertionError(f"{other} has no batch jobs")


def client_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a cluster manager's command."""
    return {name: value for name, value in environ.items() if name in _KEPT} | _SET
