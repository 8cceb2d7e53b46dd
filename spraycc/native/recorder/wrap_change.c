/* Wrappers of the functions that make, replace and remove names. The first record of a name tells if the file is an
 * input of the command or its own product. So the state before the call, an existing file or a missing name, is
 * recorded as read before the change. */
#include "recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>

/* Entry points of glibc before 2.33. They have no declaration. */
int __xmknod(int version, const char *path, mode_t mode, dev_t *device);
int __xmknodat(int version, int dirfd, const char *path, mode_t mode, dev_t *device);

/* What the new name of the file with this stamp leads to. */
static int name_of(const struct stamp *old)
{
	return old->kind == STAMP_LINK || old->kind == STAMP_DIRECTORY ? NAME_LEADS_ELSEWHERE : NAME_IS_ANOTHER;
}

/* The stamps before a call that gives a file another name. */
struct renaming {
	int from_dirfd;
	const char *from;
	struct stamp old;
	int dirfd;
	const char *to;
	/* The names in the directory `to`. A directory replaces only an empty directory, so these names are an input. */
	struct stamp names;
};

static struct renaming before_renaming(int from_dirfd, const char *from, int dirfd, const char *to)
{
	struct renaming renaming = {.from_dirfd = from_dirfd, .from = from, .dirfd = dirfd, .to = to};
	renaming.old = stamp_before(LOOKUP_LINK, from_dirfd, from);
	if (renaming.old.kind == STAMP_DIRECTORY)
		renaming.names = stamp_before(LOOKUP_NAMES, dirfd, to);
	return renaming;
}

static int renaming_failed(int result, const struct renaming *renaming)
{
	int error = errno;
	/* Only the target must be empty, so ENOTEMPTY does not concern the names in `from`. */
	record_failed(LOOKUP_LINK, renaming->from_dirfd, renaming->from, error == ENOTEMPTY ? EEXIST : error);
	record_failed(LOOKUP_LINK, renaming->dirfd, renaming->to, error);
	record_denied(LOOKUP_CHANGE, renaming->from_dirfd, renaming->from, error);
	record_denied(LOOKUP_CHANGE, renaming->dirfd, renaming->to, error);
	return result;
}

/* The reader decides if a directory is the command's own product. For that, the record of the old name has the number of
 * the new name's record. */
static int renamed(int result, const struct renaming *renaming)
{
	const struct stamp *old = &renaming->old;
	if (result != 0)
		return renaming_failed(result, renaming);
	record_read(LOOKUP_LINK, renaming->from_dirfd, renaming->from, old);
	if (renaming->names.kind == STAMP_NAMES)
		record_read(LOOKUP_NAMES, renaming->dirfd, renaming->to, &renaming->names);
	uint64_t number = record_named(name_of(old), renaming->dirfd, renaming->to, 0);
	record_named(NAME_IS_ANOTHER, renaming->from_dirfd, renaming->from, old->kind == STAMP_DIRECTORY ? number : 0);
	return result;
}

WRAPS(rename);
EXPORT int rename(const char *from, const char *to)
{
	struct renaming renaming = before_renaming(AT_FDCWD, from, AT_FDCWD, to);
	return renamed(REAL(rename)(from, to), &renaming);
}

WRAPS(renameat);
EXPORT int renameat(int from_dirfd, const char *from, int dirfd, const char *to)
{
	struct renaming renaming = before_renaming(from_dirfd, from, dirfd, to);
	return renamed(REAL(renameat)(from_dirfd, from, dirfd, to), &renaming);
}

/* RENAME_EXCHANGE: the other file stays, under the first name. */
static int exchanged(const struct renaming *renaming, const struct stamp *other)
{
	record_read(LOOKUP_LINK, renaming->from_dirfd, renaming->from, &renaming->old);
	record_read(LOOKUP_LINK, renaming->dirfd, renaming->to, other);
	record_named(name_of(&renaming->old), renaming->dirfd, renaming->to, 0);
	record_named(name_of(other), renaming->from_dirfd, renaming->from, 0);
	return 0;
}

WRAPS(renameat2);
EXPORT int renameat2(int from_dirfd, const char *from, int dirfd, const char *to, unsigned int flags)
{
	static const struct stamp missing = {STAMP_MISSING, 0, 0, 0, 0};
	struct renaming renaming = before_renaming(from_dirfd, from, dirfd, to);
	struct stamp other = stamp_before(LOOKUP_LINK, dirfd, to);
	int result = REAL(renameat2)(from_dirfd, from, dirfd, to, flags);
	if (result == 0 && (flags & RENAME_EXCHANGE) != 0)
		return exchanged(&renaming, &other);
	if (result == 0 && (flags & RENAME_NOREPLACE) != 0)
		record_read(LOOKUP_LINK, dirfd, to, &missing);
	return renamed(result, &renaming);
}

static int linked(int result, int kind, const struct renaming *renaming)
{
	if (result != 0)
		return renaming_failed(result, renaming);
	record_read(kind, renaming->from_dirfd, renaming->from, &renaming->old);
	record_made(name_of(&renaming->old), renaming->dirfd, renaming->to);
	return result;
}

WRAPS(link);
EXPORT int link(const char *from, const char *to)
{
	struct renaming renaming = before_renaming(AT_FDCWD, from, AT_FDCWD, to);
	return linked(REAL(link)(from, to), LOOKUP_LINK, &renaming);
}

WRAPS(linkat);
EXPORT int linkat(int from_dirfd, const char *from, int dirfd, const char *to, int flags)
{
	struct renaming renaming = before_renaming(from_dirfd, from, dirfd, to);
	int kind = (flags & AT_SYMLINK_FOLLOW) != 0 ? LOOKUP_FILE : LOOKUP_LINK;
	if (kind == LOOKUP_FILE)
		renaming.old = stamp_before(kind, from_dirfd, from);
	return linked(REAL(linkat)(from_dirfd, from, dirfd, to, flags), kind, &renaming);
}

static void naming_failed(int dirfd, const char *path)
{
	record_failed(LOOKUP_LINK, dirfd, path, errno);
	record_denied(LOOKUP_CHANGE, dirfd, path, errno);
}

/* The call succeeds only if the name is missing, so this lookup needs no stamp from before the call. */
static int made(int result, int name_now, int dirfd, const char *path)
{
	if (result == 0)
		record_made(name_now, dirfd, path);
	else
		naming_failed(dirfd, path);
	return result;
}

/* Functions that make one name, and return 0 or -1. */
#define MAKE(function, name_now, parameters, arguments, dirfd, path) \
	WRAPS(function); \
	EXPORT int function parameters \
	{ \
		return made(REAL(function) arguments, name_now, dirfd, path); \
	}

MAKE(mkdir, NAME_IS_TREE, (const char *path, mode_t mode), (path, mode), AT_FDCWD, path)
MAKE(mkdirat, NAME_IS_TREE, (int dirfd, const char *path, mode_t mode), (dirfd, path, mode), dirfd, path)
MAKE(symlink, NAME_LEADS_ELSEWHERE, (const char *target, const char *path), (target, path), AT_FDCWD, path)
MAKE(symlinkat, NAME_LEADS_ELSEWHERE, (const char *target, int dirfd, const char *path), (target, dirfd, path), dirfd,
     path)
MAKE(mknod, NAME_IS_ANOTHER, (const char *path, mode_t mode, dev_t device), (path, mode, device), AT_FDCWD, path)
MAKE(mknodat, NAME_IS_ANOTHER, (int dirfd, const char *path, mode_t mode, dev_t device), (dirfd, path, mode, device),
     dirfd, path)
MAKE(mkfifo, NAME_IS_ANOTHER, (const char *path, mode_t mode), (path, mode), AT_FDCWD, path)
MAKE(mkfifoat, NAME_IS_ANOTHER, (int dirfd, const char *path, mode_t mode), (dirfd, path, mode), dirfd, path)
MAKE(__xmknod, NAME_IS_ANOTHER, (int version, const char *path, mode_t mode, dev_t *device),
     (version, path, mode, device), AT_FDCWD, path)
MAKE(__xmknodat, NAME_IS_ANOTHER, (int version, int dirfd, const char *path, mode_t mode, dev_t *device),
     (version, dirfd, path, mode, device), dirfd, path)

struct removal removal_before(int dirfd, const char *path)
{
	struct removal removal = {LOOKUP_LINK, stamp_before(LOOKUP_LINK, dirfd, path)};
	if (removal.old.kind == STAMP_DIRECTORY)
		removal = (struct removal){LOOKUP_NAMES, stamp_before(LOOKUP_NAMES, dirfd, path)};
	return removal;
}

int removal_after(int result, const struct removal *removal, int dirfd, const char *path)
{
	if (result == 0) {
		record_read(removal->kind, dirfd, path, &removal->old);
		record_named(NAME_IS_ANOTHER, dirfd, path, 0);
	} else {
		naming_failed(dirfd, path);
	}
	return result;
}

/* Functions that remove one name, and return 0 or -1. */
#define REMOVE(function, parameters, arguments, dirfd, path) \
	WRAPS(function); \
	EXPORT int function parameters \
	{ \
		struct removal removal = removal_before(dirfd, path); \
		return removal_after(REAL(function) arguments, &removal, dirfd, path); \
	}

REMOVE(unlink, (const char *path), (path), AT_FDCWD, path)
REMOVE(unlinkat, (int dirfd, const char *path, int flags), (dirfd, path, flags), dirfd, path)
REMOVE(rmdir, (const char *path), (path), AT_FDCWD, path)
REMOVE(remove, (const char *path), (path), AT_FDCWD, path)

/* Functions that change a part of the file and keep the rest, so the file counts as read, too. */
#define ALTER(function, kind, parameters, arguments, dirfd, path) \
	WRAPS(function); \
	EXPORT int function parameters \
	{ \
		struct stamp old = stamp_before(kind, dirfd, path); \
		int result = REAL(function) arguments; \
		if (result == 0) { \
			record_read(kind, dirfd, path, &old); \
			record_written(dirfd, path, false); \
		} else { \
			record_failed(kind, dirfd, path, errno); \
			record_denied(LOOKUP_WRITE, dirfd, path, errno); \
		} \
		return result; \
	}

ALTER(truncate, LOOKUP_FILE, (const char *path, off_t length), (path, length), AT_FDCWD, path)
ALTER(truncate64, LOOKUP_FILE, (const char *path, off64_t length), (path, length), AT_FDCWD, path)
ALTER(chmod, LOOKUP_FILE, (const char *path, mode_t mode), (path, mode), AT_FDCWD, path)
ALTER(lchmod, LOOKUP_LINK, (const char *path, mode_t mode), (path, mode), AT_FDCWD, path)
ALTER(fchmodat, KIND_AT(flags), (int dirfd, const char *path, mode_t mode, int flags), (dirfd, path, mode, flags),
      dirfd, path)
ALTER(chown, LOOKUP_FILE, (const char *path, uid_t user, gid_t group), (path, user, group), AT_FDCWD, path)
ALTER(lchown, LOOKUP_LINK, (const char *path, uid_t user, gid_t group), (path, user, group), AT_FDCWD, path)
ALTER(fchownat, KIND_AT(flags), (int dirfd, const char *path, uid_t user, gid_t group, int flags),
      (dirfd, path, user, group, flags), dirfd, path)
ALTER(utime, LOOKUP_FILE, (const char *path, const struct utimbuf *times), (path, times), AT_FDCWD, path)
ALTER(utimes, LOOKUP_FILE, (const char *path, const struct timeval times[2]), (path, times), AT_FDCWD, path)
ALTER(lutimes, LOOKUP_LINK, (const char *path, const struct timeval times[2]), (path, times), AT_FDCWD, path)
/* Without a path these two functions change the file that the descriptor has open. */
ALTER(futimesat, LOOKUP_FILE, (int dirfd, const char *path, const struct timeval times[2]), (dirfd, path, times), dirfd,
      path)
ALTER(utimensat, KIND_AT(flags), (int dirfd, const char *path, const struct timespec times[2], int flags),
      (dirfd, path, times, flags), dirfd, path)
ALTER(setxattr, LOOKUP_FILE, (const char *path, const char *name, const void *value, size_t size, int flags),
      (path, name, value, size, flags), AT_FDCWD, path)
ALTER(lsetxattr, LOOKUP_LINK, (const char *path, const char *name, const void *value, size_t size, int flags),
      (path, name, value, size, flags), AT_FDCWD, path)
ALTER(removexattr, LOOKUP_FILE, (const char *path, const char *name), (path, name), AT_FDCWD, path)
ALTER(lremovexattr, LOOKUP_LINK, (const char *path, const char *name), (path, name), AT_FDCWD, path)

/* The C library opens these files itself. Their names are new, and replace the template. */
static int made_file(int fd, const char *path)
{
	if (fd >= 0)
		record_named(NAME_IS_ANOTHER, AT_FDCWD, path, 0);
	return fd;
}

#define MKSTEMP(function, parameters, arguments) \
	WRAPS(function); \
	EXPORT int function parameters \
	{ \
		return made_file(REAL(function) arguments, path); \
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
	if (result)
		record_named(NAME_IS_TREE, AT_FDCWD, path, 0);
	return result;
}
