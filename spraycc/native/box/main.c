/* spraycc-box: runs one command, catches the files that it writes, and leaves no process behind.
 *
 *   spraycc-box [OPTIONS] -- PROGRAM ARGV0 [ARGS...]
 *   spraycc-box --serve FD --hold DIR --parent PID      (serve.c)
 *   spraycc-box --touch FILE
 *
 *   --overlay LOWER UPPER WORK   writes below LOWER go to UPPER (repeatable)
 *   --writable DIR               this directory stays writable; all others are read-only (repeatable)
 *   --in-place                   no namespaces: the command sees and writes the host's files
 *   --no-pid-namespace           for hosts that refuse to mount a /proc
 *   --chdir DIR  --umask OCTAL  --rlimit RESOURCE SOFT HARD  --nice N
 *   --forget UPPER               with --serve: do not keep this overlay any longer (repeatable)
 *   --report FD                  descriptor for the report (report.c)
 *   --parent PID                 end when this process ends, which must be the parent
 *   --touch FILE                 make a file and end: the executor's test of a host
 *
 * The command gets the environment unchanged, and descriptors 0 to 2, but no other descriptor.
 *
 * With a pid namespace there are two processes:
 *   - The outer process builds the view and waits. It ends last, so its end (or the end of the report's pipe) means
 *     that no process is left.
 *   - The inner process is process 1 of the namespace. It starts the command and reaps. Its end kills all others.
 * The death of the executor kills the outer process, the death of the outer kills the inner (PR_SET_PDEATHSIG,
 * pid_namespaces(7)).
 *
 * Without a pid namespace there is one process, a subreaper. It kills its descendants on SIGTERM, which is then also
 * the signal of its parent's death.
 */
#include "box.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/output.h"

static _Noreturn void misuse(void)
{
	fail_setup("options", EINVAL);
}

static unsigned long long number(const char *text, int base)
{
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, base);
	if (errno != 0 || end == text || *end != '\0')
		misuse();
	return value;
}

static void *zeroed(int count, size_t size)
{
	void *memory = calloc((size_t)count, size);
	if (!memory)
		fail_setup("memory", ENOMEM);
	return memory;
}

/* Fills the options from a command line. The caller owns their arrays. */
void parse(struct options *options, int argc, char **argv)
{
	int i = 1;
	options->overlays = zeroed(argc, sizeof *options->overlays);
	options->writables = zeroed(argc, sizeof *options->writables);
	options->limits = zeroed(argc, sizeof *options->limits);
	options->forgotten = zeroed(argc, sizeof *options->forgotten);
	for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
		const char *name = argv[i];
		char **values = argv + i + 1;
		int left = argc - i - 1;
		if (strcmp(name, "--in-place") == 0) {
			options->in_place = true;
			options->pid_namespace = false;
		} else if (strcmp(name, "--no-pid-namespace") == 0) {
			options->pid_namespace = false;
		} else if (left >= 3 && strcmp(name, "--overlay") == 0) {
			options->overlays[options->n_overlays++] = (struct overlay){values[0], values[1], values[2], -1, -1, -1};
			i += 3;
		} else if (left >= 3 && strcmp(name, "--rlimit") == 0) {
			options->limits[options->n_limits++] =
				(struct limit){(int)number(values[0], 10), number(values[1], 10), number(values[2], 10)};
			i += 3;
		} else if (left < 1) {
			misuse();
		} else {
			if (strcmp(name, "--writable") == 0)
				options->writables[options->n_writables++] = (struct writable){values[0], -1, -1};
			else if (strcmp(name, "--forget") == 0)
				options->forgotten[options->n_forgotten++] = values[0];
			else if (strcmp(name, "--chdir") == 0)
				options->chdir = values[0];
			else if (strcmp(name, "--umask") == 0)
				options->umask = (int)(number(values[0], 8) & 0777);
			else if (strcmp(name, "--nice") == 0)
				options->nice = (int)strtol(values[0], NULL, 10);
			else if (strcmp(name, "--parent") == 0)
				options->parent = (pid_t)number(values[0], 10);
			else if (strcmp(name, "--report") == 0) {
				int fd = (int)number(values[0], 10);
				if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
					misuse();
				report_to(fd);
			} else
				misuse();
			i++;
		}
	}
	if (argc - i < 3)
		misuse();
	options->program = argv[i + 1];
	options->argv = argv + i + 2;
}

/* The signals that this process waits for. */
static sigset_t awaited_signals(void)
{
	sigset_t awaited;
	sigemptyset(&awaited);
	sigaddset(&awaited, SIGCHLD);
	sigaddset(&awaited, SIGTERM);
	return awaited;
}

/* Sets default dispositions, and blocks the awaited signals. */
static void prepare_signals(void)
{
	sigset_t awaited = awaited_signals();
	for (int signal_number = 1; signal_number < NSIG; signal_number++)
		(void)signal(signal_number, SIG_DFL); /* EINVAL for KILL, STOP and two signals of libc */
	sigprocmask(SIG_SETMASK, &awaited, NULL);
}

/* Checks for the parent after the call, as it may have ended before. */
static void die_with_parent(int signal_number, pid_t parent)
{
	if (parent == 0)
		return;
	if (prctl(PR_SET_PDEATHSIG, signal_number) < 0)
		fail_setup("parent", errno);
	if (getppid() != parent)
		fail_setup("parent", ESRCH);
}

static int exit_status(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Process 1 of the pid namespace. Its parent is outside, so getppid() is always 0. Instead a pipe, whose writing end
 * only the parent has, tells that the parent lives. */
static _Noreturn void be_init(const struct options *options, const int alive[2])
{
	struct pollfd parent = {.fd = alive[0], .events = 0};
	close(alive[1]);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		fail_setup("parent", errno);
	if (poll(&parent, 1, 0) != 0)
		fail_setup("parent", ESRCH);
	close(alive[0]);
	mount_proc();
	struct outcome outcome = wait_for_command(start_command(options), NULL);
	report_ended(&outcome);
	_exit(exit_status(outcome.status));
}

static int run_in_pid_namespace(const struct options *options)
{
	int alive[2];
	int status;
	sigset_t awaited = awaited_signals();
	if (pipe2(alive, O_CLOEXEC) < 0)
		fail_setup("pipe", errno);
	pid_t init = fork();
	if (init < 0)
		fail_setup("fork", errno);
	if (init == 0)
		be_init(options, alive);
	close(alive[0]);
	while (waitpid(init, &status, WNOHANG) == 0)
		if (sigwaitinfo(&awaited, NULL) == SIGTERM)
			kill(init, SIGKILL);
	return exit_status(status);
}

static int run_as_subreaper(const struct options *options)
{
	bool stopped = false;
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		fail_setup("subreaper", errno);
	struct outcome outcome = wait_for_command(start_command(options), &stopped);
	kill_the_rest();
	if (stopped)
		return 128 + SIGTERM;
	report_ended(&outcome);
	return exit_status(outcome.status);
}

static int touch(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	int error = fd < 0 ? errno : write_all(fd, "spraycc\n", 8);
	return error != 0 || close(fd) == 0 ? error : errno;
}

int main(int argc, char **argv)
{
	struct options options = {.umask = -1, .nice = -20, .pid_namespace = true};
	if (argc == 3 && strcmp(argv[1], "--touch") == 0)
		return touch(argv[2]);
	if (argc == 7 && strcmp(argv[1], "--serve") == 0 && strcmp(argv[3], "--hold") == 0 &&
	    strcmp(argv[5], "--parent") == 0) {
		pid_t parent = (pid_t)number(argv[6], 10);
		prepare_signals();
		die_with_parent(SIGKILL, parent);
		return serve((int)number(argv[2], 10), argv[4]);
	}
	parse(&options, argc, argv);
	prepare_signals();
	die_with_parent(options.pid_namespace ? SIGKILL : SIGTERM, options.parent);
	if (!options.in_place) {
		enter_namespaces(&options);
		mount_overlays(&options);
	}
	return options.pid_namespace ? run_in_pid_namespace(&options) : run_as_subreaper(&options);
}
