/* Linux's newer calls for mounts, which headers of older systems lack. */
#ifndef SPRAYCC_MOUNT_CALLS_H
#define SPRAYCC_MOUNT_CALLS_H

#include <stdint.h>

/* Linux 5.2 and 5.12; the numbers are the same on all architectures but Alpha. Headers of older systems lack these
 * names. */
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
#ifndef SYS_fspick
#define SYS_fspick 433
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

/* From <linux/mount.h>, which some systems can't include beside <sys/mount.h>. */
enum {
	TREE_CLONE = 1,
	FS_CLOEXEC = 1,
	MOUNT_CLOEXEC = 1,
	SET_FLAG = 0,
	SET_STRING = 1,
	CREATE = 6,
	RECONFIGURE = 7,
	FSPICK_CLOSE_ON_EXEC = 1,
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

#endif
