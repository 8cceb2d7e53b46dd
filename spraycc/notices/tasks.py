"""Why an executor's attempt does not count, as ``spraycc why`` shows it. The executor has these words itself.

An executor's modules come over NFS to hundreds of hosts at once, so they don't import this list.
"""

from __future__ import annotations

from spraycc.notices import Notice

_ON_SUBMIT_HOST = "The task runs on the submit host."
_CAPTURE_ERRORS, _FILES = "spraycc/executor/capture_errors.py", "spraycc/executor/produced_files.py"
_PREDICTED, _TOOLCHAIN = "spraycc/executor/predicted_capture.py", "spraycc/executor/toolchain_check.py"

ERROR_IN_CAPTURE = Notice(
    "the command met {error} inside the capture",
    "The command has printed the text of an error that the capture may have caused. EBADF may mean a descriptor of the "
    f"caller (`9>&2`), which the command lacks on an executor. {_ON_SUBMIT_HOST}",
    "No step is needed. For many such tasks of one program, add a rule `here-light` for the program in `[policy]`. For "
    "ENOSPC, set `scratch_dir` to a larger disk.",
    source=_CAPTURE_ERRORS,
)
OTHER_OWNER = Notice(
    "{file} has another owner or group",
    f"The command has made a file of another user or group. The server can't give a file this owner. {_ON_SUBMIT_HOST}",
    "No step is needed.",
    source=_FILES,
)
SEVERAL_NAMES = Notice(
    "{file} is a file of several names",
    f"The command has written a file with hard links, which SprayCC can't send back as such. {_ON_SUBMIT_HOST}",
    "No step is needed.",
    source=_FILES,
)
ALSO_WROTE = Notice(
    "the command also wrote {file}",
    f"Without an overlay, the executor captures only outputs that the command line names. {_ON_SUBMIT_HOST}",
    "Run `spraycc doctor` on the executor's host: it names the kernel setting that an overlay needs.",
    source=_PREDICTED,
)
NO_PLAIN_FILE = Notice(
    "{file} is no plain file",
    f"Without an overlay, the executor can send back plain files only. {_ON_SUBMIT_HOST}",
    "No step is needed.",
    source=_PREDICTED,
)
CANT_BE_OVERLAID = Notice(
    "{directory} can't be overlaid: {mount} is below it",
    f"Another file system is mounted below the directory in which the command writes. {_ON_SUBMIT_HOST}",
    "No step is needed, unless all tasks have this reason. Then build in a directory without mounts below it.",
    source="spraycc/executor/overlay_plan.py",
)
NO_SUCH_COMPILER = Notice(
    "there is no {program} on host {host}",
    "The executor's host lacks the compiler of the submit host. The task goes to another host.",
    "Install the same packages on all hosts, or set `executor_prefix` to start executors in a container.",
    source=_TOOLCHAIN,
)
OTHER_COMPILER = Notice(
    "{program} on host {host} is {theirs!r}, on the submit host {ours!r}",
    "The executor's host has another version of the compiler, or another CPU (`-march=native`). The task goes "
    "to another host.",
    "Install the same packages on all hosts, or use a queue of hosts that are alike.",
    source=_TOOLCHAIN,
)
OTHER_BINARY = Notice(
    "{program} on host {host} is not the submit host's, though both are {version!r}",
    "The two hosts have different files of the same version of the compiler. The task goes to another host.",
    "Install the same packages on all hosts.",
    source=_TOOLCHAIN,
)
OLD_DIRECTORY = Notice(
    "{name} is not as on the submit host: {theirs} in place of {ours}",
    "The executor's host still had an old version of a file or a directory in its cache. The task runs again.",
    "No step is needed.",
    source="spraycc/executor/fence.py",
)

# -- executors.log: what executors and their batch jobs say that can't reach the server

NO_SERVER = Notice(
    "no server: {addresses}",
    "The executor reaches none of the server's addresses. Each has its own reason, such as `Connection refused`.",
    "Open the port on the submit host for the executors' hosts, and set `listen_ports`. If the submit host has several "
    "networks, set `listen` to the address that executors reach.",
    source="spraycc/executor/link.py",
)
OTHER_CERTIFICATE = Notice(
    "its certificate is not the session's",
    "A server of another session, or another program, listens at the address. The executor ends.",
    "No step is needed: the executor is late, and its server has ended.",
    source="spraycc/executor/link.py",
)
SILENT_SERVER = Notice(
    "nothing was heard from the server for {seconds} s",
    "The network is broken, or the server is stopped. The executor ends, and its task runs elsewhere.",
    "Look for firewalls that drop idle connections. `lost_after_s` sets the time.",
    source="spraycc/executor/main.py",
)
SETUP_ENDED = Notice(
    "the line of 'setup' ended the batch job with status {status}",
    "A line of the setting `setup` has failed on the executor's host, so no executor starts there.",
    "Run the line by hand in a batch job.",
    source="spraycc/cluster/formatting.py",
)
