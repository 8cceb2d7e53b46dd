#include "tool.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "env.h"
#include "find.h"
#include "here.h"

#define COMMAND "spraycc"

/* The names are those of SHIMMED in spraycc/build_tools.py; a test compares. */
bool is_build_tool(const char *name)
{
	static const char *const names[] = {"make", "gmake", "ninja", "ninja-build", "ctest", "cargo"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/* The spraycc command, through the link that lies beside the real file of this program; NULL if there is none. */
static const char *find_command(void)
{
	static char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path);
	if (n <= 0 || (size_t)n >= sizeof path)
		return NULL;
	path[n] = '\0';
	char *slash = strrchr(path, '/');
	if (!slash || (size_t)(slash + 1 - path) + sizeof COMMAND > sizeof path)
		return NULL;
	memcpy(slash + 1, COMMAND, sizeof COMMAND);
	return access(path, X_OK) == 0 ? path : NULL;
}

/* Has the command open a build and run the tool in it. Returns if that can't be. */
static void exec_command(const struct task *t, const char *name)
{
	static const char option[] = "--shim";
	const char *command = find_command();
	if (!command)
		return;
	struct buf vector = {0};
	buf_add(&vector, &command, sizeof command);
	const char *words[] = {option, name};
	buf_add(&vector, words, sizeof words);
	for (char **arg = t->argv[0] ? t->argv + 1 : t->argv;; arg++) {
		buf_add(&vector, arg, sizeof *arg);
		if (!*arg)
			break;
	}
	if (!vector.failed)
		execve(command, (char **)(void *)vector.data, environ);
}

/* Whether some word may be a -j, with which the tool would leave the jobserver. Taking one for it that is none costs time. */
static bool may_set_width(char **argv)
{
	for (char **arg = argv[0] ? argv + 1 : argv; *arg && strcmp(*arg, "--") != 0; arg++) {
		if (strncmp(*arg, "--jobs", 6) == 0 || strncmp(*arg, "--parallel", 10) == 0)
			return true;
		if ((*arg)[0] == '-' && (*arg)[1] != '-' && strchr(*arg, 'j'))
			return true;
	}
	return false;
}

/* Whether somebody has put a MAKEFLAGS of his own in the place of ours, perhaps with a -j in it. Likewise. */
static bool may_have_left(void)
{
	const char *flags = getenv("MAKEFLAGS");
	return flags && strchr(flags, 'j') && !strstr(flags, "--jobserver");
}

void tool_reopen_jobserver(const char *socket_path, const char *build)
{
	static const char auth[] = "--jobserver-auth=";
	const char *flags = getenv("MAKEFLAGS"), *last = NULL;
	for (const char *at = flags; at && (at = strstr(at, auth)); at += sizeof auth - 1)
		last = at + sizeof auth - 1;
	if (!last)
		return;
	char *end;
	long in = strtol(last, &end, 10);
	long out = *end == ',' ? strtol(end + 1, &end, 10) : -1;
	if (in < 3 || in > 1023 || in != out || (*end && *end != ' ') || fcntl((int)in, F_GETFD) >= 0)
		return;
	struct buf path = {0};
	static const char builds[] = "builds/", fifo[] = "/fifo";
	buf_add(&path, socket_path, (size_t)(base_name(socket_path) - socket_path));
	buf_add(&path, builds, sizeof builds - 1);
	buf_add(&path, build, strlen(build));
	buf_add(&path, fifo, sizeof fifo);
	if (path.failed)
		return;
	struct stat st;
	int fd = open((const char *)path.data, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) && st.st_uid == geteuid()) {
		fcntl(fd, F_SETFL, O_RDWR);
		if (fd == in)
			fcntl(fd, F_SETFD, 0);
		else if (dup2(fd, (int)in) >= 0)
			close(fd);
	}
}

_Noreturn void tool_exec(const struct task *t, const char *name)
{
	const char *socket_path = env_value("SPRAYCC_SOCKET"), *build = env_value("SPRAYCC_BUILD");
	if (env_value("SPRAYCC_SLOT"))
		here_exec(t);
	if (socket_path && build) {
		if (may_set_width(t->argv) || may_have_left())
			exec_command(t, name);
		tool_reopen_jobserver(socket_path, build);
	} else if (env_value("SPRAYCC_SHIMS")) {
		exec_command(t, name);
	}
	/* Not prepared by `spraycc env`, or SprayCC was removed: the shim is not there. */
	here_exec(t);
}
