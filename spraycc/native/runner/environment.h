/* Changes to the program's environment. All are made in place, as the environment only shrinks. */
#ifndef SPRAYCC_RUNNER_ENVIRONMENT_H
#define SPRAYCC_RUNNER_ENVIRONMENT_H

#include <stdbool.h>

extern char **environ;

/* True if this entry (NAME=value) is one of SprayCC's own, which neither the program nor the server gets. */
bool environment_is_ours(const char *entry);

/* Takes the shim directory out of PATH. A PATH without another element is removed. */
void environment_strip_path(const char *shims);

/* Takes the library that intercepts executions out of LD_PRELOAD. An LD_PRELOAD without another library is removed. */
void environment_strip_preload(void);

/* Removes SPRAYCC_PROGRAM, by which that library names the program to a runner, and returns its value. NULL if it is
 * unset. */
const char *environment_take_program(void);

/* Puts SPRAYCC_PROGRAM back; `program` is the value from environment_take_program. */
void environment_give_program(const char *program);

/* True if a library intercepts the executions of this build, and LD_PRELOAD lacks the library. */
bool environment_lacks_library(void);

/* For a program that runs with a slot: removes all entries of SprayCC and sets SPRAYCC_SLOT=1, so that runners below
 * the program execute at once. Strings from an earlier getenv stay valid. */
void environment_hold_slot(void);

/* The value of a variable, or NULL if it is unset or empty. */
const char *environment_value(const char *name);

#endif
