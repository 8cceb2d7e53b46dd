/* The search for the real program, behind the shims and any other copy of the runner. */
#ifndef SPRAYCC_RUNNER_FIND_H
#define SPRAYCC_RUNNER_FIND_H

#include <stdbool.h>

/* Finds what execvp(3) would run for `name` if no runner were on PATH. `path` is the value of PATH (NULL if unset),
 * `shims` the shim directory or NULL. `past_ccache` has links to ccache passed over as well.
 *
 * Returns 0, with *found the path as execvp would have built it (valid until the next call), or ENOENT, EACCES
 * (there is one, but it can't be executed) or EISDIR. */
int find_program(const char *name, const char *path, const char *shims, bool past_ccache, const char **found);

/* Whether this file is ccache, or a link to it that has a compiler's name (/usr/lib/ccache/gcc). */
bool is_ccache(const char *file);

/* Whether this file is a runner: our own, or one that is named spraycc-run behind all symbolic links (another
 * installation's, or the script that stands in where there is no native one). */
bool is_runner(const char *file);

/* The first directory on `path` in which `name` is a runner, or NULL. It is only looked for where the last search came
 * across one that was not in its shim directory. Valid until the next call. */
const char *directory_of_runner(const char *name, const char *path);

/* Whether this element of PATH is the shim directory, with or without slashes at its end. */
bool is_shim_directory(const char *element, unsigned long length, const char *shims);

#endif
