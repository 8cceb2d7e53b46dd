#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

bool buf_reserve(struct buf *b, size_t more)
{
	if (b->failed)
		return false;
	if (more <= b->cap - b->len)
		return true;
	size_t cap = b->cap ? b->cap : 16384;
	while (cap - b->len < more) {
		if (cap > SIZE_MAX / 2) {
			b->failed = true;
			return false;
		}
		cap *= 2;
	}
	void *data = b->data ? mremap(b->data, b->cap, cap, MREMAP_MAYMOVE)
	                     : mmap(NULL, cap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (data == MAP_FAILED) {
		b->failed = true;
		return false;
	}
	b->data = data;
	b->cap = cap;
	return true;
}

void buf_add(struct buf *b, const void *bytes, size_t n)
{
	if (n == 0 || !buf_reserve(b, n))
		return;
	memcpy(b->data + b->len, bytes, n);
	b->len += n;
}

void buf_free(struct buf *b)
{
	if (b->data)
		munmap(b->data, b->cap);
	*b = (struct buf){0};
}

int write_all(int fd, const void *bytes, size_t n)
{
	const unsigned char *p = bytes;
	while (n) {
		ssize_t done = write(fd, p, n);
		if (done >= 0) {
			p += done;
			n -= (size_t)done;
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			struct pollfd wait = {.fd = fd, .events = POLLOUT};
			if (poll(&wait, 1, -1) < 0 && errno != EINTR)
				return errno;
		} else if (errno != EINTR) {
			return errno;
		}
	}
	return 0;
}

void say(const char *first, ...)
{
	/* One writev, so that lines of several runners on one pipe do not mix. */
	struct iovec parts[12];
	int n = 0;
	va_list more;
	va_start(more, first);
	for (const char *s = first; s && n < 11; s = va_arg(more, const char *))
		parts[n++] = (struct iovec){.iov_base = (void *)(uintptr_t)s, .iov_len = strlen(s)};
	va_end(more);
	parts[n++] = (struct iovec){.iov_base = (void *)(uintptr_t)"\n", .iov_len = 1};
	while (writev(STDERR_FILENO, parts, n) < 0 && errno == EINTR)
		;
}

const char *decimal(char space[24], uint64_t n)
{
	char *p = space + 23;
	*p = '\0';
	do
		*--p = (char)('0' + n % 10);
	while (n /= 10);
	return p;
}

const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

void plug_standard_streams(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			/* The lowest free number is this one, as those below are open by now. O_PATH: read and write fail with EBADF. */
			(void)open("/", O_PATH | O_CLOEXEC);
}
