/* Starts the command, waits for its end, and kills the processes that the command has left. */
#include "box.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* The step that failed in the child. The child of vfork(2) writes it into its parent's memory. */
struct failure {
	const char *stage; /* NULL: exec itself */
	int error;
};

static bool set_limit(const struct limit *limit)
{
	struct rlimit limits;
	rlim_t soft = limit->soft == ~0ULL ? RLIM_INFINITY : (rlim_t)limit->soft;
	rlim_t hard = limit->hard == ~0ULL ? RLIM_INFINITY : (rlim_t)limit->hard;
	if (getrlimit((__rlimit_resource_t)limit->resource, &limits) < 0)
		return errno == EINVAL; /* an unknown resource can't limit the command */
	if (hard > limits.rlim_max)
		hard = limits.rlim_max;
	if (soft > hard)
		soft = hard;
	limits.rlim_cur = soft;
	limits.rlim_max = hard;
	return setrlimit((__rlimit_resource_t)limit->resource, &limits) == 0;
}

/* Runs in the child until exec. Returns only on failure. */
static void become_command(const struct options *options, volatile struct failure *failure)
{
	sigset_t none;
	failure->stage = "parent";
	/* Without a pid namespace, only this signal ends the command if spraycc-box is killed. */
	if (!options->pid_namespace && prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		goto failed;
	failure->stage = "setsid";
	if (setsid() < 0)
		goto failed;
	failure->stage = "chdir";
	if (options->chdir && chdir(options->chdir) < 0)
		goto failed;
	if (options->umask >= 0)
		umask((mode_t)options->umask);
	/* Never raise the priority: the user may have started the executor with a lower one. */
	if (options->nice > getpriority(PRIO_PROCESS, 0))
		(void)setpriority(PRIO_PROCESS, 0, options->nice);
	failure->stage = "rlimit";
	for (size_t i = 0; i < options->n_limits; i++)
		if (!set_limit(&options->limits[i]))
			goto failed;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	failure->stage = NULL;
	execve(options->program, options->argv, environ);
failed:
	failure->error = errno;
}

/* Starts the command and returns its pid. Reports a failure and ends the process. */
pid_t start_command(const struct options *options)
{
	volatile struct failure failure = {NULL, 0};
	pid_t pid = vfork();
	if (pid < 0)
		fail_setup("fork", errno);
	if (pid == 0) {
		become_command(options, &failure);
		_exit(127);
	}
	if (failure.error != 0) {
		if (failure.stage)
			fail_setup(failure.stage, failure.error);
		fail_exec(failure.error);
	}
	return pid;
}

static uint64_t microseconds(struct timeval time)
{
	return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

/* Reaps children until the command has ended. SIGCHLD and SIGTERM must be blocked. Unless stopped is NULL, returns at
 * once after a SIGTERM and sets *stopped. */
struct outcome wait_for_command(pid_t command, bool *stopped)
{
	struct outcome outcome = {0};
	struct rusage usage;
	sigset_t awaited;
	sigemptyset(&awaited);
	sigaddset(&awaited, SIGCHLD);
	if (stopped)
		sigaddset(&awaited, SIGTERM);
	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);
		if (pid == command) {
			outcome.status = status;
			break;
		}
		if (pid > 0)
			continue;
		if (sigwaitinfo(&awaited, NULL) == SIGTERM) {
			*stopped = true;
			return outcome;
		}
	}
	if (getrusage(RUSAGE_CHILDREN, &usage) == 0) {
		outcome.user_us = microseconds(usage.ru_utime);
		outcome.system_us = microseconds(usage.ru_stime);
		outcome.peak_rss_kib = (uint64_t)usage.ru_maxrss;
	}
	return outcome;
}

/* The parent of a process: the fourth word of its stat line. The second word is a name in parentheses that may contain
 * any byte (proc_pid_stat(5)). -1 if the process is gone. */
static pid_t parent_of(int proc_fd, const char *pid)
{
	char stat[512];
	int directory = openat(proc_fd, pid, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return -1;
	int fd = openat(directory, "stat", O_RDONLY | O_CLOEXEC);
	close(directory);
	if (fd < 0)
		return -1;
	ssize_t n = read(fd, stat, sizeof stat - 1);
	close(fd);
	if (n <= 0)
		return -1;
	stat[n] = '\0';
	char *after_name = strrchr(stat, ')');
	if (!after_name || strlen(after_name) < 5)
		return -1;
	return (pid_t)strtol(after_name + 4, NULL, 10);
}

static void kill_children(void)
{
	pid_t self = getpid();
	struct dirent *entry;
	DIR *proc = opendir("/proc");
	if (!proc)
		return;
	while ((entry = readdir(proc)))
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && parent_of(dirfd(proc), entry->d_name) == self)
			kill((pid_t)strtol(entry->d_name, NULL, 10), SIGKILL);
	closedir(proc);
}

/* Without a pid namespace: kills every descendant. Orphans become children of this process (PR_SET_CHILD_SUBREAPER), so
 * the loop ends when no child is left. SIGCHLD must be blocked. */
void kill_the_rest(void)
{
	const struct timespec patience = {.tv_nsec = 20 * 1000 * 1000};
	sigset_t child;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	for (;;) {
		pid_t pid = waitpid(-1, NULL, WNOHANG);
		if (pid > 0)
			continue;
		if (pid < 0)
			return;
		kill_children();
		(void)sigtimedwait(&child, NULL, &patience);
	}
}
