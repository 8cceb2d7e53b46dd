"""Lines of ``spraycc status`` about executors."""

from __future__ import annotations

from spraycc.notices import Notice

NO_EXECUTOR = Notice(
    "no executor is connected",
    "Executors have not connected yet, or all have left.",
    "Look at the lines below it: they show what is pending, and the last failure.",
)
WITHOUT_EXECUTORS = Notice(
    "no executors, by the settings: this host runs up to {compiles} at once",
    'With `cluster = "local"`, the submit host runs all commands itself.',
    "Set `cluster` to use other hosts. `spraycc config init` writes the settings for a cluster.",
)
FAILED_TO_START = Notice(
    "executors failed to start {age} ago: {trouble}",
    "The last failure, in the words that the build has told.",
    "Search this page for the words. `spraycc doctor --cluster` tries each step.",
)
FALLS_BACK = Notice(
    "no executor has connected in time: compiles run on this host",
    "No executor has connected within `pending_grace_s`. Executors get the rest when they connect.",
    "No step is needed. With `--wait-for-cluster` compiles wait for executors.",
)
STALE = Notice(
    "attempts thrown away as their hosts saw other files than the submit host: {count}",
    "Hosts saw other versions of files, mostly from their caches. These tasks ran again.",
    'No step is needed for a few. For many, see the page "Builds on NFS".',
)
