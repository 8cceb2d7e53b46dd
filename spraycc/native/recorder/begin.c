/* The constructor of the library. */
#include "recorder.h"

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
	real_look_up_all();
	if (!record_map())
		return;
	record_pending(-1);
	if (named)
		environment_hide(env);
	loaded_begin();
}
