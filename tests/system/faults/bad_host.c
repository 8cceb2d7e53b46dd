/* Preloaded into the server or an executor (LD_PRELOAD): a disk that is slow or over quota, a host whose file table is full.
 *
 *   BAD_HOST_WHERE      only files below this directory are on the bad disk
 *   BAD_HOST_DELAY_MS   each of their opens, reads, writes, makes and removals takes this long and blocks its thread
 *   BAD_HOST_HANG       each of them hangs, for as long as BAD_HOST_SINCE exists
 *   BAD_HOST_WRITE      a write to one of them fails with this error number
 *   BAD_HOST_CLOSE      a close of one that was open for writing fails with this error number, and the contents are lost
 *   BAD_HOST_OPEN       each BAD_HOST_EVERY-th new descriptor of any kind fails with this error number
 *   BAD_HOST_SINCE      all of this happens only while this file exists
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static atomic_uint opened;

static long number(const char *name)
{
	const char *text = getenv(name);
	return text ? atol(text) : 0;
}

/* By the system call: this check must not itself be delayed or counted. */
static bool is_bad_now(void)
{
	const char *since = getenv("BAD_HOST_SINCE");
	return !since || syscall(SYS_faccessat, AT_FDCWD, since, F_OK) == 0;
}

static bool is_below(const char *path)
{
	const char *where = getenv("BAD_HOST_WHERE");
	return where && path && strncmp(path, where, strlen(where)) == 0;
}

static bool is_file_below(int fd)
{
	char name[40], path[4096];
	snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
	ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, name, path, sizeof path - 1);
	path[n < 0 ? 0 : n] = '\0';
	return is_below(path);
}

static void delay(void)
{
	int problem = errno;
	long ms = number("BAD_HOST_DELAY_MS");
	struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
	if (ms && is_bad_now())
		while (nanosleep(&left, &left) < 0 && errno == EINTR)
			;
	while (number("BAD_HOST_HANG") && is_bad_now())
		nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	errno = problem;
}

/* Whether this new descriptor must fail. */
static bool is_refused(void)
{
	long problem = number("BAD_HOST_OPEN"), every = number("BAD_HOST_EVERY");
	if (!problem || !is_bad_now() || ++opened % (every ? every : 1))
		return false;
	errno = (int)problem;
	return true;
}

#define REAL(type, name, ...) \
	static type (*real)(__VA_ARGS__); \
	if (!real) \
	*(void **)&real = dlsym(RTLD_NEXT, name)

#define OPEN(name) \
	int name(const char *path, int flags, ...) \
	{ \
		REAL(int, #name, const char *, int, ...); \
		va_list more; \
		va_start(more, flags); \
		mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
		va_end(more); \
		if (is_refused()) \
			return -1; \
		if (is_below(path)) \
			delay(); \
		return real(path, flags, mode); \
	}
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
	int name(int dir, const char *path, int flags, ...) \
	{ \
		REAL(int, #name, int, const char *, int, ...); \
		va_list more; \
		va_start(more, flags); \
		mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
		va_end(more); \
		if (is_refused()) \
			return -1; \
		if (is_below(path) || (*path != '/' && is_file_below(dir))) \
			delay(); \
		return real(dir, path, flags, mode); \
	}
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int fd, const void *bytes, size_t size)
{
	REAL(ssize_t, "write", int, const void *, size_t);
	if (is_file_below(fd)) {
		long problem = number("BAD_HOST_WRITE");
		delay();
		if (problem && is_bad_now()) {
			errno = (int)problem;
			return -1;
		}
	}
	return real(fd, bytes, size);
}

int close(int fd)
{
	REAL(int, "close", int);
	long problem = number("BAD_HOST_CLOSE");
	int flags = problem ? fcntl(fd, F_GETFL) : -1;
	bool is_written = flags >= 0 && !(flags & O_PATH) && (flags & O_ACCMODE) != O_RDONLY;
	if (!is_written || !is_file_below(fd) || !is_bad_now())
		return real(fd);
	if (ftruncate(fd, 0) < 0 || real(fd) < 0)
		return -1;
	errno = (int)problem;
	return -1;
}

ssize_t read(int fd, void *bytes, size_t size)
{
	REAL(ssize_t, "read", int, void *, size_t);
	if (is_file_below(fd))
		delay();
	return real(fd, bytes, size);
}

int mkdir(const char *path, mode_t mode)
{
	REAL(int, "mkdir", const char *, mode_t);
	if (is_below(path))
		delay();
	return real(path, mode);
}

int unlink(const char *path)
{
	REAL(int, "unlink", const char *);
	if (is_below(path))
		delay();
	return real(path);
}

int rename(const char *from, const char *to)
{
	REAL(int, "rename", const char *, const char *);
	if (is_below(from) || is_below(to))
		delay();
	return real(from, to);
}

int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
	REAL(int, "accept4", int, struct sockaddr *, socklen_t *, int);
	return is_refused() ? -1 : real(fd, address, size, flags);
}

int socket(int family, int type, int protocol)
{
	REAL(int, "socket", int, int, int);
	return is_refused() ? -1 : real(family, type, protocol);
}

int pipe2(int ends[2], int flags)
{
	REAL(int, "pipe2", int *, int);
	return is_refused() ? -1 : real(ends, flags);
}

int pipe(int ends[2])
{
	REAL(int, "pipe", int *);
	return is_refused() ? -1 : real(ends);
}

int memfd_create(const char *name, unsigned flags)
{
	REAL(int, "memfd_create", const char *, unsigned);
	return is_refused() ? -1 : real(name, flags);
}
