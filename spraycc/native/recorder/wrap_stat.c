/* Wrappers of the functions that examine files without opening them. */
#include "recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Entry points of glibc before 2.33, and fortified forms. They have no declaration. */
int __xstat(int version, const char *path, struct stat *status);
int __xstat64(int version, const char *path, struct stat64 *status);
int __lxstat(int version, const char *path, struct stat *status);
int __lxstat64(int version, const char *path, struct stat64 *status);
int __fxstatat(int version, int dirfd, const char *path, struct stat *status, int flags);
int __fxstatat64(int version, int dirfd, const char *path, struct stat64 *status, int flags);
ssize_t __readlink_chk(const char *path, char *buffer, size_t size, size_t limit);
ssize_t __readlinkat_chk(int dirfd, const char *path, char *buffer, size_t size, size_t limit);
char *__realpath_chk(const char *path, char *buffer, size_t limit);
int __statfs(const char *path, struct statfs *status);

static void examined(int result, int kind, int dirfd, const char *path, const void *status)
{
	if (!record_map())
		return;
	if (result != 0) {
		record_failed(kind, dirfd, path, errno);
		return;
	}
	/* struct stat64 is the same on a 64-bit host. */
	struct stamp stamp = stamp_of_stat(status);
	record_read(kind, dirfd, path, &stamp);
}

#define STAT(function, kind, type) \
	WRAPS(function); \
	EXPORT int function(const char *restrict path, struct type *restrict status) \
	{ \
		int result = REAL(function)(path, status); \
		examined(result, kind, AT_FDCWD, path, status); \
		return result; \
	}

#define XSTAT(function, kind, type) \
	WRAPS(function); \
	EXPORT int function(int version, const char *path, struct type *status) \
	{ \
		int result = REAL(function)(version, path, status); \
		examined(result, kind, AT_FDCWD, path, status); \
		return result; \
	}

#define FSTATAT(function, type) \
	WRAPS(function); \
	EXPORT int function(int dirfd, const char *restrict path, struct type *restrict status, int flags) \
	{ \
		int result = REAL(function)(dirfd, path, status, flags); \
		examined(result, KIND_AT(flags), dirfd, path, status); \
		return result; \
	}

#define FXSTATAT(function, type) \
	WRAPS(function); \
	EXPORT int function(int version, int dirfd, const char *path, struct type *status, int flags) \
	{ \
		int result = REAL(function)(version, dirfd, path, status, flags); \
		examined(result, KIND_AT(flags), dirfd, path, status); \
		return result; \
	}

STAT(stat, LOOKUP_FILE, stat)
STAT(stat64, LOOKUP_FILE, stat64)
STAT(lstat, LOOKUP_LINK, stat)
STAT(lstat64, LOOKUP_LINK, stat64)
XSTAT(__xstat, LOOKUP_FILE, stat)
XSTAT(__xstat64, LOOKUP_FILE, stat64)
XSTAT(__lxstat, LOOKUP_LINK, stat)
XSTAT(__lxstat64, LOOKUP_LINK, stat64)
FSTATAT(fstatat, stat)
FSTATAT(fstatat64, stat64)
FXSTATAT(__fxstatat, stat)
FXSTATAT(__fxstatat64, stat64)

/* The result of the call gives no stamp, so the stamp is from just after the call. */
void stat_after(bool success, int kind, int dirfd, const char *path)
{
	if (success)
		record_lookup(kind, dirfd, path);
	else
		record_failed(kind, dirfd, path, errno);
}

void access_after(bool success, int kind, int dirfd, const char *path, int mode)
{
	stat_after(success, kind, dirfd, path);
	if (success)
		return;
	if ((mode & R_OK) != 0)
		record_denied(LOOKUP_READ, dirfd, path, errno);
	if ((mode & W_OK) != 0)
		record_denied(LOOKUP_WRITE, dirfd, path, errno);
	if ((mode & X_OK) != 0)
		record_denied(LOOKUP_EXECUTE, dirfd, path, errno);
}

WRAPS(statx);
EXPORT int statx(int dirfd, const char *restrict path, int flags, unsigned int mask, struct statx *restrict status)
{
	int result = REAL(statx)(dirfd, path, flags, mask, status);
	/* status is not used: the program may have asked for fewer fields than a stamp has. */
	stat_after(result == 0, KIND_AT(flags), dirfd, path);
	return result;
}

#define ACCESS(function, kind, parameters, arguments, dirfd) \
	WRAPS(function); \
	EXPORT int function parameters \
	{ \
		int result = REAL(function) arguments; \
		access_after(result == 0, kind, dirfd, path, mode); \
		return result; \
	}

ACCESS(access, LOOKUP_FILE, (const char *path, int mode), (path, mode), AT_FDCWD)
ACCESS(euidaccess, LOOKUP_FILE, (const char *path, int mode), (path, mode), AT_FDCWD)
ACCESS(eaccess, LOOKUP_FILE, (const char *path, int mode), (path, mode), AT_FDCWD)
ACCESS(faccessat, KIND_AT(flags), (int dirfd, const char *path, int mode, int flags), (dirfd, path, mode, flags), dirfd)

/* Functions that return -1 on failure. */
#define ASK(type, function, kind, parameters, arguments, dirfd, path) \
	WRAPS(function); \
	EXPORT type function parameters \
	{ \
		type result = REAL(function) arguments; \
		stat_after(result != -1, kind, dirfd, path); \
		return result; \
	}

#define ASK_FILE(type, function, parameters, arguments) \
	ASK(type, function, LOOKUP_FILE, parameters, arguments, AT_FDCWD, path)
#define ASK_LINK(type, function, parameters, arguments) \
	ASK(type, function, LOOKUP_LINK, parameters, arguments, AT_FDCWD, path)

ASK_FILE(key_t, ftok, (const char *path, int project), (path, project))
ASK_FILE(ssize_t, getxattr, (const char *path, const char *name, void *value, size_t size), (path, name, value, size))
ASK_LINK(ssize_t, lgetxattr, (const char *path, const char *name, void *value, size_t size), (path, name, value, size))
ASK_FILE(ssize_t, listxattr, (const char *path, char *list, size_t size), (path, list, size))
ASK_LINK(ssize_t, llistxattr, (const char *path, char *list, size_t size), (path, list, size))
/* Records only if the file exists: hosts may mount a file system in different ways. */
ASK_FILE(int, statfs, (const char *path, struct statfs *status), (path, status))
ASK_FILE(int, statfs64, (const char *path, struct statfs64 *status), (path, status))
ASK_FILE(int, __statfs, (const char *path, struct statfs *status), (path, status))
ASK_FILE(int, statvfs, (const char *restrict path, struct statvfs *restrict status), (path, status))
ASK_FILE(int, statvfs64, (const char *restrict path, struct statvfs64 *restrict status), (path, status))
ASK(int, inotify_add_watch, (flags & IN_DONT_FOLLOW) != 0 ? LOOKUP_LINK : LOOKUP_FILE,
    (int fd, const char *path, uint32_t flags), (fd, path, flags), AT_FDCWD, path)
ASK(int, name_to_handle_at, (flags & AT_SYMLINK_FOLLOW) != 0 ? LOOKUP_FILE : LOOKUP_LINK,
    (int dirfd, const char *path, struct file_handle *handle, int *mount, int flags),
    (dirfd, path, handle, mount, flags), dirfd, path)

/* -1 may mean: no limit. Then errno is unchanged. */
WRAPS(pathconf);
EXPORT long pathconf(const char *path, int name)
{
	long result = REAL(pathconf)(path, name);
	record_lookup(LOOKUP_FILE, AT_FDCWD, path);
	return result;
}

/* The stamp is from before the call: a later stamp could hide that the target is old. EINVAL means: not a link. */
void readlink_after(ssize_t length, int dirfd, const char *path, const struct stamp *old)
{
	if (length < 0 && errno != EINVAL)
		record_failed(LOOKUP_LINK, dirfd, path, errno);
	else
		record_read(LOOKUP_LINK, dirfd, path, old);
}

#define READLINK(function, parameters, arguments, dirfd) \
	WRAPS(function); \
	EXPORT ssize_t function parameters \
	{ \
		struct stamp old = stamp_before(LOOKUP_LINK, dirfd, path); \
		ssize_t length = REAL(function) arguments; \
		readlink_after(length, dirfd, path, &old); \
		return length; \
	}

READLINK(readlink, (const char *restrict path, char *restrict buffer, size_t size), (path, buffer, size), AT_FDCWD)
READLINK(readlinkat, (int dirfd, const char *restrict path, char *restrict buffer, size_t size),
         (dirfd, path, buffer, size), dirfd)
READLINK(__readlink_chk, (const char *path, char *buffer, size_t size, size_t limit), (path, buffer, size, limit),
         AT_FDCWD)
READLINK(__readlinkat_chk, (int dirfd, const char *path, char *buffer, size_t size, size_t limit),
         (dirfd, path, buffer, size, limit), dirfd)

/* Records every symbolic link that realpath(3) follows. The result depends on the texts of the links, which the stamp
 * of the last directory does not include. */
static void record_links(const char *given)
{
	enum { MOST_LINKS = 40 }; /* as in Linux: then realpath fails with ELOOP */
	char path[PATH_MAX];
	char target[PATH_MAX];
	size_t at = 0;
	if (strlen(given) >= sizeof path) {
		record_undescribed();
		return;
	}
	memcpy(path, given, strlen(given) + 1);
	for (int links = 0; path[at] != '\0' && links < MOST_LINKS;) {
		size_t end = at + strspn(path + at, "/");
		end += strcspn(path + end, "/");
		char after = path[end];
		path[end] = '\0';
		long length = raw_syscall(SYS_readlinkat, AT_FDCWD, path, target, sizeof target);
		if (length >= 0)
			record_lookup(LOOKUP_LINK, AT_FDCWD, path);
		path[end] = after;
		if (length < 0) {
			at = end;
			continue;
		}
		/* The target takes the place of the component, or of everything before it. */
		links++;
		size_t rest = strlen(path + end) + 1;
		if (length > 0 && target[0] == '/')
			at = 0;
		else if (at != 0 || path[0] == '/')
			at++;
		if (at + (size_t)length + rest > sizeof path) {
			record_undescribed();
			return;
		}
		memmove(path + at + length, path + end, rest);
		memcpy(path + at, target, (size_t)length);
		/* Examine the target's own components from the slash before them. */
		if (at != 0)
			at--;
	}
}

/* GCC asks for the real path of each system header, and few of these paths contain a link. The links are recorded after
 * the call. So check that they still lead to its result. */
static char *resolved(char *result, const char *path)
{
	int error = errno;
	if (record_map() && result && strcmp(path, result) != 0) {
		record_links(path);
		if (!record_same_file(path, result))
			record_undescribed();
	}
	errno = error;
	stat_after(result, LOOKUP_FILE, AT_FDCWD, path);
	return result;
}

WRAPS(realpath);
EXPORT char *realpath(const char *restrict path, char *restrict buffer)
{
	return resolved(REAL(realpath)(path, buffer), path);
}

WRAPS(__realpath_chk);
EXPORT char *__realpath_chk(const char *path, char *buffer, size_t limit)
{
	return resolved(REAL(__realpath_chk)(path, buffer, limit), path);
}

WRAPS(canonicalize_file_name);
EXPORT char *canonicalize_file_name(const char *path)
{
	return resolved(REAL(canonicalize_file_name)(path), path);
}

/* Records only if the directory exists: the library keeps no working directory (recorder.h). The path may be relative,
 * so the record is made before the change. */
WRAPS(chdir);
EXPORT int chdir(const char *path)
{
	/* The loader keeps the relative names that dlopen was called with. */
	loaded_update();
	record_lookup(LOOKUP_FILE, AT_FDCWD, path);
	int result = REAL(chdir)(path);
	if (result != 0)
		record_denied(LOOKUP_EXECUTE, AT_FDCWD, path, errno);
	return result;
}
