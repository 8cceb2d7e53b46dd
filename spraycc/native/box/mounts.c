/* The command's private view of the file system: namespaces, overlays, and everything else read-only.
 *
 * The order of the steps matters:
 *   1. Make the overlays and writable directories, as mounts that are attached nowhere. Made after step 2, an overlay
 *      would have its upper layer on a read-only mount (EINVAL).
 *   2. Make all attached mounts read-only, in one call.
 *   3. Attach the new mounts, which are still writable.
 *
 * The overlay gets its directories as /proc/self/fd/N. In an option string commas, colons and backslashes have a
 * meaning, and the string ends at a page.
 *
 * Propagation is "slave", not "private": the automounter mounts directories on demand in the host's namespace. A
 * private namespace would never see these mounts (ELOOP on the first access).
 */
#include "box.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/output.h"
#include "../common/text.h"
#include "mount_calls.h"

static void write_proc(const char *path, const char *text, const char *stage)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int error = fd < 0 ? errno : write_all(fd, text, strlen(text));
	if (error != 0)
		fail_setup(stage, error);
	close(fd);
}

/* Maps this id to itself, and no other. */
static void write_identity_map(const char *path, uint64_t id, const char *stage)
{
	char map[64];
	char *last = map + sizeof map - 1;
	char *at = append(append_number(map, last, id), last, " ");
	append(append_number(at, last, id), last, " 1");
	write_proc(path, map, stage);
}

/* Enters a new mount namespace, and a user namespace if this user needs one for that. The next child gets a pid
 * namespace. */
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
	write_identity_map("/proc/self/uid_map", uid, "uid-map");
	write_identity_map("/proc/self/gid_map", gid, "gid-map");
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

static void configure_directory(int context, const char *key, int fd)
{
	char path[DESCRIPTOR_PATH_BYTES];
	configure(context, SET_STRING, key, descriptor_path(path, fd));
}

/* Makes the overlay as a mount that is attached nowhere. */
void make_overlay(struct overlay *overlay)
{
	int upper_fd = open_directory(overlay->upper, "upper");
	int work_fd = open_directory(overlay->work, "work");
	int context = (int)syscall(SYS_fsopen, "overlay", FS_CLOEXEC);
	if (context < 0)
		fail_setup("overlay", errno);
	overlay->lower_fd = open_directory(overlay->lower, "lower");
	configure(context, SET_STRING, "source", "spraycc");
	configure_directory(context, "lowerdir", overlay->lower_fd);
	configure_directory(context, "upperdir", upper_fd);
	configure_directory(context, "workdir", work_fd);
	configure(context, SET_FLAG, "userxattr", NULL);
	/* xino=off keeps the inode numbers of the lower files, which the executor compares with the submit host's. Linux
	 * 4.17. */
	(void)syscall(SYS_fsconfig, context, SET_STRING, "xino", "off", 0);
	/* With an index the kernel marks each new directory as opaque (ovl_create_upper), as if the command had removed a
	 * directory of that name before. A kernel may have the index by default. */
	(void)syscall(SYS_fsconfig, context, SET_STRING, "index", "off", 0);
	/* Without this option, the unmount writes all dirty pages of the upper layer's file system to disk (ovl_sync_fs).
	 * Linux 5.10. */
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

/* Gives the command its own shared memory (shm_overview(7)), unless /dev/shm has an overlay. If the mount fails, the
 * command sees the host's /dev/shm, read-only. */
static void mount_shared_memory(const struct options *options)
{
	static const char where[] = "/dev/shm";
	int mount_fd;
	for (size_t i = 0; i < options->n_overlays; i++)
		if (begins_with(options->overlays[i].upper, where) || begins_with(options->overlays[i].lower, where))
			return;
	int context = (int)syscall(SYS_fsopen, "tmpfs", FS_CLOEXEC);
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

/* Builds the view; see the top of this file. */
void mount_overlays(const struct options *options)
{
	for (size_t i = 0; i < options->n_overlays; i++)
		make_overlay(&options->overlays[i]);
	attach_all(options);
}

/* Steps 2 and 3: the overlays exist already. */
void attach_all(const struct options *options)
{
	struct attributes read_only = {.set = ATTR_RDONLY, .propagation = MS_SLAVE};
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

/* Mounts a /proc for the new pid namespace. Many containers refuse the mount, as parts of their own /proc are
 * covered. */
void mount_proc(void)
{
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		fail_setup("proc", errno);
}
