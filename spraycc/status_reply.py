"""The map of ``spraycc status --json``: each key with its type, unit and meaning.

``docs/status.schema.json`` is made from this module, and a test holds the server's real reply to it. A later version
may add keys. Ages and durations are seconds.
"""

from __future__ import annotations

from typing import TypedDict


class Pending(TypedDict):
    """Batch jobs of one queue that wait for the same reason, or have started; or processes that start executors."""

    system: str  #: the cluster manager's name, or the setting `cluster` of processes
    queue: str  #: queue (Slurm: partition), or host; empty: the cluster manager's default
    batch_jobs: int  #: number of batch jobs; 0: the executors are processes and no batch jobs
    executors: int  #: executors in them that have not connected
    reason: str  #: the cluster manager's own words; empty: none yet
    started: bool  #: the cluster manager has started the batch jobs, and their executors have not connected
    age_s: float  #: seconds since the first of them was submitted
