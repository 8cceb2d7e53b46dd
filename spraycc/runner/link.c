#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "message.h"

/* Connects through the directory's descriptor where the path is too long for an address. */
static bool connect_to(int fd, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	static char directory[PATH_MAX];
	char number[24];
	int dir = -1;
	size_t n = strlen(path);
	if (n < sizeof address.sun_path) {
		memcpy(address.sun_path, path, n + 1);
	} else {
		const char *name = base_name(path);
		size_t dir_len = (size_t)(name - path);
		if (dir_len == 0 || dir_len >= sizeof directory)
			return false;
		memcpy(directory, path, dir_len); /* `directory` is zero behind it */
		dir = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
		const char *parts[] = {"/proc/self/fd/", decimal(number, (uint64_t)dir), "/", name};
		size_t at = 0;
		for (int i = 0; dir >= 0 && i < 4; i++) {
			size_t len = strlen(parts[i]);
			if (at + len >= sizeof address.sun_path) {
				close(dir);
				return false;
			}
			memcpy(address.sun_path + at, parts[i], len + 1);
			at += len;
		}
		if (dir < 0)
			return false;
	}
	int status;
	do /* Blocking on purpose: without it a server with a full backlog would look like one that answered. */
		status = connect(fd, (struct sockaddr *)&address, sizeof address);
	while (status < 0 && errno == EINTR);
	if (dir >= 0)
		close(dir);
	return status == 0;
}

int link_connect(const char *socket_path)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	struct ucred peer;
	socklen_t size = sizeof peer;
	/* Never tell another user's process what is in our environment. */
	if (!connect_to(fd, socket_path) || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 ||
	    peer.uid != geteuid()) {
		close(fd);
		return -1;
	}
	return fd;
}

bool link_send(int fd, const unsigned char *bytes, size_t n)
{
	while (n) {
		ssize_t done = send(fd, bytes, n, MSG_NOSIGNAL);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return false;
		bytes += done;
		n -= (size_t)done;
	}
	return true;
}

static bool receive_all(int fd, unsigned char *to, size_t n)
{
	while (n) {
		ssize_t got = recv(fd, to, n, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		to += got;
		n -= (size_t)got;
	}
	return true;
}

bool link_receive(int fd, const unsigned char **body, size_t *n)
{
	/* Small frames cost no allocation; a large one's memory is given back before we wait for the next. */
	static unsigned char small[1024];
	static struct buf large;
	unsigned char head[4];
	buf_free(&large);
	if (!receive_all(fd, head, sizeof head))
		return false;
	size_t size = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
	if (size > MAX_FRAME_BYTES || (size > sizeof small && !buf_reserve(&large, size)))
		return false;
	unsigned char *to = size > sizeof small ? large.data : small;
	*body = to;
	*n = size;
	return receive_all(fd, to, size);
}
