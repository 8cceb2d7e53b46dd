/* Wrappers of syscall(2), by which libuv and other libraries open and examine files, and of prctl(2). */
#include "recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../preload/six_arguments.h"

WRAPS(syscall);

/* Calls the function of the C library, or of a library that is preloaded after this one, once the constructor has found
 * that function. */
static long pass(long number, const long a[6])
{
	if (atomic_load_explicit(&real_syscall.address, memory_order_relaxed) == 0)
		return raw_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static const char *path_of(long argument)
{
	return (const char *)argument;
}

static long opens(long number, const long a[6], int dirfd, const char *path, int flags)
{
	struct stamp old = open_before(dirfd, path, flags);
	long fd = pass(number, a);
	open_after((int)fd, dirfd, path, flags, &old);
	return fd;
}

static long examines(long number, const long a[6], int kind, int dirfd, const char *path)
{
	long result = pass(number, a);
	stat_after(result == 0, kind, dirfd, path);
	return result;
}

static long asks_access(long number, const long a[6], int kind, int dirfd, const char *path, int mode)
{
	long result = pass(number, a);
	access_after(result == 0, kind, dirfd, path, mode);
	return result;
}

static long reads_link(long number, const long a[6], int dirfd, const char *path)
{
	struct stamp old = stamp_before(LOOKUP_LINK, dirfd, path);
	long length = pass(number, a);
	readlink_after(length, dirfd, path, &old);
	return length;
}

/* A system call filter may end the program at a call that the program does not expect, such as the recorder's own calls.
 * A program passes NULL as the filter to learn if the kernel has filters: that installs none. */
static void before_filter(bool is_strict, bool is_filter, const void *filter)
{
	if (is_strict || (is_filter && filter))
		record_stop();
}

/* The first step is a switch on the number: programs call syscall for futexes, too, so that must be fast. */
EXPORT long syscall(long number, ...)
{
	SIX_ARGUMENTS(a, number);
	switch (number) {
	case SYS_openat:
		return opens(number, a, (int)a[0], path_of(a[1]), (int)a[2]);
	case SYS_statx:
		return examines(number, a, KIND_AT(a[2]), (int)a[0], path_of(a[1]));
	case SYS_newfstatat:
		return examines(number, a, KIND_AT(a[3]), (int)a[0], path_of(a[1]));
#ifdef SYS_faccessat2
	case SYS_faccessat2:
		return asks_access(number, a, KIND_AT(a[3]), (int)a[0], path_of(a[1]), (int)a[2]);
#endif
	case SYS_faccessat:
		return asks_access(number, a, LOOKUP_FILE, (int)a[0], path_of(a[1]), (int)a[2]);
	case SYS_readlinkat:
		return reads_link(number, a, (int)a[0], path_of(a[1]));
#ifdef SYS_open
	case SYS_open:
		return opens(number, a, AT_FDCWD, path_of(a[0]), (int)a[1]);
	case SYS_stat:
		return examines(number, a, LOOKUP_FILE, AT_FDCWD, path_of(a[0]));
	case SYS_access:
		return asks_access(number, a, LOOKUP_FILE, AT_FDCWD, path_of(a[0]), (int)a[1]);
	case SYS_lstat:
		return examines(number, a, LOOKUP_LINK, AT_FDCWD, path_of(a[0]));
	case SYS_readlink:
		return reads_link(number, a, AT_FDCWD, path_of(a[0]));

	case SYS_creat:
	case SYS_mkdir:
	case SYS_mknod:
	case SYS_symlink:
	case SYS_link:
	case SYS_rename:
	case SYS_unlink:
	case SYS_rmdir:
	case SYS_chmod:
	case SYS_chown:
	case SYS_lchown:
	case SYS_utime:
	case SYS_utimes:
	case SYS_futimesat:
	case SYS_uselib:
#endif
#ifdef SYS_renameat
	case SYS_renameat:
#endif
#ifdef SYS_openat2
	case SYS_openat2:
#endif
#ifdef SYS_fchmodat2
	case SYS_fchmodat2:
#endif
#ifdef SYS_mount_setattr
	case SYS_mount_setattr:
#endif
#ifdef SYS_move_mount
	case SYS_move_mount:
	case SYS_open_tree:
	case SYS_fspick:
#endif
#ifdef SYS_io_uring_enter
	/* The kernel may open files for the program. */
	case SYS_io_uring_enter:
#endif
	case SYS_execve:
	case SYS_execveat:
	case SYS_mkdirat:
	case SYS_mknodat:
	case SYS_symlinkat:
	case SYS_linkat:
	case SYS_renameat2:
	case SYS_unlinkat:
	case SYS_truncate:
	case SYS_fchmodat:
	case SYS_fchownat:
	case SYS_utimensat:
	case SYS_getxattr:
	case SYS_lgetxattr:
	case SYS_listxattr:
	case SYS_llistxattr:
	case SYS_setxattr:
	case SYS_lsetxattr:
	case SYS_removexattr:
	case SYS_lremovexattr:
	case SYS_statfs:
	case SYS_chdir:
	case SYS_chroot:
	case SYS_pivot_root:
	case SYS_mount:
	case SYS_umount2:
	case SYS_setns:
	case SYS_unshare:
	case SYS_inotify_add_watch:
	case SYS_fanotify_mark:
	case SYS_name_to_handle_at:
	case SYS_open_by_handle_at:
	case SYS_swapon:
	case SYS_swapoff:
	case SYS_acct:
		record_undescribed();
		return pass(number, a);

	case SYS_prctl:
		before_filter(a[0] == PR_SET_SECCOMP && a[1] == SECCOMP_MODE_STRICT, a[0] == PR_SET_SECCOMP, path_of(a[2]));
		return pass(number, a);
	case SYS_seccomp:
		before_filter(a[0] == SECCOMP_SET_MODE_STRICT, a[0] == SECCOMP_SET_MODE_FILTER, path_of(a[2]));
		return pass(number, a);
	default:
		return pass(number, a);
	}
}

WRAPS(prctl);
EXPORT int prctl(int option, ...)
{
	SIX_ARGUMENTS(a, option);
	before_filter(option == PR_SET_SECCOMP && a[0] == SECCOMP_MODE_STRICT, option == PR_SET_SECCOMP, path_of(a[1]));
	return REAL(prctl)(option, a[0], a[1], a[2], a[3]);
}
