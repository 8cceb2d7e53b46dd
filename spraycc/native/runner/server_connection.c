#include "server_connection.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../common/text.h"
#include "buffer.h"
#include "message.h"

int open_socket_directory(const char *socket_path)
{
	static char path[PATH_MAX];
	size_t n = (size_t)(base_name(socket_path) - socket_path);
	if (n >= sizeof path)
		return -1;
	memcpy(path, socket_path, n);
	path[n] = '\0';
	return open(n ? path : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* Writes the socket's address. If the path is too long for one, opens its directory and addresses the socket through
 * that descriptor, which is returned. Returns -1 if none was needed, and -2 on failure. */
static int make_address(struct sockaddr_un *address, const char *path)
{
	char by_descriptor[DESCRIPTOR_PATH_BYTES];
	size_t n = strlen(path);
	if (n < sizeof address->sun_path) {
		memcpy(address->sun_path, path, n + 1);
		return -1;
	}
	int fd = open_socket_directory(path);
	if (fd < 0)
		return -2;
	descriptor_path(by_descriptor, fd);
	if (join_path(address->sun_path, sizeof address->sun_path, by_descriptor, strlen(by_descriptor), base_name(path)))
		return fd;
	close(fd);
	return -2;
}

/* Returns 0 or an errno. */
static int connect_to(int fd, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int directory = make_address(&address, path);
	if (directory == -2)
		return errno;
	int status, problem;
	do /* Blocking on purpose: a non-blocking connect reports success even if the server's backlog is full. */
		status = connect(fd, (struct sockaddr *)&address, sizeof address);
	while (status < 0 && errno == EINTR);
	problem = status < 0 ? errno : 0;
	if (directory >= 0)
		close(directory);
	return problem;
}

int server_connect(const char *socket_path, pid_t *server)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return SERVER_GONE;
	struct ucred peer;
	socklen_t size = sizeof peer;
	int problem = connect_to(fd, socket_path);
	if (problem == 0 && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		problem = errno;
	/* Never send the environment to another user's process. */
	if (problem == 0 && peer.uid != geteuid())
		problem = EACCES;
	if (problem == 0) {
		*server = peer.pid;
		return fd;
	}
	close(fd);
	return problem == EACCES || problem == EPERM ? SERVER_OF_ANOTHER : SERVER_GONE;
}

bool server_send(int fd, const void *bytes, size_t n)
{
	const unsigned char *at = bytes;
	while (n) {
		ssize_t done = send(fd, at, n, MSG_NOSIGNAL);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return false;
		at += done;
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

bool server_receive(int fd, const unsigned char **body, size_t *n)
{
	/* A small frame costs no allocation. The memory of a large frame is freed before the wait for the next frame. */
	static unsigned char small[1024];
	static struct buffer large;
	unsigned char head[4];
	buffer_free(&large);
	if (!receive_all(fd, head, sizeof head))
		return false;
	size_t size = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
	if (size > MAX_FRAME_BYTES || (size > sizeof small && !buffer_reserve(&large, size)))
		return false;
	unsigned char *to = size > sizeof small ? large.data : small;
	*body = to;
	*n = size;
	return receive_all(fd, to, size);
}
