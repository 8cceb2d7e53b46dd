/* Wrappers of the functions that execute programs, and of functions whose look-ups the C library hides from us.
 *
 * Each execution adds 1 to record_header.pending, and the constructor of the library takes 1 away again in the new program.
 * So a program without the recorder shows: a static or setuid one, or one of another class.
 */
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <ftw.h>
#include <glob.h>
#include <limits.h>
#include <sched.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <wordexp.h>

/* A program that does not load the library gets the environment as the command has it, and pending stays up. */
static bool starts(int dirfd, const char *path)
{
	record_look(LOOKUP_FILE, dirfd, path);
	record_pending(1);
	return program_loads(dirfd, path);
}

/* The environment for the program, on the caller's stack: no allocation is allowed in a child of vfork. */
#define HAND_ON(given, env, loads) \
	size_t size_ = (loads) ? environment_size(env) : 0; \
	char **given = size_ != 0 ? environment_fill(env, __builtin_alloca(size_), size_) : (char **)(uintptr_t)(env)

/* Records the look at the file. True if execvp would take it. */
static bool executable(const char *path)
{
	struct stamp stamp = stamp_now(LOOKUP_FILE, AT_FDCWD, path);
	int error = errno;
	bool found = stamp.kind == STAMP_REGULAR && raw_syscall(SYS_faccessat, AT_FDCWD, path, X_OK) == 0;

	errno = error;
	record_read(LOOKUP_FILE, AT_FDCWD, path, &stamp);
	return found;
}

static size_t longest_directory(const char *path)
{
	size_t most = 0;

	for (;; path++) {
		size_t length = strcspn(path, ":");

		if (length > most)
			most = length;
		path += length;
		if (*path == '\0')
			return most;
	}
}

/* Looks for the program in the directories of PATH as execvp does, and records each look. True if it was found and loads the
 * library. */
static bool search(const char *file)
{
	const char *path = getenv("PATH");
	size_t file_length;
	size_t size;
	char *name;

	if (record_map() == NULL || file == NULL)
		return false;
	if (strchr(file, '/') != NULL)
		return starts(AT_FDCWD, file);
	record_pending(1);
	file_length = strlen(file);
	if (file_length == 0)
		return false;
	if (path == NULL)
		path = "/bin:/usr/bin";
	/* As little of the stack as the longest directory needs: a signal handler's stack may have two pages. */
	size = longest_directory(path) + 1 + file_length + 1;
	if (size > PATH_MAX)
		size = PATH_MAX;
	name = __builtin_alloca(size);
	for (;;) {
		size_t length = strcspn(path, ":");

		/* execvp passes over directories that are too long, too. An empty one is the working directory. */
		if (length + 1 + file_length < size) {
			memcpy(name, path, length);
			if (length != 0)
				name[length] = '/';
			memcpy(name + length + (length != 0), file, file_length + 1);
			if (executable(name))
				return program_loads(AT_FDCWD, name);
		}
		if (path[length] == '\0')
			return false;
		path += length + 1;
	}
}

static int not_started(int result)
{
	record_pending(-1);
	return result;
}

WRAPS(execve);
EXPORT int execve(const char *path, char *const argv[], char *const env[])
{
	bool loads = starts(AT_FDCWD, path);
	HAND_ON(given, env, loads);

	loaded_look();
	return not_started(REAL(execve)(path, argv, given));
}

EXPORT int execv(const char *path, char *const argv[])
{
	return execve(path, argv, environ);
}

WRAPS(execvpe);
EXPORT int execvpe(const char *file, char *const argv[], char *const env[])
{
	bool loads = search(file);
	HAND_ON(given, env, loads);

	loaded_look();
	return not_started(REAL(execvpe)(file, argv, given));
}

EXPORT int execvp(const char *file, char *const argv[])
{
	return execvpe(file, argv, environ);
}

/* The file's opening is recorded. */
static bool starts_descriptor(int fd)
{
	char path[DESCRIPTOR_PATH];

	record_pending(1);
	descriptor_path(fd, path);
	return program_loads(AT_FDCWD, path);
}

WRAPS(fexecve);
EXPORT int fexecve(int fd, char *const argv[], char *const env[])
{
	bool loads = starts_descriptor(fd);
	HAND_ON(given, env, loads);

	loaded_look();
	return not_started(REAL(fexecve)(fd, argv, given));
}

#if __GLIBC_PREREQ(2, 34)
WRAPS(execveat);
EXPORT int execveat(int dirfd, const char *path, char *const argv[], char *const env[], int flags)
{
	bool of_descriptor = (flags & AT_EMPTY_PATH) != 0 && path[0] == '\0';
	bool loads = of_descriptor ? starts_descriptor(dirfd) : starts(dirfd, path);
	HAND_ON(given, env, loads);

	loaded_look();
	return not_started(REAL(execveat)(dirfd, path, argv, given, flags));
}
#endif

/* The variadic forms collect their words on the stack, as the C library does, and call one of the above. */
static size_t count_words(va_list words)
{
	size_t count = 0;

	while (va_arg(words, char *) != NULL)
		count++;
	return count;
}

#define COLLECT(argv, first, words) \
	size_t count_; \
	char **argv; \
	va_start(words, first); \
	count_ = 1 + count_words(words); \
	va_end(words); \
	argv = __builtin_alloca((count_ + 1) * sizeof(char *)); \
	va_start(words, first); \
	argv[0] = (char *)(uintptr_t)first; \
	for (size_t i_ = 1; i_ <= count_; i_++) \
		argv[i_] = va_arg(words, char *);

EXPORT int execl(const char *path, const char *word, ...)
{
	va_list words;
	COLLECT(argv, word, words)
	va_end(words);
	return execv(path, argv);
}

EXPORT int execlp(const char *file, const char *word, ...)
{
	va_list words;
	COLLECT(argv, word, words)
	va_end(words);
	return execvp(file, argv);
}

EXPORT int execle(const char *path, const char *word, ...)
{
	va_list words;
	char **env;
	COLLECT(argv, word, words)
	env = va_arg(words, char **);
	va_end(words);
	return execve(path, argv, env);
}

/* Functions that make a child for the program and say 0 or an errno. */
#define SPAWN(function, look) \
	WRAPS(function); \
	EXPORT int function( \
		pid_t *restrict pid, const char *restrict file, const posix_spawn_file_actions_t *restrict actions, \
		const posix_spawnattr_t *restrict attributes, char *const argv[restrict], char *const env[restrict]) \
	{ \
		bool loads = look; \
		HAND_ON(given, env, loads); \
		int error = REAL(function)(pid, file, actions, attributes, argv, given); \
		return error != 0 ? not_started(error) : 0; \
	}

SPAWN(posix_spawn, starts(AT_FDCWD, file))
SPAWN(posix_spawnp, search(file))
#if __GLIBC_PREREQ(2, 39)
SPAWN(pidfd_spawn, starts(AT_FDCWD, file))
SPAWN(pidfd_spawnp, search(file))
#endif

/* system and popen execute the shell without a call of ours. A shell that can't be executed leaves pending too high, which
 * is safe: the record then counts as incomplete. */
WRAPS(system);
EXPORT int system(const char *command)
{
	bool is_lent;
	int status;

	if (command == NULL)
		return REAL(system)(command);
	is_lent = starts(AT_FDCWD, "/bin/sh") && environment_lend();
	status = REAL(system)(command);
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
	if (pipe == NULL)
		record_pending(-1);
	return pipe;
}

/* Functions that look names up inside the C library, where no wrapper sees them. */
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

/* After these, paths mean other files. */
int pivot_root(const char *root, const char *old);

HIDES(int, chroot, (const char *path), (path))
HIDES(int, pivot_root, (const char *root, const char *old), (root, old))
HIDES(int, mount, (const char *source, const char *path, const char *type, unsigned long flags, const void *data),
      (source, path, type, flags, data))
HIDES(int, umount, (const char *path), (path))
HIDES(int, umount2, (const char *path, int flags), (path, flags))
HIDES(int, setns, (int fd, int type), (fd, type))
#if __GLIBC_PREREQ(2, 36)
HIDES(int, move_mount, (int from_dirfd, const char *from, int dirfd, const char *to, unsigned int flags),
      (from_dirfd, from, dirfd, to, flags))
HIDES(int, open_tree, (int dirfd, const char *path, unsigned int flags), (dirfd, path, flags))
#endif
/* A child's program and files are looked up in another working directory than ours. */
#if __GLIBC_PREREQ(2, 29)
HIDES(int, posix_spawn_file_actions_addchdir_np,
      (posix_spawn_file_actions_t *restrict actions, const char *restrict path), (actions, path))
HIDES(int, posix_spawn_file_actions_addfchdir_np, (posix_spawn_file_actions_t * actions, int fd), (actions, fd))
#endif
/* A file without a name. */
HIDES(int, open_by_handle_at, (int mount, struct file_handle *handle, int flags), (mount, handle, flags))
