"""Notices at a build's end about compiles that no executor got, and the reasons in them."""

from __future__ import annotations

from spraycc.notices import Notice

_LIMITS = 'see "Limits" on the page "Interception" of the documentation'
_NO_STEP = "No step is needed if the build has few such compiles. Otherwise start the compiler in another way."

NO_COMPILE_SEEN = Notice(
    "no compile went through SprayCC: {reason}",
    "The build has compiled, and SprayCC has intercepted no compiler. The reason is one of the messages below.",
    "Follow the next step of the reason.",
)
NONE_ON_EXECUTORS = Notice(
    "none of {count} compiles ran on an executor: {reasons}",
    "All compiles of the build ran on the submit host. The message counts the most frequent reasons.",
    "Follow the next step at the end of the message. `spraycc why` lists all reasons.",
)
ONLY_ONE_HERE = Notice(
    "the only compile ran on no executor: {reasons}",
    "The only compile of the build ran on the submit host.",
    "Follow the next step at the end of the message.",
)

# -- reasons, each after a count of compiles

NO_EXECUTOR = Notice(
    "found no executor in time; see 'spraycc status' and 'spraycc doctor'",
    "No executor had connected within `pending_grace_s`.",
    "Look at the build's earlier messages. `spraycc doctor --cluster` tries each step.",
)
ATTEMPTS = Notice(
    "failed on executors; see 'spraycc why --all'",
    "Executors were lost, or killed the compile, in each of `max_attempts` attempts.",
    "`spraycc why --all` shows the attempts. Often the batch jobs have too little memory: set `memory_mb`.",
)
REFUSED = Notice(
    "were refused by executors; see 'spraycc why --all'",
    "Executors could not capture the outputs, or could not prove what the compile has read.",
    "`spraycc why --all` shows the cause of each task.",
)
MEMORY = Notice(
    "needed more memory than the executors' hosts have; see 'spraycc why --all'",
    "The compile ended for lack of memory on an executor's host.",
    "Set `memory_mb` to more, or use a queue of hosts with more memory.",
)
UNFIT = Notice(
    "suited no executor's host; see 'spraycc why --all'",
    "The compilers or the CPUs of all executors' hosts differ from the submit host's.",
    "Install the same packages on all hosts, or start executors in a container (`executor_prefix`).",
)
LEFT = Notice(
    "came when `spraycc` was gone, and no executor was connected; see 'spraycc why --all'",
    "The command `spraycc` was killed, and parts of the build went on.",
    "No step is needed.",
)
COMPILE_SLOT = Notice(
    "took compile slots of this host, where no executor was free; see 'spraycc status' and 'spraycc doctor'",
    "The submit host has compiled in its own slots (`local_compile_slots`) before executors were free.",
    "If executors never connect, `spraycc doctor --cluster` tries each step.",
)
GAVE_UP = Notice(
    "came when the build had given up its executors; see 'spraycc why --all'",
    "Too many tasks fell back to the submit host (`fall_back_limit`).",
    "`spraycc why --all` shows the cause of each task.",
)
NO_RESULT = Notice(
    "had no result when the build ended; see 'spraycc status' and 'spraycc doctor'",
    "The build ended before the compile did.",
    "No step is needed if you have ended the build.",
)
OTHER_REASON = Notice(
    "were \"{reason}\"; see 'spraycc why'",
    "SprayCC keeps such commands on the submit host, for this reason.",
    "`spraycc why` lists the tasks. A rule in `[policy]` or `[tools]` can change the decision.",
)

# -- compilers that were not intercepted

EXECUTED_BY = Notice(
    "{compiler} was executed by {program} ({cause}); {step}",
    "SprayCC saw the compiler run without a runner. The message names the program that has executed it.",
    "Follow the next step of the message.",
)
EXECUTED_BELOW = Notice(
    "{compiler} was executed below {program} ({cause}); {step}",
    "SprayCC saw the compiler run without a runner. The message names the program above it.",
    "Follow the next step of the message.",
)
SWITCHED_OFF = Notice(
    "an empty SPRAYCC_EXEC switches interception off",
    "A program of the build has emptied the variable SPRAYCC_EXEC.",
    "Let the program keep the variable.",
)
BY_PATH = Notice(
    "shims on PATH intercept in this build, and no shim sees a compiler that is called by its path",
    'The build runs with `intercept = "path"`, or its build tool can\'t load the library that intercepts.',
    "Set `intercept` to auto. Or let the build call the compiler by its name.",
)
UNKNOWN_NAME = Notice(
    "SprayCC knows no compiler of the name {program}",
    "The program's name is not one of the known compilers.",
    "Add its name in `.spraycc.toml`: `like_gcc`, `like_clang` or `overlay_only` in the table `[tools]`.",
)
STATIC = Notice(
    "{program} is a static program, which can't be intercepted",
    "The program loads no libraries, so it does not load the library that intercepts.",
    _NO_STEP,
)
FOREIGN = Notice(
    "{program} is a program for another kind of CPU, which can't be intercepted",
    "The library that intercepts is for the submit host's kind of CPU.",
    _NO_STEP,
)
SET_ID = Notice(
    "{program} is setuid or setgid, so it can't be intercepted",
    "The loader ignores the library that intercepts in programs with other rights.",
    _NO_STEP,
)
CANT_LOAD = Notice(
    "{program} can't load the library that intercepts",
    "The program has an older C library, or another root directory.",
    _NO_STEP,
)
OTHER_USER = Notice(
    "{program} runs as another user, so it can't be intercepted",
    "The server runs no commands for other users.",
    "Run the whole build as one user.",
)
IN_WORKSPACE = Notice(
    "{program} is in the workspace, and compilers below programs that a build has made are not intercepted",
    "A program that the build has made starts compilers, such as a test or a code generator.",
    "Name the program with `--intercept-below`, or in the setting `intercept_below`.",
)
REPLACED = Notice(
    "a program between them can't be intercepted: it is static, say, or it is in the workspace",
    "A program above the compiler has ended, or has become another one, so SprayCC can't name it.",
    _NO_STEP,
)
SYSTEM_CALL = Notice(
    "{program} executes programs without the C library",
    "The program makes the system call itself, as programs in Go do.",
    _NO_STEP,
)
UNKNOWN_CAUSE = Notice(
    "the cause is not known",
    "SprayCC can't say why the compiler was not intercepted.",
    _NO_STEP,
)
SEE_LIMITS = Notice(
    _LIMITS,
    "The page lists the programs that can't be intercepted.",
    "Read that section, and start the compiler in another way.",
)
SEE_SHIMS = Notice(
    'see "Shims on PATH instead" on the page "Interception" of the documentation',
    "The page says when shims intercept, and which compilers they miss.",
    "Read that section. Set `intercept` to auto, or call the compiler by its name.",
)
SEE_TOOLS = Notice(
    "name it in the table [tools] of .spraycc.toml: like_gcc, like_clang or overlay_only",
    "SprayCC must know how to read the command line of a compiler.",
    'Add for example `like_gcc = ["my-gcc"]` below `[tools]`.',
)
NAME_BELOW = Notice(
    "name the program with --intercept-below",
    "SprayCC does not look below programs of the workspace, unless you name them.",
    "Give the option, or set `intercept_below`.",
)
