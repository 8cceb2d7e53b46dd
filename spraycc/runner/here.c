#include "here.h"

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

#include "env.h"
#include "link.h"

/* As execvp does: a file that execve knows no format for is a script of the shell's. Returns only if that fails too. */
static void exec_by_shell(const struct task *t)
{
	struct buf vector = {0};
	const char *shell = "/bin/sh";
	buf_add(&vector, &shell, sizeof shell);
	buf_add(&vector, &t->program, sizeof t->program);
	for (char **arg = t->argv[0] ? t->argv + 1 : t->argv;; arg++) {
		buf_add(&vector, arg, sizeof *arg);
		if (!*arg)
			break;
	}
	if (vector.failed)
		return;
	execve(shell, (char **)(void *)vector.data, environ);
}

_Noreturn void here_exec(const struct task *t)
{
	execve(t->program, t->argv, environ);
	if (errno == ENOEXEC)
		exec_by_shell(t);
	int why = errno;
	say(t->program, ": ", strerror(why), (char *)0);
	_exit(why == ENOENT ? 127 : 126);
}

_Noreturn void end_as(int code, int sig)
{
	if (sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU || sig == SIGCONT)
		_exit(128 + sig); /* nothing dies of these */
	if (sig) {
		/* Its core, if any, is written already, by the one whose fault it was. */
		struct rlimit core;
		if (getrlimit(RLIMIT_CORE, &core) == 0) {
			core.rlim_cur = 0;
			setrlimit(RLIMIT_CORE, &core);
		}
		sigset_t one;
		sigemptyset(&one);
		sigaddset(&one, sig);
		signal(sig, SIG_DFL);
		sigprocmask(SIG_UNBLOCK, &one, NULL);
		kill(getpid(), sig);
		_exit(128 + sig);
	}
	_exit(code);
}

/* One of the child's output streams, as the parent sees it. */
struct tap {
	int from; /* reading end of the pipe or terminal, -1 once it is over */
	int into; /* the child's end, until the child has it */
	int to;   /* our descriptor, 1 or 2 */
	uint64_t drop;
};

/* A pseudo-terminal of the size of our own, which passes bytes on as they are: to the program its stream stays a terminal,
 * as it was to the attempt whose output was passed on. */
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

static bool tap_open(struct tap *tap, const struct task *t, int to, uint64_t drop)
{
	int ends[2];
	bool is_terminal = strcmp(t->streams[to].kind, "tty") == 0 && terminal_open(ends, t->window);
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

/* Passes on one read's worth; closes the tap at its end, or where nobody takes the bytes. The number of bytes read. */
static size_t tap_pass(struct tap *tap)
{
	static unsigned char chunk[32768];
	ssize_t n = read(tap->from, chunk, sizeof chunk);
	if (n < 0 && (errno == EINTR))
		return 0;
	if (n <= 0) {
		tap_close(tap);
		return 0;
	}
	size_t dropped = (uint64_t)n < tap->drop ? (size_t)n : (size_t)tap->drop;
	tap->drop -= dropped;
	if (write_all(tap->to, chunk + dropped, (size_t)n - dropped) != 0)
		tap_close(tap); /* the program's own write will fail, as it would have without us */
	return (size_t)n;
}

/* More than a terminal holds between its two ends (64 KiB and a page, Linux 6.1). */
#define TERMINAL_BYTES 131072

/* Passes on what is in the pipe now: all that the child wrote, once it has ended. Whoever else has the pipe (a daemon it
 * left) is not waited for. A terminal shows a page of it at a time, to those who poll. */
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

/* Which signals a user or a tool ends us by. They end the child, and we end as it does. */
static const int passed_on[] = {SIGTERM, SIGHUP, SIGINT, SIGQUIT};

/* Tells the server that the command has ended, and waits until it closes the connection, or somebody wants our end. */
static void wait_for_leave(int server, int signals)
{
	static const unsigned char done[] = {0, 0, 0, 6, 0x81, 0x64, 'd', 'o', 'n', 'e'};
	struct pollfd polled[2] = {{.fd = server, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
	if (!link_send(server, done, sizeof done))
		return;
	while (poll(polled, 2, -1) < 0 || !polled[0].revents) {
		struct signalfd_siginfo got;
		if (read(signals, &got, sizeof got) == sizeof got && got.ssi_signo != SIGCHLD)
			return;
	}
}

static _Noreturn void attend(pid_t child, int signals, struct tap *taps, int tap_count, int server)
{
	struct pollfd polled[3] = {{.fd = signals, .events = POLLIN}};
	for (;;) {
		for (int i = 0; i < tap_count; i++)
			polled[i + 1] = (struct pollfd){.fd = taps[i].from, .events = POLLIN}; /* -1 is passed over */
		if (poll(polled, 1 + (nfds_t)tap_count, -1) < 0)
			continue;
		for (int i = 0; i < tap_count; i++)
			if (polled[i + 1].revents)
				tap_pass(&taps[i]);
		struct signalfd_siginfo got;
		if (!polled[0].revents || read(signals, &got, sizeof got) != sizeof got)
			continue;
		if (got.ssi_signo != SIGCHLD) {
			/* The terminal's own go to the whole process group, and the child has had it. */
			if (got.ssi_code <= 0)
				kill(child, (int)got.ssi_signo);
			continue;
		}
		int status;
		if (waitpid(child, &status, WNOHANG) != child)
			continue;
		for (int i = 0; i < tap_count; i++)
			tap_drain(&taps[i]);
		if (server >= 0)
			wait_for_leave(server, signals);
		end_as(WIFEXITED(status) ? WEXITSTATUS(status) : 0, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	}
}

_Noreturn void here_run(const struct task *t, struct skip skip, int server)
{
	struct tap taps[2];
	int tap_count = 0;
	bool ok = true;
	if (task_streams_are_one(t)) {
		if (skip.out + skip.err)
			ok = tap_open(&taps[tap_count++], t, 1, skip.out + skip.err);
	} else {
		if (skip.out)
			ok = tap_open(&taps[tap_count++], t, 1, skip.out);
		if (ok && skip.err)
			ok = tap_open(&taps[tap_count++], t, 2, skip.err);
	}
	sigset_t watched, before;
	sigemptyset(&watched);
	sigaddset(&watched, SIGCHLD);
	for (size_t i = 0; i < sizeof passed_on / sizeof *passed_on; i++)
		sigaddset(&watched, passed_on[i]);
	int signals = ok ? signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK) : -1;
	if (signals < 0)
		here_exec(t); /* out of descriptors: rather a message twice than a command not run */
	sigprocmask(SIG_BLOCK, &watched, &before);
	/* Where SIGCHLD is ignored, children leave no status behind. */
	struct sigaction plain = {.sa_handler = SIG_DFL}, inherited;
	sigaction(SIGCHLD, &plain, &inherited);
	pid_t child = fork();
	if (child <= 0) {
		if (child == 0 && server >= 0)
			prctl(PR_SET_PDEATHSIG, SIGKILL); /* who kills us means the command */
		sigaction(SIGCHLD, &inherited, NULL);
		for (int i = 0; child == 0 && i < tap_count; i++) {
			dup2(taps[i].into, taps[i].to);
			if (task_streams_are_one(t))
				dup2(taps[i].into, 2);
		}
		sigprocmask(SIG_SETMASK, &before, NULL);
		here_exec(t);
	}
	for (int i = 0; i < tap_count; i++)
		close(taps[i].into);
	attend(child, signals, taps, tap_count, server);
}
