/* Running the program on the submit host. */
#ifndef SPRAYCC_RUNNER_RUN_HERE_H
#define SPRAYCC_RUNNER_RUN_HERE_H

#include <stdint.h>

#include "task.h"

/* Bytes of stdout and stderr that were passed on already and must not appear again. */
struct skip {
	uint64_t out;
	uint64_t err;
};

/* The server that hears of the program's end. */
struct overseer {
	int connection; /* -1: nobody */
	bool is_asked;  /* this process ends when the server closes the connection */
};

/* Executes the program in the place of this process, with the environment as it is. If that fails, ends with 126 or
 * 127, as shells do. */
_Noreturn void exec_here(const struct task *task);

/* Executes words[0] with `count` words and the words of `argv` after its first. Returns only if that fails. */
void exec_words(const char *const *words, size_t count, char **argv);

/* Runs the program as a child, and ends as the child ends. Needed if this process must outlive the exec:
 *   - the program must not inherit a lock;
 *   - some of its output is to be skipped;
 *   - the server hears of the program's status and resources, and perhaps must allow the end.
 * Falls back to exec_here. */
_Noreturn void run_here(const struct task *task, struct skip skip, struct overseer overseer);

/* Ends this process with this exit code, or by this signal if it is not 0. */
_Noreturn void end_as(int code, int signal_number);

#endif
