#include "preload.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

const char *find_entry(char *const env[], const char *prefix, size_t length)
{
	for (; env && *env; env++)
		if (strncmp(*env, prefix, length) == 0)
			return *env;
	return NULL;
}

/* Not by getenv: a program may have a getenv of its own (bash has), and execvp does not use that. */
static const char *own_path(void)
{
	static const char prefix[] = "PATH=";
	const char *entry = find_entry(environ, prefix, sizeof prefix - 1);
	return entry ? entry + sizeof prefix - 1 : DEFAULT_PATH;
}

/* Only as much as the longest directory needs: a signal handler's stack may have two pages. */
size_t search_size(const char *file)
{
	const char *path = own_path();
	size_t most = 0;
	for (size_t length; next_element(&path, &length);)
		if (length > most)
			most = length;
	size_t size = most + 1 + strlen(file) + 1;
	return size < PATH_MAX ? size : PATH_MAX;
}

const char *search_path(const char *file, char *room, size_t size, bool (*finds)(const char *path))
{
	const char *path = own_path();
	size_t length;
	if (file[0] == '\0' || strchr(file, '/'))
		return NULL;
	for (const char *element; (element = next_element(&path, &length));)
		/* execvp skips directories that are too long, too. */
		if (join_path(room, size, element, length, file) && finds(room))
			return room;
	return NULL;
}

bool search_executable(const char *path)
{
	struct stat status;
	int error = errno;
	bool found = raw_syscall(SYS_newfstatat, AT_FDCWD, path, &status, 0) == 0 && S_ISREG(status.st_mode) &&
	             raw_syscall(SYS_faccessat, AT_FDCWD, path, X_OK) == 0;
	errno = error;
	return found;
}
