/* The value of LD_PRELOAD: libraries, separated by colons or blanks (ld.so(8)). Nothing here allocates or makes a system
 * call. */
#ifndef SPRAYCC_COMMON_PRELOAD_LIST_H
#define SPRAYCC_COMMON_PRELOAD_LIST_H

#include <stdbool.h>
#include <stddef.h>

/* The library that intercepts the execution of programs. Its directory depends on the installation. */
#define EXEC_LIBRARY "libspraycc-exec.so"

/* True if a library of the list is EXEC_LIBRARY, in any directory. */
bool preload_has_ours(const char *list);

/* Copies the list without EXEC_LIBRARY. The copy may take the place of the list. Returns its length; 0 means that no
 * library is left. */
size_t preload_without_ours(char *to, const char *list);

#endif
