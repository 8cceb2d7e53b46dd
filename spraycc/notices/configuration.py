"""Notices about settings, configuration files and the workspace. A wrong setting ends the command before any build."""

from __future__ import annotations

from spraycc.notices import Notice

WRONG_VALUE = Notice(
    "{source}: {value}: allowed is {allowed}",
    "A setting has a value that it can't have. The message names the file, the variable or the option.",
    'Correct the value. `spraycc config path` names the files, and the page "Settings" lists all settings.',
)
UNKNOWN_KEY = Notice(
    "{file}: unknown key {key!r}{hint}",
    "A configuration file names a setting that does not exist.",
    "Correct the name, or remove the line.",
)
UNKNOWN_KEY_IN_TABLE = Notice(
    "{file}: unknown key {key!r} in [{table}]{hint}",
    "A table of a configuration file names a setting that does not exist.",
    "Correct the name, or remove the line.",
)
NOT_A_TABLE = Notice(
    "{file}: {name} = {value!r}: is a table: [{name}], with {keys}",
    "The name stands for a table of settings, and the file gives it a value.",
    "Write the table's name in brackets on a line, and its settings below.",
)
NO_SUCH_SETTING = Notice(
    "{option}: no such setting{hint}",
    "The command line names a setting that does not exist.",
    "Correct the name. `spraycc --help-all` lists all options.",
)
NO_TOML = Notice(
    "{file}: no valid TOML: {cause}",
    "The configuration file does not follow the grammar of TOML. Most causes end with line and column.",
    "Correct the line. Texts need quotes, and lists need brackets.",
)
FILE_UNREADABLE = Notice(
    "{file}: can't be read: {cause}; correct its permissions",
    "SprayCC can't read the configuration file. A build runs without SprayCC.",
    "Correct the owner or the permissions of the file.",
)
FILE_NOT_REGULAR = Notice(
    "{file}: is no regular file; remove it or write settings into one",
    "A directory, a pipe or a device has the name of a configuration file.",
    "Remove it, or put a file with settings in its place.",
)
FILE_TOO_LARGE = Notice(
    "{file}: more than {limit_bytes} bytes; a configuration is a few lines of TOML",
    "The file is too large for a configuration. Probably it has another purpose.",
    "Give the file another name.",
)
FILE_NOT_UTF8 = Notice(
    "{file}: line {line}: not UTF-8, as TOML must be",
    "The line has a character in another encoding.",
    "Save the file in UTF-8.",
)
UNKNOWN_VARIABLE = Notice(
    "{variable} in the environment is not a setting{hint}",
    "Your environment has a variable with SprayCC's prefix that SprayCC does not know. SprayCC ignores it.",
    "Correct its name, or unset it.",
)
DID_YOU_MEAN = Notice(
    "; did you mean {name!r}?",
    "A known name is similar. This is the end of the messages about unknown names.",
    "Use that name, if you meant it.",
)
SEE_HELP = Notice(
    "; `spraycc --help-all` lists them all",
    "No known name is similar. This is the end of the messages about unknown names.",
    "Look for the name in the output of that command.",
)
BAD_PROGRAM_NAME = Notice(
    "wrap: {name!r} is not the name of a program that could be wrapped; give a name without directory",
    "`wrap` takes names of programs, because a wrapped program is known by its name.",
    "Give the name without its directory.",
)
RESERVED_ARGUMENT = Notice(
    "submit_arguments: {argument}: SprayCC needs this option itself; see `batch_name`",
    "SprayCC names its batch jobs and makes arrays of them. It would not find batch jobs with other names.",
    "Remove the argument. Set `batch_name` for another name of the batch jobs.",
)
SEVERAL_CLUSTERS = Notice(
    "submit_arguments: {argument}: SprayCC works with one cluster at a time",
    "The ids of batch jobs do not say which cluster they belong to.",
    "Name one cluster.",
)
BAD_HOST = Notice(
    "hosts: {host!r}: allowed is host or host:slots, as in build1:8",
    "An entry of `hosts` is not a host's name, or its number of slots is wrong.",
    "Correct the entry. `build1:8` means eight executors on the host build1.",
)
NO_HOSTS = Notice(
    'cluster is "ssh", and `hosts` names none; set it, as in hosts = ["build1:8", "build2:8"]',
    'With `cluster = "ssh"`, SprayCC starts executors on the hosts that you name.',
    "Set `hosts`.",
)
NO_ALLOCATION = Notice(
    'cluster is "{cluster}", and the build was started outside an allocation of {system}; '
    "start it in one, or set `cluster` to another value",
    "With this cluster, executors run in the allocation in which you start the build.",
    "Start the build in an allocation, for example by `salloc`. Or set `cluster` to the cluster manager itself.",
)
NO_START_COMMAND = Notice(
    'cluster is "command", and `start_command` is not set; as in start_command = ["mysubmit", "{{command}}"]',
    'With `cluster = "command"`, your own command starts each executor.',
    "Set `start_command`.",
)
NO_WORKING_DIRECTORY = Notice(
    "the working directory does not exist any more; change into the project's directory",
    "The shell's directory was removed.",
    "Change into the project's directory.",
)
NO_WORKSPACE = Notice(
    "{directory} can't be a workspace as a whole; work in a subdirectory, one for each project "
    "(its root is where {file}, .git, .hg or .svn is, else the directory you are in)",
    "Home directories, / and /tmp hold too many files of other programs to be a project.",
    "Move the project to a directory of its own, and build there.",
)
