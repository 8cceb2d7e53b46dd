#include "slots.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "env.h"

/* A server's own directory, opened; `socket_path` lies in it. */
static int open_runtime_directory(const char *socket_path)
{
	static char path[PATH_MAX];
	size_t n = (size_t)(base_name(socket_path) - socket_path);
	if (n >= sizeof path)
		return -1;
	memcpy(path, socket_path, n);
	path[n] = '\0';
	return open(n ? path : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* A directory that only we can have put something into: made if it is not there, refused if it is another's. */
static int open_private_directory(int parent, const char *path)
{
	struct stat st;
	if (mkdirat(parent, path, 0700) < 0 && errno != EEXIST)
		return -1;
	int dir = openat(parent, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir >= 0 && (fstat(dir, &st) < 0 || st.st_uid != geteuid() || st.st_mode & 077)) {
		close(dir);
		dir = -1;
	}
	return dir;
}

static int open_slot(int dir, unsigned number, int flags)
{
	char space[24];
	return openat(dir, decimal(space, number), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | flags, 0600);
}

/* Where the server's directory was deleted too: one slot for all builds of this user. */
static struct slots last_resort(void)
{
	struct slots s = {.dir = -1};
	struct buf path = {0};
	char space[24];
	const char *base = env_value("SPRAYCC_RUNTIME_DIR");
	if (!base) {
		base = "/tmp/spraycc-";
		const char *uid = decimal(space, geteuid());
		buf_add(&path, base, strlen(base));
		buf_add(&path, uid, strlen(uid));
	} else {
		buf_add(&path, base, strlen(base));
	}
	buf_add(&path, "", 1);
	int parent = path.failed ? -1 : open_private_directory(AT_FDCWD, (const char *)path.data);
	buf_free(&path);
	if (parent < 0)
		return s;
	int dir = open_private_directory(parent, "fallback-slots");
	close(parent);
	int slot = dir < 0 ? -1 : open_slot(dir, 0, O_CREAT);
	if (slot >= 0) {
		close(slot);
		s = (struct slots){.dir = dir, .count = 1};
	}
	return s;
}

struct slots slots_open(const char *socket_path)
{
	struct slots s = {.dir = -1};
	int runtime = open_runtime_directory(socket_path);
	if (runtime >= 0) {
		s.dir = openat(runtime, "slots", O_PATH | O_DIRECTORY | O_CLOEXEC);
		close(runtime);
	}
	if (s.dir >= 0) {
		struct stat st;
		char space[24];
		while (fstatat(s.dir, decimal(space, s.count), &st, AT_SYMLINK_NOFOLLOW) == 0)
			s.count++;
		if (s.count)
			return s;
		close(s.dir);
	}
	return last_resort();
}

/* Creates the mark; false if it was there, or if the build's directory is not. */
static bool create_mark(const char *socket_path, const char *build)
{
	if (strchr(build, '/') || strcmp(build, ".") == 0 || strcmp(build, "..") == 0)
		return false; /* it comes from the environment */
	int mark = -1, builds = -1, dir = -1;
	int runtime = open_runtime_directory(socket_path);
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

void slots_warn_once(const struct slots *s, const char *socket_path, const char *build)
{
	char space[24];
	if (!create_mark(socket_path, build))
		return;
	if (s->count)
		say("spraycc: the server is gone; the rest of this build runs on this host, at most ", decimal(space, s->count),
		    s->count == 1 ? " command" : " commands", " at once (its log: see 'spraycc doctor')", (char *)0);
	else
		say("spraycc: the server is gone; the rest of this build runs on this host (its log: see 'spraycc doctor')",
		    (char *)0);
}

int slots_take(const struct slots *s)
{
	if (s->dir < 0)
		return -1;
	unsigned first = (unsigned)getpid() % s->count;
	for (unsigned i = 0; i < s->count; i++) {
		int fd = open_slot(s->dir, (first + i) % s->count, 0);
		if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
			return fd;
		if (fd >= 0)
			close(fd);
	}
	int fd = open_slot(s->dir, first, 0);
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
