/* The parts that all preloaded libraries of SprayCC share: the real functions behind the wrappers, direct system calls,
 * the examination of programs, and the search on PATH.
 *
 * A wrapper returns the result of the C library's function, and leaves errno as that function left it.
 *
 * Rules for this code, because it runs in signal handlers, in threads and in children of vfork:
 *   - no lock, no allocation, no stdio: only atomics and the stack;
 *   - no state that changes after the constructor, as a child of vfork shares its parent's memory. An exception are the
 *     addresses of the real functions. So the working directory is read from the kernel each time.
 */
#ifndef SPRAYCC_PRELOAD_PRELOAD_H
#define SPRAYCC_PRELOAD_PRELOAD_H

/* Fortified headers define some of the wrapped functions themselves, and large-file redirection renames them. */
#undef _FORTIFY_SOURCE
#undef _FILE_OFFSET_BITS

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../common/text.h"

#if !defined(__GLIBC__) || !defined(__LP64__)
#error "the library wraps the functions of glibc on 64-bit hosts, where struct stat and struct stat64 are the same"
#endif

#define EXPORT __attribute__((visibility("default")))

/* real_functions.c: a function of the C library that a wrapper stands for. */
struct real {
	const char *name;
	_Atomic uintptr_t address;
};

/* The address of the function; looks it up if the constructor has not run yet. */
uintptr_t real_address(struct real *real);
/* For the library's constructor: looks up all functions. Later, dlsym could wait for a lock. */
void real_look_up_all(void);

/* find_function.c: the address of the function in the first library after this one that has it, as from
 * dlsym(RTLD_NEXT, name). 0 if there is none. Finds no function that the loader chooses by the CPU. */
uintptr_t find_next_function(const char *name);

/* Before the definition of a wrapper: has the constructor look up the function that it wraps. */
#define WRAPS(function) \
	static struct real real_##function __attribute__((section("spraycc_reals"), used)) = {#function, 0}
#define REAL(function) ((__typeof__(&function))real_address(&real_##function))

/* exec_forms.c exports execve and its kin. Each library defines these two, with which all of them end. */
int own_execve(const char *path, char *const argv[], char *const env[]);
int own_execvpe(const char *file, char *const argv[], char *const env[]);

/* raw_syscall.c: a system call of the library itself. The C library's syscall may be wrapped, and the functions for
 * files are cancellation points. */
long raw_syscall(long number, ...);

/* program.c. Leaves errno as it is. */

#define PRELOAD "LD_PRELOAD="

enum program {
	PROGRAM_MISSING, /* there is no such file, or no descriptor to open it */
	PROGRAM_LOADS, /* the program loads a preloaded library, and behaves as without */
	PROGRAM_REFUSES, /* the program must not get a preloaded library */
	PROGRAM_UNKNOWN, /* the file is no program, or can't be read */
};

/* What the library wants to know while a program is examined. Both may be NULL. */
struct examiner {
	void (*interprets)(const char *path); /* before a script's interpreter is opened */
	bool (*accepts)(int fd); /* the last word about an ELF file that loads a library; fd is open for reading */
};

/* Decides if the program can load this library. Scripts are followed to their interpreter. */
enum program program_examine(int dirfd, const char *path, const struct examiner *examiner);
/* True if a library among these names must be the first in the order of loading. */
bool program_wants_first(const char *names);
/* Opens a file to read it; -1 if that fails. The descriptor never gets in a program's way: no terminal, no waiting. */
int program_open(int dirfd, const char *path);

/* search.c: the search on PATH, as execvp of glibc does it (2.36: with the PATH of the caller's own environment, which
 * execvpe and posix_spawnp use, too). */

/* The size of the room that the search for this name needs. */
size_t search_size(const char *file);
/* Calls `finds` with each candidate, until one returns true. Then that candidate is in the room, and the result is the
 * room; otherwise NULL. A name with a slash has no candidates. */
const char *search_path(const char *file, char *room, size_t size, bool (*finds)(const char *path));
/* True if execve would start this file: a regular file with permission to execute. */
bool search_executable(const char *path);
/* The first entry with this prefix, as getenv finds it. NULL if there is none. */
const char *find_entry(char *const env[], const char *prefix, size_t length);

#endif
