#include "task.h"

#include <limits.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cbor.h"
#include "context.h"
#include "environment.h"
#include "message.h"

static const char *kind_of(int fd, const struct stat *status)
{
	if (S_ISREG(status->st_mode))
		return "file";
	if (S_ISFIFO(status->st_mode))
		return "pipe";
	if (S_ISSOCK(status->st_mode))
		return "socket";
	if (S_ISCHR(status->st_mode)) {
		if (status->st_rdev == makedev(1, 3))
			return "null";
		if (isatty(fd))
			return "tty";
	}
	return "other";
}

void task_examine_streams(struct task *task)
{
	for (int fd = 0; fd <= 2; fd++) {
		struct stat status;
		if (fstat(fd, &status) < 0)
			task->streams[fd] = (struct stream){.kind = "closed"};
		else
			task->streams[fd] =
				(struct stream){.kind = kind_of(fd, &status), .dev = status.st_dev, .ino = status.st_ino};
	}
	for (int fd = 2; fd >= 1; fd--) {
		struct winsize size;
		if (strcmp(task->streams[fd].kind, "tty") == 0 && ioctl(fd, TIOCGWINSZ, &size) == 0) {
			task->window[0] = size.ws_row;
			task->window[1] = size.ws_col;
		}
	}
}

bool task_streams_are_one(const struct task *task)
{
	const struct stream *out = &task->streams[1], *err = &task->streams[2];
	return strcmp(out->kind, "closed") != 0 && strcmp(out->kind, err->kind) == 0 && out->dev == err->dev &&
	       out->ino == err->ino;
}

/* The working directory. If $PWD leads to the same directory, the result is $PWD's spelling, which compilers record. */
static const char *working_directory(void)
{
	static char cwd[PATH_MAX];
	struct stat of_pwd, of_dot;
	const char *pwd = environment_value("PWD");
	if (pwd && *pwd == '/' && stat(pwd, &of_pwd) == 0 && stat(".", &of_dot) == 0 && of_pwd.st_dev == of_dot.st_dev &&
	    of_pwd.st_ino == of_dot.st_ino)
		return pwd;
	return getcwd(cwd, sizeof cwd);
}

static void add_program(struct buffer *out, const char *program, const char *cwd)
{
	struct buffer path = {0};
	if (*program != '/') {
		buffer_add_text(&path, cwd);
		if (cwd[strlen(cwd) - 1] != '/')
			buffer_add_text(&path, "/");
	}
	buffer_add_text(&path, program);
	cbor_bytes(out, path.data, path.length);
	out->failed = out->failed || path.failed;
	buffer_free(&path);
}

static void add_strings(struct buffer *out, char **strings)
{
	size_t n = 0;
	while (strings[n])
		n++;
	cbor_array(out, n);
	for (size_t i = 0; i < n; i++)
		cbor_bytes(out, strings[i], strlen(strings[i]));
}

static void add_environment(struct buffer *out)
{
	size_t n = 0;
	for (char **e = environ; *e; e++)
		n += !environment_is_ours(*e);
	cbor_array(out, n);
	for (char **e = environ; *e; e++)
		if (!environment_is_ours(*e))
			cbor_bytes(out, *e, strlen(*e));
}

static mode_t current_umask(void)
{
	mode_t mask = umask(077); /* no call only reads the mask */
	umask(mask);
	return mask;
}

static void add_rlimits(struct buffer *out)
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
		/* RLIM_INFINITY is 2^64 - 1, in memory and in the message. */
		cbor_uint(out, limits[r].rlim_cur);
		cbor_uint(out, limits[r].rlim_max);
	}
}

static void add_streams(struct buffer *out, const struct stream streams[3])
{
	cbor_array(out, 3);
	for (int fd = 0; fd <= 2; fd++) {
		cbor_array(out, 3);
		cbor_text(out, streams[fd].kind);
		cbor_uint(out, streams[fd].dev);
		cbor_uint(out, streams[fd].ino);
	}
}

bool task_encode(struct task *task, const char *build, struct request *request)
{
	struct buffer *out = &request->frame;
	const char *cwd = working_directory();
	if (!cwd)
		return false;
	buffer_add(out, "\0\0\0", 4); /* place of the frame's length */
	cbor_array(out, 14);
	cbor_text(out, "task");
	cbor_uint(out, RUNNER_PROTOCOL);
	cbor_text(out, task->wish);
	cbor_bytes(out, build ? build : "", build ? strlen(build) : 0);
	add_strings(out, task->argv);
	add_program(out, task->program, cwd);
	cbor_bytes(out, cwd, strlen(cwd));
	add_environment(out);
	cbor_uint(out, current_umask());
	add_rlimits(out);
	cbor_int(out, getpriority(PRIO_PROCESS, 0));
	add_streams(out, task->streams);
	cbor_array(out, 2);
	cbor_uint(out, task->window[0]);
	cbor_uint(out, task->window[1]);
	context_add(&request->context, cwd);
	return !out->failed && !request->context.failed;
}

bool request_complete(struct request *request, pid_t server)
{
	struct buffer *out = &request->frame, *context = &request->context;
	context_add_server(context, server);
	buffer_add(context, "", 1);
	if (!context->failed)
		cbor_text(out, (const char *)context->data);
	if (out->failed || context->failed || out->length - 4 > MAX_FRAME_BYTES)
		return false;
	uint32_t n = (uint32_t)(out->length - 4);
	for (int i = 3; i >= 0; i--, n >>= 8)
		out->data[i] = (unsigned char)n;
	return true;
}

void request_free(struct request *request)
{
	buffer_free(&request->frame);
	buffer_free(&request->context);
}
