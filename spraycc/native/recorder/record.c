/* The map of the record file: the library maps the file and writes records into it. */
#include "recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NS_PER_S INT64_C(1000000000)
/* The smallest page of all hosts. */
#define PAGE_BYTES UINT64_C(4096)

/* The map; or 0 before the first use, or NOTHING if nothing is to be recorded. */
static _Atomic uintptr_t the_map;
#define NOTHING ((uintptr_t)1)

/* Direct system calls: open and close of the C library are cancellation points, and open is wrapped. */
static uintptr_t map_file(void)
{
	const char *path = environment_record();
	struct stat status;
	void *place = MAP_FAILED;
	if (!path || path[0] != '/')
		return NOTHING;
	long fd = raw_syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0);
	if (fd < 0)
		return NOTHING;
	/* A file of another size is not a record file, and a shorter file would end the program by SIGBUS. */
	if (raw_syscall(SYS_fstat, fd, &status) == 0 && S_ISREG(status.st_mode) &&
	    (uint64_t)status.st_size == sizeof(struct record_file))
		place = mmap(NULL, sizeof(struct record_file), PROT_READ | PROT_WRITE, MAP_SHARED, (int)fd, 0);
	raw_syscall(SYS_close, fd);
	if (place == MAP_FAILED)
		return NOTHING;
	/* Without this advice, each fault reads ahead, and ext4 allocates far more than the written pages: 3 ms a
	 * compile. */
	madvise(place, sizeof(struct record_file), MADV_RANDOM);
	if (((struct record_file *)place)->header.magic != RECORD_MAGIC) {
		munmap(place, sizeof(struct record_file));
		return NOTHING;
	}
	return (uintptr_t)place;
}

static __attribute__((noinline)) uintptr_t find_map(void)
{
	int error = errno;
	uintptr_t found = map_file();
	uintptr_t expected = 0;
	if (!atomic_compare_exchange_strong(&the_map, &expected, found)) {
		/* Another thread was faster. */
		if (found != NOTHING)
			munmap((void *)found, sizeof(struct record_file));
		found = expected;
	}
	errno = error;
	return found;
}

struct record_file *record_map(void)
{
	uintptr_t map = atomic_load_explicit(&the_map, memory_order_acquire);
	if (map == 0)
		map = find_map();
	return map == NOTHING ? NULL : (struct record_file *)map;
}

void record_stop(void)
{
	record_undescribed();
	/* Other threads may still use the map, so it stays mapped. */
	atomic_store_explicit(&the_map, NOTHING, memory_order_release);
}

static void set_flag(struct record_file *map, uint64_t flag)
{
	atomic_fetch_or_explicit(&map->header.flags, flag, memory_order_relaxed);
}

void record_undescribed(void)
{
	struct record_file *map = record_map();
	if (map)
		set_flag(map, RECORD_UNDESCRIBED);
}

void record_pending(int change)
{
	struct record_file *map = record_map();
	if (map)
		atomic_fetch_add_explicit(&map->header.pending, change, memory_order_relaxed);
}

enum place {
	ORDINARY,
	KERNELS_OWN, /* in /dev, /proc or /sys: two hosts can't compare such files */
	LEADS_OUT,   /* through these directories to another file: /proc/self/cwd/x.h differs for each process */
};

static bool leads_out(const char *path)
{
	const char *descriptor = strstr(path, "fd/");
	return strstr(path, "..") || strstr(path, "cwd") || strstr(path, "root") ||
	       (descriptor && strchr(descriptor + 3, '/'));
}

/* True for /dev, /proc and /sys, by the first components of a path. Users put files in /dev/shm, so that is
 * ordinary. */
static bool is_kernels_own(const char *const top[2], size_t depth)
{
	if (depth == 0)
		return false;
	if (begins_with(top[0], "dev"))
		return depth == 1 || !begins_with(top[1], "shm");
	return begins_with(top[0], "proc") || begins_with(top[0], "sys");
}

/* The place of a path by its text: directory is absolute, rest is relative to it. */
static enum place place_of(const char *directory, const char *rest)
{
	const char *const parts[] = {directory, rest};
	const char *top[2];
	size_t depth = 0;
	for (size_t i = 0; i < 2; i++)
		for (const char *at = parts[i] + strspn(parts[i], "/"); *at != '\0'; at += strspn(at, "/")) {
			if (begins_with(at, "..")) {
				if (is_kernels_own(top, depth))
					return LEADS_OUT;
				depth -= depth != 0;
			} else if (!begins_with(at, ".")) {
				if (depth < 2)
					top[depth] = at;
				depth++;
			}
			at += strcspn(at, "/");
		}
	if (!is_kernels_own(top, depth))
		return ORDINARY;
	return leads_out(directory) || leads_out(rest) ? LEADS_OUT : KERNELS_OWN;
}

/* True if the disk has room for the area up to this end. On a full disk, a write by this process would end the process
 * by SIGBUS, but a write by the kernel fails with EFAULT. So the kernel adds 0 (FUTEX_WAKE_OP) to a number in each new
 * page. */
static bool has_room(_Atomic uint64_t *ready, const void *area, uint64_t end)
{
	size_t before = (uintptr_t)area % PAGE_BYTES;
	const char *pages = (const char *)area - before;
	uint64_t at = atomic_load_explicit(ready, memory_order_relaxed);
	end += before;
	if (end <= at)
		return true;
	for (; at < end; at += PAGE_BYTES)
		if (raw_syscall(SYS_futex, pages + at, FUTEX_WAKE_OP_PRIVATE, 0, 0, pages + at,
		                FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, 0)) < 0)
			return false;
	/* Another thread may have stored a higher number. Then some pages are tried twice. */
	atomic_store_explicit(ready, at, memory_order_relaxed);
	return true;
}

/* Writes a record. Its lookup is the kind, the prefix, a slash if the path needs one, and the path. Returns the number
 * of the record, from 1, or 0 if there is none. */
static uint64_t put(struct record_file *map, int kind, const char *prefix, size_t prefix_length, const char *path,
                    const struct stamp *stamp, uint64_t mark)
{
	size_t path_length = strlen(path);
	bool slash = prefix_length > 1; /* the root directory's path ends with a slash */
	size_t length = prefix_length + slash + path_length;
	struct record *record;
	if (length >= PATH_MAX) {
		set_flag(map, RECORD_UNDESCRIBED);
		return 0;
	}
	/* The check keeps the low half of the position from running over into the high half. */
	if (atomic_load_explicit(&map->header.flags, memory_order_relaxed) & RECORD_OVERFLOW)
		return 0;
	length += 2;
	uint64_t before =
		atomic_fetch_add_explicit(&map->header.position, (UINT64_C(1) << 32) | length, memory_order_relaxed);
	uint64_t index = before >> 32;
	uint64_t offset = (uint32_t)before;
	if (index >= RECORD_COUNT || offset + length > TEXT_BYTES ||
	    !has_room(&map->header.ready_records, map->records, (index + 1) * sizeof(struct record)) ||
	    !has_room(&map->header.ready_texts, map->texts, offset + length)) {
		set_flag(map, RECORD_OVERFLOW);
		return 0;
	}
	char *text = map->texts + offset;
	*text++ = (char)kind;
	memcpy(text, prefix, prefix_length);
	text += prefix_length;
	if (slash)
		*text++ = '/';
	memcpy(text, path, path_length);
	text[path_length] = '\0';
	record = &map->records[index];
	record->stamp = *stamp;
	atomic_store_explicit(&record->mark, mark, memory_order_release);
	return index + 1;
}

bool is_deleted(const char *path, size_t length)
{
	static const char deleted[] = " (deleted)";
	size_t size = sizeof deleted - 1;
	return length >= size && memcmp(path + length - size, deleted, size) == 0;
}

/* Writes the directory's absolute path. Returns its length, or 0 if there is no path. */
static size_t directory_path(int dirfd, char *buffer, size_t size)
{
	char link[DESCRIPTOR_PATH_BYTES];
	long length;
	if (dirfd == AT_FDCWD) {
		/* The kernel counts the NUL. */
		length = raw_syscall(SYS_getcwd, buffer, size) - 1;
	} else {
		if (dirfd < 0)
			return 0;
		length = raw_syscall(SYS_readlinkat, AT_FDCWD, descriptor_path(link, dirfd), buffer, size);
		if (length > 0 && is_deleted(buffer, (size_t)length))
			return 0;
	}
	/* A working directory outside of the root is "(unreachable)/...". */
	if (length <= 0 || (size_t)length >= size || buffer[0] != '/')
		return 0;
	return (size_t)length;
}

static uint64_t put_placed(struct record_file *map, int kind, const char *prefix, size_t prefix_length,
                           const char *path, const struct stamp *stamp, uint64_t mark)
{
	switch (prefix_length != 0 ? place_of(prefix, path) : place_of(path, "")) {
	case ORDINARY:
		return put(map, kind, prefix, prefix_length, path, stamp, mark);
	case KERNELS_OWN:
		break;
	case LEADS_OUT:
		set_flag(map, RECORD_UNDESCRIBED);
		break;
	}
	return 0;
}

/* Separate functions, so that only a relative path takes this much of the stack, and only a long directory's path takes
 * a page: a signal handler's stack may have two pages. */
#define PUT_RELATIVE(function, bytes, otherwise) \
	static __attribute__((noinline)) uint64_t function(struct record_file *map, int kind, int dirfd, const char *path, \
	                                                   const struct stamp *stamp, uint64_t mark) \
	{ \
		char prefix[bytes]; \
		size_t length = directory_path(dirfd, prefix, sizeof prefix - 1); \
		prefix[length] = '\0'; \
		return length == 0 ? otherwise : put_placed(map, kind, prefix, length, path, stamp, mark); \
	}

static uint64_t put_nothing(struct record_file *map)
{
	set_flag(map, RECORD_UNDESCRIBED);
	return 0;
}

PUT_RELATIVE(put_below_long, PATH_MAX, put_nothing(map))
PUT_RELATIVE(put_relative, 512, put_below_long(map, kind, dirfd, path, stamp, mark))

static uint64_t put_path(struct record_file *map, int kind, int dirfd, const char *path, const struct stamp *stamp,
                         uint64_t mark)
{
	/* An empty path names nothing, or the descriptor itself, which was recorded when it was opened. */
	if (!path || path[0] == '\0')
		return 0;
	if (path[0] != '/')
		return put_relative(map, kind, dirfd, path, stamp, mark);
	return put_placed(map, kind, "", 0, path, stamp, mark);
}

static struct stamp stamp_of_error(int error)
{
	struct stamp stamp = {STAMP_MISSING, 0, 0, 0, 0};
	if (error != ENOENT && error != ENOTDIR) {
		stamp.kind = STAMP_ERROR;
		stamp.inode = (uint64_t)error;
	}
	return stamp;
}

static struct stamp make_stamp(mode_t mode, uint64_t inode, uint64_t size, int64_t mtime_ns, int64_t ctime_ns,
                               bool names)
{
	struct stamp stamp = {STAMP_OTHER, 0, 0, 0, 0};
	if (S_ISREG(mode) || S_ISLNK(mode))
		stamp = (struct stamp){S_ISREG(mode) ? STAMP_REGULAR : STAMP_LINK, inode, size, mtime_ns, ctime_ns};
	else if (S_ISDIR(mode) && names)
		stamp = (struct stamp){STAMP_NAMES, inode, 0, mtime_ns, ctime_ns};
	else if (S_ISDIR(mode))
		stamp.kind = STAMP_DIRECTORY;
	return stamp;
}

struct stamp stamp_of_stat(const struct stat *status)
{
	return make_stamp(status->st_mode, status->st_ino, (uint64_t)status->st_size,
	                  status->st_mtim.tv_sec * NS_PER_S + status->st_mtim.tv_nsec,
	                  status->st_ctim.tv_sec * NS_PER_S + status->st_ctim.tv_nsec, false);
}

static int64_t nanoseconds(const struct statx_timestamp *time)
{
	return time->tv_sec * NS_PER_S + time->tv_nsec;
}

static struct stamp stamp_of_statx(const struct statx *status, bool names)
{
	return make_stamp(status->stx_mode, status->stx_ino, status->stx_size, nanoseconds(&status->stx_mtime),
	                  nanoseconds(&status->stx_ctime), names);
}

/* 0 or an errno. AT_STATX_DONT_SYNC: the attributes in this host's cache, which the command has seen. */
static int cached_statx(int dirfd, const char *path, int flags, struct statx *status)
{
	flags |= AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT;
	if (raw_syscall(SYS_statx, dirfd, path, flags, STATX_BASIC_STATS, status) == 0)
		return 0;
	/* Linux before 4.11, or a system call filter without statx: no stamp is possible. */
	if (errno == ENOSYS || errno == EPERM)
		record_undescribed();
	return errno;
}

struct stamp stamp_now(int kind, int dirfd, const char *path)
{
	int saved = errno;
	struct statx status;
	int error = cached_statx(dirfd, path, kind == LOOKUP_LINK ? AT_SYMLINK_NOFOLLOW : 0, &status);
	struct stamp stamp = error != 0 ? stamp_of_error(error) : stamp_of_statx(&status, kind == LOOKUP_NAMES);
	errno = saved;
	return stamp;
}

struct stamp stamp_before(int kind, int dirfd, const char *path)
{
	static const struct stamp none;
	return record_map() ? stamp_now(kind, dirfd, path) : none;
}

bool record_same_file(const char *path, const char *other)
{
	struct statx one;
	struct statx two;
	return cached_statx(AT_FDCWD, path, 0, &one) == 0 && cached_statx(AT_FDCWD, other, 0, &two) == 0 &&
	       one.stx_ino == two.stx_ino && one.stx_dev_major == two.stx_dev_major &&
	       one.stx_dev_minor == two.stx_dev_minor;
}

static void put_read(int kind, int dirfd, const char *path, const struct stamp *stamp, uint64_t mark)
{
	struct record_file *map = record_map();
	int saved = errno;
	if (map)
		put_path(map, kind, dirfd, path, stamp, mark);
	errno = saved;
}

void record_read(int kind, int dirfd, const char *path, const struct stamp *stamp)
{
	put_read(kind, dirfd, path, stamp, MARK_DONE);
}

/* The path's memory is unreadable. The call itself refuses such a path, or has failed for another reason. */
static bool unreadable(const struct stamp *stamp)
{
	return stamp->kind == STAMP_ERROR && stamp->inode == EFAULT;
}

static void put_now(int kind, int dirfd, const char *path, uint64_t mark)
{
	if (!record_map())
		return;
	struct stamp stamp = stamp_now(kind, dirfd, path);
	if (!unreadable(&stamp))
		put_read(kind, dirfd, path, &stamp, mark);
}

void record_lookup(int kind, int dirfd, const char *path)
{
	put_now(kind, dirfd, path, MARK_DONE);
}

void record_loaded(int kind, int dirfd, const char *path)
{
	put_now(kind, dirfd, path, MARK_DONE | MARK_OPENED);
}

void record_opened(int kind, int dirfd, const char *path, int fd, bool only_a_place)
{
	struct record_file *map = record_map();
	int saved = errno;
	struct statx status;
	if (!map)
		return;
	int error = cached_statx(fd, "", AT_EMPTY_PATH, &status);
	if (error == 0 && S_ISDIR(status.stx_mode) && !only_a_place)
		kind = LOOKUP_NAMES;
	struct stamp stamp = error != 0 ? stamp_of_error(error) : stamp_of_statx(&status, kind == LOOKUP_NAMES);
	put_path(map, kind, dirfd, path, &stamp, only_a_place ? MARK_DONE : MARK_DONE | MARK_OPENED);
	errno = saved;
}

static uint64_t put_product(int name_now, int dirfd, const char *path, uint64_t moved_to, uint64_t mark)
{
	struct stamp stamp = {(uint64_t)name_now, moved_to, 0, 0, 0};
	struct record_file *map = record_map();
	int saved = errno;
	uint64_t number = 0;
	if (map)
		number = put_path(map, LOOKUP_FILE, dirfd, path, &stamp, mark);
	errno = saved;
	return number;
}

uint64_t record_named(int name_now, int dirfd, const char *path, uint64_t moved_to)
{
	return put_product(name_now, dirfd, path, moved_to, MARK_DONE | MARK_WRITTEN);
}

void record_written(int dirfd, const char *path, bool keeps)
{
	uint64_t mark = MARK_DONE | MARK_WRITTEN;
	put_product(NAME_AS_BEFORE, dirfd, path, 0, keeps ? mark | MARK_OPENED : mark);
}

void record_made(int name_now, int dirfd, const char *path)
{
	static const struct stamp missing = {STAMP_MISSING, 0, 0, 0, 0};
	record_read(LOOKUP_LINK, dirfd, path, &missing);
	record_named(name_now, dirfd, path, 0);
}

void record_failed(int kind, int dirfd, const char *path, int error)
{
	struct record_file *map = record_map();
	int saved = errno;
	struct stamp stamp;
	if (!map)
		return;
	switch (error) {
	case EFAULT:
	case EBADF:
		/* The program's own mistake. The path's memory may be unreadable. */
		return;
	case EACCES:
	case EPERM:
	case EROFS:
	case EEXIST:
	case EISDIR:
	case ENOTDIR:
	case EINVAL:
	case ELOOP:
	case ENODATA:
	case ENOTSUP:
	case ENXIO:
	case EOVERFLOW:
	case ERANGE:
	case ETXTBSY:
	case EXDEV:
		/* The file may exist. The server compares the state of the file, not the call's errno. So record the state,
		 * whose change time tells of changed permissions. */
		stamp = stamp_now(kind, dirfd, path);
		if (unreadable(&stamp))
			return;
		break;
	case ENOTEMPTY:
		kind = LOOKUP_NAMES;
		stamp = stamp_now(kind, dirfd, path);
		break;
	default:
		stamp = stamp_of_error(error);
	}
	put_path(map, kind, dirfd, path, &stamp, MARK_DONE);
	errno = saved;
}

void record_denied(int kind, int dirfd, const char *path, int error)
{
	/* Not EROFS: the box itself makes directories read-only. */
	if (error != EACCES && error != EPERM)
		return;
	struct stamp stamp = stamp_of_error(EACCES);
	record_read(kind, dirfd, path, &stamp);
}
