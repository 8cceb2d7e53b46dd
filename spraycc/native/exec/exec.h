/* libspraycc-exec.so: intercepts the execution of programs. In the place of a wrapped program (a compiler, an archiver
 * and so on) it executes the runner. docs/explanation/interception.md has the variables and the configuration's format.
 *
 * A build preloads the library into all its processes (LD_PRELOAD). At each execution the library decides what becomes
 * of the new program:
 *   - WRAP: the runner is executed in its place, without the library;
 *   - HAND_ON: likewise, and the runner hands the library on to the program, a build tool;
 *   - JOIN: the program gets the library, even if its environment has lost it;
 *   - LEAVE: the program must not have the library;
 *   - AS_GIVEN: the library changes nothing.
 * The library does not see a system call that bypasses the C library. system and popen need no wrapper: they hand
 * environ on as it is.
 *
 * The rules of preload/preload.h hold for all this code.
 */
#ifndef SPRAYCC_EXEC_EXEC_H
#define SPRAYCC_EXEC_EXEC_H

#include "../preload/preload.h"

/* configuration.c: the file that SPRAYCC_EXEC names. */

/* The runner's file name, behind symbolic links. */
#define RUNNER "spraycc-run"

/* The variables that a process of the build needs. */
enum { INTERCEPT, SOCKET, BUILD, VARIABLES };

struct configuration {
	const char *runner;    /* absolute path */
	const char *library;   /* absolute path of this library */
	const char *workspace; /* absolute path without symbolic links */
	bool has_paths;        /* there are rules for the paths of programs */
	/* The lines, "KEY\tVALUE\0" each, up to `end`. */
	const char *lines;
	const char *end;
	/* Copies of the entries (NAME=VALUE), because programs write their titles over the environment. NULL if the variable
	 * was not set. */
	const char *variables[VARIABLES];
};

extern const char *const variable_prefixes[VARIABLES];

/* Reads the file, and copies the variables of the environment. False if the file is missing or malformed. */
bool configuration_read(struct configuration *configuration, char *const env[]);
/* For tests: the same with the file's text, which is changed. The text has a NUL behind its length. */
bool configuration_parse(struct configuration *configuration, char *text, size_t length);
/* The next line with this key after `line` (NULL: the first line). Returns its value, or NULL. */
const char *configuration_next(const struct configuration *configuration, const char *key, const char *line);

/* names.c: programs by their names. The same decisions as spraycc/commands/names.py. */

/* True if the pattern matches the whole text: fnmatch of Python (bytes; `*` matches slashes, too). */
bool pattern_matches(const char *pattern, const char *text, size_t length);
/* True if a program with this base name is a tool: its stem is in the configuration. */
bool name_is_tool(const struct configuration *configuration, const char *name);
/* True if the program is a launcher such as ccache, by its name or by the directory of its links. */
bool path_is_launcher(const struct configuration *configuration, const char *path);

/* decide.c */

enum action { AS_GIVEN, LEAVE, JOIN, HAND_ON, WRAP };

/* The state of this process. Set by the constructor. */
struct state {
	/* False below a runner, or without a configuration: then no program below needs the library. */
	bool is_active;
	struct configuration configuration;
};

/* NULL before the constructor, and in the runner: then nothing is changed. */
extern const struct state *state;

/* True if the runner is executed in the program's place. */
static inline bool action_is_runner(enum action action)
{
	return action == HAND_ON || action == WRAP;
}

/* What becomes of this program. */
enum action decide(int dirfd, const char *path, char *const env[]);

/* environment.c: environments on the caller's stack. */

/* Bytes of room that environment_fill needs, or 0 if the program gets the environment as it is. `program` is the path for
 * the runner, or NULL. */
size_t environment_size(enum action action, char *const env[], const char *program);
/* The environment for the program. Allocates nothing but in the room. */
char **environment_fill(enum action action, char *const env[], const char *program, void *room, size_t size);
/* True if this environment keeps the library away from the program and all programs below. */
bool environment_opts_out(char *const env[]);

#endif
