#include "plain.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../common/output.h"
#include "../common/text.h"
#include "../runner/environment.h"
#include "../runner/find_program.h"
#include "../runner/width.h"

enum { USAGE_STATUS = 2 };

/* The names are those of SUBCOMMANDS in spraycc/build_tools.py; a test compares. */
static bool is_subcommand(const char *name)
{
	static const char *const names[] = {"make", "gmake", "ninja", "ninja-build", "ctest", "cargo", "cmake"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/* The flags are the options of spraycc without a value, as in spraycc/cli/option_table.py; a test compares. */
static bool takes_next_word(const char *option)
{
	static const char *const flags[] = {"--wait-for-cluster",
	                                    "--no-wait-for-cluster",
	                                    "--wrap-shell",
	                                    "--no-wrap-shell",
	                                    "--summary-line",
	                                    "--no-summary-line",
	                                    "--help-all",
	                                    "--version",
	                                    "-h",
	                                    "--help"};
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
		if (strcmp(option, flags[i]) == 0)
			return false;
	return !strchr(option, '=');
}

/* The words after spraycc's own options. */
static char **skip_options(char **words)
{
	for (; *words && **words == '-'; words++) {
		if (strcmp(*words, "--") == 0)
			return words + 1;
		if (takes_next_word(*words) && words[1])
			words++;
	}
	return words;
}

/* The tool's own words in a command line of spraycc; NULL if it runs no tool. */
static char **find_tool(char **words)
{
	if (*words && strcmp(*words, "--shim") == 0)
		return words[1] ? words + 1 : NULL;
	words = skip_options(words);
	if (!*words)
		return NULL;
	if (is_subcommand(base_name(*words)))
		return words;
	if (strcmp(*words, "build") != 0 && strcmp(*words, "run") != 0)
		return NULL;
	for (words++; *words && strncmp(*words, "--", 2) == 0; words++)
		if (strcmp(*words, "--") == 0)
			return words[1] ? words + 1 : NULL;
	return *words ? words : NULL;
}

/* The bytes to the next blank. As for make, blanks in a reference and after a backslash end no word; split() in
 * spraycc/jobserver/makeflags.py does the same. */
static size_t word_length(const char *word)
{
	char open = 0, close = 0;
	size_t n = 0, depth = 0;
	for (; word[n] && (depth || word[n] != ' '); n++) {
		if (depth) {
			depth += word[n] == open;
			depth -= word[n] == close;
		} else if (word[n] == '$' && (word[n + 1] == '(' || word[n + 1] == '{')) {
			open = word[++n];
			close = open == '(' ? ')' : '}';
			depth = 1;
		} else if ((word[n] == '\\' || (word[n] == '$' && word[n + 1] == '$')) && word[n + 1]) {
			n++;
		}
	}
	return n;
}

static bool is_parallel(const char *word)
{
	/* SprayCC's own condition names the jobserver's descriptor for some makes. */
	static const char *const starts[] = {"-j", "--jobserver", "$(if $(filter jobserver-fifo,"};
	for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
		if (strncmp(word, starts[i], strlen(starts[i])) == 0)
			return true;
	return false;
}

/* MAKEFLAGS without the words for parallelism. The tokens of a build of SprayCC stand for executors, of which a plain
 * tool has none. */
static void leave_jobserver(void)
{
	static const char *const names[] = {"MAKEFLAGS=", "MFLAGS=", "GNUMAKEFLAGS=", "CARGO_MAKEFLAGS="};
	for (char **entry = environ; *entry; entry++) {
		for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
			size_t n = strlen(names[i]);
			if (strncmp(*entry, names[i], n) != 0)
				continue;
			char *to = *entry + n;
			for (char *from = to; *from;) {
				size_t length = word_length(from);
				if (strcmp(from, "--") == 0 || strncmp(from, "-- ", 3) == 0)
					length = strlen(from); /* variables follow */
				size_t whole = length + (from[length] == ' ');
				if (!is_parallel(from)) {
					memmove(to, from, whole);
					to += whole;
				}
				from += whole;
			}
			*to = '\0';
		}
	}
}

/* Removes the variables of a build, so that no runner below asks a server. */
static void leave_build(void)
{
	static const char *const names[] = {"SPRAYCC_SOCKET", "SPRAYCC_BUILD", "SPRAYCC_SHIMS", "SPRAYCC_SLOT",
	                                    "SPRAYCC_EXEC"};
	if (environment_value("SPRAYCC_BUILD"))
		leave_jobserver();
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		unsetenv(names[i]);
}

_Noreturn void run_plain(const char *why, char **words)
{
	char **argv = find_tool(words);
	if (!argv) {
		say("spraycc: error: ", why, (char *)0);
		_exit(USAGE_STATUS);
	}
	const char *name = argv[0], *given = environment_take_program(), *program = NULL;
	const char *shims = environment_value("SPRAYCC_SHIMS");
	/* PATH is still the caller's: find_program skips the shims itself. */
	int problem = find_program(name, getenv("PATH"), shims, &program);
	if (given && strcmp(words[0], "--shim") == 0)
		program = given;
	else if (problem) {
		say("spraycc: error: ", name, ": ",
		    problem == ENOENT && !strchr(name, '/') ? "command not found" : strerror(problem), (char *)0);
		_exit(problem == ENOENT ? 127 : 126);
	}
	program = strdup(program);
	say("spraycc: warning: ", why, "; ", name, " runs without SprayCC", (char *)0);
	environment_strip_path(shims);
	environment_strip_preload();
	leave_build();
	if (is_subcommand(base_name(name)))
		cap_width(argv);
	if (program) {
		execve(program, argv, environ);
		if (errno == ENOEXEC) {
			size_t count = 1;
			while (argv[count])
				count++;
			char **vector = calloc(count + 2, sizeof *vector);
			if (vector) {
				vector[0] = (char *)(uintptr_t)"/bin/sh";
				memcpy(vector + 1, argv, count * sizeof *vector);
				vector[1] = (char *)(uintptr_t)program;
				execve(vector[0], vector, environ);
			}
		}
	}
	say("spraycc: error: ", name, ": ", strerror(errno), (char *)0);
	_exit(errno == ENOENT ? 127 : 126);
}
