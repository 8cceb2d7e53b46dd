#include "local_slots.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../common/output.h"
#include "../common/text.h"
#include "buffer.h"
#include "environment.h"
#include "server_connection.h"

/* Opens a directory that only this user can write to: makes it if it is missing, refuses another user's. */
static int open_private_directory(int parent, const char *path)
{
	struct stat status;
	if (mkdirat(parent, path, 0700) < 0 && errno != EEXIST)
		return -1;
	int dir = openat(parent, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir >= 0 && (fstat(dir, &status) < 0 || status.st_uid != geteuid() || status.st_mode & 077)) {
		close(dir);
		dir = -1;
	}
	return dir;
}

static int open_slot(int dir, unsigned number, int flags)
{
	char space[DECIMAL_BYTES];
	return openat(dir, decimal(space, number), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | flags, 0600);
}

/* One slot for all builds of this user, for when the server's directory was deleted, too. */
static struct slots last_resort(void)
{
	struct slots slots = {.dir = -1};
	struct buffer path = {0};
	char space[DECIMAL_BYTES];
	const char *base = environment_value("SPRAYCC_RUNTIME_DIR");
	buffer_add_text(&path, base ? base : "/tmp/spraycc-");
	if (!base)
		buffer_add_text(&path, decimal(space, geteuid()));
	buffer_add(&path, "", 1);
	int parent = path.failed ? -1 : open_private_directory(AT_FDCWD, (const char *)path.data);
	buffer_free(&path);
	if (parent < 0)
		return slots;
	int dir = open_private_directory(parent, "fallback-slots");
	close(parent);
	int slot = dir < 0 ? -1 : open_slot(dir, 0, O_CREAT);
	if (slot >= 0) {
		close(slot);
		slots = (struct slots){.dir = dir, .count = 1};
	}
	return slots;
}

struct slots slots_open(const char *socket_path)
{
	struct slots slots = {.dir = -1};
	int runtime = open_socket_directory(socket_path);
	if (runtime >= 0) {
		slots.dir = openat(runtime, "slots", O_PATH | O_DIRECTORY | O_CLOEXEC);
		close(runtime);
	}
	if (slots.dir >= 0) {
		struct stat status;
		char space[DECIMAL_BYTES];
		while (fstatat(slots.dir, decimal(space, slots.count), &status, AT_SYMLINK_NOFOLLOW) == 0)
			slots.count++;
		if (slots.count)
			return slots;
		close(slots.dir);
	}
	return last_resort();
}

/* Creates the build's mark. False if the mark exists, or if the build has no directory. */
static bool create_mark(const char *socket_path, const char *build)
{
	if (strchr(build, '/') || strcmp(build, ".") == 0 || strcmp(build, "..") == 0)
		return false; /* the name comes from the environment */
	int mark = -1, builds = -1, dir = -1;
	int runtime = open_socket_directory(socket_path);
	if (runtime >= 0)
		builds = openat(runtime, "builds", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (builds >= 0)
		dir = openat(builds, build, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir >= 0)
		mark = openat(dir, "warned", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	const int all[] = {runtime, builds, dir, mark};
	for (int i = 0; i < 4; i++)
		if (all[i] >= 0)
			close(all[i]);
	return mark >= 0;
}

void slots_warn_once(const struct slots *slots, const char *socket_path, const char *build)
{
	char space[DECIMAL_BYTES];
	if (!create_mark(socket_path, build))
		return;
	if (slots->count)
		say("spraycc: the server is gone; the rest of this build runs on this host, at most ",
		    decimal(space, slots->count), slots->count == 1 ? " command" : " commands",
		    " at once (its log: see 'spraycc doctor')", (char *)0);
	else
		say("spraycc: the server is gone; the rest of this build runs on this host (its log: see 'spraycc doctor')",
		    (char *)0);
}

int slots_take(const struct slots *slots)
{
	if (slots->dir < 0)
		return -1;
	unsigned first = (unsigned)getpid() % slots->count;
	for (unsigned i = 0; i < slots->count; i++) {
		int fd = open_slot(slots->dir, (first + i) % slots->count, 0);
		if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
			return fd;
		if (fd >= 0)
			close(fd);
	}
	int fd = open_slot(slots->dir, first, 0);
	int status = -1;
	if (fd >= 0)
		do
			status = flock(fd, LOCK_EX);
		while (status < 0 && errno == EINTR);
	if (status == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}
