/* What bounds the commands of a build whose server is gone: lock files, one for each local slot. */
#ifndef SPRAYCC_RUNNER_SLOTS_H
#define SPRAYCC_RUNNER_SLOTS_H

#include "util.h"

struct slots {
	int dir;        /* directory of the lock files 0, 1, ...; -1 if there is none at all */
	unsigned count;
};

/* Finds the lock files beside the server's socket, or makes the one of last resort. */
struct slots slots_open(const char *socket_path);

/* Tells the user, once a build, that the server is gone: only the runner that creates the build's mark does. */
void slots_warn_once(const struct slots *s, const char *socket_path, const char *build);

/* Waits for a slot. The descriptor that holds it until it is closed, or -1 if nothing can be locked. */
int slots_take(const struct slots *s);

#endif
