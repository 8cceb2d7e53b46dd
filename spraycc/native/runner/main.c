/* spraycc-run: the program that a build tool starts in place of a compiler. The runner asks the server where to run the
 * command. Then it passes on the command's output and status, or executes the program itself. After any failure the
 * command runs on the submit host.
 *
 * The library that intercepts executions (spraycc/native/exec/) executes the runner in a program's place: with the
 * program's words, and with SPRAYCC_PROGRAM, the program's path. Otherwise the runner's file name decides: spraycc-run is
 * a launcher (spraycc-run [OPTIONS] CMD ARGS...), any other name is a shim for the program of that name. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "../common/output.h"
#include "../common/text.h"
#include "build_tool.h"
#include "environment.h"
#include "find_program.h"
#include "local_slots.h"
#include "message.h"
#include "run_here.h"
#include "server_connection.h"
#include "task.h"

#ifndef SPRAYCC_VERSION
#define SPRAYCC_VERSION "unknown"
#endif

#define LAUNCHER "spraycc-run"

static const char usage[] = "usage: spraycc-run [--remote|--local] [--] CMD [ARGS...]\n"
							"       spraycc-run --version | --help\n";

static const char help[] =
	"\n"
	"Runs one command through the SprayCC server of this build; without a server, on this host.\n"
	"  --remote   on an executor if at all possible, whatever kind of command it is\n"
	"  --local    on this host, when a local slot is free\n";

static _Noreturn void misused(const char *what, const char *which)
{
	say(LAUNCHER ": ", what, which, (char *)0);
	(void)write_all(STDERR_FILENO, usage, sizeof usage - 1);
	_exit(2);
}

/* Reads the launcher's options, and returns the command after them. */
static char **parse(char **argv, struct task *task)
{
	if (!*argv)
		misused("no command", "");
	for (argv++; *argv; argv++) {
		const char *word = *argv;
		if (strcmp(word, "--remote") == 0) {
			task->wish = "remote";
		} else if (strcmp(word, "--local") == 0) {
			task->wish = "local";
		} else if (strcmp(word, "--version") == 0) {
			static const char version[] = LAUNCHER " " SPRAYCC_VERSION " native\n";
			_exit(write_all(STDOUT_FILENO, version, sizeof version - 1) ? 1 : 0);
		} else if (strcmp(word, "--help") == 0) {
			_exit(write_all(STDOUT_FILENO, usage, sizeof usage - 1) || write_all(STDOUT_FILENO, help, sizeof help - 1));
		} else if (strcmp(word, "--") == 0) {
			argv++;
			break;
		} else if (*word == '-') {
			misused("unknown option ", word);
		} else {
			break;
		}
	}
	if (!*argv)
		misused("no command", "");
	/* A launcher may start a launcher, if both CMAKE_C_COMPILER_LAUNCHER and CC name it. */
	return strcmp(base_name(*argv), LAUNCHER) == 0 ? parse(argv, task) : argv;
}

/* The file name of this process. A build tool may set argv[0] to any text, so that is the last resort. */
static const char *own_name(char **argv)
{
	const char *file = (const char *)getauxval(AT_EXECFN);
	if (!file || strncmp(file, "/dev/fd/", 8) == 0) /* fexecve(3) */
		file = argv[0] ? argv[0] : LAUNCHER;
	return base_name(file);
}

/* Without an argv[0], a program gets an empty one. */
static void complete_argv(struct task *task)
{
	static char nothing[] = "";
	static char *no_argv[] = {nothing, NULL};
	if (!task->argv[0])
		task->argv = no_argv;
}

/* Finds the real program, or ends this process as a shell does. */
static void find_real_program(struct task *task, const char *name)
{
	int problem = find_program(name, getenv("PATH"), environment_value("SPRAYCC_SHIMS"), &task->program);
	if (problem) {
		say(name, ": ", problem == ENOENT && !strchr(name, '/') ? "command not found" : strerror(problem), (char *)0);
		_exit(problem == ENOENT ? 127 : 126);
	}
	complete_argv(task);
	/* A program may look for its own files beside argv[0]. CMake's programs search PATH for a bare name, and would find
	 * the shim (seen: 3.25). */
	bool is_cmakes = strcmp(name, "cmake") == 0 || strcmp(name, "ctest") == 0;
	if (strchr(task->argv[0], '/') ? is_runner(task->argv[0]) : is_cmakes)
		task->argv[0] = (char *)(uintptr_t)task->program;
}

static const struct overseer nobody = {.connection = -1};

/* The server is gone or refuses: runs the command on the submit host, within the local slots. */
static _Noreturn void run_without_server(const struct task *task, const char *socket_path, const char *build,
                                         struct skip skip, bool gone)
{
	if (build) {
		struct slots slots = slots_open(socket_path);
		if (gone)
			slots_warn_once(&slots, socket_path, build);
		environment_hold_slot();
		/* As a child: an exec would drop the lock, or hand it to a daemon that the command leaves. */
		if (slots_take(&slots) >= 0)
			run_here(task, skip, nobody);
	}
	if (skip.out || skip.err)
		run_here(task, skip, nobody);
	exec_here(task);
}

/* The output that was passed on. */
struct passed {
	struct skip bytes;
	int stdout_error; /* of a write, or 0 */
};

static void pass_on(const struct message *message, struct passed *passed)
{
	int problem = write_all(message->out.fd, message->out.data, message->out.n);
	*(message->out.fd == 1 ? &passed->bytes.out : &passed->bytes.err) += message->out.n;
	/* A stream that was closed from the start lost nothing. If a reader is gone, SIGPIPE has ended this process, unless
	 * the signal is ignored. */
	if (problem && problem != EBADF && message->out.fd == 1)
		passed->stdout_error = problem;
}

/* Ends as the command did. */
static _Noreturn void end(const struct message *message, const struct passed *passed)
{
	if (message->exit.code == 0 && message->exit.signal_number == 0 && passed->stdout_error) {
		/* On the submit host the program would have noticed. On the executor it wrote to a pipe. */
		say("spraycc: standard output: ", strerror(passed->stdout_error), (char *)0);
		_exit(1);
	}
	end_as(message->exit.code, message->exit.signal_number);
}

/* Receives messages until one ends this process. */
static _Noreturn void converse(const struct task *task, int fd, const char *socket_path, const char *build)
{
	struct passed passed = {0};
	const unsigned char *body;
	size_t n;
	struct message message;
	while (server_receive(fd, &body, &n) && message_decode(body, n, &message)) {
		switch (message.kind) {
		case OUT:
			pass_on(&message, &passed);
			break;
		case EXIT:
			end(&message, &passed);
		case HERE:
			if (build)
				reopen_jobserver(socket_path, build);
			environment_hold_slot();
			if (message.here.out || message.here.err || message.here.stay)
				run_here(task, (struct skip){message.here.out, message.here.err},
				         message.here.stay ? (struct overseer){fd, message.here.stay == STAY_AND_ASK} : nobody);
			exec_here(task);
		case REFUSED:
			close(fd);
			run_without_server(task, socket_path, build, passed.bytes, false);
		}
	}
	close(fd);
	run_without_server(task, socket_path, build, passed.bytes, true);
}

/* Opens a placeholder for each of 0, 1 and 2 that is closed, so that nothing else gets these numbers. The placeholder
 * can neither be read nor written and closes on exec: so to this process and to the program, the stream stays
 * closed. */
static void plug_standard_streams(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			/* open gives the lowest free number, which is fd. With O_PATH, read and write fail with EBADF. */
			(void)open("/", O_PATH | O_CLOEXEC);
}

int main(int argc, char **argv)
{
	(void)argc;
	struct task task = {.wish = "auto", .argv = argv};
	const char *given = environment_take_program();
	const char *name = given ? base_name(given) : own_name(argv);
	/* A shim that is a copy of the runner looks like the program itself. */
	if (given && is_runner(given))
		given = NULL;
	bool is_launcher = strcmp(name, LAUNCHER) == 0;
	if (is_launcher) {
		task.argv = parse(argv, &task);
		name = task.argv[0];
	}
	if (given) {
		task.program = given;
		complete_argv(&task);
	} else {
		find_real_program(&task, name);
	}
	if (!is_launcher && is_build_tool(name))
		exec_build_tool(&task, name, given);
	const char *socket_path = environment_value("SPRAYCC_SOCKET");
	const char *build = environment_value("SPRAYCC_BUILD");
	environment_strip_preload();
	environment_strip_path(environment_value("SPRAYCC_SHIMS"));
	/* After `env -i PATH="$PATH"`, PATH has shims that no variable names. GCC searches PATH for itself, and finds its
	 * parts beside the file: a shim there would hide them. */
	for (const char *shims; (shims = directory_of_runner(base_name(name), getenv("PATH")));)
		environment_strip_path(shims);
	if (environment_value("SPRAYCC_SLOT")) {
		environment_hold_slot();
		exec_here(&task);
	}
	if (!socket_path)
		exec_here(&task);
	task_examine_streams(&task);
	plug_standard_streams();
	/* Before the connection: the server wakes up for it, and should find the request then. */
	struct request request = {0};
	bool encoded = task_encode(&task, build, &request);
	pid_t server = 0;
	int fd = server_connect(socket_path, &server);
	if (fd < 0) {
		request_free(&request);
		run_without_server(&task, socket_path, build, (struct skip){0}, fd == SERVER_GONE);
	}
	encoded = encoded && request_complete(&request, server);
	bool sent = encoded && server_send(fd, request.frame.data, request.frame.length);
	request_free(&request); /* before the wait: thousands of runners wait at once */
	if (!sent) {
		close(fd);
		run_without_server(&task, socket_path, build, (struct skip){0}, encoded);
	}
	converse(&task, fd, socket_path, build);
}
