/* The box that stays: runs one command after another for one executor, and keeps overlays from command to command.
 *
 *   spraycc-box --serve FD --hold DIR --parent PID
 *
 * A new overlay costs the kernel some ten inodes of the scratch disk, and its removal as many. So this process enters
 * the namespaces once, mounts each overlay once, and holds it in DIR. Each command gets mount and pid namespaces of its
 * own, with copies of the overlays' mounts. An overlay serves a second command only if all of these hold:
 *   - The executor has emptied its upper layer, and asks for it.
 *   - No file or directory of it is open: process 1 has asked for its mount (MNT_EXPIRE gives EBUSY otherwise). Open
 *     files pin cached names, and these would be older than the lower directory. An io_uring, or a message with
 *     descriptors, can keep a file open for longer than its process lives.
 *   - All cached names have been dropped: a reconfiguration of a file system drops them (shrink_dcache_sb).
 *   - The path still leads to the lower directory, by its file handle. A file system without handles keeps nothing.
 *
 * A request is struct request, with 4 descriptors (stdin, stdout, stderr, report), and then the words of main.c's
 * command line and the environment, each with a NUL. The end of the report's pipe means that no process is left.
 * SIGTERM kills the command that runs. The executor starts another box afterwards, as the signal may come too late.
 * Any failure of the set-up goes into the report. The executor then starts another box, too. The first byte that this
 * process sends says that it is ready.
 */
#include "box.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/output.h"

struct request {
	uint32_t size; /* bytes of all words and entries */
	uint32_t n_words;
	uint32_t n_entries;
};

enum { N_DESCRIPTORS = 4, MOST_BYTES = 1 << 26 };

/* The descriptors, and the words in one block of memory. */
struct order {
	int fds[N_DESCRIPTORS];
	char *text;
	char **words;
	char **entries;
	int n_words;
};

static bool read_exactly(int fd, char *to, size_t size)
{
	while (size > 0) {
		ssize_t n = read(fd, to, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		to += n;
		size -= (size_t)n;
	}
	return true;
}

/* The first bytes of a request carry the descriptors. */
static bool receive_head(int fd, struct request *request, int fds[N_DESCRIPTORS])
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int) * N_DESCRIPTORS)];
	} control;
	struct iovec part = {.iov_base = request, .iov_len = sizeof *request};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	ssize_t n;
	do
		n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL);
	while (n < 0 && errno == EINTR);
	struct cmsghdr *header = n == (ssize_t)sizeof *request ? CMSG_FIRSTHDR(&message) : NULL;
	if (!header || header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(sizeof(int) * N_DESCRIPTORS))
		return false;
	memcpy(fds, CMSG_DATA(header), sizeof(int) * N_DESCRIPTORS);
	return true;
}

/* The next request. False at the end of the connection, or if the request makes no sense. */
static bool receive(int fd, struct order *order)
{
	struct request request;
	if (!receive_head(fd, &request, order->fds))
		return false;
	if (request.size > MOST_BYTES || request.n_words > request.size || request.n_entries > request.size)
		return false;
	order->text = malloc(request.size + 1);
	order->words = calloc((size_t)request.n_words + request.n_entries + 2, sizeof *order->words);
	if (!order->text || !order->words || !read_exactly(fd, order->text, request.size))
		return false;
	order->text[request.size] = '\0';
	order->entries = order->words + request.n_words + 1;
	order->n_words = (int)request.n_words;
	char *at = order->text;
	char *end = at + request.size;
	for (uint32_t i = 0; i < request.n_words + request.n_entries; i++) {
		if (at >= end)
			return false;
		(i < request.n_words ? order->words + i : order->entries + (i - request.n_words))[0] = at;
		at += strlen(at) + 1;
	}
	return at == end;
}

static void take_descriptors(const struct order *order)
{
	for (int i = 0; i < 3; i++)
		if (dup2(order->fds[i], i) < 0)
			fail_setup("descriptors", errno);
	for (int i = 0; i < 3; i++)
		close(order->fds[i]);
}

/* Process 1 of the command's pid namespace. It has a copy of the server's mount namespace. */
static _Noreturn void be_init(struct options *options, const struct order *order, const int alive[2])
{
	struct pollfd parent = {.fd = alive[0], .events = 0};
	close(alive[1]);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		fail_setup("parent", errno);
	if (poll(&parent, 1, 0) != 0)
		fail_setup("parent", ESRCH);
	close(alive[0]);
	take_descriptors(order);
	environ = order->entries;
	show_kept(options);
	mount_proc();
	struct outcome outcome = wait_for_command(start_command(options), NULL);
	report_ended(&outcome);
	/* In its own namespace -1 means all other processes. */
	(void)kill(-1, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	if (can_serve_again(options))
		report_kept();
	_exit(0);
}

/* Like fork, but the child is process 1 of a new pid namespace, with a mount namespace of its own. */
static pid_t fork_into_namespaces(void)
{
#if defined(__s390x__)
	return (pid_t)syscall(SYS_clone, NULL, (unsigned long)(CLONE_NEWNS | CLONE_NEWPID | SIGCHLD), NULL, NULL, 0UL);
#else
	return (pid_t)syscall(SYS_clone, (unsigned long)(CLONE_NEWNS | CLONE_NEWPID | SIGCHLD), NULL, NULL, NULL, 0UL);
#endif
}

static void run(struct options *options, const struct order *order)
{
	int alive[2];
	int status;
	sigset_t awaited;
	sigemptyset(&awaited);
	sigaddset(&awaited, SIGCHLD);
	sigaddset(&awaited, SIGTERM);
	keep_overlays(options);
	if (pipe2(alive, O_CLOEXEC) < 0)
		fail_setup("pipe", errno);
	pid_t init = fork_into_namespaces();
	if (init < 0)
		fail_setup("fork", errno);
	if (init == 0)
		be_init(options, order, alive);
	close(alive[0]);
	for (int i = 0; i < 3; i++)
		close(order->fds[i]);
	while (waitpid(init, &status, WNOHANG) == 0)
		if (sigwaitinfo(&awaited, NULL) == SIGTERM)
			kill(init, SIGKILL);
	close(alive[1]);
}

int serve(int fd, const char *hold)
{
	struct order order;
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || chdir("/") < 0)
		fail_setup("serve", errno);
	enter_namespaces(&(struct options){0});
	hold_overlays_in(hold);
	if (write_all(fd, "\1", 1) != 0) /* ready */
		return 1;
	while (receive(fd, &order)) {
		struct options options = {.umask = -1, .nice = -20, .pid_namespace = true};
		report_to(order.fds[3]);
		parse(&options, order.n_words, order.words);
		run(&options, &order);
		report_to(-1);
		close(order.fds[3]);
		free(options.overlays);
		free(options.writables);
		free(options.limits);
		free(options.forgotten);
		free(order.words);
		free(order.text);
	}
	return 0;
}
