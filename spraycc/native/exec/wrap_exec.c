/* Wrappers of the functions that execute programs, and the constructor. */
#include "exec.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

const struct state *state;

/* Executes the runner in the program's place if the program is wrapped. Otherwise, or if the runner can't be executed,
 * executes the program. Both statements use the environment `given`, which is on this function's stack.
 *
 * The library's variables make an environment longer. If it is too long with them, the program is executed without. */
#define INTERCEPT_EXECUTION(decision, program, env, given, start_runner, start_program, is_too_long) \
	enum action action_ = decision; \
	size_t size_; \
	char **given = NULL; \
	if (action_is_runner(action_)) { \
		size_ = environment_size(action_, env, program); \
		if (size_ != 0) \
			given = environment_fill(action_, env, program, __builtin_alloca(size_), size_); \
		if (given) \
			start_runner; \
		action_ = action_ == WRAP ? LEAVE : JOIN; \
	} \
	size_ = environment_size(action_, env, NULL); \
	given = size_ != 0 ? environment_fill(action_, env, NULL, __builtin_alloca(size_), size_) : NULL; \
	if (given) { \
		start_program; \
		if (!(is_too_long)) \
			return result; \
	} \
	given = (char **)(uintptr_t)env; \
	start_program; \
	return result;

WRAPS(execve);
int own_execve(const char *path, char *const argv[], char *const env[])
{
	int result;
	INTERCEPT_EXECUTION(decide(AT_FDCWD, path, env), path, env, given,
	                    REAL(execve)(state->configuration.runner, argv, given),
	                    result = REAL(execve)(path, argv, given), errno == E2BIG)
}

/* The file that execvp would execute for a name. A name with a slash is a path. */
#define FIND(found, file) \
	size_t room_ = search_size(file); \
	const char *found = \
		strchr(file, '/') ? (file) : search_path(file, __builtin_alloca(room_), room_, search_executable)

WRAPS(execvpe);
int own_execvpe(const char *file, char *const argv[], char *const env[])
{
	int result;
	FIND(found, file);
	/* execvpe would run a runner in an unknown format as a shell script. */
	INTERCEPT_EXECUTION(decide(AT_FDCWD, found, env), found, env, given,
	                    REAL(execve)(state->configuration.runner, argv, given),
	                    result = REAL(execvpe)(file, argv, given), errno == E2BIG)
}

/* The path of an open program without symbolic links. If the file has no such path any more, the result is its path in
 * /proc, which has no name that could be wrapped. */
static const char *path_of_descriptor(char room[PATH_MAX], int fd)
{
	char link[DESCRIPTOR_PATH_BYTES];
	int error = errno;
	long length = raw_syscall(SYS_readlinkat, AT_FDCWD, descriptor_path(link, fd), room, PATH_MAX - 1);
	room[length > 0 ? length : 0] = '\0';
	bool is_there = room[0] == '/' && raw_syscall(SYS_faccessat, AT_FDCWD, room, F_OK) == 0;
	errno = error;
	return is_there ? room : strcpy(room, link);
}

WRAPS(fexecve);
EXPORT int fexecve(int fd, char *const argv[], char *const env[])
{
	int result;
	char room[PATH_MAX];
	const char *path = path_of_descriptor(room, fd);
	INTERCEPT_EXECUTION(decide(AT_FDCWD, path, env), path, env, given,
	                    REAL(execve)(state->configuration.runner, argv, given), result = REAL(fexecve)(fd, argv, given),
	                    errno == E2BIG)
}

#if __GLIBC_PREREQ(2, 34)
/* The path for the runner, which has the same working directory. NULL if the room is too small. */
static const char *path_below(char room[PATH_MAX], int dirfd, const char *path, int flags)
{
	if (path && path[0] == '\0' && (flags & AT_EMPTY_PATH) != 0)
		return path_of_descriptor(room, dirfd);
	if (!path || dirfd == AT_FDCWD || path[0] == '/')
		return path;
	path_of_descriptor(room, dirfd);
	size_t length = strlen(room);
	if (length + 1 + strlen(path) >= PATH_MAX)
		return NULL;
	stpcpy(stpcpy(room + length, "/"), path);
	return room;
}

WRAPS(execveat);
EXPORT int execveat(int dirfd, const char *path, char *const argv[], char *const env[], int flags)
{
	int result;
	char room[PATH_MAX];
	const char *whole = path_below(room, dirfd, path, flags);
	/* A symbolic link may be an error by the flags. */
	bool is_plain = (flags & ~AT_EMPTY_PATH) == 0;
	INTERCEPT_EXECUTION(is_plain ? decide(AT_FDCWD, whole, env) : AS_GIVEN, whole, env, given,
	                    REAL(execve)(state->configuration.runner, argv, given),
	                    result = REAL(execveat)(dirfd, path, argv, given, flags), errno == E2BIG)
}
#endif

/* Functions that start the program in a child, and return 0 or an errno.
 *
 * The child may change its directory first. Then this process looks at another file than the child executes, most likely
 * at a missing file, and the program gets its environment as it is. */
#define SPAWN(function, found) \
	WRAPS(function); \
	EXPORT int function( \
		pid_t *restrict pid, const char *restrict file, const posix_spawn_file_actions_t *restrict actions, \
		const posix_spawnattr_t *restrict attributes, char *const argv[restrict], char *const env[restrict]) \
	{ \
		int result; \
		found; \
		INTERCEPT_EXECUTION( \
			decide(AT_FDCWD, path, env), path, env, given, \
			if (REAL(function)(pid, state->configuration.runner, actions, attributes, argv, given) == 0) return 0, \
			result = REAL(function)(pid, file, actions, attributes, argv, given), result == E2BIG) \
	}

SPAWN(posix_spawn, const char *path = file)
SPAWN(posix_spawnp, FIND(path, file))
#if __GLIBC_PREREQ(2, 39)
SPAWN(pidfd_spawn, const char *path = file)
SPAWN(pidfd_spawnp, FIND(path, file))
#endif

/* The name of this process's program, behind symbolic links. Empty without /proc. */
static const char *own_name(char room[PATH_MAX])
{
	long length = raw_syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", room, PATH_MAX - 1);
	room[length > 0 ? length : 0] = '\0';
	return base_name(room);
}

/* A runner that is linked dynamically loads the library, too. The runner itself decides what its program gets.
 *
 * A compiler loads the library if it was not executed by a process with the library, but by a static build tool, for
 * instance. The assembler and the linker belong to that compiler's command. */
__attribute__((constructor)) static void begin(int argc, char **argv, char **env)
{
	static struct state own;
	char room[PATH_MAX];
	int error = errno;
	const char *name = own_name(room);
	(void)argc;
	(void)argv;
	real_look_up_all();
	if (getauxval(AT_SECURE) == 0 && strcmp(name, RUNNER) != 0) {
		own.is_active = !environment_opts_out(env) && configuration_read(&own.configuration, env) &&
		                !name_is_tool(&own.configuration, name);
		state = &own;
	}
	errno = error;
}
