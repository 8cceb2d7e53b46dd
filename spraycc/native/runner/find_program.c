#include "find_program.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../common/text.h"

/* The kernel refuses longer paths. */
static char candidate[PATH_MAX];
static char resolved[PATH_MAX];
static char directory[PATH_MAX];
/* find_program has met a runner outside the shim directory. */
static bool passed_over;

static bool is_this_program(const struct stat *status)
{
	static struct stat self;
	static bool known;
	if (!known) {
		if (stat("/proc/self/exe", &self) < 0)
			self = (struct stat){0}; /* no /proc: is_runner goes by the name */
		known = true;
	}
	return status->st_ino == self.st_ino && status->st_dev == self.st_dev;
}

/* True if the file ends with the mark of a shim. */
static bool is_marked(const char *file, const struct stat *status)
{
	static const char mark[] = "\n# spraycc-shim\n";
	enum { LENGTH = sizeof mark - 1 };
	char end[LENGTH];
	int fd = S_ISREG(status->st_mode) && status->st_size > LENGTH ? open(file, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return false;
	bool marked = pread(fd, end, LENGTH, status->st_size - LENGTH) == LENGTH && memcmp(end, mark, LENGTH) == 0;
	close(fd);
	return marked;
}

bool is_runner(const char *file)
{
	struct stat status;
	if (stat(file, &status) < 0)
		return false;
	return is_this_program(&status) || is_marked(file, &status) ||
	       (realpath(file, resolved) && strcmp(base_name(resolved), "spraycc-run") == 0);
}

/* 0 if execve would start this file, else an errno. */
static int check(const char *file)
{
	struct stat status;
	if (stat(file, &status) < 0)
		return ENOENT;
	if (S_ISDIR(status.st_mode))
		return EISDIR;
	return S_ISREG(status.st_mode) && eaccess(file, X_OK) == 0 ? 0 : EACCES;
}

static size_t without_slashes(const char *path, size_t length)
{
	while (length > 1 && path[length - 1] == '/')
		length--;
	return length;
}

bool is_shim_directory(const char *element, size_t length, const char *shims)
{
	if (!shims || !*shims)
		return false;
	size_t n = without_slashes(shims, strlen(shims));
	return without_slashes(element, length) == n && memcmp(element, shims, n) == 0;
}

/* find_program for a name without a slash. */
static int search(const char *name, const char *path, const char *shims, const char **found)
{
	int why = ENOENT;
	if (!*name)
		return ENOENT;
	size_t length;
	for (const char *element; (element = next_element(&path, &length));) {
		if (is_shim_directory(element, length, shims) || !join_path(candidate, sizeof candidate, element, length, name))
			continue;
		int problem = check(candidate);
		if (problem == 0 && is_runner(candidate)) {
			passed_over = true;
			continue;
		}
		if (problem == 0) {
			*found = candidate;
			return 0;
		}
		if (problem == EACCES)
			why = EACCES;
	}
	return why;
}

int find_program(const char *name, const char *path, const char *shims, const char **found)
{
	if (strchr(name, '/')) {
		if (!is_runner(name)) {
			*found = name;
			return check(name);
		}
		name = base_name(name);
	}
	return search(name, path ? path : DEFAULT_PATH, shims, found);
}

const char *directory_of_runner(const char *name, const char *path)
{
	char file[PATH_MAX];
	size_t length;
	if (!passed_over)
		return NULL;
	for (const char *element; (element = next_element(&path, &length));)
		if (length && join_path(file, sizeof file, element, length, name) && check(file) == 0 && is_runner(file)) {
			memcpy(directory, element, length);
			directory[length] = '\0';
			return directory;
		}
	return NULL;
}
