/* Finds the real functions behind the wrappers, in the C library or in a library that is preloaded after this one. Also
 * holds the constructor. */
#include "recorder.h"

#include <dlfcn.h>
#include <errno.h>

/* The oldest version of dlsym, so that a host with an older C library than the compiling host's can load this
 * library. */
#if defined(__x86_64__)
__asm__(".symver dlsym,dlsym@GLIBC_2.2.5");
#elif defined(__aarch64__)
__asm__(".symver dlsym,dlsym@GLIBC_2.17");
#endif

/* The linker's names for the bounds of the section that WRAPS fills. */
extern struct real __start_spraycc_reals[] __attribute__((visibility("hidden")));
extern struct real __stop_spraycc_reals[] __attribute__((visibility("hidden")));

/* Stands in for a function that this C library lacks. A program only calls such a function because this library offers
 * it. */
static long not_there(void)
{
	errno = ENOSYS;
	return -1;
}

static uintptr_t look_up(struct real *real)
{
	int error = errno;
	uintptr_t address = (uintptr_t)dlsym(RTLD_NEXT, real->name);
	if (address == 0)
		address = (uintptr_t)not_there;
	atomic_store_explicit(&real->address, address, memory_order_relaxed);
	errno = error;
	return address;
}

uintptr_t real_address(struct real *real)
{
	uintptr_t address = atomic_load_explicit(&real->address, memory_order_relaxed);
	/* Constructors of other libraries may run before the one below. */
	return address != 0 ? address : look_up(real);
}

/* Looks up all functions before main: dlsym takes a lock, and a signal handler or a child of vfork must not wait for a
 * lock.
 *
 * The constructors of the program run later, and the constructors of its libraries run before. The linker's -z
 * initfirst would change that order, but then ThreadSanitizer's wrappers would run before their library is ready, and
 * crash (clang 14). */
__attribute__((constructor)) static void begin(int argc, char **argv, char **env)
{
	bool named = environment_begin(env);
	(void)argc;
	(void)argv;
	for (struct real *real = __start_spraycc_reals; real < __stop_spraycc_reals; real++)
		if (atomic_load_explicit(&real->address, memory_order_relaxed) == 0)
			look_up(real);
	if (!record_map())
		return;
	record_pending(-1);
	if (named)
		environment_hide(env);
	loaded_begin();
}
