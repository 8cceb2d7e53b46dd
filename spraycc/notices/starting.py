"""Notices of a build's start: the installation, the directories, the server."""

from __future__ import annotations

from spraycc.notices import Notice

_OWN_DIRECTORY = "set SPRAYCC_RUNTIME_DIR to a directory of your own"

GOES_ON_WITHOUT_SERVER = Notice(
    "{cause}\nthe build goes on without a server, on this host",
    "SprayCC could not open the build. The build tool runs on the submit host, with at most `local_slots` commands at "
    "once. The result is the same.",
    "Follow the next step in the first line. `spraycc doctor` checks this host.",
)
RUNS_WITHOUT_SPRAYCC = Notice(
    "{cause}; {tool} runs without SprayCC",
    "SprayCC failed before the build tool started. The build tool runs alone, with a `-j` of at most the local slots.",
    "Follow the next step in the message. `spraycc doctor` checks this host.",
)
INTERNAL_ERROR = Notice(
    "an internal error, {kind}: {text}",
    "SprayCC has a fault. The build goes on without the part that failed.",
    "Report the message, with the server's log. `spraycc doctor` names the log.",
)
NOT_INSTALLED_WHOLE = Notice(
    "{kind}: {text}; install SprayCC again",
    "Python can't import a module that SprayCC needs. A package was removed or replaced, or PYTHONPATH names another "
    "one.",
    "Install SprayCC again in its environment. Unset PYTHONPATH and PYTHONHOME to see whether they are the cause.",
)
NO_MEMORY = Notice(
    "there is not enough memory (see ulimit -v)",
    "The submit host, or the shell's limit on address space, has too little memory for SprayCC.",
    "Raise the limit with `ulimit -v unlimited`, or free memory on the submit host.",
)
FILE_FAILED = Notice(
    "{file}: {cause} (HOME and XDG_* say where SprayCC's files are)",
    "SprayCC can't read or write one of its own files.",
    "Correct the file's directory or its permissions. Or set XDG_STATE_HOME and XDG_DATA_HOME to other directories.",
)
PYTHON_NOT_STARTED = Notice(
    "{file}: {cause}; install SprayCC again",
    "The command `spraycc` can't start the Python of its installation. The environment was moved or removed.",
    "Install SprayCC again.",
    source="spraycc/native/launcher/main.c",
)
LOW_ADDRESS_SPACE = Notice(
    "the limit on address space (ulimit -v) is below 64 MiB, too small for Python",
    "The shell's limit keeps Python from starting. The build tool runs without SprayCC.",
    "Raise the limit with `ulimit -v unlimited`.",
    source="spraycc/native/launcher/main.c",
)
FEW_OPEN_FILES = Notice(
    "the limit on open files (ulimit -n) is below 16, too small for Python",
    "The shell's limit keeps Python from starting. The build tool runs without SprayCC.",
    "Raise the limit, for example with `ulimit -n 1024`.",
    source="spraycc/native/launcher/main.c",
)
COMMAND_IS_GONE = Notice(
    "warning: the spraycc command is gone; install it again, or leave this shell; {tool} runs without SprayCC",
    "The shell was prepared by `spraycc env`, and SprayCC was removed afterwards.",
    "Install SprayCC again, or start a new shell.",
    source="spraycc/native/runner/build_tool.c",
)

# -- the runner and the directory of programs

NO_RUNNER = Notice(
    "no {program} in {places}; install SprayCC again (pip install)",
    "The runner, which stands for each wrapped command, is missing from the installation.",
    "Install SprayCC again.",
)
RUNNER_NOT_COPIED = Notice(
    "{directory}: the runner can't be copied: {cause}; set XDG_DATA_HOME to a directory that you can write to",
    "Builds execute a copy of the runner in your data directory. SprayCC can't write this copy.",
    "Make the directory writable, or set XDG_DATA_HOME to another directory that all hosts share.",
)
RUNNER_NOT_EXECUTABLE = Notice(
    "{directory}: no program can be executed there (noexec); set XDG_DATA_HOME to another directory",
    "The file system of the data directory is mounted with `noexec`, so builds can't execute the runner's copy.",
    "Set XDG_DATA_HOME to a directory on a file system without `noexec`.",
)
NO_RUNNER_DIRECTORY = Notice(
    "there is no directory for the runner; set XDG_DATA_HOME to a directory of your own",
    "No home directory and no runtime directory can hold the runner's copy.",
    "Set XDG_DATA_HOME to a directory that you can write to.",
)
SHIMS_NOT_WRITTEN = Notice(
    "{directory}: the shims can't be written: {cause}; set XDG_DATA_HOME to a directory that you can write to",
    '`spraycc env` and `intercept = "path"` need a directory with one file for each intercepted program. SprayCC '
    "can't write it.",
    "Make the directory writable, or set XDG_DATA_HOME to another directory.",
)
COLON_IN_DIRECTORY = Notice(
    "{directory}: PATH can't hold a directory with a colon; set XDG_DATA_HOME to another directory",
    "Shims must be a directory on PATH, and PATH separates its directories by colons.",
    "Set XDG_DATA_HOME to a directory without a colon in its name.",
)
SHELL_NOT_IN_MAKEFLAGS = Notice(
    "recipe lines are not wrapped, as MAKEFLAGS can't hold the path {shell}",
    "`wrap_shell` is set, and the path of SprayCC's shell has a character that MAKEFLAGS can't hold.",
    "Set XDG_DATA_HOME to a directory of letters, digits and `/._+-`.",
)
ENVIRONMENT_IS_FULL = Notice(
    "the environment has no room for SprayCC's variables; unset variables that the build does not need",
    "Words and variables together exceed the kernel's limit. The build tool runs without SprayCC.",
    "Unset large variables. `env | wc -c` shows the size of the environment.",
)

# -- the directories of the server

RUNTIME_DIR_IS_RELATIVE = Notice(
    "SPRAYCC_RUNTIME_DIR={value}: must be an absolute path, as every program must find it",
    "Programs of the build have other working directories, and must find the server's socket.",
    "Set SPRAYCC_RUNTIME_DIR to an absolute path, or unset it.",
)
RUNTIME_DIR_IS_NOT_PLAIN = Notice(
    "SPRAYCC_RUNTIME_DIR={value}: must be of letters, digits and /._+-, as MAKEFLAGS names it",
    "The jobserver's path is in MAKEFLAGS, which can't hold other characters.",
    "Set SPRAYCC_RUNTIME_DIR to a path of these characters, or unset it.",
)
RUNTIME_DIR_IS_LONG = Notice(
    "{directory}: too long for a socket in it; set SPRAYCC_RUNTIME_DIR to a shorter path on this host's own disk",
    "A socket's path has 107 characters at most.",
    "Set SPRAYCC_RUNTIME_DIR to a shorter path.",
)
DIRECTORY_NOT_MADE = Notice(
    "{directory}: can't be made: {cause}; "
    "set SPRAYCC_RUNTIME_DIR to a directory on this host's own disk that you can write to",
    "The server's runtime directory does not exist, and SprayCC can't make it.",
    "Free the disk, or set SPRAYCC_RUNTIME_DIR.",
)
NOT_A_DIRECTORY = Notice(
    f"{{path}}: is {{kind}}; remove it, or {_OWN_DIRECTORY}",
    "A file or a symbolic link is in the place of the runtime directory. SprayCC follows no link there, because other "
    "users can write to /tmp.",
    "Remove it if it is yours, or set SPRAYCC_RUNTIME_DIR.",
)
DIRECTORY_OF_OTHERS = Notice(
    f"{{directory}}: belongs to {{owner}}, not to {{user}}; {_OWN_DIRECTORY}",
    "Another user owns the runtime directory, so its sockets can't be trusted.",
    "Set SPRAYCC_RUNTIME_DIR to a directory of your own, on the submit host's own disk.",
)
DIRECTORY_IS_OPEN = Notice(
    "{directory}: is open to others (mode {mode:04o}); run chmod 700 {directory}",
    "Other users can enter the runtime directory, and could connect to the server.",
    "Run the `chmod` of the message.",
)
STATE_NOT_MADE = Notice(
    "{directory}: can't be made: {cause}; set XDG_STATE_HOME to another directory",
    "The server can't make its state directory, which has its log and the records of builds.",
    "Free the disk, or set XDG_STATE_HOME to a directory that all hosts share.",
)
PLACE_IS_A_FILE = Notice(
    "{path}: is no directory; move it away",
    "A file is in the place of the directory for SprayCC's state or programs.",
    "Move the file away.",
)
PLACE_OF_OTHERS = Notice(
    "{directory}: belongs to {owner}, not to {user}; {mend}",
    "The directory for SprayCC's state or programs belongs to another user. A command under `sudo` has often made it.",
    "Run the command of the message, or set the variable of the message.",
)
PLACE_NOT_WRITABLE = Notice(
    "{directory}: can't be written to; {mend}",
    "You may not write in the directory for SprayCC's state or programs, or its file system is mounted read-only.",
    "Run the command of the message, or set the variable of the message.",
)
PLACE_IS_FULL = Notice(
    "{directory}: can't be written to: {cause}; make room there",
    "A trial file could not be written in the directory for SprayCC's state.",
    "Free space or quota, or set the variable of the message.",
)
PLACE_OR_VARIABLE = Notice(
    "{obstacle}, or set {variable} to a directory of your own",
    "This is the end of the four messages above.",
    "Set the variable to a directory that you can write to, and that all hosts share.",
)
OTHER_PLACE = Notice(
    "{problem}; meanwhile {directory} is used",
    "The preferred directory can't be used. The build goes on with the second directory of the message.",
    "Follow the next step in the message. A directory below /tmp is on the submit host only, so executors on other "
    "hosts can't read it.",
)
NO_PLACE = Notice(
    "no directory of yours can be written to; set {variable} to a directory of your own with free space",
    "Neither the variable, nor your home directory, nor the runtime directory can be written to.",
    "Set the variable to a directory with free space that all hosts share.",
)
NO_HOME = Notice(
    "you have no home directory, so {directory} has the server's files, and executors on other hosts can't "
    "read them; set XDG_STATE_HOME to a directory that all hosts share",
    "Without a home directory, SprayCC keeps its files on the submit host's own disk.",
    "Set XDG_STATE_HOME and XDG_DATA_HOME to directories that all hosts share.",
)
NO_SESSION_FILE = Notice(
    "{directory}: the session file can't be written: {cause}; make room, or set XDG_STATE_HOME to another directory "
    "and run `spraycc server stop`",
    "Executors find the server by a file in the state directory. The server can't write it, so no executor starts.",
    "Free space or quota. Or set XDG_STATE_HOME, and end the server with `spraycc server stop`.",
)

# -- the server

NO_PROC = Notice(
    "/proc is not mounted, and a server needs it; mount it (bwrap --proc /proc)",
    "The container or chroot has no /proc file system.",
    "Mount /proc in the container.",
)
SERVER_NOT_STARTED = Notice(
    "no server could be started: {cause}; `spraycc doctor` checks its directories",
    "The submit host could not start the server's process, or SprayCC could not write the server's files.",
    "Run `spraycc doctor`. If the cause is a lack of processes or memory, look at `ulimit -a`.",
)
SERVER_HOLDS_LOCK = Notice(
    "{directory}: a server holds the lock in this directory and does not listen; see {log}",
    "A server of this workspace is starting, is stopped, or hangs. It answers no connection.",
    "Read the log. `fuser -k DIRECTORY/lock` ends the process that holds the lock.",
)
SERVER_NOT_READY = Notice(
    "the server was not ready within {limit_s:g} s: {last_line}; see {log}",
    "The new server did not listen in time. Python's files may be on a file server that is very slow.",
    "Read the log. Build again, because the files are in the cache now.",
)
SERVER_ENDED_AT_START = Notice(
    "the server ended with {status} as soon as it was started: {last_line}; see {log}",
    "The new server could not start. The message has the last line of its log.",
    "Read the log, and correct the cause in its last line.",
)
SERVER_IS_SLOW = Notice(
    "the server takes long to start; waiting {limit_s:g} s at most (its log: {log})",
    "The new server has not listened for five seconds. Often Python's files come from a slow file server.",
    "Wait. Install SprayCC on a faster disk if the message comes often.",
)
SOCKET_OF_OTHERS = Notice(
    f"{{socket}}: a process of user {{uid}} listens on this socket; it gets nothing from us; {_OWN_DIRECTORY}",
    "A process of another user has the server's socket. SprayCC sends nothing to it.",
    "Set SPRAYCC_RUNTIME_DIR to a directory of your own, on the submit host's own disk.",
)
SERVER_OF_OTHER_VERSION = Notice(
    "the server of this workspace is {release} (protocol {version}), this is {own_release} (protocol {own_version}): "
    "{cause}; it is replaced when its builds are done, or end it with `kill {pid}`",
    "A build that is still open has started the server with another version of SprayCC.",
    "Wait for the other build's end. Or end the server with the command of the message: its builds go on alone.",
)
SERVER_TAKES_NOTHING = Notice(
    "the server, process {pid}, does not take messages; `kill -9 {pid}` ends it",
    "The server is stopped or hangs, or the submit host is very busy. A file server that hangs is a frequent cause.",
    "Read the server's log, which `spraycc doctor` names. After `kill -9` open builds go on at the submit host.",
)
SERVER_IS_SILENT = Notice(
    "the server, process {pid}, has not answered within {limit_s:g} s; `kill -9 {pid}` ends it",
    "The server is stopped or hangs, or the submit host is very busy. A file server that hangs is a frequent cause.",
    "Read the server's log, which `spraycc doctor` names. After `kill -9` open builds go on at the submit host.",
)
SERVER_RUNS_ALREADY = Notice(
    "a server runs for {workspace} already; `spraycc server stop` ends it",
    "`spraycc server run` starts a server in the foreground, and each workspace has one server.",
    "End the other server first.",
)
INSTALLED_ANEW = Notice(
    "{difference}: SprayCC was installed anew while this server ran, so commands run on this host; the next build "
    "replaces the server if no other build is open",
    "The runner and the server are of different versions, and their protocols differ.",
    "End all builds of the workspace, then build again.",
)
LOW_LIMIT_OF_FILES = Notice(
    "this host allows a process {limit} open files, {executors} executors need about {need}; "
    "raise the hard limit (ulimit -Hn) or lower --executors",
    "The server holds about three open files for each executor. With this limit some executors can't connect.",
    "Have the hard limit of open files raised on the submit host, or set `executors` to a smaller number.",
)
OLD_NINJA = Notice(
    "{tool} {version} knows no jobserver (1.13 does), so it keeps -j{width} for the whole build",
    "This ninja can't change its number of commands while executors come and go.",
    "Install ninja 1.13 or later, for example with `pip install ninja`. No step is needed otherwise.",
)
OLD_MAKE = Notice(
    "{tool} is {version}, which may hang when tokens are withdrawn (4.3 does not), so it keeps a few",
    "GNU make 4.2 and 4.2.1 may wait for ever for a job token. So SprayCC never takes the last tokens back.",
    "Install GNU make 4.3 or later. No step is needed otherwise.",
)
IN_ALLOCATION = Notice(
    "up to {executors} executors in {allocation} (--cluster local: on this host only)",
    "The build was started in an allocation of the cluster manager. Executors use the CPUs of this allocation.",
    "No step is needed. Set `cluster` to choose another way.",
)
ALONE_IN_ALLOCATION = Notice(
    "on this host only: {allocation}",
    "The build was started in an allocation, and SprayCC can't use its other hosts. The message has the reason.",
    "Put the cluster manager's programs on PATH, or set `cluster`.",
)
MAY_USE = Notice(
    "this build may use up to {executors} {where} ({source})",
    "SprayCC tells this once in each workspace: the build may start this many executors on the cluster.",
    "No step is needed. Set `executors` to change the limit.",
)
MAY_USE_JOBS = Notice(
    "this build may use up to {executors} {where} (-j{jobs}); the limit is {limit} ({source})",
    "SprayCC tells this once in each workspace: the build may start this many executors on the cluster.",
    "No step is needed. Give another `-j`, or set `executors` to change the limit.",
)
CUT = Notice(
    "-j{jobs} is more than the limit of {limit} {where} ({source}){beside}",
    "You gave a `-j` above the limit. The build runs with the limit.",
    "Raise `executors` in the place that the message names, or give a smaller `-j`.",
)
