/* Wrappers of the functions that make, replace and remove names. The first record of a name says whether it is an input of
 * the command or its own product, so an existing file that is renamed or linked is recorded as read before. */
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A name was made or removed, or the call failed because of what is there. */
static int changed(int result, int dirfd, const char *path)
{
	if (result == 0)
		record_written(dirfd, path);
	else
		record_failed(LOOKUP_LINK, dirfd, path, errno);
	return result;
}

static struct stamp before(int dirfd, const char *path)
{
	struct stamp none = {0, 0, 0, 0, 0};

	return record_map() != NULL ? stamp_now(LOOKUP_LINK, dirfd, path) : none;
}

static int renamed(int result, int from_dirfd, const char *from, const struct stamp *old, int dirfd, const char *to)
{
	if (result == 0) {
		record_read(LOOKUP_LINK, from_dirfd, from, old);
		record_written(from_dirfd, from);
		record_written(dirfd, to);
	} else {
		record_failed(LOOKUP_LINK, from_dirfd, from, errno);
		record_failed(LOOKUP_LINK, dirfd, to, errno);
	}
	return result;
}

WRAPS(rename);
EXPORT int rename(const char *from, const char *to)
{
	struct stamp old = before(AT_FDCWD, from);

	return renamed(REAL(rename)(from, to), AT_FDCWD, from, &old, AT_FDCWD, to);
}

WRAPS(renameat);
EXPORT int renameat(int from_dirfd, const char *from, int dirfd, const char *to)
{
	struct stamp old = before(from_dirfd, from);

	return renamed(REAL(renameat)(from_dirfd, from, dirfd, to), from_dirfd, from, &old, dirfd, to);
}

WRAPS(renameat2);
EXPORT int renameat2(int from_dirfd, const char *from, int dirfd, const char *to, unsigned int flags)
{
	struct stamp old = before(from_dirfd, from);
	/* RENAME_EXCHANGE: the other file stays, under the first name. */
	struct stamp other = before(dirfd, to);
	int result = REAL(renameat2)(from_dirfd, from, dirfd, to, flags);

	if (result == 0 && (flags & RENAME_EXCHANGE) != 0)
		record_read(LOOKUP_LINK, dirfd, to, &other);
	return renamed(result, from_dirfd, from, &old, dirfd, to);
}

static int linked(int result, int from_dirfd, const char *from, const struct stamp *old, int dirfd, const char *to)
{
	if (result == 0) {
		record_read(LOOKUP_LINK, from_dirfd, from, old);
		record_written(dirfd, to);
	} else {
		record_failed(LOOKUP_LINK, from_dirfd, from, errno);
		record_failed(LOOKUP_LINK, dirfd, to, errno);
	}
	return result;
}

WRAPS(link);
EXPORT int link(const char *from, const char *to)
{
	struct stamp old = before(AT_FDCWD, from);

	return linked(REAL(link)(from, to), AT_FDCWD, from, &old, AT_FDCWD, to);
}

WRAPS(linkat);
EXPORT int linkat(int from_dirfd, const char *from, int dirfd, const char *to, int flags)
{
	struct stamp old = before(from_dirfd, from);

	return linked(REAL(linkat)(from_dirfd, from, dirfd, to, flags), from_dirfd, from, &old, dirfd, to);
}

/* These take one name and say 0 or -1. */
#define CHANGE(function, parameters, arguments, dirfd, path) \
	WRAPS(function); \
	EXPORT int function parameters \
	{ \
		return changed(REAL(function) arguments, dirfd, path); \
	}

CHANGE(unlink, (const char *path), (path), AT_FDCWD, path)
CHANGE(unlinkat, (int dirfd, const char *path, int flags), (dirfd, path, flags), dirfd, path)
CHANGE(rmdir, (const char *path), (path), AT_FDCWD, path)
CHANGE(remove, (const char *path), (path), AT_FDCWD, path)
CHANGE(mkdir, (const char *path, mode_t mode), (path, mode), AT_FDCWD, path)
CHANGE(mkdirat, (int dirfd, const char *path, mode_t mode), (dirfd, path, mode), dirfd, path)
CHANGE(symlink, (const char *target, const char *path), (target, path), AT_FDCWD, path)
CHANGE(symlinkat, (const char *target, int dirfd, const char *path), (target, dirfd, path), dirfd, path)
CHANGE(mknod, (const char *path, mode_t mode, dev_t device), (path, mode, device), AT_FDCWD, path)
CHANGE(mknodat, (int dirfd, const char *path, mode_t mode, dev_t device), (dirfd, path, mode, device), dirfd, path)
CHANGE(mkfifo, (const char *path, mode_t mode), (path, mode), AT_FDCWD, path)
CHANGE(mkfifoat, (int dirfd, const char *path, mode_t mode), (dirfd, path, mode), dirfd, path)

/* The contents that are left are the old ones, so the file is read, too. */
#define TRUNCATE(function) \
	WRAPS(function); \
	EXPORT int function(const char *path, off_t length) \
	{ \
		struct stamp old = record_map() != NULL ? stamp_now(LOOKUP_FILE, AT_FDCWD, path) : (struct stamp){0}; \
		int result = REAL(function)(path, length); \
		if (result == 0) \
			record_read(LOOKUP_FILE, AT_FDCWD, path, &old); \
		return changed(result, AT_FDCWD, path); \
	}

TRUNCATE(truncate)
TRUNCATE(truncate64)

/* The C library opens these files itself. Their names are new, and stand in the template afterwards. */
static int made(int fd, const char *path)
{
	if (fd >= 0)
		record_written(AT_FDCWD, path);
	return fd;
}

#define MKSTEMP(function, parameters, arguments) \
	WRAPS(function); \
	EXPORT int function parameters \
	{ \
		return made(REAL(function) arguments, path); \
	}

MKSTEMP(mkstemp, (char *path), (path))
MKSTEMP(mkstemp64, (char *path), (path))
MKSTEMP(mkostemp, (char *path, int flags), (path, flags))
MKSTEMP(mkostemp64, (char *path, int flags), (path, flags))
MKSTEMP(mkstemps, (char *path, int suffix), (path, suffix))
MKSTEMP(mkstemps64, (char *path, int suffix), (path, suffix))
MKSTEMP(mkostemps, (char *path, int suffix, int flags), (path, suffix, flags))
MKSTEMP(mkostemps64, (char *path, int suffix, int flags), (path, suffix, flags))

WRAPS(mkdtemp);
EXPORT char *mkdtemp(char *path)
{
	char *result = REAL(mkdtemp)(path);

	if (result != NULL)
		record_written(AT_FDCWD, path);
	return result;
}
