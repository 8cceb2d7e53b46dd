#include "context.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../common/text.h"

static void add_number(struct buffer *out, uint64_t number)
{
	char space[DECIMAL_BYTES];
	buffer_add_text(out, decimal(space, number));
}

static void add_namespace(struct buffer *out, const char *name)
{
	char path[64], *last = path + sizeof path - 1;
	struct stat status;
	append(append(path, last, "/proc/self/ns/"), last, name);
	buffer_add_text(out, name);
	buffer_add_text(out, ":");
	if (stat(path, &status) == 0)
		add_number(out, status.st_ino);
	buffer_add_text(out, " ");
}

static int compare(const void *one, const void *other)
{
	gid_t a = *(const gid_t *)one, b = *(const gid_t *)other;
	return a < b ? -1 : a > b;
}

static void add_groups(struct buffer *out)
{
	int count = getgroups(0, NULL);
	struct buffer room = {0};
	buffer_add_text(out, "groups:");
	if (count <= 0 || !buffer_reserve(&room, (size_t)count * sizeof(gid_t)))
		return;
	gid_t *groups = (gid_t *)(void *)room.data;
	count = getgroups(count, groups);
	if (count > 0)
		qsort(groups, (size_t)count, sizeof *groups, compare);
	for (int i = 0; i < count; i++) {
		if (i && groups[i] == groups[i - 1])
			continue;
		if (i)
			buffer_add_text(out, ",");
		add_number(out, groups[i]);
	}
	buffer_free(&room);
}

/* Adds the value of a line of a file in /proc. */
static void add_value(struct buffer *out, const char *text, const char *name)
{
	size_t length = strlen(name);
	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, length) != 0 || line[length] != ':')
			continue;
		const char *value = line + length + 1;
		value += strspn(value, " \t");
		buffer_add(out, value, strcspn(value, " \t\n"));
		return;
	}
}

/* The contents of a file in /proc. Empty without the file. */
static const char *text_of(const char *path)
{
	static char text[65536];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void add_status(struct buffer *out)
{
	static const char *const names[] = {"TracerPid", "CapEff", "NoNewPrivs", "Seccomp", "Seccomp_filters"};
	const char *text = text_of("/proc/self/status");
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		buffer_add_text(out, " ");
		buffer_add_text(out, names[i]);
		buffer_add_text(out, ":");
		add_value(out, text, names[i]);
	}
}

static void add_mount_of_root(struct buffer *out)
{
	char path[64], *last = path + sizeof path - 1;
	int fd = open("/", O_PATH | O_CLOEXEC);
	if (fd < 0)
		return;
	append_number(append(path, last, "/proc/self/fdinfo/"), last, (uint64_t)fd);
	add_value(out, text_of(path), "mnt_id");
	close(fd);
}

void context_add(struct buffer *out, const char *cwd)
{
	static const char *const namespaces[] = {"mnt", "user", "pid", "net"};
	struct stat root = {0}, of_path, of_dot;
	for (size_t i = 0; i < sizeof namespaces / sizeof *namespaces; i++)
		add_namespace(out, namespaces[i]);
	(void)stat("/", &root);
	buffer_add_text(out, "root:");
	add_number(out, root.st_dev);
	buffer_add_text(out, "/");
	add_number(out, root.st_ino);
	buffer_add_text(out, "/");
	add_mount_of_root(out);
	buffer_add_text(out, " uid:");
	add_number(out, geteuid());
	buffer_add_text(out, " gid:");
	add_number(out, getegid());
	buffer_add_text(out, " ");
	add_groups(out);
	add_status(out);
	if (stat(cwd, &of_path) < 0 || stat(".", &of_dot) < 0 || of_path.st_dev != of_dot.st_dev ||
	    of_path.st_ino != of_dot.st_ino)
		buffer_add_text(out, " cwd:hidden");
}

void context_add_server(struct buffer *out, pid_t server)
{
	char path[64], target[16], *last = path + sizeof path - 1;
	char *end = append_number(append(path, last, "/proc/"), last, (uint64_t)server);
	append(end, last, "/root");
	if (server > 0 && readlink(path, target, sizeof target) < 0 && (errno == EACCES || errno == EPERM))
		buffer_add_text(out, " server:hidden");
}
