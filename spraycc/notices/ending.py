"""Notices of a build's course and end: a lost server, the progress and the summary."""

from __future__ import annotations

from spraycc.notices import Notice

SERVER_IS_GONE = Notice(
    "the server is gone; the rest of the build runs on this host",
    "The server was killed, or has failed. The build is correct: each unfinished command runs on the submit host.",
    "Read the server's log, which `spraycc doctor` names. Look for the out-of-memory killer in `dmesg`.",
)
SERVER_IS_GONE_RUNNER = Notice(
    "the server is gone; the rest of this build runs on this host, at most {commands} at once "
    "(its log: see 'spraycc doctor')",
    "The same, as a wrapped command tells it. The number is that of the local slots.",
    "Read the server's log, which `spraycc doctor` names.",
    source="spraycc/native/runner/local_slots.c",
)
CONNECTION_LOST = Notice(
    "the server is gone: {cause}",
    "The connection to the server broke.",
    "Read the server's log, which `spraycc doctor` names.",
)
CONNECTION_CLOSED = Notice(
    "the server closed the connection",
    "The server has ended, or has refused a message.",
    "Read the server's log, which `spraycc doctor` names.",
)
UNASKED_ANSWER = Notice(
    "the server answers with {tag!r}, which was not asked for",
    "The server and the command line do not understand each other.",
    "Report the message. `spraycc server stop` ends the server, and the next build starts another one.",
)
INVALID_MESSAGE = Notice(
    "the server sent an invalid message: {cause}",
    "The server and the command line do not understand each other.",
    "Report the message. `spraycc server stop` ends the server, and the next build starts another one.",
)
SERVER_CONTINUED = Notice(
    "the server (process {pid}) was stopped for {seconds:.0f} s; SprayCC continued it",
    "A signal (SIGSTOP) has stopped the server, and the build waits for its answers.",
    "No step is needed.",
)
SERVER_KILLED = Notice(
    "the server (process {pid}) was stopped for {seconds:.0f} s again; SprayCC killed it",
    "The server was stopped a second time. SprayCC ends it, so that the build goes on on the submit host.",
    "Look for the program that stops the server.",
)
LOSES = Notice(
    "{cause}; {loss}",
    "A part beside the build has failed. The build itself is not affected.",
    "Follow the next step in the cause.",
)
NO_SUMMARY = Notice(
    "there is no summary",
    "The build has ended, and its figures are lost.",
    "No step is needed.",
)
NO_LIMIT_SHOWN = Notice(
    "the limit of executors is not shown",
    "The message about the number of executors could not be made.",
    "No step is needed.",
)
NO_PROGRESS = Notice(
    "{cause}; progress is not shown any more",
    "The progress line has failed. The build goes on.",
    "Report the message. `--progress none` switches the line off.",
)
SUMMARY_NOT_WRITTEN = Notice(
    "the summary can't be written: {cause}",
    "The file of `--summary` can't be written.",
    "Name a file in a directory that you can write to.",
)
CLUSTER_UNUSED = Notice(
    "no configuration names a cluster, so all ran on this host; this host has {program}: `spraycc config init` "
    "writes a configuration",
    "SprayCC tells this once in each workspace. By default the submit host runs all commands, also where a cluster is.",
    'Run `spraycc config init`. To run all builds on the submit host, set `cluster = "local"`.',
)
