/* Shims of build tools: make, ninja and others that compile nothing themselves, but start a build. */
#ifndef SPRAYCC_RUNNER_BUILD_TOOL_H
#define SPRAYCC_RUNNER_BUILD_TOOL_H

#include <stdbool.h>

#include "task.h"

/* True if a shim of this name stands for a build tool. */
bool is_build_tool(const char *name);

/* Executes the build tool (its path and words are in `task`), or the spraycc command that opens a build for it. The
 * environment must be as this process got it. `given` is the tool's path if the library that intercepts executions has
 * named it, else NULL. */
_Noreturn void exec_build_tool(const struct task *task, const char *name, const char *given);

/* Opens the build's fifo under the number that MAKEFLAGS names, if that descriptor is closed: make hands its
 * descriptors to recursive recipes only. Without the fifo, a jobserver client in another recipe (a sub-make, a link by
 * GCC with -flto) would run one job at a time, or one for each CPU of the host. */
void reopen_jobserver(const char *socket_path, const char *build);

#endif
