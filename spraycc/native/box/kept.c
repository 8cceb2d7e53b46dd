/* The overlays that the serving box (serve.c) keeps from command to command, each attached in a directory of the hold. */
#include "box.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/text.h"
#include "mount_calls.h"

enum { MOST_KEPT = 64, HANDLE_BYTES = 128 };

/* The identity of a lower directory. */
struct identity {
	dev_t device;
	union {
		struct file_handle handle;
		char space[sizeof(struct file_handle) + HANDLE_BYTES];
	} handle;
	bool is_known;
};

struct kept {
	char *upper; /* NULL: free */
	struct identity lower;
};

static struct kept kept[MOST_KEPT];
static int hold_fd = -1;
static const char *hold_path;

/* The name of a kept overlay in the hold. */
static const char *name_of(char text[static 16], size_t index)
{
	*append_number(text, text + 15, index) = '\0';
	return text;
}

/* Makes the hold: a file system in memory, which only this namespace and its copies see. */
void hold_overlays_in(const char *directory)
{
	char name[16];
	struct attributes slave = {.propagation = MS_SLAVE};
	if (syscall(SYS_mount_setattr, AT_FDCWD, "/", RECURSIVE, &slave, sizeof slave) < 0)
		fail_setup("propagation", errno);
	if (mount("spraycc", directory, "tmpfs", MS_NOSUID | MS_NODEV, "mode=700") < 0)
		fail_setup("hold", errno);
	hold_path = directory;
	hold_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (hold_fd < 0)
		fail_setup("hold", errno);
	for (size_t i = 0; i < MOST_KEPT; i++)
		if (mkdirat(hold_fd, name_of(name, i), 0700) < 0)
			fail_setup("hold", errno);
}

static struct identity identity_of(int fd)
{
	struct identity identity = {0};
	struct stat status;
	int mount_id;
	identity.handle.handle.handle_bytes = HANDLE_BYTES;
	if (fstat(fd, &status) == 0 && name_to_handle_at(fd, "", &identity.handle.handle, &mount_id, AT_EMPTY_PATH) == 0) {
		identity.device = status.st_dev;
		identity.is_known = true;
	}
	return identity;
}

static bool are_same(const struct identity *a, const struct identity *b)
{
	const struct file_handle *first = &a->handle.handle;
	const struct file_handle *second = &b->handle.handle;
	return a->is_known && b->is_known && a->device == b->device && first->handle_type == second->handle_type &&
	       first->handle_bytes == second->handle_bytes &&
	       memcmp(first->f_handle, second->f_handle, first->handle_bytes) == 0;
}

static struct kept *find(const char *upper)
{
	for (size_t i = 0; i < MOST_KEPT; i++)
		if (kept[i].upper && strcmp(kept[i].upper, upper) == 0)
			return &kept[i];
	return NULL;
}

static struct kept *find_free(void)
{
	for (size_t i = 0; i < MOST_KEPT; i++)
		if (!kept[i].upper)
			return &kept[i];
	fail_setup("kept", ENOSPC);
}

static void forget(struct kept *entry)
{
	char name[16];
	if (fchdir(hold_fd) < 0 || umount2(name_of(name, (size_t)(entry - kept)), MNT_DETACH) < 0 || chdir("/") < 0)
		fail_setup("kept", errno);
	free(entry->upper);
	entry->upper = NULL;
}

/* Drops all names that the overlay has cached, as a reconfiguration does. Returns 0 or an errno. */
static int drop_names(const struct kept *entry)
{
	char name[16];
	int error = 0;
	int context = (int)syscall(SYS_fspick, hold_fd, name_of(name, (size_t)(entry - kept)), FSPICK_CLOSE_ON_EXEC);
	if (context < 0)
		return errno;
	/* "rw": a command of root may have made the file system read-only. */
	if (syscall(SYS_fsconfig, context, SET_FLAG, "rw", NULL, 0) < 0 ||
	    syscall(SYS_fsconfig, context, RECONFIGURE, NULL, NULL, 0) < 0)
		error = errno;
	close(context);
	return error;
}

static void keep(struct overlay *overlay)
{
	char name[16];
	struct kept *entry = find(overlay->upper);
	if (entry) {
		int fd = open(overlay->lower, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			fail_setup("lower", errno);
		struct identity now = identity_of(fd);
		close(fd);
		if (!are_same(&now, &entry->lower))
			fail_setup("kept", ESTALE);
		int error = drop_names(entry);
		if (error != 0)
			fail_setup("kept", error);
	} else {
		entry = find_free();
		make_overlay(overlay);
		entry->lower = identity_of(overlay->lower_fd);
		entry->upper = strdup(overlay->upper);
		if (!entry->upper)
			fail_setup("memory", ENOMEM);
		if (syscall(SYS_move_mount, overlay->mount_fd, "", hold_fd, name_of(name, (size_t)(entry - kept)),
		            MOVE_FROM_EMPTY_PATH) < 0)
			fail_setup("hold", errno);
		close(overlay->mount_fd);
		close(overlay->lower_fd);
		/* A security module may refuse the reconfiguration. Such an overlay is not kept. */
		if (drop_names(entry) != 0)
			entry->lower.is_known = false;
	}
	overlay->kept = (int)(entry - kept);
}

/* Mounts the overlays of the next command, unless they are kept and can serve again. */
void keep_overlays(struct options *options)
{
	for (size_t i = 0; i < options->n_forgotten; i++) {
		struct kept *entry = find(options->forgotten[i]);
		if (entry)
			forget(entry);
	}
	for (size_t i = 0; i < options->n_overlays; i++)
		keep(&options->overlays[i]);
}

/* In the command's namespace: puts copies of the kept overlays in their places, and hides the hold. */
void show_kept(struct options *options)
{
	char name[16];
	for (size_t i = 0; i < options->n_overlays; i++) {
		struct overlay *overlay = &options->overlays[i];
		overlay->lower_fd = open(overlay->lower, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (overlay->lower_fd < 0)
			fail_setup("lower", errno);
		/* By path: hold_fd leads into the server's namespace. */
		int hold = open(hold_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		overlay->mount_fd =
			(int)syscall(SYS_open_tree, hold, name_of(name, (size_t)overlay->kept), TREE_CLONE | O_CLOEXEC);
		if (overlay->mount_fd < 0)
			fail_setup("attach", errno);
		close(hold);
	}
	attach_all(options);
	if (umount2(hold_path, MNT_DETACH) < 0)
		fail_setup("hold", errno);
}

/* True if no file of the overlays is open, and all can serve again. MNT_EXPIRE fails with EBUSY for a mount in use, and
 * with EAGAIN for another (umount(2)). An unmount would tell the same, but would wait for all CPUs. */
bool can_serve_again(const struct options *options)
{
	for (size_t i = 0; i < options->n_overlays; i++) {
		const struct overlay *overlay = &options->overlays[i];
		if (!kept[overlay->kept].lower.is_known)
			return false;
		if (umount2(overlay->lower, MNT_EXPIRE | UMOUNT_NOFOLLOW) == 0 || errno != EAGAIN)
			return false;
	}
	return true;
}
