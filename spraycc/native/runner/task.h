/* A task: the command, and how its runner was started. */
#ifndef SPRAYCC_RUNNER_TASK_H
#define SPRAYCC_RUNNER_TASK_H

#include <sys/types.h>

#include "buffer.h"

/* An open descriptor from 0 to 2. */
struct stream {
	const char *kind; /* "tty", "pipe", "file", "null", "socket", "other", "closed" */
	dev_t dev;
	ino_t ino;
};

struct task {
	const char *wish;         /* "auto", "remote" or "local" */
	const char *program;      /* path of the real program, as found */
	char **argv;              /* for the program */
	struct stream streams[3];
	unsigned short window[2]; /* rows and columns of the terminal that is stdout, or else stderr */
};

/* Fills in `streams` and `window`. Call it before anything is opened. */
void task_examine_streams(struct task *task);

/* True if stdout and stderr are the same open file, so that the order of writes to them matters. */
bool task_streams_are_one(const struct task *task);

/* The first message (RunTask). All zeros is an empty one. */
struct request {
	struct buffer frame;   /* without its last element, the context, until the request is complete */
	struct buffer context; /* as text */
};

/* Fills in all parts of the request that do not depend on the server. False if there is no memory, or no working
 * directory. */
bool task_encode(struct task *task, const char *build, struct request *request);

/* Completes a request to the process `server`. False if there is no memory, or the message is too large. */
bool request_complete(struct request *request, pid_t server);

void request_free(struct request *request);

#endif
