/* Decides what becomes of a program that is executed. */
#include "exec.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A question about a file, by its path without symbolic links and by the path that the call has. */
typedef bool question(const char *real, const char *path);

/* Asks about the file behind a descriptor. Two functions, so that only a long path takes this much of the stack: a signal
 * handler's stack may have two pages. Without /proc, the answer is no. */
#define ASK(function, bytes, if_longer) \
	static __attribute__((noinline)) bool function(int fd, const char *path, question *question_) \
	{ \
		char link[DESCRIPTOR_PATH_BYTES]; \
		char real[bytes]; \
		long length = raw_syscall(SYS_readlinkat, AT_FDCWD, descriptor_path(link, fd), real, sizeof real); \
		if (length == (long)sizeof real) \
			return if_longer; \
		if (length <= 0 || real[0] != '/') \
			return false; \
		real[length] = '\0'; \
		return question_(real, path); \
	}

ASK(ask_long, PATH_MAX, false)
ASK(ask, 512, ask_long(fd, path, question_))

static const struct configuration *rules(void)
{
	return &state->configuration;
}

static bool fits_in_workspace(const char *rule, const char *path)
{
	size_t workspace = strlen(rules()->workspace);
	if (rule[0] == '.' && rule[1] == '/')
		rule += 2;
	return begins_with(path, rules()->workspace) && path[workspace] == '/' &&
	       pattern_matches(rule, path + workspace + 1, strlen(path + workspace + 1));
}

/* A rule with a slash is for a path: as the call has it, absolute, or relative to the workspace. Any other rule is for a
 * name. */
static bool rule_fits(const char *rule, const char *real, const char *path)
{
	if (!strchr(rule, '/'))
		return pattern_matches(rule, base_name(path), strlen(base_name(path))) ||
		       pattern_matches(rule, base_name(real), strlen(base_name(real)));
	return pattern_matches(rule, path, strlen(path)) || pattern_matches(rule, real, strlen(real)) ||
	       fits_in_workspace(rule, path) || fits_in_workspace(rule, real);
}

static bool any_rule_fits(const char *key, const char *real, const char *path)
{
	for (const char *rule = NULL; (rule = configuration_next(rules(), key, rule));)
		if (rule_fits(rule, real, path))
			return true;
	return false;
}

/* The build has made a program that lies in the workspace. Such a program may be a test, whose output is compared. But
 * build tools may be installed in the workspace. */
static bool is_product(const char *real, const char *path)
{
	(void)path;
	return begins_with(real, rules()->workspace) && !any_rule_fits("tool", real, real) &&
	       !any_rule_fits("installed", real, real) && !path_is_launcher(rules(), real);
}

static bool is_no_product(int fd)
{
	return !ask(fd, "", is_product);
}

static bool is_name_wrapped(const char *name)
{
	if (name_is_tool(rules(), name))
		return true;
	for (const char *rule = NULL; (rule = configuration_next(rules(), "name", rule));)
		if (pattern_matches(rule, name, strlen(name)))
			return true;
	return false;
}

/* A launcher starts the compiler by its path, and that is wrapped. The runner itself is a launcher, too. */
static bool is_wrapped(const char *real, const char *path)
{
	if (path_is_launcher(rules(), path) || path_is_launcher(rules(), real) || any_rule_fits("never", real, path))
		return false;
	return is_name_wrapped(base_name(path)) || any_rule_fits("path", real, path);
}

static bool is_runner(const char *real, const char *path)
{
	(void)path;
	return strcmp(base_name(real), RUNNER) == 0;
}

/* True if execve would start the file. For an unknown format, execve fails: the caller must see that. */
static bool is_startable(int fd, int dirfd, const char *path)
{
	struct stat status;
	Elf64_Ehdr elf = {0}; /* a 32-bit header begins with the same members */
	size_t size = offsetof(Elf64_Ehdr, e_machine);
	if (raw_syscall(SYS_fstat, fd, &status) != 0 || !S_ISREG(status.st_mode) ||
	    raw_syscall(SYS_faccessat, dirfd, path, X_OK) != 0 || raw_syscall(SYS_pread64, fd, &elf, size, 0L) <= 0)
		return false;
	if (memcmp(elf.e_ident, ELFMAG, SELFMAG) == 0)
		return elf.e_type == ET_EXEC || elf.e_type == ET_DYN;
	return memcmp(elf.e_ident, "#!", 2) == 0;
}

static bool ask_about(int dirfd, const char *path, question *question_, bool only_startable)
{
	int fd = program_open(dirfd, path);
	if (fd < 0)
		return false;
	bool answer = (!only_startable || is_startable(fd, dirfd, path)) && ask(fd, path, question_);
	raw_syscall(SYS_close, fd);
	return answer;
}

/* In another root, or as another user, the new program's loader may not find the library, and would complain. */
static bool is_library_there(void)
{
	return raw_syscall(SYS_faccessat, AT_FDCWD, rules()->library, R_OK) == 0;
}

/* A try to spawn a missing runner would have a child carry out the file actions twice, and O_EXCL fails then. */
static bool is_runner_there(void)
{
	return raw_syscall(SYS_faccessat, AT_FDCWD, rules()->runner, X_OK) == 0;
}

/* A link to the runner starts the build tool by itself. */
static bool is_build_tool(int dirfd, const char *path)
{
	return any_rule_fits("tool", path, path) && !ask_about(dirfd, path, is_runner, false);
}

static enum action look_at(int dirfd, const char *path)
{
	static const struct examiner examiner = {.accepts = is_no_product};
	enum program program = program_examine(dirfd, path, &examiner);
	if (program == PROGRAM_MISSING)
		return AS_GIVEN;
	if (program != PROGRAM_UNKNOWN && (rules()->has_paths || is_name_wrapped(base_name(path))) &&
	    ask_about(dirfd, path, is_wrapped, true))
		return is_runner_there() ? WRAP : LEAVE;
	if (program == PROGRAM_LOADS && is_library_there())
		return is_build_tool(dirfd, path) && is_runner_there() ? HAND_ON : JOIN;
	if (program == PROGRAM_LOADS)
		return LEAVE;
	/* The runner is static, and as a link in the place of a build tool it hands its environment on. */
	return ask_about(dirfd, path, is_runner, false) ? JOIN : LEAVE;
}

enum action decide(int dirfd, const char *path, char *const env[])
{
	int error = errno;
	if (!state || !path)
		return AS_GIVEN;
	if (!state->is_active || environment_opts_out(env))
		return LEAVE;
	enum action action = look_at(dirfd, path);
	errno = error;
	return action;
}
