/* What a task is: the command, and how its runner was started. */
#ifndef SPRAYCC_RUNNER_TASK_H
#define SPRAYCC_RUNNER_TASK_H

#include <sys/types.h>

#include "util.h"

/* What one of descriptors 0 to 2 is. */
struct stream {
	const char *kind; /* "tty", "pipe", "file", "null", "socket", "other", "closed" */
	dev_t dev;
	ino_t ino;
};

struct task {
	const char *wish;     /* "auto", "remote" or "local" */
	const char *program;  /* path of the real one, as found */
	char **argv;          /* to be passed on */
	struct stream streams[3];
	unsigned short window[2]; /* rows and columns of the terminal that stdout, or else stderr, is */
};

/* Fills in `streams`; to be called before anything is opened. */
void task_look_at_streams(struct task *t);

/* Whether stdout and stderr are the same open file, so that the order of what is written to them matters. */
bool task_streams_are_one(const struct task *t);

/* Appends the first message (RunTask), framed. False if there is no memory, or no working directory. */
bool task_encode(struct task *t, const char *build, struct buf *out);

#endif
