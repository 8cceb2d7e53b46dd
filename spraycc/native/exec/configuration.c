/* Reads the configuration into memory of its own: a file that is cut or lies on a dead file server can't disturb the
 * program later. */
#include "exec.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define FIRST "spraycc-exec\t1"
#define LAST "end"
#define MOST_BYTES (1 << 20)

const char *const variable_prefixes[VARIABLES] = {"SPRAYCC_EXEC=", "SPRAYCC_SOCKET=", "SPRAYCC_BUILD="};

const char *configuration_next(const struct configuration *configuration, const char *key, const char *line)
{
	size_t length = strlen(key);
	for (line = line ? line + strlen(line) + 1 : configuration->lines; line < configuration->end;
	     line += strlen(line) + 1)
		if (strncmp(line, key, length) == 0 && line[length] == '\t')
			return line + length + 1;
	return NULL;
}

/* The value of a key whose value must be an absolute path. NULL if it is not. */
static const char *path_of(const struct configuration *configuration, const char *key)
{
	const char *value = configuration_next(configuration, key, NULL);
	return value && value[0] == '/' ? value : NULL;
}

static bool has_paths(const struct configuration *configuration)
{
	if (configuration_next(configuration, "path", NULL))
		return true;
	for (const char *never = NULL; (never = configuration_next(configuration, "never", never));)
		if (strchr(never, '/'))
			return true;
	return false;
}

bool configuration_parse(struct configuration *configuration, char *text, size_t length)
{
	/* A file without its last line was not written to its end. */
	if (length == 0 || text[length - 1] != '\n' || memchr(text, '\0', length))
		return false;
	configuration->lines = text;
	configuration->end = text + length;
	const char *last = text;
	for (char *at = text, *end; (end = memchr(at, '\n', (size_t)(text + length - at))); at = end + 1) {
		*end = '\0';
		last = at;
	}
	if (strcmp(text, FIRST) != 0 || strcmp(last, LAST) != 0)
		return false;
	configuration->runner = path_of(configuration, "runner");
	configuration->library = path_of(configuration, "library");
	configuration->workspace = path_of(configuration, "workspace");
	configuration->has_paths = has_paths(configuration);
	return configuration->runner && configuration->library && configuration->workspace;
}

/* Reads the whole file to the place. Direct system calls: the C library's functions are cancellation points. */
static bool read_all(int fd, char *to, size_t size)
{
	size_t done = 0;
	while (done < size) {
		long length = raw_syscall(SYS_pread64, fd, to + done, size - done, done);
		if (length <= 0)
			return false;
		done += (size_t)length;
	}
	return true;
}

/* Maps a page or more for the file's text, and for the variables behind it. Never unmapped: other threads use it. */
static char *map_file(const char *path, size_t extra, size_t *length)
{
	struct stat status;
	char *place = NULL;
	int fd = program_open(AT_FDCWD, path);
	if (fd < 0)
		return NULL;
	if (raw_syscall(SYS_fstat, fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size <= MOST_BYTES) {
		*length = (size_t)status.st_size;
		long mapped = raw_syscall(SYS_mmap, NULL, *length + 1 + extra, PROT_READ | PROT_WRITE,
		                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);
		if (mapped != -1 && read_all(fd, (char *)mapped, *length))
			place = (char *)mapped;
		else if (mapped != -1)
			raw_syscall(SYS_munmap, mapped, *length + 1 + extra);
	}
	raw_syscall(SYS_close, fd);
	return place;
}

bool configuration_read(struct configuration *configuration, char *const env[])
{
	const char *given[VARIABLES];
	size_t size = 0;
	size_t length;
	for (int i = 0; i < VARIABLES; i++) {
		given[i] = find_entry(env, variable_prefixes[i], strlen(variable_prefixes[i]));
		size += given[i] ? strlen(given[i]) + 1 : 0;
	}
	const char *path = given[INTERCEPT] ? given[INTERCEPT] + strlen(variable_prefixes[INTERCEPT]) : "";
	char *text = path[0] == '/' ? map_file(path, size, &length) : NULL;
	if (!text)
		return false;
	char *to = text + length + 1;
	for (int i = 0; i < VARIABLES; i++) {
		if (!given[i])
			continue;
		configuration->variables[i] = to;
		to = stpcpy(to, given[i]) + 1;
	}
	return configuration_parse(configuration, text, length);
}
