"""The driver for a setting, and the parts that all drivers share: batch name, environment, wall time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from spraycc import kept_variables
from spraycc.cluster.driver import Driver
from spraycc.cluster.gridengine import GridEngine
from spraycc.cluster.lsf import Lsf
from spraycc.cluster.pbs import Pbs
from spraycc.cluster.slurm import Slurm
from spraycc.settings import Settings

#: Values of `cluster` that mean batch jobs. The other values mean processes.
BATCH = frozenset({"slurm", "gridengine", "pbs", "lsf", "openlava"})
#: At most this many seconds at the end of its wall time an executor gets no new task.
MOST_LAST_TASK_S = 120.0

#: Without LSB_NTRIES, LSF's commands wait for ever for daemons that are down. LSB_JOB_REPORT_MAIL stops mail reports.
_SET = {"LSB_NTRIES": "1", "LSB_JOB_REPORT_MAIL": "N", "LC_ALL": "C"}


def batch_name(settings: Settings, session: str) -> str:
    """The name of all batch jobs of one session of a server. Short, because old PBS versions take 15 characters.

    A session is a server's use of a cluster with fixed settings. ``session``: six random characters. A batch job of an
    earlier session can't connect to this server, so it must not pass for one of this session's.
    """
    return f"{settings.batch_name}-{session}"


def useful_s(settings: Settings) -> float | None:
    """Seconds after its start during which an executor gets tasks; None: no limit.

    The wall time less the time for a last task, because the cluster manager kills the executor at the end.
    """
    if settings.cluster not in BATCH or settings.wall_time_s is None:
        return None
    return settings.wall_time_s - min(MOST_LAST_TASK_S, settings.wall_time_s * 0.2)


def driver_for(settings: Settings, user: str) -> Driver:
    """The driver of ``settings.cluster``, which is in BATCH; a listing shows the batch jobs of ``user``."""
    match settings.cluster:
        case "slurm":
            return Slurm(settings, user)
        case "gridengine":
            return GridEngine(settings, user)
        case "pbs":
            return Pbs(settings, user)
        case "lsf" | "openlava":
            return Lsf(settings, user)
        case other:
            raise AssertionError(f"{other} has no batch jobs")


def client_environment(environ: Mapping[str, str], more: Iterable[str] = ()) -> dict[str, str]:
    """The environment of a cluster manager's command. ``more``: the patterns of the setting `kept_variables`."""
    return kept_variables.for_cluster_command(environ, more) | _SET
