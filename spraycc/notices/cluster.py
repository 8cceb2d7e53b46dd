"""Notices about the cluster: submitting, waiting and cancelling. Most go to every open build of the workspace."""

from __future__ import annotations

from spraycc.notices import Notice

_TRIES_AGAIN = "The build goes on meanwhile, and SprayCC tries again."

# -- answers of the cluster manager's commands

UNREACHABLE = Notice(
    "{system} can't be reached: {words}",
    f"The cluster manager's daemons are down, or don't answer the submit host. {_TRIES_AGAIN}",
    "Try the command for the queue by hand (`squeue`, `qstat`, `bjobs`). If it fails as well, tell the administrator.",
)
BUSY = Notice(
    "{system} takes no more now: {words}",
    f"A limit of the site on submitted batch jobs is reached. {_TRIES_AGAIN}",
    "No step is needed. Set `executors` to the limit to get no message. `keep_pending` limits pending ones only.",
)
REFUSED = Notice(
    "{system} refused: {words}",
    "The cluster manager does not take a batch job with these settings. SprayCC asks again after ten minutes.",
    "Correct the setting that the message names. `spraycc cluster show` prints what is submitted.",
)
NOT_ON_HOST = Notice(
    "{system} can't be asked on this host: {words}",
    "The cluster manager's commands don't work on the submit host.",
    "Build on a submit host of the cluster, and load the cluster manager's module or settings in the shell.",
)
COMMAND_SIGNALLED = Notice(
    "{system}: signal {signal} ended the command ({words})",
    f"The cluster manager's command, or a wrapper of the site, was killed. {_TRIES_AGAIN}",
    "Look for limits on processes or CPU time on the submit host.",
)
GARBLED = Notice(
    "{system}: {command} answered {words!r}",
    "The output of the cluster manager's command is not one that SprayCC knows. Perhaps the site has a wrapper.",
    "Run `spraycc doctor --cluster`, and look at the command's output. Report the text.",
)
EMPTY_ANSWER = Notice(
    "{system}: {command} answered nothing (exit status {status})",
    "The cluster manager's command printed no line. A wrapper of the site has perhaps kept its output back.",
    "Run the command by hand. It must print on standard output what the cluster manager prints.",
)
COMMAND_NOT_STARTED = Notice(
    "{command} can't be started now: {cause}",
    f"The submit host lacks memory, processes or open files. {_TRIES_AGAIN}",
    "Look at the load of the submit host, and at `ulimit -a`.",
)
COMMAND_TOO_SLOW = Notice(
    "{command} did not end within {limit_s:.0f} s{words}",
    f"The cluster manager's command took longer than `cluster_timeout_s`. {_TRIES_AGAIN}",
    "Raise `cluster_timeout_s` if the cluster manager is often that slow.",
)
STILL_LISTED = Notice(
    "{system} still lists what was cancelled: {ids}",
    "The cluster manager has taken the command to cancel, and still has the batch jobs.",
    "Cancel them by hand. `spraycc server stop --force` tries again.",
)
NEVER_STARTS = Notice(
    "the cluster will not start what was submitted{reason}; {advice}",
    "The cluster manager says that these batch jobs can never run. SprayCC cancels them, and asks again after ten "
    "minutes.",
    "Correct the setting that the message names. `spraycc cluster show` prints what is submitted.",
)

# -- advice at the end of a message

WITH_ADVICE = Notice(
    "{words} ({advice})",
    "The advice in parentheses belongs to the cluster manager's words.",
    "Follow the advice.",
)
TRIES_AGAIN = Notice(
    "SprayCC tries again",
    "SprayCC repeats the command after 15 seconds.",
    "No step is needed.",
)
FORCE_TRIES_AGAIN = Notice(
    "`spraycc server stop --force` tries again",
    "Another attempt of the server would fail alike.",
    "Correct the cause, and run that command.",
)
TRIES_LATER = Notice(
    "SprayCC tries again later",
    "SprayCC repeats the command after a minute.",
    "No step is needed.",
)
SET_ARRAY_LIMIT = Notice(
    "set `array_limit` to what the site allows",
    "The site allows smaller arrays only, and even an array of one element is refused.",
    "Ask the administrator, and set `array_limit`.",
)
IS_SUBMIT_HOST = Notice(
    "is this a submit host of that cluster, and is its software on PATH?",
    "The cluster manager's command was not found, or has no configuration on this host.",
    "Build on a submit host, and load the cluster manager's module in the shell.",
)
TRY_DOCTOR = Notice(
    "`spraycc doctor --cluster` shows each step",
    "SprayCC can't say more.",
    "Run that command.",
)
CORRECT_QOS = Notice(
    'name a QOS that you may use: submit_arguments = ["--qos=NAME"]; `spraycc cluster show` prints what is submitted',
    "You may not use the QOS of the batch job, or the partition asks for another one.",
    "Add the line to `.spraycc.toml`. `sacctmgr show assoc user=$USER format=qos` prints the names that you may use.",
)
CORRECT_SETTINGS = Notice(
    "correct {settings}; `spraycc cluster show` prints what is submitted",
    "SprayCC concludes from the cluster manager's words which setting is wrong.",
    "Correct the setting in `.spraycc.toml`, and build again.",
)

# -- what was submitted

OTHER_QUEUE_TOO = Notice(
    "{system}: nothing has started in {queue} for {patience_s:.0f} s, so {next_queue} is asked too",
    "You have set several `queues`, in the order of your preference. SprayCC submits to the next one as well.",
    "No step is needed. `queue_patience_s` sets the time.",
)
STILL_WAITS = Notice(
    "{words}; what was submitted before still waits",
    "A further queue has refused. The batch jobs in the preferred queue are still pending.",
    "No step is needed, or correct the further queue in `queues`.",
)
GOES_ON = Notice(
    "{words}; what was submitted before goes on",
    "The cluster manager takes no more batch jobs. The build goes on with those that it has.",
    "Follow the advice in the message, if you want more executors.",
)
IS_LIMITED = Notice(
    "{words}; {submitted} of {wanted} executors are submitted",
    "A limit of the site keeps some of the executors from being submitted. The build goes on with the others.",
    "No step is needed. Set `executors` to the limit to get no such message.",
)
ENDED_EARLY = Notice(
    "{executors} ended before connecting to the server",
    "The cluster manager has started batch jobs that ended at once. The message goes on with the last line of "
    "their log, and the log's path.",
    "Read the log. Often a directory is missing on the executor's host, a firewall is in between, or `setup` fails. "
    "`spraycc doctor --cluster` looks for the cause.",
)
STAYS_SILENT = Notice(
    "{batch_jobs} started, and no executor connected within {limit_s:.0f} s; "
    "`spraycc doctor --cluster` looks for the cause",
    "The cluster manager says that the batch jobs run. Their executors can't reach the server, or can't start.",
    "Read the log that the message names. See the page on firewalls: executors connect to a TCP port of the submit "
    "host.",
)
NOT_CANCELLED = Notice(
    "batch jobs are not cancelled yet: {error} ({advice})",
    "The command to cancel batch jobs has failed. SprayCC repeats it.",
    "If SprayCC can't cancel them until its end, run `spraycc server stop --force` later.",
)
FAULT = Notice(
    "{system}: a fault of SprayCC; `spraycc status` names the log",
    "SprayCC has a fault in its work with the cluster manager. It tries again after two minutes.",
    "Report the lines of the log.",
)
STALE_CANCELLED = Notice(
    "cancelled batch jobs that an earlier server had left in the cluster ({count})",
    "An earlier server of this workspace was killed. The present one has cancelled its batch jobs.",
    "No step is needed.",
)
STALE_LEFT = Notice(
    "batch jobs of an earlier server may be left in the cluster: {error} ({advice})",
    "An earlier server was killed, and the command to cancel its batch jobs has failed.",
    "Run `spraycc server stop --force` if SprayCC does not try again.",
)
MAY_BE_LEFT = Notice(
    "batch jobs may be left in the cluster; `spraycc server stop --force` cancels them",
    "The server has ended. It could not cancel its batch jobs, or another server was killed.",
    "Run that command.",
)
FORCE_FAILED = Notice(
    "batch jobs may be left: {error}",
    "`spraycc server stop --force` could not cancel the batch jobs.",
    "Cancel them by the cluster manager's own command. Their names begin with the `batch_name`.",
)
FORCED = Notice(
    "submissions of earlier servers that were found in the cluster, and cancelled: {count}",
    "`spraycc server stop --force` has done its work.",
    "No step is needed.",
)

# -- waiting for executors

NO_EXECUTOR_YET = Notice(
    "no executor has connected yet: {state}",
    "The build waits for its first executor. The message has the cluster manager's reason.",
    'Look at the reason. "Resources" and "Priority" mean a full cluster: wait, or use another queue. '
    "`spraycc doctor --cluster` tries each step.",
)
NO_EXECUTOR_YET_HERE = Notice(
    "no executor has connected yet ({state}); {effect}",
    "No executor has connected within `pending_grace_s`, so compiles begin on the submit host. Executors get the rest "
    "when they connect.",
    "No step is needed. With `--wait-for-cluster` the compiles wait for executors.",
)
NO_EXECUTOR_CONNECTED = Notice(
    "no executor is connected; {effect}",
    "All executors have left, and none is asked for at the moment.",
    "`spraycc status` shows the last failure, and `spraycc doctor --cluster` tries each step.",
)
COMPILES_HERE = Notice(
    "compiling on this host meanwhile, {slots} at once (--wait-for-cluster to wait)",
    "Compiles run on the submit host until an executor connects.",
    "No step is needed.",
)
WITH_EFFECT = Notice(
    "{failure}; compiling on this host meanwhile",
    "Executors failed to start, and none is connected. Compiles run on the submit host until an executor connects.",
    "Follow the next step of the first part.",
)
ASKED_AGAIN = Notice(
    "waiting for the cluster (--wait-for-cluster): executors are asked for again in {retry_s:.0f} s",
    "Executors failed to start. With `--wait-for-cluster`, compiles wait for the next attempt.",
    "Correct the cause, which the build has told before. Or build without `--wait-for-cluster`.",
)
OTHERS_PENDING = Notice(
    "{pending}; {executors_are} connected",
    "Some executors work, and others are still pending. The cluster manager's reason is in the message.",
    "No step is needed.",
)
ASKED_ONLY = Notice(
    "{executors_are} asked for, and nothing has been submitted so far",
    "The server has not submitted anything yet. The cluster manager's command may take some seconds.",
    "Wait. `spraycc status` shows a failure.",
)
STARTED_AGO = Notice(
    "{executors_were} started{where} {age} ago",
    "The server has started the processes, and they have not connected.",
    "Wait. If nothing connects, read `executors.log` in the directory of the server's log.",
)
SUBMITTED_AGO = Notice(
    "{batch_jobs}, submitted to {where} {age} ago, {state}",
    "The cluster manager has taken the batch jobs. The state is its own reason, or says that it has started them.",
    'Look at the reason. "started and not connected" means that executors can\'t reach the server: see the page on '
    "firewalls.",
)

# -- processes

PROCESS_NOT_STARTED = Notice(
    "{executors} could not be started{where}: {cause}",
    "The process that starts executors has ended without them: `ssh`, `srun`, `blaunch` or your `start_command`.",
    "Read the cause. Run the same command by hand, for example `ssh HOST true`, which must ask for no password.",
)
NOTHING_CONNECTED = Notice(
    "nothing connected within {limit_s:.0f} s; see {log}",
    "Your `start_command` has ended with success, and no executor has connected.",
    "Read the log. `start_command` must run the words of `{command}` on a host that reaches the submit host.",
)
NOT_STARTED = Notice(
    "executors can't be started: {cause}",
    "The server can't prepare the start of executors. The build goes on on the submit host.",
    "Follow the next step in the cause. `spraycc doctor` checks this host.",
)
ALLOCATION_ENDED = Notice(
    "{allocation} has ended, so no executors start in it",
    "The time of the allocation is over, or it was cancelled.",
    "Start the next build in a new allocation.",
)
NO_PORT = Notice(
    "no port of listen_ports {ports} is free on {address} ({cause}); {step}",
    "The server listens for executors on one of these ports. Other servers, or other programs, have all of them.",
    "Allow more ports in `listen_ports`. `spraycc server stop` ends the server of a workspace.",
)
MORE_PORTS = Notice(
    "allow more ports, or end servers of other workspaces with 'spraycc server stop'",
    "Each workspace with an open build has a server, and each server takes a port.",
    "Set `listen_ports` to more ports, or end the server of a workspace that you don't build now.",
)
PORTS_OF_ROOT = Notice(
    "below 1024, ports are for root only",
    "`listen_ports` names ports below 1024.",
    "Set `listen_ports` to ports from 1024 on.",
)
NO_ADDRESS = Notice(
    "this host can't listen on {address!r} ({cause}); set listen (--listen) to an address or a name of this host, "
    "or to auto",
    "`listen` does not name an address of the submit host.",
    "Set `listen` to an address of the submit host that executors can reach, or to auto.",
)
