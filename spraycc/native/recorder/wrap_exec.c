/* Wrappers of the functions that execute programs, and of functions whose lookups inside the C library no wrapper sees.
 *
 * Each execution adds 1 to record_header.pending, and the constructor of the library subtracts 1 in the new program. So
 * a program without the recorder (static, setuid, or of another ELF class) leaves its 1.
 */
#include "recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <ftw.h>
#include <glob.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <wordexp.h>

static void interprets(const char *path)
{
	record_lookup(LOOKUP_FILE, AT_FDCWD, path);
}

bool can_preload(int dirfd, const char *path)
{
	static const struct examiner examiner = {.interprets = interprets};
	return path && record_map() && program_examine(dirfd, path, &examiner) == PROGRAM_LOADS;
}

/* True if the program will load the library. Otherwise the program gets the command's environment, and pending keeps
 * its 1. */
static bool starts(int dirfd, const char *path)
{
	record_lookup(LOOKUP_FILE, dirfd, path);
	record_pending(1);
	return can_preload(dirfd, path);
}

/* Makes the environment for the program on the caller's stack: a child of vfork must not allocate. */
#define HAND_ON(given, env, loads) \
	size_t size_ = (loads) ? environment_size(env) : 0; \
	char **given = size_ != 0 ? environment_fill(env, __builtin_alloca(size_), size_) : (char **)(uintptr_t)(env)

/* Records the lookup of the file. True if execvp would execute the file. */
static bool executable(const char *path)
{
	struct stamp stamp = stamp_now(LOOKUP_FILE, AT_FDCWD, path);
	int error = errno;
	bool is_file = stamp.kind == STAMP_REGULAR;
	bool found = is_file && raw_syscall(SYS_faccessat, AT_FDCWD, path, X_OK) == 0;
	record_read(LOOKUP_FILE, AT_FDCWD, path, &stamp);
	if (is_file && !found)
		record_denied(LOOKUP_EXECUTE, AT_FDCWD, path, errno);
	errno = error;
	return found;
}

/* Searches PATH for the program as execvp does, and records each lookup. True if the program is found and will load the
 * library. */
static bool search(const char *file)
{
	if (!record_map() || !file)
		return false;
	if (strchr(file, '/'))
		return starts(AT_FDCWD, file);
	record_pending(1);
	size_t size = search_size(file);
	const char *found = search_path(file, __builtin_alloca(size), size, executable);
	return found && can_preload(AT_FDCWD, found);
}

static int not_started(int result)
{
	record_pending(-1);
	return result;
}

/* The program with this path could not be executed, for the reason in errno. */
static int not_executed(int result, int dirfd, const char *path)
{
	record_denied(LOOKUP_EXECUTE, dirfd, path, errno);
	return not_started(result);
}

WRAPS(execve);
int own_execve(const char *path, char *const argv[], char *const env[])
{
	bool loads = starts(AT_FDCWD, path);
	HAND_ON(given, env, loads);
	loaded_update();
	return not_executed(REAL(execve)(path, argv, given), AT_FDCWD, path);
}

WRAPS(execvpe);
int own_execvpe(const char *file, char *const argv[], char *const env[])
{
	bool loads = search(file);
	HAND_ON(given, env, loads);
	loaded_update();
	return not_started(REAL(execvpe)(file, argv, given));
}

/* The file was recorded when it was opened. */
static bool starts_descriptor(int fd)
{
	char path[DESCRIPTOR_PATH_BYTES];
	record_pending(1);
	return can_preload(AT_FDCWD, descriptor_path(path, fd));
}

WRAPS(fexecve);
EXPORT int fexecve(int fd, char *const argv[], char *const env[])
{
	bool loads = starts_descriptor(fd);
	HAND_ON(given, env, loads);
	loaded_update();
	return not_started(REAL(fexecve)(fd, argv, given));
}

#if __GLIBC_PREREQ(2, 34)
WRAPS(execveat);
EXPORT int execveat(int dirfd, const char *path, char *const argv[], char *const env[], int flags)
{
	bool of_descriptor = (flags & AT_EMPTY_PATH) != 0 && path[0] == '\0';
	bool loads = of_descriptor ? starts_descriptor(dirfd) : starts(dirfd, path);
	HAND_ON(given, env, loads);
	loaded_update();
	return not_executed(REAL(execveat)(dirfd, path, argv, given, flags), dirfd, path);
}
#endif

/* Functions that start the program in a child, and return 0 or an errno. */
#define SPAWN(function, look) \
	WRAPS(function); \
	EXPORT int function( \
		pid_t *restrict pid, const char *restrict file, const posix_spawn_file_actions_t *restrict actions, \
		const posix_spawnattr_t *restrict attributes, char *const argv[restrict], char *const env[restrict]) \
	{ \
		bool loads = look; \
		HAND_ON(given, env, loads); \
		int error = REAL(function)(pid, file, actions, attributes, argv, given); \
		if (error != 0 && strchr(file, '/')) \
			record_denied(LOOKUP_EXECUTE, AT_FDCWD, file, error); \
		return error != 0 ? not_started(error) : 0; \
	}

SPAWN(posix_spawn, starts(AT_FDCWD, file))
SPAWN(posix_spawnp, search(file))
#if __GLIBC_PREREQ(2, 39)
SPAWN(pidfd_spawn, starts(AT_FDCWD, file))
SPAWN(pidfd_spawnp, search(file))
#endif

/* system and popen execute the shell inside the C library. A shell that can't be executed leaves pending too high,
 * which is safe: the record then counts as incomplete. */
WRAPS(system);
EXPORT int system(const char *command)
{
	if (!command)
		return REAL(system)(command);
	bool is_lent = starts(AT_FDCWD, "/bin/sh") && environment_lend();
	int status = REAL(system)(command);
	if (is_lent)
		environment_return();
	return status == -1 ? not_started(status) : status;
}

WRAPS(popen);
EXPORT FILE *popen(const char *command, const char *mode)
{
	bool is_lent = starts(AT_FDCWD, "/bin/sh") && environment_lend();
	FILE *pipe = REAL(popen)(command, mode);
	if (is_lent)
		environment_return();
	if (!pipe)
		record_pending(-1);
	return pipe;
}

/* Functions that look names up inside the C library, where no wrapper sees the lookups. */
#define HIDES(type, function, parameters, arguments) \
	WRAPS(function); \
	EXPORT type function parameters \
	{ \
		record_undescribed(); \
		return REAL(function) arguments; \
	}

HIDES(int, ftw, (const char *path, __ftw_func_t visit, int most), (path, visit, most))
HIDES(int, ftw64, (const char *path, __ftw64_func_t visit, int most), (path, visit, most))
HIDES(int, nftw, (const char *path, __nftw_func_t visit, int most, int flags), (path, visit, most, flags))
HIDES(int, nftw64, (const char *path, __nftw64_func_t visit, int most, int flags), (path, visit, most, flags))
HIDES(int, glob, (const char *restrict pattern, int flags, int (*failed)(const char *, int), glob_t *restrict found),
      (pattern, flags, failed, found))
HIDES(int, glob64,
      (const char *restrict pattern, int flags, int (*failed)(const char *, int), glob64_t *restrict found),
      (pattern, flags, failed, found))
HIDES(FTS *, fts_open, (char *const *paths, int options, int (*compare)(const FTSENT **, const FTSENT **)),
      (paths, options, compare))
HIDES(FTS64 *, fts64_open, (char *const *paths, int options, int (*compare)(const FTSENT64 **, const FTSENT64 **)),
      (paths, options, compare))
HIDES(int, wordexp, (const char *restrict words, wordexp_t *restrict found, int flags), (words, found, flags))

/* After these functions, paths mean other files. */
int pivot_root(const char *root, const char *old);

HIDES(int, chroot, (const char *path), (path))
HIDES(int, pivot_root, (const char *root, const char *old), (root, old))
HIDES(int, mount, (const char *source, const char *path, const char *type, unsigned long flags, const void *data),
      (source, path, type, flags, data))
HIDES(int, umount, (const char *path), (path))
HIDES(int, umount2, (const char *path, int flags), (path, flags))
HIDES(int, setns, (int fd, int type), (fd, type))
HIDES(int, unshare, (int flags), (flags))
#if __GLIBC_PREREQ(2, 36)
HIDES(int, move_mount, (int from_dirfd, const char *from, int dirfd, const char *to, unsigned int flags),
      (from_dirfd, from, dirfd, to, flags))
HIDES(int, open_tree, (int dirfd, const char *path, unsigned int flags), (dirfd, path, flags))
#endif
/* A child looks up its program and files in another working directory. */
#if __GLIBC_PREREQ(2, 29)
HIDES(int, posix_spawn_file_actions_addchdir_np,
      (posix_spawn_file_actions_t *restrict actions, const char *restrict path), (actions, path))
HIDES(int, posix_spawn_file_actions_addfchdir_np, (posix_spawn_file_actions_t * actions, int fd), (actions, fd))
#endif
/* A file without a name. */
HIDES(int, open_by_handle_at, (int mount, struct file_handle *handle, int flags), (mount, handle, flags))
