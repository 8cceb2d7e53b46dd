/* Records the objects that the loader maps: the program, its libraries, and libraries of dlopen. The loader opens these
 * files itself, where no wrapper sees it.
 *
 * The loader counts the objects that it adds and removes. If only one count has changed since the last update, the
 * library has seen each removed object. If both have changed, an object may have come and gone unseen.
 *
 * dlopen has no wrapper: the C library uses the caller's address for RUNPATH and $ORIGIN. dlclose has a wrapper.
 */
#include "recorder.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The loader's counts at the last update: added objects in the high half, removed objects in the low half. */
static _Atomic uint64_t known;
/* The process in which the constructor ran. Only this process updates: a child of fork may have inherited the loader's
 * lock from another thread, and would wait for ever. A child of vfork shares the parent's memory. */
static _Atomic long owner;

struct objects {
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
	struct objects *look = data;
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
	/* The program itself has an empty name. The kernel's own object has a name without a slash. */
	if (!strchr(info->dlpi_name, '/'))
		return 0;
	/* The objects of the program's start are a part of the program. A later object may be a plugin. */
	if (look->before == 0)
		record_lookup(LOOKUP_FILE, AT_FDCWD, info->dlpi_name);
	else
		record_loaded(LOOKUP_FILE, AT_FDCWD, info->dlpi_name);
	return 0;
}

static void update_objects(void)
{
	struct objects look = {.before = atomic_load_explicit(&known, memory_order_acquire)};
	dl_iterate_phdr(visit, &look);
	if (look.changed) {
		if (look.before != 0 && gone(look.now) != gone(look.before))
			record_undescribed();
		/* The other objects are in another namespace (dlmopen). */
		if (look.count != added(look.now) - gone(look.now))
			record_undescribed();
	}
	atomic_store_explicit(&known, look.now, memory_order_release);
}

/* Records the program by the kernel's link. So an interpreter of a script, and a program that the executor started, are
 * included. */
static void record_program(void)
{
	char path[PATH_MAX];
	long length = raw_syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", path, sizeof path - 1);
	if (length <= 0 || path[0] != '/') {
		record_undescribed();
		return;
	}
	path[length] = '\0';
	if (is_deleted(path, (size_t)length))
		record_undescribed();
	else
		record_lookup(LOOKUP_FILE, AT_FDCWD, path);
}

void loaded_begin(void)
{
	int error = errno;
	atomic_store_explicit(&owner, raw_syscall(SYS_getpid), memory_order_relaxed);
	record_program();
	update_objects();
	errno = error;
}

void loaded_update(void)
{
	int error = errno;
	if (record_map() && raw_syscall(SYS_getpid) == atomic_load_explicit(&owner, memory_order_relaxed))
		update_objects();
	errno = error;
}

WRAPS(dlclose);
EXPORT int dlclose(void *handle)
{
	loaded_update();
	int result = REAL(dlclose)(handle);
	loaded_update();
	return result;
}

/* The loader keeps the relative names that dlopen was called with. */
WRAPS(fchdir);
EXPORT int fchdir(int fd)
{
	loaded_update();
	return REAL(fchdir)(fd);
}

__attribute__((destructor)) static void end(void)
{
	loaded_update();
}

/* Functions that run no destructors. */
#define ENDS(function) \
	WRAPS(function); \
	EXPORT _Noreturn void function(int status) \
	{ \
		loaded_update(); \
		REAL(function)(status); \
		__builtin_unreachable(); \
	}

ENDS(_exit)
ENDS(_Exit)
ENDS(quick_exit)
