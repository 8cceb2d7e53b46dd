/* spraycc-box: runs one command so that what it writes is caught, and that nothing of it stays when it has ended.
 *
 *   spraycc-box [OPTIONS] -- PROGRAM ARGV0 [ARGS...]
 *   spraycc-box --touch FILE
 *
 *   --overlay LOWER UPPER WORK   what is written below LOWER lands in UPPER (repeatable)
 *   --writable DIR               stays writable; everything else is read-only (repeatable)
 *   --in-place                   no namespace at all: the command sees and writes what we do
 *   --no-pid-namespace           for hosts that refuse a /proc of one's own
 *   --chdir DIR  --umask OCTAL  --rlimit RESOURCE SOFT HARD  --nice N
 *   --report FD                  where the outcome goes (report.c)
 *   --parent PID                 end when this process, which must be our parent, ends
 *   --touch FILE                 make a file and end: what the executor runs to try a host out
 *
 * The environment is the command's, as it is. Descriptors 0 to 2 are the command's; it gets no other.
 *
 * With a pid namespace there are two of us. The outer process builds the view and waits; it ends last, so its end (or
 * that of the report's pipe) means that all is over. The inner one is process 1 of the namespace: it starts the command,
 * reaps, and takes everything with it when it ends. Death runs downwards: the executor's kills the outer process, that
 * the inner, that all others (PR_SET_PDEATHSIG, pid_namespaces(7)). Without a pid namespace there is one process, a
 * subreaper, which kills its descendants on SIGTERM, and that is then also the signal of its parent's death.
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

static _Noreturn void misuse(void)
{
	fail_setup("options", EINVAL);
}

static unsigned long long number(const char *text, int base)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, base);
	if (errno != 0 || end == text || *end != '\0')
		misuse();
	return value;
}

static void parse(struct options *options, int argc, char **argv)
{
	int i = 1;

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
			options->overlays[options->n_overlays++] = (struct overlay){values[0], values[1], values[2], -1, -1};
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
			else if (strcmp(name, "--chdir") == 0)
				options->chdir = values[0];
			else if (strcmp(name, "--umask") == 0)
				options->umask = (int)(number(values[0], 8) & 0777);
			else if (strcmp(name, "--nice") == 0)
				options->nice = (int)strtol(values[0], NULL, 10);
			else if (strcmp(name, "--parent") == 0)
				options->parent = (pid_t)number(values[0], 10);
			else if (strcmp(name, "--report") == 0) {
				options->report_fd = (int)number(values[0], 10);
				if (fcntl(options->report_fd, F_SETFD, FD_CLOEXEC) < 0)
					misuse();
				report_to(options->report_fd);
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

static void *zeroed(int count, size_t size)
{
	void *memory = calloc((size_t)count, size);

	if (memory == NULL)
		fail_setup("memory", ENOMEM);
	return memory;
}

/* Default dispositions, and the two signals that are waited for blocked. */
static void prepare_signals(void)
{
	sigset_t awaited;

	for (int signal_number = 1; signal_number < NSIG; signal_number++)
		(void)signal(signal_number, SIG_DFL); /* EINVAL for KILL, STOP and the two that libc keeps */
	sigemptyset(&awaited);
	sigaddset(&awaited, SIGCHLD);
	sigaddset(&awaited, SIGTERM);
	sigprocmask(SIG_SETMASK, &awaited, NULL);
}

/* The parent may have ended before the call, hence the check. */
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

/* Process 1 of the pid namespace. Its parent lies outside, so getppid() is 0 whether it lives or not; that it lives
 * is seen from a pipe whose writing end it alone holds. */
static _Noreturn void be_init(const struct options *options, const int alive[2])
{
	struct pollfd parent = {.fd = alive[0], .events = 0};
	struct outcome outcome;
	bool stopped;

	close(alive[1]);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		fail_setup("parent", errno);
	if (poll(&parent, 1, 0) != 0)
		fail_setup("parent", ESRCH);
	close(alive[0]);
	mount_proc();
	outcome = wait_for_command(start_command(options), false, &stopped);
	report_ended(&outcome);
	_exit(exit_status(outcome.status));
}

static int run_in_pid_namespace(const struct options *options)
{
	int alive[2];
	int status;
	pid_t init;
	sigset_t awaited;

	if (pipe2(alive, O_CLOEXEC) < 0)
		fail_setup("pipe", errno);
	init = fork();
	if (init < 0)
		fail_setup("fork", errno);
	if (init == 0)
		be_init(options, alive);
	close(alive[0]);
	sigemptyset(&awaited);
	sigaddset(&awaited, SIGCHLD);
	sigaddset(&awaited, SIGTERM);
	while (waitpid(init, &status, WNOHANG) == 0)
		if (sigwaitinfo(&awaited, NULL) == SIGTERM)
			kill(init, SIGKILL);
	return exit_status(status);
}

static int run_as_subreaper(const struct options *options)
{
	struct outcome outcome;
	bool stopped;

	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		fail_setup("subreaper", errno);
	outcome = wait_for_command(start_command(options), true, &stopped);
	kill_the_rest();
	if (stopped)
		return 128 + SIGTERM;
	report_ended(&outcome);
	return exit_status(outcome.status);
}

static int touch(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);

	return fd >= 0 && write(fd, "spraycc\n", 8) == 8 && close(fd) == 0 ? 0 : errno;
}

int main(int argc, char **argv)
{
	struct options options = {.umask = -1, .nice = -20, .report_fd = -1, .pid_namespace = true};

	if (argc == 3 && strcmp(argv[1], "--touch") == 0)
		return touch(argv[2]);
	options.overlays = zeroed(argc, sizeof *options.overlays);
	options.writables = zeroed(argc, sizeof *options.writables);
	options.limits = zeroed(argc, sizeof *options.limits);
	parse(&options, argc, argv);
	prepare_signals();
	die_with_parent(options.pid_namespace ? SIGKILL : SIGTERM, options.parent);
	if (!options.in_place) {
		enter_namespaces(&options);
		mount_overlays(&options);
	}
	return options.pid_namespace ? run_in_pid_namespace(&options) : run_as_subreaper(&options);
}
