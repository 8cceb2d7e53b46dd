"""Notices about executors, their hosts, and what is captured there."""

from __future__ import annotations

from spraycc.notices import Notice

HOST_UNUSABLE = Notice(
    "host {host} can't be used: {cause} (see 'spraycc doctor')",
    "The executor's host does not see the submit host's files, or lacks a part of SprayCC. The executor leaves.",
    "Read the cause, which is one of the messages below. `spraycc doctor --executors 4` compares hosts.",
)
NO_CAPTURE = Notice(
    "host {host} can't capture outputs by {capture}: {cause} (see 'spraycc doctor')",
    "The executor's host can't take the outputs of commands in the way that `capture` asks for. The executor leaves. "
    "If the executor has joined for another build, the task runs on the submit host.",
    "Set `capture` to auto. Run `spraycc doctor` on that host: it names the kernel setting that is missing.",
)
OTHER_WORKSPACE = Notice(
    "{workspace} is not the submit host's directory of that name",
    "The executor's host has another directory under the path of the workspace, such as a local disk.",
    "Mount the file system of the workspace at the same path on that host. Or build below a directory that all hosts "
    "share.",
)
WORKSPACE_MISSING = Notice(
    "{workspace} is not a directory on this host",
    "The executor's host lacks the directory of the workspace.",
    "Mount the file system of the workspace at the same path on that host.",
    source="spraycc/executor/host.py",
)
CANT_RECORD = Notice(
    "it can't record which files commands read ({cause}), so it might use old files",
    "On hosts that share files over a network, SprayCC proves that a command has read the present files. The library "
    "that records reads does not work on that host.",
    'Install SprayCC again with the same version on all hosts. See the page "Builds on NFS".',
)
HOST_DIFFERS = Notice(
    "{difference}; executors of such hosts get no such tasks",
    "A compiler, the CPU or a system file of an executor's host differs from the submit host's. The message names it.",
    "Install the same packages on all hosts. Or use a queue of hosts that are alike, or a container "
    "(`executor_prefix`).",
)
OTHER_SYSTEM_FILE = Notice(
    "{file} on host {host} is not the submit host's: {theirs} in place of {ours}. Install the same packages on "
    "both, or start executors in the submit host's container (executor_prefix)",
    "A file outside shared directories, such as a system header, differs between the two hosts.",
    "Install the same packages on both hosts, or set `executor_prefix`.",
)
SAW_OTHER_FILES = Notice(
    "host {host} saw other files: {difference}",
    "The executor's host saw another version of a file than the submit host, mostly from its cache. SprayCC throws the "
    "result away, and runs the task again.",
    'No step is needed. If `spraycc why` shows many, see the page "Builds on NFS".',
)
NO_RECORD = Notice(
    "the executor could not record which files the command read",
    "The command avoids the recorder: it is a static program, for example. The task runs on the submit host.",
    "No step is needed.",
)
EMPTIED_WITHOUT_RECORD = Notice(
    "the command emptied {directory}, and the executor could not record all files that the command read",
    "A parallel task may have put files into this directory, and SprayCC can't tell. The task runs on the submit host.",
    "No step is needed.",
)
RECORD_INCOMPLETE = Notice(
    "host {host} could not record all files that the command read",
    "The executor can't prove that the command has read the present files. The task runs a second time.",
    "No step is needed.",
)
RECORD_UNSURE = Notice(
    "{incomplete}, and can't be sure that they are up to date",
    "The second run of the task could not be proved either. The task runs on the submit host.",
    "No step is needed.",
)
NO_PROOF = Notice(
    "the files that it reads can't be proved on another host",
    "The task's build starts no executors on other hosts, and this executor is another build's. The task runs on the "
    "submit host.",
    "No step is needed.",
)
NEEDS_OVERLAY = Notice(
    "its outputs can't be predicted, and this executor has no overlay",
    "Only an overlay can capture the outputs of this command. The task runs on the submit host.",
    "Run `spraycc doctor` on the executor's host: it names the kernel setting that is missing.",
)
NOT_PREDICTED = Notice(
    "not all that it writes is certain, and this host has no overlay",
    "Without an overlay, SprayCC must know all outputs from the command line. The task runs on the submit host.",
    "Run `spraycc doctor` on the executor's host: it names the kernel setting that is missing.",
)
GAVE_UP = Notice(
    "{count} of the last tasks could not be done by executors{last}; the rest of this build "
    "runs on this host, {slots} at once (see 'spraycc why')",
    "Many tasks failed on executors and then ran on the submit host. SprayCC uses no more executors in this build.",
    "`spraycc why` lists the tasks and the reasons. `fall_back_limit` sets the number.",
)
LAST_REFUSAL = Notice(
    " (the last: {refusal})",
    "The reason why the last of these tasks was not done by an executor.",
    "Look for the reason in the list of `spraycc why --all`.",
)
LEFT_JOBSERVER = Notice(
    "a make below this build was given its own -j and left the jobserver: it runs that many recipes at "
    "once, whatever the number of executors; take the -j out of its makefile or command line",
    "A makefile calls make with its own `-j`. That make takes no tokens of the build.",
    "Write `$(MAKE)` without `-j` in the makefile.",
)
