/* The search on PATH for the real program, past the shims and other copies of the runner. */
#ifndef SPRAYCC_RUNNER_FIND_PROGRAM_H
#define SPRAYCC_RUNNER_FIND_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

/* Finds the file that execvp(3) would execute for `name` if PATH had no runner. `path` is the value of PATH (NULL if
 * unset), `shims` the shim directory or NULL.
 *
 * Returns 0 and sets *found to the path as execvp would build it, valid until the next call; or returns ENOENT, EACCES
 * (the file can't be executed) or EISDIR. */
int find_program(const char *name, const char *path, const char *shims, const char **found);

/* True if this file is a runner: this program, a file that is named spraycc-run after all symbolic links are followed
 * (another installation's runner, or the Python runner), or a shim (spraycc/shims.py writes its mark to the end). */
bool is_runner(const char *file);

/* The first directory of `path` in which `name` is a runner, or NULL; valid until the next call. Searches only if the
 * last find_program met a runner outside its shim directory. */
const char *directory_of_runner(const char *name, const char *path);

/* True if this element of PATH is the shim directory, with or without slashes at its end. */
bool is_shim_directory(const char *element, size_t length, const char *shims);

#endif
