/* spraycc: starts the command line in Python.
 *
 * The command line is the script spraycc-main beside this program, whose first line names the interpreter. It gets the
 * options -E and -P, because the user's Python settings are for the build: PYTHONPATH may have another module of a name
 * that SprayCC imports, and with a wrong PYTHONHOME no interpreter starts. The environment stays as it is.
 *
 * This is no shell script, because a shell changes variables (SHLVL, _). If the interpreter can't be started, the build
 * tool runs without SprayCC. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../common/output.h"
#include "../common/text.h"
#include "plain.h"

#define SCRIPT "spraycc-main"
/* With the following words a script of Python is a shell script, too. Installers write it if the interpreter's path has
 * blanks, or is longer than a first line may be: a line #!/bin/sh, then this line with the path. */
#define SHELL_LINE "'''exec' "
#define SHELL_LINE_END " \"$0\" \"$@\""

/* Python ignores SIGPIPE and SIGXFSZ itself, so it can't see that its caller does. The option -X tells it
 * (spraycc/cli/build_tool.py). */
#define IGNORED_OPTION "spraycc_ignored="

extern char **environ;

/* The directory of this program's file, with a slash at the end; empty if it is unknown. */
static char directory[PATH_MAX];
static char script[PATH_MAX];
static char head[PATH_MAX + 256];

static void find_directory(void)
{
	const char *started_as = (const char *)getauxval(AT_EXECFN);
	if (!realpath("/proc/self/exe", directory) && !(started_as && realpath(started_as, directory)))
		directory[0] = '\0';
	((char *)(uintptr_t)base_name(directory))[0] = '\0';
}

static bool is_ignored(int number)
{
	struct sigaction action;
	return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

/* The option with the numbers of the ignored signals, each with a comma behind it. */
static const char *ignored_option(void)
{
	static const int numbers[] = {SIGPIPE, SIGXFSZ};
	static char option[sizeof IGNORED_OPTION + sizeof numbers / sizeof *numbers * (DECIMAL_BYTES + 1)];
	char *last = option + sizeof option - 1, *to = append(option, last, IGNORED_OPTION);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		if (is_ignored(numbers[i]))
			to = append(append_number(to, last, (uint64_t)numbers[i]), last, ",");
	return option;
}

/* Executes the interpreter. `options` is the rest of a first line, or NULL. Returns if that fails. */
static void start(const char *interpreter, const char *options, char **words)
{
	size_t count = 0;
	while (words[count])
		count++;
	const char **argv = calloc(count + 8, sizeof *argv), **to = argv;
	if (!argv) {
		errno = ENOMEM;
		return;
	}
	*to++ = interpreter;
	if (options)
		*to++ = options;
	*to++ = "-E";
	*to++ = "-P";
	*to++ = "-X";
	*to++ = ignored_option();
	*to++ = script;
	memcpy(to, words, count * sizeof *to);
	execve(interpreter, (char **)(uintptr_t)argv, environ);
	int why = errno;
	free(argv);
	errno = why;
}

/* The interpreter in the first lines of the script, without quotes. NULL if they name none. Cuts `head`. */
static char *interpreter_in_head(void)
{
	if (strncmp(head, "#!", 2) != 0)
		return NULL;
	char *path = head + 2 + strspn(head + 2, " \t"), *end = strchr(path, '\n');
	if (!end)
		return NULL;
	*end = '\0';
	if (strcmp(path, "/bin/sh") != 0)
		return path;
	path = end + 1;
	if (strncmp(path, SHELL_LINE, sizeof SHELL_LINE - 1) != 0)
		return NULL;
	path += sizeof SHELL_LINE - 1;
	end = strstr(path, SHELL_LINE_END);
	if (!end || end == path)
		return NULL;
	if ((*path == '"' || *path == '\'') && end[-1] == *path) {
		path++;
		end--;
	}
	*end = '\0';
	return path;
}

/* Executes the script's interpreter. Returns the reason if that fails. */
static const char *start_script(char **words)
{
	static char reason[2 * PATH_MAX];
	char *last = reason + sizeof reason - 1;
	if (!join_path(script, sizeof script, directory, strlen(directory) - 1, SCRIPT))
		return "the path of its installation is too long";
	const char *named = script;
	int fd = open(script, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, head, sizeof head - 1) : -1;
	int why = errno;
	if (fd >= 0)
		close(fd);
	if (n >= 0) {
		head[n] = '\0';
		char *interpreter = interpreter_in_head();
		why = ENOENT;
		if (interpreter) {
			named = interpreter;
			start(interpreter, NULL, words);
			why = errno;
			char *blank = strchr(interpreter, ' '); /* "/usr/bin/env python3" */
			if (why == ENOENT && blank) {
				*blank = '\0';
				start(interpreter, blank + 1, words);
				*blank = ' ';
			}
		}
		/* A virtual environment that was moved has its interpreter beside its scripts. */
		static char beside[PATH_MAX];
		if (why == ENOENT && join_path(beside, sizeof beside, directory, strlen(directory) - 1, "python3"))
			start(beside, NULL, words);
	}
	append(append(append(append(reason, last, named), last, ": "), last, strerror(why)), last,
	       "; install SprayCC again");
	return reason;
}

/* A limit with which Python can't import the command line. It may fail so early that it can't say so. */
static const char *limit_too_small(void)
{
	static const struct {
		int resource;
		rlim_t least;
		const char *words;
	} needs[] = {
		{RLIMIT_AS, 64 << 20, "the limit on address space (ulimit -v) is below 64 MiB, too small for Python"},
		{RLIMIT_NOFILE, 16, "the limit on open files (ulimit -n) is below 16, too small for Python"},
	};
	for (size_t i = 0; i < sizeof needs / sizeof *needs; i++) {
		struct rlimit limit;
		if (getrlimit((unsigned)needs[i].resource, &limit) == 0 && limit.rlim_cur < needs[i].least)
			return needs[i].words;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	char **words = argc > 0 ? argv + 1 : argv;
	/* From spraycc-main, which could not import SprayCC. */
	if (argc > 2 && strcmp(words[0], "--plain") == 0)
		run_plain(words[1], words + 2);
	const char *why = limit_too_small();
	if (!why) {
		find_directory();
		why = *directory ? start_script(words) : "its installation can't be found: /proc is not mounted";
	}
	run_plain(why, words);
}
