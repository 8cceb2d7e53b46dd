/* The private view: namespaces, overlays, everything else read-only.
 *
 * The order is the point. Overlays and writable directories are made first, as mounts that are attached nowhere: made
 * later, an overlay would find its upper layer on a read-only mount (EINVAL). Then all that is attached becomes
 * read-only, in one call. Then the new mounts are attached, still writable.
 *
 * Directories go to the overlay as /proc/self/fd/N: an option string gives a meaning to commas, colons and backslashes
 * and ends at a page.
 *
 * Propagation is "slave", not "private": where directories are mounted on demand, the automounter mounts in the host's
 * namespace, and a private one would never see it (ELOOP on the first access).
 */
#include "box.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Linux 5.2 and 5.12; the numbers are the same on all architectures but Alpha. Headers of older systems lack them. */
#ifndef SYS_open_tree
#define SYS_open_tree 428
#endif
#ifndef SYS_move_mount
#define SYS_move_mount 429
#endif
#ifndef SYS_fsopen
#define SYS_fsopen 430
#endif
#ifndef SYS_fsconfig
#define SYS_fsconfig 431
#endif
#ifndef SYS_fsmount
#define SYS_fsmount 432
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

/* From <linux/mount.h>, which can't be included beside <sys/mount.h> everywhere. */
enum {
	TREE_CLONE = 1,
	FS_CLOEXEC = 1,
	MOUNT_CLOEXEC = 1,
	SET_FLAG = 0,
	SET_STRING = 1,
	CREATE = 6,
	MOVE_FROM_EMPTY_PATH = 0x4,
	MOVE_TO_EMPTY_PATH = 0x40,
	ATTR_RDONLY = 0x1,
	ATTR_NOSUID_NODEV = 0x2 | 0x4,
	RECURSIVE = 0x8000,
};

struct attributes {
	uint64_t set;
	uint64_t clear;
	uint64_t propagation;
	uint64_t userns_fd;
};

struct text {
	char bytes[48];
};

static char *append(char *at, const char *text)
{
	while (*text != '\0')
		*at++ = *text++;
	*at = '\0';
	return at;
}

static char *append_number(char *at, unsigned long number)
{
	char digits[24];
	char *first = digits + sizeof digits - 1;

	*first = '\0';
	do
		*--first = (char)('0' + number % 10);
	while ((number /= 10) != 0);
	return append(at, first);
}

static struct text fd_path(int fd)
{
	struct text path;

	append_number(append(path.bytes, "/proc/self/fd/"), (unsigned long)fd);
	return path;
}

static struct text identity_map(unsigned long id)
{
	struct text map;

	append(append_number(append(append_number(map.bytes, id), " "), id), " 1");
	return map;
}

static void write_proc(const char *path, const char *text, const char *stage)
{
	size_t length = 0;
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		fail_setup(stage, errno);
	while (text[length] != '\0')
		length++;
	if (write(fd, text, length) != (ssize_t)length)
		fail_setup(stage, errno);
	close(fd);
}

/* New mount namespace, a user namespace where that takes one, and a pid namespace for the next child. */
void enter_namespaces(const struct options *options)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int flags = CLONE_NEWNS | (options->pid_namespace ? CLONE_NEWPID : 0);

	if (uid == 0) {
		if (unshare(flags) < 0)
			fail_setup("namespace", errno);
		return;
	}
	if (unshare(flags | CLONE_NEWUSER) < 0)
		fail_setup("namespace", errno);
	write_proc("/proc/self/setgroups", "deny", "setgroups");
	write_proc("/proc/self/uid_map", identity_map(uid).bytes, "uid-map");
	write_proc("/proc/self/gid_map", identity_map(gid).bytes, "gid-map");
}

static int open_directory(const char *path, const char *stage)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		fail_setup(stage, errno);
	return fd;
}

static void configure(int context, int command, const char *key, const char *value)
{
	if (syscall(SYS_fsconfig, context, command, key, value, 0) < 0)
		fail_setup("overlay", errno);
}

static void make_overlay(struct overlay *overlay)
{
	int upper_fd = open_directory(overlay->upper, "upper");
	int work_fd = open_directory(overlay->work, "work");
	int context = (int)syscall(SYS_fsopen, "overlay", FS_CLOEXEC);

	if (context < 0)
		fail_setup("overlay", errno);
	overlay->lower_fd = open_directory(overlay->lower, "lower");
	configure(context, SET_STRING, "source", "spraycc");
	configure(context, SET_STRING, "lowerdir", fd_path(overlay->lower_fd).bytes);
	configure(context, SET_STRING, "upperdir", fd_path(upper_fd).bytes);
	configure(context, SET_STRING, "workdir", fd_path(work_fd).bytes);
	configure(context, SET_FLAG, "userxattr", NULL);
	/* A file's inode number is then the lower file's: the executor compares it with the submit host's. Linux 4.17. */
	(void)syscall(SYS_fsconfig, context, SET_STRING, "xino", "off", 0);
	/* Else the unmount writes all dirty pages of the upper layer's file system to disk (ovl_sync_fs). Linux 5.10. */
	(void)syscall(SYS_fsconfig, context, SET_FLAG, "volatile", NULL, 0);
	configure(context, CREATE, NULL, NULL);
	overlay->mount_fd = (int)syscall(SYS_fsmount, context, MOUNT_CLOEXEC, 0);
	if (overlay->mount_fd < 0)
		fail_setup("overlay", errno);
	close(context);
	close(upper_fd);
	close(work_fd);
}

static void attach(int mount_fd, int target_fd)
{
	if (syscall(SYS_move_mount, mount_fd, "", target_fd, "", MOVE_FROM_EMPTY_PATH | MOVE_TO_EMPTY_PATH) < 0)
		fail_setup("attach", errno);
	close(mount_fd);
	close(target_fd);
}

static bool is_below(const char *path, const char *directory)
{
	size_t length = strlen(directory);

	return strncmp(path, directory, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* Shared memory (shm_overview(7)) of the command's own, where /dev/shm is not overlaid. Where it can't be had, the shared one
 * is there, read-only. */
static void mount_shared_memory(const struct options *options)
{
	static const char where[] = "/dev/shm";
	int context;
	int mount_fd;

	for (size_t i = 0; i < options->n_overlays; i++)
		if (is_below(options->overlays[i].upper, where) || is_below(options->overlays[i].lower, where))
			return;
	context = (int)syscall(SYS_fsopen, "tmpfs", FS_CLOEXEC);
	if (context < 0)
		return;
	(void)syscall(SYS_fsconfig, context, SET_STRING, "mode", "1777", 0);
	if (syscall(SYS_fsconfig, context, CREATE, NULL, NULL, 0) == 0) {
		mount_fd = (int)syscall(SYS_fsmount, context, MOUNT_CLOEXEC, ATTR_NOSUID_NODEV);
		if (mount_fd >= 0) {
			(void)syscall(SYS_move_mount, mount_fd, "", AT_FDCWD, where, MOVE_FROM_EMPTY_PATH);
			close(mount_fd);
		}
	}
	close(context);
}

/* Build the view; see the top of this file. */
void mount_overlays(const struct options *options)
{
	struct attributes read_only = {.set = ATTR_RDONLY, .propagation = MS_SLAVE};

	for (size_t i = 0; i < options->n_overlays; i++)
		make_overlay(&options->overlays[i]);
	for (size_t i = 0; i < options->n_writables; i++) {
		struct writable *writable = &options->writables[i];

		writable->path_fd = open_directory(writable->path, "writable");
		writable->mount_fd = (int)syscall(SYS_open_tree, writable->path_fd, "", TREE_CLONE | O_CLOEXEC | AT_EMPTY_PATH);
		if (writable->mount_fd < 0)
			fail_setup("writable", errno);
	}
	if (syscall(SYS_mount_setattr, AT_FDCWD, "/", RECURSIVE, &read_only, sizeof read_only) < 0)
		fail_setup("read-only", errno);
	for (size_t i = 0; i < options->n_overlays; i++)
		attach(options->overlays[i].mount_fd, options->overlays[i].lower_fd);
	for (size_t i = 0; i < options->n_writables; i++)
		attach(options->writables[i].mount_fd, options->writables[i].path_fd);
	mount_shared_memory(options);
}

/* A /proc of the new pid namespace. Refused in many containers, whose own /proc is partly covered. */
void mount_proc(void)
{
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		fail_setup("proc", errno);
}
