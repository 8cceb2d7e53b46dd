/* spraycc-run: what a build tool really starts in place of a compiler. It asks the server where the command shall run, and
 * either passes on what comes back or executes the program in its own place. Whatever fails, the command runs here.
 *
 * Its file name decides: started as spraycc-run it is a launcher (spraycc-run [OPTIONS] CMD ARGS...), under any other name
 * a shim for the program of that name. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "env.h"
#include "find.h"
#include "here.h"
#include "link.h"
#include "message.h"
#include "slots.h"
#include "task.h"
#include "tool.h"
#include "util.h"

#ifndef SPRAYCC_VERSION
#define SPRAYCC_VERSION "unknown"
#endif

#define LAUNCHER "spraycc-run"

/* Set in the environment of a ccache that a shim has started. */
#define BELOW_CCACHE "SPRAYCC_CCACHE"

static const char usage[] = "usage: spraycc-run [--remote|--local] [--] CMD [ARGS...]\n"
							"       spraycc-run --version | --help\n";

static const char help[] =
	"\n"
	"Runs one command through the SprayCC server of this build; where there is none, runs it here.\n"
	"  --remote   on an executor if at all possible, whatever kind of command it is\n"
	"  --local    here, when a local slot is free\n";

static _Noreturn void misused(const char *what, const char *which)
{
	say(LAUNCHER ": ", what, which, (char *)0);
	(void)write_all(STDERR_FILENO, usage, sizeof usage - 1);
	_exit(2);
}

/* The command behind the launcher's own words. */
static char **parse(char **argv, struct task *t)
{
	if (!*argv)
		misused("no command", "");
	for (argv++; *argv; argv++) {
		const char *word = *argv;
		if (strcmp(word, "--remote") == 0) {
			t->wish = "remote";
		} else if (strcmp(word, "--local") == 0) {
			t->wish = "local";
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
	/* A launcher before a launcher, as where both CMAKE_C_COMPILER_LAUNCHER and CC name it. */
	return strcmp(base_name(*argv), LAUNCHER) == 0 ? parse(argv, t) : argv;
}

/* The name we were started by. Not argv[0], which says whatever the build tool likes. */
static const char *own_name(char **argv)
{
	const char *file = (const char *)getauxval(AT_EXECFN);
	if (!file || strncmp(file, "/dev/fd/", 8) == 0) /* fexecve(3) */
		file = argv[0] ? argv[0] : LAUNCHER;
	return base_name(file);
}

static void find(struct task *t, const char *name)
{
	int problem =
		find_program(name, getenv("PATH"), env_value("SPRAYCC_SHIMS"), env_value(BELOW_CCACHE) != NULL, &t->program);
	if (problem) {
		say(name, ": ", problem == ENOENT && !strchr(name, '/') ? "command not found" : strerror(problem), (char *)0);
		_exit(problem == ENOENT ? 127 : 126);
	}
	/* A program may look for its own files beside argv[0]. */
	static char nothing[] = "";
	static char *no_argv[] = {nothing, NULL};
	if (!t->argv[0])
		t->argv = no_argv;
	if (strchr(t->argv[0], '/') && is_runner(t->argv[0]))
		t->argv[0] = (char *)(uintptr_t)t->program;
}

/* In a build, ccache under a compiler's name starts at once and with the shims on PATH, as `ccache gcc` does: what it has
 * in store costs no task, and what it has not it gives to a shim. That one must not find ccache again. */
static void exec_ccache(const struct task *t)
{
	static char below[] = BELOW_CCACHE "=1";
	const char *path = getenv("PATH"), *shims = env_value("SPRAYCC_SHIMS");
	if (strcmp(t->wish, "auto") != 0 || env_value(BELOW_CCACHE) || env_value("SPRAYCC_SLOT"))
		return;
	if (path && shims && strstr(path, shims) && is_ccache(t->program) && putenv(below) == 0)
		here_exec(t);
}

/* The server is gone, or can't be talked to: here, within the slots that its lock files stand for. */
static _Noreturn void run_without_server(const struct task *t, const char *socket_path, const char *build,
                                         struct skip skip, bool gone)
{
	if (build) {
		struct slots slots = slots_open(socket_path);
		if (gone)
			slots_warn_once(&slots, socket_path, build);
		env_hold_slot();
		/* Not in our place: the lock would end with this process, or live on in a daemon that the command leaves. */
		if (slots_take(&slots) >= 0)
			here_run(t, skip, -1);
	}
	if (skip.out || skip.err)
		here_run(t, skip, -1);
	here_exec(t);
}

/* What has been passed on, and what became of it. */
struct passed {
	struct skip bytes;
	int stdout_error;
};

static void pass_on(const struct message *m, struct passed *passed)
{
	int problem = write_all(m->u.out.fd, m->u.out.data, m->u.out.n);
	*(m->u.out.fd == 1 ? &passed->bytes.out : &passed->bytes.err) += m->u.out.n;
	/* A stream that was closed all along lost nothing. (For a reader that went away SIGPIPE has ended us by now, unless it
	 * is ignored.) */
	if (problem && problem != EBADF && m->u.out.fd == 1)
		passed->stdout_error = problem;
}

static _Noreturn void end(const struct message *m, const struct passed *passed)
{
	if (m->u.exit.code == 0 && m->u.exit.sig == 0 && passed->stdout_error) {
		/* The program would have noticed; there it wrote to a pipe, and did not. */
		say("spraycc: standard output: ", strerror(passed->stdout_error), (char *)0);
		_exit(1);
	}
	end_as(m->u.exit.code, m->u.exit.sig);
}

static _Noreturn void converse(const struct task *t, int fd, const char *socket_path, const char *build)
{
	struct passed passed = {0};
	const unsigned char *body;
	size_t n;
	struct message m;
	while (link_receive(fd, &body, &n) && message_decode(body, n, &m)) {
		switch (m.kind) {
		case OUT:
			pass_on(&m, &passed);
			break;
		case EXIT:
			end(&m, &passed);
		case HERE:
			if (build)
				tool_reopen_jobserver(socket_path, build);
			env_hold_slot();
			if (m.u.skip.out || m.u.skip.err || m.u.skip.stay)
				here_run(t, (struct skip){m.u.skip.out, m.u.skip.err}, m.u.skip.stay ? fd : -1);
			here_exec(t);
		case REFUSED:
			close(fd);
			run_without_server(t, socket_path, build, passed.bytes, false);
		}
	}
	close(fd);
	run_without_server(t, socket_path, build, passed.bytes, true);
}

int main(int argc, char **argv)
{
	(void)argc;
	struct task t = {.wish = "auto", .argv = argv};
	const char *name = own_name(argv);
	if (is_build_tool(name)) {
		find(&t, name);
		tool_exec(&t, name);
	}
	if (strcmp(name, LAUNCHER) == 0) {
		t.argv = parse(argv, &t);
		name = t.argv[0];
	}
	find(&t, name);
	const char *socket_path = env_value("SPRAYCC_SOCKET");
	const char *build = env_value("SPRAYCC_BUILD");
	if (socket_path && build)
		exec_ccache(&t);
	env_strip_path(env_value("SPRAYCC_SHIMS"));
	/* Shims of which the environment does not tell, as after `env -i PATH="$PATH"`: GCC looks for itself on PATH, and for
	 * its parts beside what it finds. */
	for (const char *shims; (shims = directory_of_runner(base_name(name), getenv("PATH")));)
		env_strip_path(shims);
	if (env_value("SPRAYCC_SLOT")) {
		env_hold_slot();
		here_exec(&t);
	}
	if (!socket_path)
		here_exec(&t);
	task_look_at_streams(&t);
	plug_standard_streams();
	int fd = link_connect(socket_path);
	if (fd < 0)
		run_without_server(&t, socket_path, build, (struct skip){0}, true);
	struct buf request = {0};
	bool encoded = task_encode(&t, build, &request);
	bool sent = encoded && link_send(fd, request.data, request.len);
	buf_free(&request); /* now, and not at the end: runners wait by the thousand */
	if (!sent) {
		close(fd);
		run_without_server(&t, socket_path, build, (struct skip){0}, encoded);
	}
	converse(&t, fd, socket_path, build);
}
