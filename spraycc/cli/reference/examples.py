"""Examples of command lines, for the man page and the reference page. A test parses each of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Example:
    """A line for a shell, and what it is for."""

    line: str
    #: one sentence
    text: str


#: the words after ``spraycc`` -> examples of that command; the empty key: ``spraycc`` with its options
EXAMPLES: dict[tuple[str, ...], tuple[Example, ...]] = {
    (): (
        Example(
            "spraycc make -j8", "Build with the settings in force. Without a cluster, this host runs all commands."
        ),
        Example(
            "spraycc --cluster slurm --queues short --executors 400 make -j400",
            "Build with up to 400 executors in Slurm's partition short.",
        ),
        Example(
            "spraycc --capture overlay make -j8",
            "Build with executors on this host, to see how files go to an executor and come back.",
        ),
        Example(
            "spraycc --summary build.json --progress plain ninja",
            "Build in CI: a line of progress every 30 s, and the figures in a file.",
        ),
    ),
    ("build",): (
        Example("spraycc build -- ./build.sh --fast", "Build with a script that calls make or ninja."),
        Example("spraycc build -- dpkg-buildpackage -b -j40", "Build a Debian package."),
    ),
    ("run",): (
        Example("spraycc run --remote -- ./gen-tables x.c", "Run one command on an executor."),
        Example("spraycc run gcc -c x.c -o x.o", "Compile one file through the server."),
    ),
    ("env",): (
        Example(
            'eval "$(spraycc env)"',
            "Prepare this shell: from then on, plain make, ninja and cmake --build open builds.",
        ),
        Example('eval "$(spraycc env --off)"', "Undo that."),
    ),
    ("status",): (
        Example("spraycc status", "Show the server, its executors and its builds."),
        Example("spraycc status --json", "The same as one object of JSON, for a script."),
    ),
    ("top",): (Example("spraycc top --sort time", "Watch the executors, those with the longest task first."),),
    ("why",): (
        Example("spraycc why", "Show which tasks of the last build failed, where its tasks ran, and why."),
        Example("spraycc why src/main.o", "Show where this task of the last build ran, and why."),
        Example("spraycc why --build 2 --all --json", "All tasks of the build before the last, as lines of JSON."),
    ),
    ("builds",): (Example("spraycc builds", "List the last builds, the newest first."),),
    ("report",): (Example("spraycc report -o slow.html 3", "Write the page of the third last build."),),
    ("trace",): (Example("spraycc trace -o build.json", "Write the last build as a trace for Perfetto."),),
    ("history", "show"): (
        Example("spraycc history show main", "Show the durations and the memory of targets with main in their names."),
    ),
    ("history", "clear"): (Example("spraycc history clear", "Forget the durations of all earlier tasks."),),
    ("doctor",): (
        Example("spraycc doctor", "Check this host."),
        Example("spraycc doctor --cluster", "Also start two executors on the cluster, and compile on one of them."),
    ),
    ("config", "init"): (Example("spraycc config init", "Write a first .spraycc.toml for the cluster of this host."),),
    ("config", "show"): (
        Example("spraycc config show", "Show all settings in force, with their sources."),
        Example("spraycc config show executors", "Show one setting, and which values are allowed."),
    ),
    ("config", "path"): (Example("spraycc config path", "Name the configuration files."),),
    ("cluster", "show"): (
        Example("spraycc cluster show -n 4", "Show the commands that would ask the cluster for four executors."),
    ),
    ("server", "start"): (
        Example("spraycc server start", "Start the server before the first build, which then waits for nothing."),
    ),
    ("server", "run"): (Example("spraycc server run", "Run the server in this terminal, with its log."),),
    ("server", "stop"): (
        Example("spraycc server stop", "End the server when its open builds have ended."),
        Example("spraycc server stop --now", "End the server now; open builds continue on this host."),
        Example("spraycc server stop --force", "Cancel the batch jobs that a killed server has left."),
    ),
    ("clean",): (
        Example("spraycc clean --dry-run", "Show what would be removed."),
        Example("spraycc clean --workspace", "Remove only what belongs to this workspace."),
    ),
    ("completion",): (Example("source <(spraycc completion bash)", "Let this bash complete spraycc's command line."),),
    ("help",): (Example("spraycc help config show", "Show the help text of a command."),),
}
