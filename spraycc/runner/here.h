/* Running the program on this host. */
#ifndef SPRAYCC_RUNNER_HERE_H
#define SPRAYCC_RUNNER_HERE_H

#include "task.h"

/* Bytes of stdout and stderr that were passed on already and must not appear again. */
struct skip {
	uint64_t out;
	uint64_t err;
};

/* Executes the program in our own place, with the environment as it is. Ends with 126 or 127 if that fails, as shells do. */
_Noreturn void here_exec(const struct task *t);

/* Runs it as a child and ends as it ends. For when something must outlive the exec: a lock that the program must not
 * inherit, or output to be dropped, or the build tool must not hear of the end before the server says so: then `server` is the
 * connection, else -1. Falls back to here_exec. */
_Noreturn void here_run(const struct task *t, struct skip skip, int server);

/* Ends this process by exit, or by the same signal. */
_Noreturn void end_as(int code, int sig);

#endif
