/* Wrappers of the functions that open files. */
#include "record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The fortified forms, which have no declaration. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dirfd, const char *path, int flags);
int __openat64_2(int dirfd, const char *path, int flags);

static int kind_of(int flags)
{
	return flags & O_NOFOLLOW ? LOOKUP_LINK : LOOKUP_FILE;
}

static bool writes(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)) != 0;
}

static bool unnamed(int flags)
{
	return (flags & O_TMPFILE) == O_TMPFILE;
}

/* The file's old contents may become part of the new ones, so they are an input. */
static bool keeps(int flags)
{
	return writes(flags) && (flags & O_TRUNC) == 0 && (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL) &&
	       !unnamed(flags);
}

/* The stamp before a call that may change the file. */
static struct stamp before(int dirfd, const char *path, int flags)
{
	struct stamp none = {0, 0, 0, 0, 0};

	return keeps(flags) && record_map() != NULL ? stamp_now(kind_of(flags), dirfd, path) : none;
}

static void opened(int fd, int dirfd, const char *path, int flags, const struct stamp *old)
{
	int kind = kind_of(flags);

	if (unnamed(flags))
		return;
	if (fd < 0)
		record_failed(kind, dirfd, path, errno);
	else if (flags & O_PATH)
		record_opened(kind, dirfd, path, fd, true);
	else if (!writes(flags))
		record_opened(kind, dirfd, path, fd, false);
	else {
		if (keeps(flags))
			record_read(kind, dirfd, path, old);
		record_written(dirfd, path);
	}
}

#define MODE(mode, flags) \
	mode_t mode = 0; \
	if (((flags) & O_CREAT) != 0 || unnamed(flags)) { \
		va_list arguments; \
		va_start(arguments, flags); \
		mode = va_arg(arguments, mode_t); \
		va_end(arguments); \
	}

#define OPEN(function) \
	WRAPS(function); \
	EXPORT int function(const char *path, int flags, ...) \
	{ \
		MODE(mode, flags) \
		struct stamp old = before(AT_FDCWD, path, flags); \
		int fd = REAL(function)(path, flags, mode); \
		opened(fd, AT_FDCWD, path, flags, &old); \
		return fd; \
	}

#define OPENAT(function) \
	WRAPS(function); \
	EXPORT int function(int dirfd, const char *path, int flags, ...) \
	{ \
		MODE(mode, flags) \
		struct stamp old = before(dirfd, path, flags); \
		int fd = REAL(function)(dirfd, path, flags, mode); \
		opened(fd, dirfd, path, flags, &old); \
		return fd; \
	}

#define OPEN_2(function) \
	WRAPS(function); \
	EXPORT int function(const char *path, int flags) \
	{ \
		struct stamp old = before(AT_FDCWD, path, flags); \
		int fd = REAL(function)(path, flags); \
		opened(fd, AT_FDCWD, path, flags, &old); \
		return fd; \
	}

#define OPENAT_2(function) \
	WRAPS(function); \
	EXPORT int function(int dirfd, const char *path, int flags) \
	{ \
		struct stamp old = before(dirfd, path, flags); \
		int fd = REAL(function)(dirfd, path, flags); \
		opened(fd, dirfd, path, flags, &old); \
		return fd; \
	}

#define CREAT(function) \
	WRAPS(function); \
	EXPORT int function(const char *path, mode_t mode) \
	{ \
		int fd = REAL(function)(path, mode); \
		opened(fd, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, NULL); \
		return fd; \
	}

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
OPEN_2(__open_2)
OPEN_2(__open64_2)
OPENAT_2(__openat_2)
OPENAT_2(__openat64_2)
CREAT(creat)
CREAT(creat64)

/* The flags of open(2) that fopen(3) uses for this mode. */
static int flags_of(const char *mode)
{
	bool plus = mode[0] != '\0' && strchr(mode + 1, '+') != NULL;
	bool exclusive = mode[0] != '\0' && strchr(mode + 1, 'x') != NULL;
	int access = plus ? O_RDWR : O_WRONLY;

	switch (mode[0]) {
	case 'w':
		return access | O_CREAT | O_TRUNC | (exclusive ? O_EXCL : 0);
	case 'a':
		return access | O_CREAT | (exclusive ? O_EXCL : 0);
	default:
		return plus ? O_RDWR : O_RDONLY;
	}
}

#define FOPEN(function) \
	WRAPS(function); \
	EXPORT FILE *function(const char *restrict path, const char *restrict mode) \
	{ \
		int flags = flags_of(mode); \
		struct stamp old = before(AT_FDCWD, path, flags); \
		FILE *file = REAL(function)(path, mode); \
		opened(file != NULL ? fileno(file) : -1, AT_FDCWD, path, flags, &old); \
		return file; \
	}

/* Without a path, freopen changes the mode of a file that is open. */
#define FREOPEN(function) \
	WRAPS(function); \
	EXPORT FILE *function(const char *restrict path, const char *restrict mode, FILE *restrict file) \
	{ \
		int flags = flags_of(mode); \
		struct stamp old = before(AT_FDCWD, path, flags); \
		FILE *opened_file = REAL(function)(path, mode, file); \
		opened(opened_file != NULL ? fileno(opened_file) : -1, AT_FDCWD, path, flags, &old); \
		return opened_file; \
	}

FOPEN(fopen)
FOPEN(fopen64)
FREOPEN(freopen)
FREOPEN(freopen64)

WRAPS(opendir);
EXPORT DIR *opendir(const char *path)
{
	DIR *directory = REAL(opendir)(path);

	if (directory == NULL)
		record_failed(LOOKUP_NAMES, AT_FDCWD, path, errno);
	else
		record_opened(LOOKUP_NAMES, AT_FDCWD, path, dirfd(directory), false);
	return directory;
}

/* scandir opens the directory itself. Its stamp is from before the call: a later stamp could hide that the names are
 * old. */
static struct stamp before_names(int dirfd, const char *path)
{
	struct stamp none = {0, 0, 0, 0, 0};

	return record_map() != NULL ? stamp_now(LOOKUP_NAMES, dirfd, path) : none;
}

static void scanned(int count, int dirfd, const char *path, const struct stamp *old)
{
	if (count < 0)
		record_failed(LOOKUP_NAMES, dirfd, path, errno);
	else
		record_read(LOOKUP_NAMES, dirfd, path, old);
}

#define SCANDIR(function, entry) \
	WRAPS(function); \
	EXPORT int function(const char *restrict path, struct entry ***restrict names, \
	                    int (*filter)(const struct entry *), \
	                    int (*compare)(const struct entry **, const struct entry **)) \
	{ \
		struct stamp old = before_names(AT_FDCWD, path); \
		int count = REAL(function)(path, names, filter, compare); \
		scanned(count, AT_FDCWD, path, &old); \
		return count; \
	}

#define SCANDIRAT(function, entry) \
	WRAPS(function); \
	EXPORT int function(int dirfd, const char *restrict path, struct entry ***restrict names, \
	                    int (*filter)(const struct entry *), \
	                    int (*compare)(const struct entry **, const struct entry **)) \
	{ \
		struct stamp old = before_names(dirfd, path); \
		int count = REAL(function)(dirfd, path, names, filter, compare); \
		scanned(count, dirfd, path, &old); \
		return count; \
	}

SCANDIR(scandir, dirent)
SCANDIR(scandir64, dirent64)
SCANDIRAT(scandirat, dirent)
SCANDIRAT(scandirat64, dirent64)
