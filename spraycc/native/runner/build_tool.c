#include "build_tool.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../common/output.h"
#include "../common/text.h"
#include "environment.h"
#include "find_program.h"
#include "run_here.h"
#include "width.h"

/* The names are those of SHIMMED in spraycc/build_tools.py; a test compares. */
bool is_build_tool(const char *name)
{
	static const char *const names[] = {"make", "gmake", "ninja", "ninja-build", "ctest", "cargo", "cmake", "meson"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/* The spraycc command: a link beside the file of this program, or in bin of the directory above a shim's. NULL if there
 * is none. */
static const char *find_command(void)
{
	static const char *const places[] = {"spraycc", "../../bin/spraycc"};
	static char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path);
	if (n <= 0 || (size_t)n >= sizeof path)
		return NULL;
	path[n] = '\0';
	char *name = (char *)(uintptr_t)base_name(path);
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		if ((size_t)(name - path) + strlen(places[i]) + 1 > sizeof path)
			continue;
		strcpy(name, places[i]);
		if (access(path, X_OK) == 0)
			return path;
	}
	return NULL;
}

/* Executes the spraycc command, which opens a build and runs the tool in it. Returns if that fails.
 *
 * The command does not get the library, and hands it to the tool: the library would execute this runner again. */
static void exec_command(const struct task *task, const char *name, const char *given)
{
	const char *words[] = {find_command(), "--shim", given ? task->argv[0] : name};
	if (!words[0])
		return;
	environment_strip_preload();
	if (given)
		environment_give_program(given);
	exec_words(words, 3, task->argv);
	environment_take_program();
}

/* True if the tool only configures. The tests that it compiles would open a build for nothing. */
static bool configures(const char *name, char **argv)
{
	static const char *const builds[][2] = {
		{"cmake", "--build"}, {"cmake", "--workflow"}, {"meson", "compile"}, {"meson", "test"}, {"meson", "install"},
	};
	const char *first = argv[0] && argv[1] ? argv[1] : "";
	for (size_t i = 0; i < sizeof builds / sizeof *builds; i++)
		if (strcmp(name, builds[i][0]) == 0 && strcmp(first, builds[i][1]) == 0)
			return false;
	return strcmp(name, "cmake") == 0 || strcmp(name, "meson") == 0;
}

/* True if a word may be a -j, which makes the tool leave the jobserver. A wrong yes only costs time. */
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

/* True if MAKEFLAGS was replaced by a value without the jobserver, perhaps with a -j. A wrong yes only costs time. */
static bool may_have_left(void)
{
	const char *flags = getenv("MAKEFLAGS");
	return flags && strchr(flags, 'j') && !strstr(flags, "--jobserver");
}

/* The value of the last such option; NULL if there is none. */
static const char *last_value(const char *flags, const char *option)
{
	const char *last = NULL;
	for (const char *at = flags; at && (at = strstr(at, option));)
		last = at += strlen(option);
	return last;
}

void reopen_jobserver(const char *socket_path, const char *build)
{
	const char *flags = getenv("MAKEFLAGS");
	const char *pair = last_value(flags, "--jobserver-auth=");
	/* The value that no make has expanded yet names the FIFO last. make 4.3 will use the descriptor all the same. */
	if (!pair || strncmp(pair, "fifo:", 5) == 0)
		pair = last_value(flags, "--jobserver-fds=");
	if (!pair)
		return;
	char *end;
	long in = strtol(pair, &end, 10);
	long out = *end == ',' ? strtol(end + 1, &end, 10) : -1;
	if (in < 3 || in > 1023 || in != out || (*end && *end != ' ') || fcntl((int)in, F_GETFD) >= 0)
		return;
	struct buffer path = {0};
	buffer_add(&path, socket_path, (size_t)(base_name(socket_path) - socket_path));
	buffer_add_text(&path, "builds/");
	buffer_add_text(&path, build);
	buffer_add(&path, "/fifo", sizeof "/fifo");
	if (path.failed)
		return;
	struct stat status;
	int fd = open((const char *)path.data, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode) && status.st_uid == geteuid()) {
		fcntl(fd, F_SETFL, O_RDWR);
		if (fd == in)
			fcntl(fd, F_SETFD, 0);
		else if (dup2(fd, (int)in) >= 0)
			close(fd);
	}
}

_Noreturn void exec_build_tool(const struct task *task, const char *name, const char *given)
{
	const char *socket_path = environment_value("SPRAYCC_SOCKET"), *build = environment_value("SPRAYCC_BUILD");
	if (environment_value("SPRAYCC_SLOT"))
		exec_here(task);
	bool in_build = socket_path && build;
	if (configures(name, task->argv)) {
		/* CMake and Meson write the make and the ninja that they find on PATH into the build tree. */
		if (!in_build)
			environment_strip_path(environment_value("SPRAYCC_SHIMS"));
	} else if (strcmp(name, "meson") == 0) {
		/* Meson starts ninja, which opens the build and knows the width. */
	} else if (in_build) {
		if (may_set_width(task->argv) || may_have_left() || environment_lacks_library())
			exec_command(task, name, given);
		reopen_jobserver(socket_path, build);
	} else if (environment_value("SPRAYCC_SHIMS")) {
		exec_command(task, name, given);
		say("spraycc: warning: the spraycc command is gone; install it again, or leave this shell; ", name,
		    " runs without SprayCC", (char *)0);
		cap_width(task->argv);
	}
	/* `spraycc env` has not prepared this shell, or SprayCC was removed: behave as if there were no shim. */
	exec_here(task);
}
