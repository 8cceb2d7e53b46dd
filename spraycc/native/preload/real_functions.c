/* Finds the real functions behind the wrappers, in the C library or in a library that is preloaded after this one. */
#include "preload.h"

#include <dlfcn.h>
#include <errno.h>

/* The oldest version of dlsym, so that a host with an older C library than the compiling host's can load this
 * library. Up to glibc 2.33, dlsym is in libdl. A program that does not load libdl has no dlsym, so the reference is weak.
 * A reference to libdl would cost every program 0.05 ms. */
#pragma weak dlsym
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
	uintptr_t address = dlsym ? (uintptr_t)dlsym(RTLD_NEXT, real->name) : find_next_function(real->name);
	if (address == 0)
		address = (uintptr_t)not_there;
	atomic_store_explicit(&real->address, address, memory_order_relaxed);
	errno = error;
	return address;
}

uintptr_t real_address(struct real *real)
{
	uintptr_t address = atomic_load_explicit(&real->address, memory_order_relaxed);
	/* Constructors of other libraries may run before this library's. */
	return address != 0 ? address : look_up(real);
}

void real_look_up_all(void)
{
	for (struct real *real = __start_spraycc_reals; real < __stop_spraycc_reals; real++)
		if (atomic_load_explicit(&real->address, memory_order_relaxed) == 0)
			look_up(real);
}
