/* What the program's environment has less, or more, than ours. All of it is done in place: it only ever shrinks. */
#ifndef SPRAYCC_RUNNER_ENV_H
#define SPRAYCC_RUNNER_ENV_H

#include <stdbool.h>

extern char **environ;

/* Whether this entry (NAME=value) is one of SprayCC's own, which no program and no server is given. */
bool env_is_ours(const char *entry);

/* Takes the shim directory out of PATH; a PATH that was nothing else goes altogether. */
void env_strip_path(const char *shims);

/* For a program that runs with a slot: takes out all entries of ours and says SPRAYCC_SLOT=1, so that runners below it
 * execute at once. Strings that getenv gave before stay valid. */
void env_hold_slot(void);

/* A variable's value, or NULL if it is unset or empty. */
const char *env_value(const char *name);

#endif
