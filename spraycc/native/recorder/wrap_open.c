/* Wrappers of the functions that open files. */
#include "recorder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <semaphore.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* Fortified forms and old names. They have no declaration. */
int __open(const char *path, int flags, ...);
int __open64(const char *path, int flags, ...);
FILE *_IO_fopen(const char *restrict path, const char *restrict mode);
FILE *__setmntent(const char *path, const char *mode);
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dirfd, const char *path, int flags);
int __openat64_2(int dirfd, const char *path, int flags);

/* The call succeeds only if the name is missing, and follows no link. */
static bool makes(int flags)
{
	return (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL);
}

static int kind_of(int flags)
{
	return (flags & O_NOFOLLOW) != 0 || makes(flags) ? LOOKUP_LINK : LOOKUP_FILE;
}

static bool writes(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)) != 0;
}

static bool unnamed(int flags)
{
	return (flags & O_TMPFILE) == O_TMPFILE;
}

/* The old contents may become part of the new contents, so the old contents are an input. */
static bool keeps(int flags)
{
	return writes(flags) && (flags & O_TRUNC) == 0 && !makes(flags) && !unnamed(flags);
}

struct stamp open_before(int dirfd, const char *path, int flags)
{
	static const struct stamp none;
	return keeps(flags) ? stamp_before(kind_of(flags), dirfd, path) : none;
}

void open_after(int fd, int dirfd, const char *path, int flags, const struct stamp *old)
{
	int kind = kind_of(flags);
	if (fd < 0) {
		int error = errno;
		if (!unnamed(flags))
			record_failed(kind, dirfd, path, error);
		if ((flags & O_ACCMODE) != O_WRONLY)
			record_denied(LOOKUP_READ, dirfd, path, error);
		if (writes(flags))
			record_denied(LOOKUP_WRITE, dirfd, path, error);
		return;
	}
	if (unnamed(flags))
		return;
	if (flags & O_PATH)
		record_opened(kind, dirfd, path, fd, true);
	else if (!writes(flags))
		record_opened(kind, dirfd, path, fd, false);
	else if (makes(flags))
		record_made(NAME_IS_ANOTHER, dirfd, path);
	else {
		if (keeps(flags))
			record_read(kind, dirfd, path, old);
		record_written(dirfd, path, keeps(flags));
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
		struct stamp old = open_before(AT_FDCWD, path, flags); \
		int fd = REAL(function)(path, flags, mode); \
		open_after(fd, AT_FDCWD, path, flags, &old); \
		return fd; \
	}

#define OPENAT(function) \
	WRAPS(function); \
	EXPORT int function(int dirfd, const char *path, int flags, ...) \
	{ \
		MODE(mode, flags) \
		struct stamp old = open_before(dirfd, path, flags); \
		int fd = REAL(function)(dirfd, path, flags, mode); \
		open_after(fd, dirfd, path, flags, &old); \
		return fd; \
	}

#define OPEN_2(function) \
	WRAPS(function); \
	EXPORT int function(const char *path, int flags) \
	{ \
		struct stamp old = open_before(AT_FDCWD, path, flags); \
		int fd = REAL(function)(path, flags); \
		open_after(fd, AT_FDCWD, path, flags, &old); \
		return fd; \
	}

#define OPENAT_2(function) \
	WRAPS(function); \
	EXPORT int function(int dirfd, const char *path, int flags) \
	{ \
		struct stamp old = open_before(dirfd, path, flags); \
		int fd = REAL(function)(dirfd, path, flags); \
		open_after(fd, dirfd, path, flags, &old); \
		return fd; \
	}

#define CREAT(function) \
	WRAPS(function); \
	EXPORT int function(const char *path, mode_t mode) \
	{ \
		int fd = REAL(function)(path, mode); \
		open_after(fd, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, NULL); \
		return fd; \
	}

OPEN(open)
OPEN(open64)
OPEN(__open)
OPEN(__open64)
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
	bool plus = mode[0] != '\0' && strchr(mode + 1, '+');
	bool exclusive = mode[0] != '\0' && strchr(mode + 1, 'x');
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
		struct stamp old = open_before(AT_FDCWD, path, flags); \
		FILE *file = REAL(function)(path, mode); \
		open_after(file ? fileno(file) : -1, AT_FDCWD, path, flags, &old); \
		return file; \
	}

/* Without a path, freopen changes the mode of a file that is open. */
#define FREOPEN(function) \
	WRAPS(function); \
	EXPORT FILE *function(const char *restrict path, const char *restrict mode, FILE *restrict file) \
	{ \
		int flags = flags_of(mode); \
		struct stamp old = open_before(AT_FDCWD, path, flags); \
		FILE *opened_file = REAL(function)(path, mode, file); \
		open_after(opened_file ? fileno(opened_file) : -1, AT_FDCWD, path, flags, &old); \
		return opened_file; \
	}

FOPEN(fopen)
FOPEN(fopen64)
FOPEN(_IO_fopen)
FOPEN(setmntent)
FOPEN(__setmntent)
FREOPEN(freopen)
FREOPEN(freopen64)

static void listing_failed(int dirfd, const char *path)
{
	record_failed(LOOKUP_NAMES, dirfd, path, errno);
	record_denied(LOOKUP_READ, dirfd, path, errno);
}

WRAPS(opendir);
EXPORT DIR *opendir(const char *path)
{
	DIR *directory = REAL(opendir)(path);
	if (!directory)
		listing_failed(AT_FDCWD, path);
	else
		record_opened(LOOKUP_NAMES, AT_FDCWD, path, dirfd(directory), false);
	return directory;
}

/* scandir opens the directory itself. Its stamp is from before the call: a later stamp could hide that the names are
 * old. */
static void scanned(int count, int dirfd, const char *path, const struct stamp *old)
{
	if (count < 0)
		listing_failed(dirfd, path);
	else
		record_read(LOOKUP_NAMES, dirfd, path, old);
}

#define SCANDIR(function, entry) \
	WRAPS(function); \
	EXPORT int function(const char *restrict path, struct entry ***restrict names, \
	                    int (*filter)(const struct entry *), \
	                    int (*compare)(const struct entry **, const struct entry **)) \
	{ \
		struct stamp old = stamp_before(LOOKUP_NAMES, AT_FDCWD, path); \
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
		struct stamp old = stamp_before(LOOKUP_NAMES, dirfd, path); \
		int count = REAL(function)(dirfd, path, names, filter, compare); \
		scanned(count, dirfd, path, &old); \
		return count; \
	}

SCANDIR(scandir, dirent)
SCANDIR(scandir64, dirent64)
SCANDIRAT(scandirat, dirent)
SCANDIRAT(scandirat64, dirent64)

/* The child opens the file inside the C library, so the record is made now. If the child opens the file in another
 * working directory, the record is incomplete (wrap_exec.c). */
WRAPS(posix_spawn_file_actions_addopen);
EXPORT int posix_spawn_file_actions_addopen(posix_spawn_file_actions_t *restrict actions, int fd,
                                            const char *restrict path, int flags, mode_t mode)
{
	if (!writes(flags) || keeps(flags) || makes(flags))
		record_lookup(kind_of(flags), AT_FDCWD, path);
	if (writes(flags) && !unnamed(flags))
		record_written(AT_FDCWD, path, keeps(flags));
	return REAL(posix_spawn_file_actions_addopen)(actions, fd, path, flags, mode);
}

#if __GLIBC_PREREQ(2, 34)
/* In earlier versions, these functions are in other libraries than the C library. */

enum { SHM_BYTES = 16 + NAME_MAX };

/* Writes the path that the C library makes of the name. The path is empty if the C library refuses the name. */
static void shm_path(char path[SHM_BYTES], const char *start, const char *name)
{
	char *last = path + SHM_BYTES - 1;
	name += strspn(name, "/");
	size_t length = strlen(name);
	path[0] = '\0';
	if (length != 0 && length <= NAME_MAX && !strchr(name, '/'))
		append(append(path, last, start), last, name);
}

WRAPS(shm_open);
EXPORT int shm_open(const char *name, int flags, mode_t mode)
{
	char path[SHM_BYTES];
	shm_path(path, "/dev/shm/", name);
	struct stamp old = open_before(AT_FDCWD, path, flags);
	int fd = REAL(shm_open)(name, flags, mode);
	open_after(fd, AT_FDCWD, path, flags, &old);
	return fd;
}

WRAPS(sem_open);
EXPORT sem_t *sem_open(const char *name, int flags, ...)
{
	char path[SHM_BYTES];
	mode_t mode = 0;
	unsigned value = 0;
	if ((flags & O_CREAT) != 0) {
		va_list arguments;
		va_start(arguments, flags);
		mode = va_arg(arguments, mode_t);
		value = va_arg(arguments, unsigned);
		va_end(arguments);
	}
	shm_path(path, "/dev/shm/sem.", name);
	/* The C library ignores all other flags, and maps the file for writing. */
	int as_opened = O_RDWR | (flags & (O_CREAT | O_EXCL));
	struct stamp old = open_before(AT_FDCWD, path, as_opened);
	sem_t *semaphore = REAL(sem_open)(name, flags, mode, value);
	open_after(semaphore != SEM_FAILED ? 0 : -1, AT_FDCWD, path, as_opened, &old);
	return semaphore;
}

#define UNLINK_SHM(function, start) \
	WRAPS(function); \
	EXPORT int function(const char *name) \
	{ \
		char path[SHM_BYTES]; \
		shm_path(path, start, name); \
		struct removal removal = removal_before(AT_FDCWD, path); \
		return removal_after(REAL(function)(name), &removal, AT_FDCWD, path); \
	}

UNLINK_SHM(shm_unlink, "/dev/shm/")
UNLINK_SHM(sem_unlink, "/dev/shm/sem.")
#endif
