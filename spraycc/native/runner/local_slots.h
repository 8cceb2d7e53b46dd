/* Local slots of a build whose server is gone: lock files that bound how many commands run at once. */
#ifndef SPRAYCC_RUNNER_LOCAL_SLOTS_H
#define SPRAYCC_RUNNER_LOCAL_SLOTS_H

struct slots {
	int dir;        /* directory of the lock files 0, 1, ...; -1 if there are none */
	unsigned count;
};

/* Finds the lock files beside the server's socket, or else makes one for all builds of this user. */
struct slots slots_open(const char *socket_path);

/* Tells the user once for each build that the server is gone: only the runner that creates the build's mark does. */
void slots_warn_once(const struct slots *slots, const char *socket_path, const char *build);

/* Waits for a slot. The descriptor holds the slot until it is closed; -1 if nothing can be locked. */
int slots_take(const struct slots *slots);

#endif
