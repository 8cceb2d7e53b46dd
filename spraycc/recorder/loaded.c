/* The objects that the loader maps: the program, its libraries, and what dlopen adds. The loader opens them itself, so no
 * wrapper sees it.
 *
 * The loader counts what it adds and what it takes away. If only one of the two has changed since the last look, then each
 * object that is gone was seen. If both have changed, an object may have come and gone unseen.
 *
 * dlopen has no wrapper: the C library takes the caller's address for the meaning of RUNPATH and $ORIGIN. dlclose has one.
 */
#include "record.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What the last look has seen: objects added in the high half, objects taken away in the low half. */
static _Atomic uint64_t known;
/* The process that the constructor ran in. A child of fork may have inherited the loader's lock from another thread of
 * its parent, and would wait for ever. A child of vfork shares the parent's memory. Neither looks. */
static _Atomic long owner;

struct look {
	uint64_t before;
	uint64_t now;
	uint32_t count;
	bool changed;
};

static uint32_t added(uint64_t counts)
{
	return (uint32_t)(counts >> 32);
}

static uint32_t gone(uint64_t counts)
{
	return (uint32_t)counts;
}

static int visit(struct dl_phdr_info *info, size_t size, void *data)
{
	struct look *look = data;

	(void)size;
	if (look->count == 0) {
		look->now = (uint64_t)info->dlpi_adds << 32 | (uint32_t)info->dlpi_subs;
		look->changed = added(look->now) != added(look->before);
		if (!look->changed)
			return 1;
	}
	look->count++;
	/* New objects are at the end of the list. */
	if (gone(look->now) == gone(look->before) && look->count <= added(look->before) - gone(look->before))
		return 0;
	/* The program itself has an empty name. The kernel's own object has one without a slash. */
	if (strchr(info->dlpi_name, '/') != NULL)
		record_look(LOOKUP_FILE, AT_FDCWD, info->dlpi_name);
	return 0;
}

static void look_at_objects(void)
{
	struct look look = {.before = atomic_load_explicit(&known, memory_order_acquire)};

	dl_iterate_phdr(visit, &look);
	if (look.changed) {
		if (look.before != 0 && gone(look.now) != gone(look.before))
			record_undescribed();
		/* The others are in another namespace (dlmopen). */
		if (look.count != added(look.now) - gone(look.now))
			record_undescribed();
	}
	atomic_store_explicit(&known, look.now, memory_order_release);
}

/* By the kernel's word: the interpreter of a script, and a program that the executor has started, too. */
static void look_at_program(void)
{
	static const char deleted[] = " (deleted)";
	char path[PATH_MAX];
	long length = raw_syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", path, sizeof(path) - 1);

	if (length <= 0 || path[0] != '/') {
		record_undescribed();
		return;
	}
	path[length] = '\0';
	if ((size_t)length >= sizeof(deleted) && strcmp(path + length - (sizeof(deleted) - 1), deleted) == 0)
		record_undescribed();
	else
		record_look(LOOKUP_FILE, AT_FDCWD, path);
}

void loaded_begin(void)
{
	int error = errno;

	atomic_store_explicit(&owner, raw_syscall(SYS_getpid), memory_order_relaxed);
	look_at_program();
	look_at_objects();
	errno = error;
}

void loaded_look(void)
{
	int error = errno;

	if (record_map() != NULL && raw_syscall(SYS_getpid) == atomic_load_explicit(&owner, memory_order_relaxed))
		look_at_objects();
	errno = error;
}

WRAPS(dlclose);
EXPORT int dlclose(void *handle)
{
	int result;

	loaded_look();
	result = REAL(dlclose)(handle);
	loaded_look();
	return result;
}

/* The loader keeps the relative names that dlopen was called with. */
WRAPS(fchdir);
EXPORT int fchdir(int fd)
{
	loaded_look();
	return REAL(fchdir)(fd);
}

__attribute__((destructor)) static void end(void)
{
	loaded_look();
}

/* These run no destructors. */
#define ENDS(function) \
	WRAPS(function); \
	EXPORT _Noreturn void function(int status) \
	{ \
		loaded_look(); \
		REAL(function)(status); \
		__builtin_unreachable(); \
	}

ENDS(_exit)
ENDS(_Exit)
ENDS(quick_exit)
