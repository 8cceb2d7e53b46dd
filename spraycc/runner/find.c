#include "find.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util.h"

/* What execvp(3) searches where PATH is unset. */
#define DEFAULT_PATH "/bin:/usr/bin"

/* Longer paths are refused by the kernel, so these are no limits of ours. */
static char candidate[PATH_MAX];
static char resolved[PATH_MAX];
static char directory[PATH_MAX];
static bool passed_over;

static bool is_us(const struct stat *st)
{
	static struct stat self;
	static bool known;
	if (!known) {
		if (stat("/proc/self/exe", &self) < 0)
			self = (struct stat){0}; /* no /proc: the name has to do */
		known = true;
	}
	return st->st_ino == self.st_ino && st->st_dev == self.st_dev;
}

bool is_runner(const char *file)
{
	struct stat st;
	if (stat(file, &st) < 0)
		return false;
	return is_us(&st) || (realpath(file, resolved) && strcmp(base_name(resolved), "spraycc-run") == 0);
}

bool is_ccache(const char *file)
{
	return realpath(file, resolved) && strcmp(base_name(resolved), "ccache") == 0;
}

/* 0 if execve would start it, else why not. */
static int check(const char *file)
{
	struct stat st;
	if (stat(file, &st) < 0)
		return ENOENT;
	if (S_ISDIR(st.st_mode))
		return EISDIR;
	return S_ISREG(st.st_mode) && eaccess(file, X_OK) == 0 ? 0 : EACCES;
}

static size_t without_slashes(const char *path, size_t length)
{
	while (length > 1 && path[length - 1] == '/')
		length--;
	return length;
}

bool is_shim_directory(const char *element, unsigned long length, const char *shims)
{
	if (!shims || !*shims)
		return false;
	size_t n = without_slashes(shims, strlen(shims));
	return without_slashes(element, length) == n && memcmp(element, shims, n) == 0;
}

static int search(const char *name, const char *path, const char *shims, bool past_ccache, const char **found)
{
	size_t name_len = strlen(name);
	int why = ENOENT;
	if (name_len == 0)
		return ENOENT;
	for (const char *element = path, *next; element; element = next) {
		const char *colon = strchrnul(element, ':');
		size_t n = (size_t)(colon - element);
		next = *colon ? colon + 1 : NULL;
		if (n + 1 + name_len >= sizeof candidate || is_shim_directory(element, n, shims))
			continue;
		memcpy(candidate, element, n);
		if (n) /* an empty element is the working directory, and gives the bare name as in execvp */
			candidate[n++] = '/';
		memcpy(candidate + n, name, name_len + 1);
		int problem = check(candidate);
		if (problem == 0 && is_runner(candidate)) {
			passed_over = true;
			continue;
		}
		if (problem == 0 && past_ccache && is_ccache(candidate))
			continue;
		if (problem == 0) {
			*found = candidate;
			return 0;
		}
		if (problem == EACCES)
			why = EACCES;
	}
	return why;
}

int find_program(const char *name, const char *path, const char *shims, bool past_ccache, const char **found)
{
	if (strchr(name, '/')) {
		if (!is_runner(name)) {
			*found = name;
			return check(name);
		}
		name = base_name(name);
	}
	return search(name, path ? path : DEFAULT_PATH, shims, past_ccache, found);
}

const char *directory_of_runner(const char *name, const char *path)
{
	char file[PATH_MAX];
	size_t name_len = strlen(name);
	for (const char *element = passed_over ? path : NULL, *next; element; element = next) {
		const char *colon = strchrnul(element, ':');
		size_t n = (size_t)(colon - element);
		next = *colon ? colon + 1 : NULL;
		if (n == 0 || n + 1 + name_len >= sizeof file)
			continue;
		memcpy(file, element, n);
		file[n] = '/';
		memcpy(file + n + 1, name, name_len + 1);
		if (check(file) == 0 && is_runner(file)) {
			memcpy(directory, element, n);
			directory[n] = '\0';
			return directory;
		}
	}
	return NULL;
}
