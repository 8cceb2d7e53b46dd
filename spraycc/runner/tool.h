/* Build tools: make, ninja and others that are no compilers, but bring the cluster into play. */
#ifndef SPRAYCC_RUNNER_TOOL_H
#define SPRAYCC_RUNNER_TOOL_H

#include <stdbool.h>

#include "task.h"

/* Whether a shim of this name stands for a build tool. */
bool is_build_tool(const char *name);

/* Becomes the build tool (`t` has it and its words), or the spraycc command that opens a build for it. The environment must
 * be as it was found. */
_Noreturn void tool_exec(const struct task *t, const char *name);

/* make hands descriptors on to recursive recipes only. What is a client and runs in another recipe (a sub-make, a link of
 * GCC's with -flto) would find the number that MAKEFLAGS names closed, and be alone, or as wide as the host; the fifo is there
 * to be opened again. */
void tool_reopen_jobserver(const char *socket_path, const char *build);

#endif
