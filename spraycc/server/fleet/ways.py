"""The settings that decide how executors are started, and what follows from them."""

from __future__ import annotations

from spraycc.allocation import Allocation
from spraycc.settings import Settings


def see_other_files(settings: Settings) -> bool:
    """Whether executors may see other files than the server: on another host, or in a container (executor_prefix)."""
    return settings.cluster != "local" or bool(settings.executor_prefix)


def step_allocation(settings: Settings) -> Allocation | None:
    """The allocation in which executors are started; None: they are started elsewhere."""
    return settings.allocation if settings.step_slots else None


def way_of(settings: Settings) -> tuple[object, ...]:
    """The settings that decide how executors are started."""
    return (
        settings.cluster, settings.listen, settings.listen_ports,
        settings.queues, settings.queue_use, settings.queue_patience_s,
        settings.account, settings.project, settings.wall_time_s, settings.memory_mb, settings.cpus_per_executor,
        settings.parallel_environment, settings.submit_arguments, settings.batch_name, settings.setup,
        settings.array_limit, settings.keep_pending, settings.hosts, settings.start_command,
        settings.executor_prefix, settings.scratch_dir, settings.step_slots, step_allocation(settings),
    )  # fmt: skip
