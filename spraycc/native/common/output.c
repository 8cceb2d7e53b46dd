#include "output.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

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
