/* Calls each function that the recorder wraps, once for an existing name and once for a missing one, in the working
 * directory, and prints a line for each call: function, "hit" or "miss", whether it succeeded, errno.
 *
 * The existing name is hit.FUNCTION, the missing one miss.FUNCTION, and the name that a function makes new.FUNCTION. The
 * program makes them by a function of the C library that the recorder does not see. It finds all functions by dlsym, as
 * some have no declaration.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <ftw.h>
#include <glob.h>
#include <limits.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wordexp.h>

/* errno before each call: a call that succeeds must leave it. */
enum { UNTOUCHED = 7777 };

static const char *name;
static uintptr_t address;
static char made[PATH_MAX];
/* The C library's own syscall. */
static long (*raw)(long number, ...);
static char *words[] = {"true", NULL};
extern char **environ;

#define F(type, parameters) ((type(*) parameters)address)

static int from_stream(FILE *file)
{
	int error = errno;

	if (file != NULL)
		fclose(file);
	errno = error;
	return file != NULL ? 0 : -1;
}

static int from_fd(int fd)
{
	int error = errno;

	if (fd >= 0)
		close(fd);
	errno = error;
	return fd >= 0 ? 0 : -1;
}

static int ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), size = strlen(end);
	return length >= size && strcmp(text + length - size, end) == 0;
}

static int starts_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

static int do_open(const char *path)
{
	return from_fd(F(int, (const char *, int, ...))(path, O_RDONLY | O_CLOEXEC));
}

static int do_openat(const char *path)
{
	int here = (int)raw(SYS_openat, AT_FDCWD, ".", O_RDONLY | O_DIRECTORY);
	int result = from_fd(F(int, (int, const char *, int, ...))(here, path, O_RDONLY));
	int error = errno;

	close(here);
	errno = error;
	return result;
}

static int do_creat(const char *path)
{
	return from_fd(F(int, (const char *, mode_t))(path, 0600));
}

static int do_fopen(const char *path)
{
	return from_stream(F(FILE *, (const char *, const char *))(path, "r"));
}

static int do_freopen(const char *path)
{
	FILE *stream = fdopen((int)raw(SYS_dup, 0), "r");

	errno = UNTOUCHED;
	return from_stream(F(FILE *, (const char *, const char *, FILE *))(path, "r", stream));
}

static int do_opendir(const char *path)
{
	DIR *directory = F(DIR *, (const char *))(path);
	int error = errno;

	if (directory != NULL)
		closedir(directory);
	errno = error;
	return directory != NULL ? 0 : -1;
}

static int do_scandir(const char *path)
{
	struct dirent **entries;
	int count;

	if (strstr(name, "at") != NULL)
		count = F(int, (int, const char *, struct dirent ***, void *, void *))(AT_FDCWD, path, &entries, NULL, NULL);
	else
		count = F(int, (const char *, struct dirent ***, void *, void *))(path, &entries, NULL, NULL);
	return count >= 0 ? 0 : -1;
}

static int do_stat(const char *path)
{
	struct stat status;
	int result = F(int, (const char *, struct stat *))(path, &status);

	return result == 0 && status.st_size != 4 ? -2 : result;
}

static int do_xstat(const char *path)
{
	struct stat status;
	return F(int, (int, const char *, struct stat *))(1, path, &status);
}

static int do_fstatat(const char *path)
{
	struct stat status;
	return F(int, (int, const char *, struct stat *, int))(AT_FDCWD, path, &status, 0);
}

static int do_fxstatat(const char *path)
{
	struct stat status;
	return F(int, (int, int, const char *, struct stat *, int))(1, AT_FDCWD, path, &status, AT_SYMLINK_NOFOLLOW);
}

static int do_statx(const char *path)
{
	struct statx status;
	return F(int, (int, const char *, int, unsigned, struct statx *))(AT_FDCWD, path, 0, STATX_SIZE, &status);
}

static int do_access(const char *path)
{
	return F(int, (const char *, int))(path, R_OK);
}

static int do_faccessat(const char *path)
{
	return F(int, (int, const char *, int, int))(AT_FDCWD, path, R_OK, 0);
}

static int do_readlink(const char *path)
{
	char text[100];
	return F(ssize_t, (const char *, char *, size_t, size_t))(path, text, sizeof(text), sizeof(text)) >= 0 ? 0 : -1;
}

static int do_readlinkat(const char *path)
{
	char text[100];
	ssize_t length =
		F(ssize_t, (int, const char *, char *, size_t, size_t))(AT_FDCWD, path, text, sizeof(text), sizeof(text));
	return length >= 0 ? 0 : -1;
}

static int do_realpath(const char *path)
{
	char text[PATH_MAX];
	char *result = F(char *, (const char *, char *, size_t))(path, text, sizeof(text));

	/* After a failure the caller sees the text, too. */
	return result != NULL && ends_with(result, "/target") ? 0 : -1;
}

static int do_canonicalize(const char *path)
{
	char *result = F(char *, (const char *))(path);
	return result != NULL && ends_with(result, "/target") ? 0 : -1;
}

static int do_chdir(const char *path)
{
	int result = F(int, (const char *))(path);
	int error = errno;

	if (result == 0 && raw(SYS_chdir, "..") != 0)
		return -2;
	errno = error;
	return result;
}

static int do_rename(const char *path)
{
	return F(int, (const char *, const char *))(path, made);
}

static int do_renameat(const char *path)
{
	return F(int, (int, const char *, int, const char *, unsigned))(AT_FDCWD, path, AT_FDCWD, made, 0);
}

static int do_unlink(const char *path)
{
	return F(int, (const char *))(path);
}

static int do_unlinkat(const char *path)
{
	return F(int, (int, const char *, int))(AT_FDCWD, path, 0);
}

/* A directory, fifo or device in place of the hit, or below a missing directory. */
static int do_mkdir(const char *path)
{
	return F(int, (const char *, mode_t, dev_t))(path, starts_with(name, "mknod") ? S_IFIFO | 0600 : 0700, 0);
}

static int do_mkdirat(const char *path)
{
	mode_t mode = starts_with(name, "mknod") ? S_IFIFO | 0600 : 0700;
	return F(int, (int, const char *, mode_t, dev_t))(AT_FDCWD, path, mode, 0);
}

static int do_symlink(const char *path)
{
	return F(int, (const char *, const char *))("text", path);
}

static int do_symlinkat(const char *path)
{
	return F(int, (const char *, int, const char *))("text", AT_FDCWD, path);
}

static int do_truncate(const char *path)
{
	return F(int, (const char *, off_t))(path, 2);
}

static int do_mkstemp(const char *path)
{
	char template[100];

	snprintf(template, sizeof(template), "%s.XXXXXX", path);
	return from_fd(F(int, (char *, int, int))(template, 0, 0));
}

static int do_mkdtemp(const char *path)
{
	char template[100];

	snprintf(template, sizeof(template), "%s.XXXXXX", path);
	return F(char *, (char *))(template) != NULL ? 0 : -1;
}

static int do_chown(const char *path)
{
	return F(int, (const char *, uid_t, gid_t))(path, (uid_t)-1, (gid_t)-1);
}

static int do_chmodat(const char *path)
{
	return F(int, (int, const char *, mode_t, int))(AT_FDCWD, path, 0700, 0);
}

static int do_chownat(const char *path)
{
	return F(int, (int, const char *, uid_t, gid_t, int))(AT_FDCWD, path, (uid_t)-1, (gid_t)-1, 0);
}

static int do_utime(const char *path)
{
	return F(int, (const char *, const void *))(path, NULL);
}

static int do_utimeat(const char *path)
{
	return F(int, (int, const char *, const void *, int))(AT_FDCWD, path, NULL, 0);
}

static int do_setxattr(const char *path)
{
	return F(int, (const char *, const char *, const void *, size_t, int))(path, "user.name", "value", 5, 0);
}

static int do_removexattr(const char *path)
{
	return F(int, (const char *, const char *))(path, "user.name");
}

static int do_getxattr(const char *path)
{
	char value[100];
	return F(ssize_t, (const char *, const char *, void *, size_t))(path, "user.name", value, sizeof(value)) >= 0 ? 0
	                                                                                                              : -1;
}

static int do_listxattr(const char *path)
{
	char list[1000];
	return F(ssize_t, (const char *, char *, size_t))(path, list, sizeof(list)) >= 0 ? 0 : -1;
}

static int do_statfs(const char *path)
{
	char status[1000];
	return F(int, (const char *, void *))(path, status);
}

static int do_pathconf(const char *path)
{
	return F(long, (const char *, int))(path, _PC_LINK_MAX) > 0 ? 0 : -1;
}

static int do_ftok(const char *path)
{
	return F(key_t, (const char *, int))(path, 1) != -1 ? 0 : -1;
}

static int do_setmntent(const char *path)
{
	return from_stream(F(FILE *, (const char *, const char *))(path, "r"));
}

static int do_inotify(const char *path)
{
	int queue = inotify_init();
	int watch = F(int, (int, const char *, uint32_t))(queue, path, IN_ATTRIB);
	int error = errno;

	close(queue);
	errno = error;
	return watch >= 0 ? 0 : -1;
}

static int do_name_to_handle(const char *path)
{
	union {
		struct file_handle handle;
		char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} to = {.handle.handle_bytes = MAX_HANDLE_SZ};
	int mount;

	return F(int, (int, const char *, void *, int *, int))(AT_FDCWD, path, &to, &mount, 0);
}

static int do_xmknod(const char *path)
{
	dev_t device = 0;
	return F(int, (int, const char *, mode_t, dev_t *))(0, path, S_IFIFO | 0600, &device);
}

static int do_xmknodat(const char *path)
{
	dev_t device = 0;
	return F(int, (int, int, const char *, mode_t, dev_t *))(0, AT_FDCWD, path, S_IFIFO | 0600, &device);
}

/* A child with these file actions. */
static int do_file_action(const char *path)
{
	posix_spawn_file_actions_t actions;
	pid_t child;
	int status = -1;
	int error;
	const int fd = (int)raw(SYS_openat, AT_FDCWD, path, O_PATH);

	posix_spawn_file_actions_init(&actions);
	if (ends_with(name, "addopen"))
		error = F(int, (void *, int, const char *, int, mode_t))(&actions, 5, path, O_RDONLY, 0);
	else if (ends_with(name, "addchdir_np"))
		error = F(int, (void *, const char *))(&actions, path);
	else
		error = F(int, (void *, int))(&actions, fd);
	if (error == 0)
		error = posix_spawn(&child, "/bin/true", &actions, NULL, words, environ);
	if (error == 0)
		waitpid(child, &status, 0);
	posix_spawn_file_actions_destroy(&actions);
	close(fd);
	errno = UNTOUCHED;
	return error != 0 ? error : status;
}

/* None of them succeeds: there is no such file system, mount or descriptor. */
static int do_mount(const char *path)
{
	if (strcmp(name, "mount") == 0)
		return F(int, (const char *, const char *, const char *, unsigned long, void *))("none", path, "nowhere", 0,
		                                                                                 NULL);
	if (strcmp(name, "pivot_root") == 0)
		return F(int, (const char *, const char *))(path, path);
	if (strcmp(name, "move_mount") == 0)
		return F(int, (int, const char *, int, const char *, unsigned))(AT_FDCWD, path, AT_FDCWD, path, 0);
	if (strcmp(name, "open_tree") == 0)
		return F(int, (int, const char *, unsigned))(AT_FDCWD, path, UINT_MAX);
	if (strcmp(name, "setns") == 0)
		return F(int, (int, int))(-1, 0);
	if (strcmp(name, "unshare") == 0)
		return F(int, (int))(-1);
	if (strcmp(name, "open_by_handle_at") == 0)
		return F(int, (int, void *, int))(-1, NULL, 0);
	return F(int, (const char *, int))(path, 0);
}

/* In a child of vfork: 100 + errno if the program is not executed. */
static int do_exec(const char *path)
{
	char absolute[PATH_MAX];
	int status;
	pid_t child;
	const int fd = starts_with(name, "fexecve") ? (int)raw(SYS_openat, AT_FDCWD, path, O_PATH) : -1;

	snprintf(absolute, sizeof(absolute), "./%s", path);
	child = vfork();
	if (child == 0) {
		if (strcmp(name, "execve") == 0)
			F(int, (const char *, char **, char **))(path, words, environ);
		else if (strcmp(name, "execv") == 0)
			F(int, (const char *, char **))(path, words);
		else if (strcmp(name, "execvp") == 0)
			F(int, (const char *, char **))(path, words);
		else if (strcmp(name, "execvpe") == 0)
			F(int, (const char *, char **, char **))(path, words, environ);
		else if (strcmp(name, "fexecve") == 0)
			F(int, (int, char **, char **))(fd, words, environ);
		else if (strcmp(name, "execveat") == 0)
			F(int, (int, const char *, char **, char **, int))(AT_FDCWD, path, words, environ, 0);
		else if (strcmp(name, "execl") == 0)
			F(int, (const char *, const char *, ...))(absolute, "true", "a", "b", NULL);
		else if (strcmp(name, "execlp") == 0)
			F(int, (const char *, const char *, ...))(path, "true", "a", "b", NULL);
		else if (strcmp(name, "execle") == 0)
			F(int, (const char *, const char *, ...))(path, "true", "a", "b", NULL, environ);
		_exit(100 + (errno & 31));
	}
	waitpid(child, &status, 0);
	errno = UNTOUCHED;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -2;
}

static int do_spawn(const char *path)
{
	pid_t child;
	int status = -1;
	int error =
		F(int, (pid_t *, const char *, void *, void *, char **, char **))(&child, path, NULL, NULL, words, environ);

	if (error == 0)
		waitpid(child, &status, 0);
	errno = UNTOUCHED;
	return error != 0 ? error : status;
}

static int do_system(const char *path)
{
	char command[100];

	snprintf(command, sizeof(command), "test -e %s", path);
	return F(int, (const char *))(command);
}

static int do_popen(const char *path)
{
	char command[100];
	FILE *pipe;

	snprintf(command, sizeof(command), "test -e %s", path);
	pipe = F(FILE *, (const char *, const char *))(command, "r");
	return pipe == NULL ? -1 : pclose(pipe);
}

static int visit(void)
{
	return 0;
}

static int do_ftw(const char *path)
{
	return F(int, (const char *, void *, int, int))(path, (void *)(uintptr_t)visit, 5, 0);
}

static int do_glob(const char *path)
{
	glob_t found;
	return F(int, (const char *, int, void *, glob_t *))(path, 0, NULL, &found);
}

static int do_fts(const char *path)
{
	char *paths[] = {(char *)(uintptr_t)path, NULL};
	FTS *tree = F(FTS *, (char **, int, void *))(paths, FTS_PHYSICAL, NULL);
	return tree == NULL ? -1 : fts_close(tree);
}

static int do_wordexp(const char *path)
{
	wordexp_t found;
	return F(int, (const char *, wordexp_t *, int))(path, &found, 0);
}

static int do_fchdir(const char *path)
{
	int fd = (int)raw(SYS_openat, AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
	int result;
	int error;

	errno = UNTOUCHED;
	result = F(int, (int))(fd);
	error = errno;
	if (result == 0 && raw(SYS_chdir, "..") != 0)
		return -2;
	errno = error;
	return result;
}

static int do_dlclose(const char *path)
{
	void *handle = dlopen(starts_with(path, "hit") ? "libm.so.6" : NULL, RTLD_NOW);

	errno = UNTOUCHED;
	return F(int, (void *))(handle);
}

/* The status of a child that ends with this function. */
static int do_end(const char *path)
{
	int status;
	pid_t child = fork();

	if (child == 0)
		F(void, (int))(starts_with(path, "hit") ? 3 : 4);
	waitpid(child, &status, 0);
	errno = UNTOUCHED;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -2;
}

/* In a child: nothing is done in the other root. Where only root may change it, every call fails alike. */
static int do_chroot(const char *path)
{
	int status;
	pid_t child = fork();

	if (child == 0)
		_exit(F(int, (const char *))(path) == 0 ? 0 : errno & 127);
	waitpid(child, &status, 0);
	errno = UNTOUCHED;
	return status;
}

/* A name of this process, and one that is missing, in /dev/shm. */
static int do_shm(const char *path)
{
	char own[100];
	char file[120];
	const int makes = starts_with(path, "hit");
	const int flags = makes ? O_CREAT | O_EXCL | O_RDWR : O_RDWR;
	int result;
	int error;

	snprintf(own, sizeof(own), "/%s-%d", path, (int)getpid());
	snprintf(file, sizeof(file), "/dev/shm/%s%s", starts_with(name, "sem") ? "sem." : "", own + 1);
	if (makes && ends_with(name, "unlink"))
		close((int)raw(SYS_openat, AT_FDCWD, file, O_CREAT | O_WRONLY, 0600));
	errno = UNTOUCHED;
	if (ends_with(name, "unlink"))
		return F(int, (const char *))(own);
	if (starts_with(name, "shm"))
		result = from_fd(F(int, (const char *, int, mode_t))(own, flags, 0600));
	else
		result = F(void *, (const char *, int, ...))(own, flags, 0600, 1) != NULL ? 0 : -1;
	error = errno;
	raw(SYS_unlinkat, AT_FDCWD, file, 0);
	/* The C library sets it even if it succeeds. */
	errno = result == 0 ? UNTOUCHED : error;
	return result;
}

static int do_syscall(const char *path)
{
	return from_fd((int)F(long, (long, ...))(SYS_openat, AT_FDCWD, path, O_RDONLY, 0));
}

static int do_prctl(const char *path)
{
	char title[16] = "";

	if (starts_with(path, "miss"))
		return F(int, (int, ...))(-1, 0L, 0L, 0L, 0L);
	if (F(int, (int, ...))(PR_SET_NAME, "four", 0L, 0L, 0L) != 0)
		return -2;
	return F(int, (int, ...))(PR_GET_NAME, title, 0L, 0L, 0L) + strcmp(title, "four");
}

enum hit { FILE_HIT, DIRECTORY_HIT, LINK_HIT, PROGRAM_HIT, NEW_HIT };

static const struct call {
	const char *names; /* separated by blanks */
	int (*run)(const char *path);
	enum hit hit;
} calls[] = {
	{"open open64 __open __open64 __open_2 __open64_2", do_open, FILE_HIT},
	{"openat openat64 __openat_2 __openat64_2", do_openat, FILE_HIT},
	{"creat creat64", do_creat, NEW_HIT},
	{"fopen fopen64 _IO_fopen", do_fopen, FILE_HIT},
	{"freopen freopen64", do_freopen, FILE_HIT},
	{"opendir", do_opendir, DIRECTORY_HIT},
	{"scandir scandir64 scandirat scandirat64", do_scandir, DIRECTORY_HIT},
	{"stat stat64 lstat lstat64", do_stat, FILE_HIT},
	{"__xstat __xstat64 __lxstat __lxstat64", do_xstat, FILE_HIT},
	{"fstatat fstatat64", do_fstatat, FILE_HIT},
	{"__fxstatat __fxstatat64", do_fxstatat, FILE_HIT},
	{"statx", do_statx, FILE_HIT},
	{"access eaccess euidaccess", do_access, FILE_HIT},
	{"faccessat", do_faccessat, FILE_HIT},
	{"readlink __readlink_chk", do_readlink, LINK_HIT},
	{"readlinkat __readlinkat_chk", do_readlinkat, LINK_HIT},
	{"realpath __realpath_chk", do_realpath, LINK_HIT},
	{"canonicalize_file_name", do_canonicalize, LINK_HIT},
	{"chdir", do_chdir, DIRECTORY_HIT},
	{"rename link", do_rename, FILE_HIT},
	{"renameat renameat2 linkat", do_renameat, FILE_HIT},
	{"unlink remove", do_unlink, FILE_HIT},
	{"rmdir", do_unlink, DIRECTORY_HIT},
	{"unlinkat", do_unlinkat, FILE_HIT},
	{"mkdir mkfifo mknod", do_mkdir, NEW_HIT},
	{"mkdirat mkfifoat mknodat", do_mkdirat, NEW_HIT},
	{"symlink", do_symlink, NEW_HIT},
	{"symlinkat", do_symlinkat, NEW_HIT},
	{"truncate truncate64", do_truncate, FILE_HIT},
	{"chmod lchmod", do_access, FILE_HIT},
	{"fchmodat", do_chmodat, FILE_HIT},
	{"chown lchown", do_chown, FILE_HIT},
	{"fchownat", do_chownat, FILE_HIT},
	{"utime utimes lutimes", do_utime, FILE_HIT},
	{"futimesat utimensat", do_utimeat, FILE_HIT},
	{"setxattr lsetxattr", do_setxattr, FILE_HIT},
	{"removexattr lremovexattr", do_removexattr, FILE_HIT},
	{"getxattr lgetxattr", do_getxattr, FILE_HIT},
	{"listxattr llistxattr", do_listxattr, FILE_HIT},
	{"statfs statfs64 __statfs statvfs statvfs64", do_statfs, FILE_HIT},
	{"pathconf", do_pathconf, FILE_HIT},
	{"ftok", do_ftok, FILE_HIT},
	{"setmntent __setmntent", do_setmntent, FILE_HIT},
	{"inotify_add_watch", do_inotify, FILE_HIT},
	{"name_to_handle_at", do_name_to_handle, FILE_HIT},
	{"__xmknod", do_xmknod, NEW_HIT},
	{"__xmknodat", do_xmknodat, NEW_HIT},
	{"mkstemp mkstemp64 mkostemp mkostemp64 mkstemps mkstemps64 mkostemps mkostemps64", do_mkstemp, NEW_HIT},
	{"mkdtemp", do_mkdtemp, NEW_HIT},
	{"fchdir", do_fchdir, DIRECTORY_HIT},
	{"dlclose", do_dlclose, FILE_HIT},
	{"_exit _Exit quick_exit", do_end, FILE_HIT},
	{"execve execv execvp execvpe fexecve execveat execl execlp execle", do_exec, PROGRAM_HIT},
	{"posix_spawn posix_spawnp pidfd_spawn pidfd_spawnp", do_spawn, PROGRAM_HIT},
	{"system", do_system, FILE_HIT},
	{"popen", do_popen, FILE_HIT},
	{"ftw ftw64 nftw nftw64", do_ftw, DIRECTORY_HIT},
	{"glob glob64", do_glob, FILE_HIT},
	{"fts_open fts64_open", do_fts, DIRECTORY_HIT},
	{"wordexp", do_wordexp, FILE_HIT},
	{"chroot", do_chroot, DIRECTORY_HIT},
	{"posix_spawn_file_actions_addopen", do_file_action, FILE_HIT},
	{"posix_spawn_file_actions_addchdir_np posix_spawn_file_actions_addfchdir_np", do_file_action, DIRECTORY_HIT},
	{"shm_open shm_unlink sem_open sem_unlink", do_shm, NEW_HIT},
	{"syscall", do_syscall, FILE_HIT},
	{"prctl", do_prctl, FILE_HIT},
	{"mount umount umount2 pivot_root setns unshare move_mount open_tree open_by_handle_at", do_mount, DIRECTORY_HIT},
};

static void make(const char *path, enum hit hit)
{
	int fd;

	switch (hit) {
	case FILE_HIT:
		fd = (int)raw(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT, 0600);
		if (write(fd, "four", 4) != 4)
			abort();
		close(fd);
		break;
	case DIRECTORY_HIT:
		raw(SYS_mkdirat, AT_FDCWD, path, 0700);
		break;
	case LINK_HIT:
		raw(SYS_symlinkat, "target", AT_FDCWD, path);
		break;
	case PROGRAM_HIT:
		raw(SYS_symlinkat, "/bin/true", AT_FDCWD, path);
		break;
	case NEW_HIT:
		break;
	}
}

static void run(const struct call *call, const char *which, const char *path)
{
	int result;

	errno = UNTOUCHED;
	result = call->run(path);
	printf("%s %s %d %d\n", name, which, result, errno);
}

static void try(const struct call *call, char *function)
{
	char path[100];

	name = function;
	address = (uintptr_t)dlsym(RTLD_DEFAULT, function);
	if (address == 0) {
		printf("%s is missing\n", name);
		return;
	}
	snprintf(made, sizeof(made), "new.%s", name);
	snprintf(path, sizeof(path), "hit.%s", name);
	make(path, call->hit);
	run(call, "hit", path);
	snprintf(path, sizeof(path), call->hit == NEW_HIT ? "nowhere/miss.%s" : "miss.%s", name);
	run(call, "miss", path);
}

/* Only the function of this name, or all. */
int main(int argc, char **argv)
{
	static char names[4096];

	raw = (long (*)(long, ...))(uintptr_t)dlsym(dlopen("libc.so.6", RTLD_NOW), "syscall");
	make("target", FILE_HIT);
	setvbuf(stdout, NULL, _IONBF, 0);
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		strcpy(names, calls[i].names);
		for (char *word = strtok(names, " "); word != NULL; word = strtok(NULL, " "))
			if (argc < 2 || strcmp(word, argv[1]) == 0)
				try(&calls[i], strdup(word));
	}
	return 0;
}
