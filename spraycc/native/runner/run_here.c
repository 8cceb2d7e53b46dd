#include "run_here.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "../common/output.h"
#include "cbor.h"
#include "environment.h"
#include "server_connection.h"

void exec_words(const char *const *words, size_t count, char **argv)
{
	struct buffer vector = {0};
	buffer_add(&vector, words, count * sizeof *words);
	for (char **arg = argv[0] ? argv + 1 : argv;; arg++) {
		buffer_add(&vector, arg, sizeof *arg);
		if (!*arg)
			break;
	}
	if (!vector.failed)
		execve(words[0], (char **)(void *)vector.data, environ);
}

_Noreturn void exec_here(const struct task *task)
{
	execve(task->program, task->argv, environ);
	/* As execvp does: a file in no format that execve knows is a shell script. */
	if (errno == ENOEXEC)
		exec_words((const char *[]){"/bin/sh", task->program}, 2, task->argv);
	int why = errno;
	say(task->program, ": ", strerror(why), (char *)0);
	_exit(why == ENOENT ? 127 : 126);
}

_Noreturn void end_as(int code, int signal_number)
{
	static const int harmless[] = {SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT}; /* no process dies of these */
	for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
		if (signal_number == harmless[i])
			_exit(128 + signal_number);
	if (signal_number) {
		/* The command has written its core file, if any. */
		struct rlimit core;
		if (getrlimit(RLIMIT_CORE, &core) == 0) {
			core.rlim_cur = 0;
			setrlimit(RLIMIT_CORE, &core);
		}
		sigset_t one;
		sigemptyset(&one);
		sigaddset(&one, signal_number);
		signal(signal_number, SIG_DFL);
		sigprocmask(SIG_UNBLOCK, &one, NULL);
		kill(getpid(), signal_number);
		_exit(128 + signal_number);
	}
	_exit(code);
}

/* An output stream of the child, as the parent sees it. */
struct tap {
	int from; /* reading end of the pipe or terminal; -1 after its end */
	int into; /* the child's end; this process closes it after the fork */
	int to;   /* this process's descriptor, 1 or 2 */
	uint64_t drop; /* bytes left to skip */
};

/* Opens a pseudo-terminal of the user's window size that does not change bytes. So the program's stream stays a
 * terminal, as in the attempt whose output was passed on. */
static bool terminal_open(int ends[2], const unsigned short window[2])
{
	int unlocked = 0;
	struct termios modes;
	struct winsize size = {.ws_row = window[0], .ws_col = window[1]};
	ends[0] = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (ends[0] < 0)
		return false;
	if (ioctl(ends[0], TIOCSPTLCK, &unlocked) == 0 &&
	    (ends[1] = ioctl(ends[0], TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)) >= 0) {
		if (tcgetattr(ends[1], &modes) == 0) {
			modes.c_oflag &= ~(tcflag_t)OPOST;
			modes.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
			if (tcsetattr(ends[1], TCSANOW, &modes) == 0 && ioctl(ends[1], TIOCSWINSZ, &size) == 0)
				return true;
		}
		close(ends[1]);
	}
	close(ends[0]);
	return false;
}

static bool tap_open(struct tap *tap, const struct task *task, int to, uint64_t drop)
{
	int ends[2];
	bool is_terminal = strcmp(task->streams[to].kind, "tty") == 0 && terminal_open(ends, task->window);
	if (!is_terminal && pipe2(ends, O_CLOEXEC) < 0)
		return false;
	*tap = (struct tap){.from = ends[0], .into = ends[1], .to = to, .drop = drop};
	return true;
}

static void tap_close(struct tap *tap)
{
	if (tap->from >= 0)
		close(tap->from);
	tap->from = -1;
}

/* Passes on the bytes of one read, and returns their number. Closes the tap at its end, or when the bytes can't be
 * written. */
static size_t tap_pass(struct tap *tap)
{
	static unsigned char chunk[32768];
	ssize_t n = read(tap->from, chunk, sizeof chunk);
	if (n < 0 && errno == EINTR)
		return 0;
	if (n <= 0) {
		tap_close(tap);
		return 0;
	}
	size_t dropped = (uint64_t)n < tap->drop ? (size_t)n : (size_t)tap->drop;
	tap->drop -= dropped;
	if (write_all(tap->to, chunk + dropped, (size_t)n - dropped) != 0)
		tap_close(tap); /* the program's own write will fail, as without the runner */
	return (size_t)n;
}

/* More than a terminal holds between its two ends (64 KiB and a page, Linux 6.1). */
#define TERMINAL_BYTES 131072

/* Passes on the bytes in the pipe. After the child's end, the pipe has the rest of the child's output. Does not wait for
 * another process that has the pipe (a daemon that the child left). A terminal offers one page at a time, and only
 * after a poll. */
static void tap_drain(struct tap *tap)
{
	for (size_t drained = 0; drained < TERMINAL_BYTES;) {
		int left = 0;
		struct pollfd pending = {.fd = tap->from, .events = POLLIN};
		(void)poll(&pending, 1, 0);
		if (tap->from < 0 || ioctl(tap->from, FIONREAD, &left) < 0 || left <= 0)
			return;
		while (left > 0 && tap->from >= 0) {
			size_t n = tap_pass(tap);
			if (n == 0)
				return;
			left -= (int)n;
			drained += n;
		}
	}
}

/* Signals by which a user or a tool ends the runner. The child gets them, and the runner ends as the child does. */
static const int passed_on[] = {SIGTERM, SIGHUP, SIGINT, SIGQUIT};

static uint64_t microseconds(struct timeval time)
{
	return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

/* Tells the server the command's exit status (as in $?) and the resources that it has used. False if the server is
 * gone. */
static bool report_end(int server, int status, const struct rusage *usage)
{
	struct buffer done = {0};
	buffer_add(&done, "\0\0\0", 4); /* place of the frame's length, which is below 256 */
	cbor_array(&done, 5);
	cbor_text(&done, "done");
	cbor_uint(&done, (uint64_t)status);
	cbor_uint(&done, microseconds(usage->ru_utime));
	cbor_uint(&done, microseconds(usage->ru_stime));
	cbor_uint(&done, (uint64_t)usage->ru_maxrss);
	if (!done.failed)
		done.data[3] = (unsigned char)(done.length - 4);
	bool sent = !done.failed && server_send(server, done.data, done.length);
	buffer_free(&done);
	return sent;
}

/* Waits until the server closes the connection or a signal comes. */
static void wait_for_leave(int server, int signals)
{
	struct pollfd polled[2] = {{.fd = server, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
	while (poll(polled, 2, -1) < 0 || !polled[0].revents) {
		struct signalfd_siginfo got;
		if (read(signals, &got, sizeof got) == sizeof got && got.ssi_signo != SIGCHLD)
			return;
	}
}

/* Passes output and signals on until the child ends, and then ends as the child did. */
static _Noreturn void attend(pid_t child, int signals, struct tap *taps, int tap_count, struct overseer overseer)
{
	struct pollfd polled[3] = {{.fd = signals, .events = POLLIN}};
	for (;;) {
		for (int i = 0; i < tap_count; i++)
			polled[i + 1] = (struct pollfd){.fd = taps[i].from, .events = POLLIN}; /* poll ignores -1 */
		if (poll(polled, 1 + (nfds_t)tap_count, -1) < 0)
			continue;
		for (int i = 0; i < tap_count; i++)
			if (polled[i + 1].revents)
				tap_pass(&taps[i]);
		struct signalfd_siginfo got;
		if (!polled[0].revents || read(signals, &got, sizeof got) != sizeof got)
			continue;
		if (got.ssi_signo != SIGCHLD) {
			/* A signal from the terminal goes to the whole process group, so the child has it. */
			if (got.ssi_code <= 0)
				kill(child, (int)got.ssi_signo);
			continue;
		}
		int status;
		struct rusage usage;
		if (wait4(child, &status, WNOHANG, &usage) != child)
			continue;
		for (int i = 0; i < tap_count; i++)
			tap_drain(&taps[i]);
		int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0, by_signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
		int server = overseer.connection;
		if (server >= 0 && report_end(server, by_signal ? 128 + by_signal : code, &usage) && overseer.is_asked)
			wait_for_leave(server, signals);
		end_as(code, by_signal);
	}
}

_Noreturn void run_here(const struct task *task, struct skip skip, struct overseer overseer)
{
	struct tap taps[2];
	int tap_count = 0;
	bool ok = true;
	if (task_streams_are_one(task)) {
		if (skip.out + skip.err)
			ok = tap_open(&taps[tap_count++], task, 1, skip.out + skip.err);
	} else {
		if (skip.out)
			ok = tap_open(&taps[tap_count++], task, 1, skip.out);
		if (ok && skip.err)
			ok = tap_open(&taps[tap_count++], task, 2, skip.err);
	}
	sigset_t watched, before;
	sigemptyset(&watched);
	sigaddset(&watched, SIGCHLD);
	for (size_t i = 0; i < sizeof passed_on / sizeof *passed_on; i++)
		sigaddset(&watched, passed_on[i]);
	int signals = ok ? signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK) : -1;
	if (signals < 0)
		exec_here(task); /* no descriptors left: better print a message twice than not run the command */
	sigprocmask(SIG_BLOCK, &watched, &before);
	/* If SIGCHLD is ignored, children leave no status. */
	struct sigaction plain = {.sa_handler = SIG_DFL}, inherited;
	sigaction(SIGCHLD, &plain, &inherited);
	pid_t child = fork();
	if (child <= 0) {
		if (child == 0 && overseer.connection >= 0)
			prctl(PR_SET_PDEATHSIG, SIGKILL); /* a kill of the runner is meant for the command */
		sigaction(SIGCHLD, &inherited, NULL);
		for (int i = 0; child == 0 && i < tap_count; i++) {
			dup2(taps[i].into, taps[i].to);
			if (task_streams_are_one(task))
				dup2(taps[i].into, 2);
		}
		sigprocmask(SIG_SETMASK, &before, NULL);
		exec_here(task);
	}
	for (int i = 0; i < tap_count; i++)
		close(taps[i].into);
	attend(child, signals, taps, tap_count, overseer);
}
