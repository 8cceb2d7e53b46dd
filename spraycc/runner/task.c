#include "task.h"

#include <limits.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cbor.h"
#include "env.h"
#include "message.h"

static const char *kind_of(int fd, const struct stat *st)
{
	if (S_ISREG(st->st_mode))
		return "file";
	if (S_ISFIFO(st->st_mode))
		return "pipe";
	if (S_ISSOCK(st->st_mode))
		return "socket";
	if (S_ISCHR(st->st_mode)) {
		if (st->st_rdev == makedev(1, 3))
			return "null";
		if (isatty(fd))
			return "tty";
	}
	return "other";
}

void task_look_at_streams(struct task *t)
{
	for (int fd = 0; fd <= 2; fd++) {
		struct stat st;
		if (fstat(fd, &st) < 0)
			t->streams[fd] = (struct stream){.kind = "closed"};
		else
			t->streams[fd] = (struct stream){.kind = kind_of(fd, &st), .dev = st.st_dev, .ino = st.st_ino};
	}
	for (int fd = 2; fd >= 1; fd--) {
		struct winsize size;
		if (strcmp(t->streams[fd].kind, "tty") == 0 && ioctl(fd, TIOCGWINSZ, &size) == 0) {
			t->window[0] = size.ws_row;
			t->window[1] = size.ws_col;
		}
	}
}

bool task_streams_are_one(const struct task *t)
{
	const struct stream *out = &t->streams[1], *err = &t->streams[2];
	return strcmp(out->kind, "closed") != 0 && strcmp(out->kind, err->kind) == 0 && out->dev == err->dev &&
	       out->ino == err->ino;
}

/* The working directory: as $PWD spells it, if that is the same one, as compilers do when they record it. */
static const char *working_directory(void)
{
	static char cwd[PATH_MAX];
	struct stat there, here;
	const char *pwd = env_value("PWD");
	if (pwd && *pwd == '/' && stat(pwd, &there) == 0 && stat(".", &here) == 0 && there.st_dev == here.st_dev &&
	    there.st_ino == here.st_ino)
		return pwd;
	return getcwd(cwd, sizeof cwd);
}

static void add_program(struct buf *out, const char *program, const char *cwd)
{
	struct buf path = {0};
	if (*program != '/') {
		buf_add(&path, cwd, strlen(cwd));
		if (cwd[strlen(cwd) - 1] != '/')
			buf_add(&path, "/", 1);
	}
	buf_add(&path, program, strlen(program));
	cbor_bytes(out, path.data, path.len);
	out->failed = out->failed || path.failed;
	buf_free(&path);
}

static void add_strings(struct buf *out, char **strings)
{
	size_t n = 0;
	while (strings[n])
		n++;
	cbor_array(out, n);
	for (size_t i = 0; i < n; i++)
		cbor_bytes(out, strings[i], strlen(strings[i]));
}

static void add_environment(struct buf *out)
{
	size_t n = 0;
	for (char **e = environ; *e; e++)
		n += !env_is_ours(*e);
	cbor_array(out, n);
	for (char **e = environ; *e; e++)
		if (!env_is_ours(*e))
			cbor_bytes(out, *e, strlen(*e));
}

static mode_t current_umask(void)
{
	mode_t mask = umask(077); /* there is no call that only looks */
	umask(mask);
	return mask;
}

static void add_rlimits(struct buf *out)
{
	struct rlimit limits[RLIM_NLIMITS];
	bool known[RLIM_NLIMITS];
	size_t n = 0;
	for (unsigned r = 0; r < RLIM_NLIMITS; r++)
		n += known[r] = getrlimit(r, &limits[r]) == 0;
	cbor_array(out, n);
	for (unsigned r = 0; r < RLIM_NLIMITS; r++) {
		if (!known[r])
			continue;
		cbor_array(out, 3);
		cbor_uint(out, r);
		/* RLIM_INFINITY is 2^64 - 1 in memory, as it is in the message. */
		cbor_uint(out, limits[r].rlim_cur);
		cbor_uint(out, limits[r].rlim_max);
	}
}

static void add_streams(struct buf *out, const struct stream streams[3])
{
	cbor_array(out, 3);
	for (int fd = 0; fd <= 2; fd++) {
		cbor_array(out, 3);
		cbor_text(out, streams[fd].kind);
		cbor_uint(out, streams[fd].dev);
		cbor_uint(out, streams[fd].ino);
	}
}

bool task_encode(struct task *t, const char *build, struct buf *out)
{
	const char *cwd = working_directory();
	if (!cwd)
		return false;
	size_t start = out->len;
	buf_add(out, "\0\0\0", 4); /* the frame's length, once it is known */
	cbor_array(out, 13);
	cbor_text(out, "task");
	cbor_uint(out, RUNNER_PROTOCOL);
	cbor_text(out, t->wish);
	cbor_bytes(out, build ? build : "", build ? strlen(build) : 0);
	add_strings(out, t->argv);
	add_program(out, t->program, cwd);
	cbor_bytes(out, cwd, strlen(cwd));
	add_environment(out);
	cbor_uint(out, current_umask());
	add_rlimits(out);
	cbor_int(out, getpriority(PRIO_PROCESS, 0));
	add_streams(out, t->streams);
	cbor_array(out, 2);
	cbor_uint(out, t->window[0]);
	cbor_uint(out, t->window[1]);
	if (out->failed || out->len - start - 4 > MAX_FRAME_BYTES)
		return false;
	uint32_t n = (uint32_t)(out->len - start - 4);
	for (int i = 3; i >= 0; i--, n >>= 8)
		out->data[start + (size_t)i] = (unsigned char)n;
	return true;
}
