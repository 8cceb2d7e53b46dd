/* Hides the recorder's variables from the command, and passes them to the programs that the command executes.
 *
 * The constructor removes the library from LD_PRELOAD, and SPRAYCC_RECORD from the environment. A program gets both
 * back: SPRAYCC_RECORD before all other variables, the library before all others in LD_PRELOAD. The constructor of that
 * program removes exactly these again. So a variable of these names that the command sets itself stays as it is.
 */
#include "recorder.h"

#include <limits.h>
#include <link.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RECORD "SPRAYCC_RECORD="

enum {
	PRELOAD_LENGTH = sizeof PRELOAD - 1,
	RECORD_LENGTH = sizeof RECORD - 1,
	/* Threads have small stacks. A program with a larger environment runs without the recorder. */
	MOST_BYTES = 65536,
	MOST_TRIES = 1000,
};

/* Copies, because programs write their titles over the environment. Empty until the constructor has run. */
static char our_preload[PRELOAD_LENGTH + PATH_MAX];
static char our_record[RECORD_LENGTH + PATH_MAX];
static size_t our_preload_length;

/* The environment that system and popen lend. */
static struct {
	_Atomic int lock;
	unsigned users;
	char **original;
	/* Never unmapped: another thread may read the environment. */
	char **array;
	size_t size;
} lent;

static bool is_ours(const char *entry)
{
	return strncmp(entry, our_preload, our_preload_length) == 0 &&
	       (entry[our_preload_length] == '\0' || entry[our_preload_length] == ':');
}

static void remove_ours(char **env)
{
	char **to = env;
	bool found = false;
	for (char **from = env; *from; from++) {
		char *entry = *from;
		if (!found && strcmp(entry, our_record) == 0) {
			found = true;
			continue;
		}
		if (is_ours(entry)) {
			if (entry[our_preload_length] == '\0')
				continue;
			/* The rest of the text is the user's own value. */
			entry += our_preload_length + 1 - PRELOAD_LENGTH;
			memcpy(entry, PRELOAD, PRELOAD_LENGTH);
		}
		*to++ = entry;
	}
	/* Some programs search for the auxiliary vector behind the end, so clear all entries up to it. */
	while (*to)
		*to++ = NULL;
}

static int find_own_name(struct dl_phdr_info *info, size_t size, void *name)
{
	uintptr_t here = (uintptr_t)our_record;
	(void)size;
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		if (header->p_type == PT_LOAD && here - (info->dlpi_addr + header->p_vaddr) < header->p_memsz) {
			*(const char **)name = info->dlpi_name;
			return 1;
		}
	}
	return 0;
}

bool environment_begin(char **env)
{
	const char *record = find_entry(env, RECORD, RECORD_LENGTH);
	const char *preload = find_entry(env, PRELOAD, PRELOAD_LENGTH);
	const char *library = NULL;
	dl_iterate_phdr(find_own_name, &library);
	if (!record || !preload || !library || getauxval(AT_SECURE) != 0)
		return false;
	if (strlen(record) >= sizeof our_record || strlen(library) >= PATH_MAX)
		return false;
	memcpy(our_preload, PRELOAD, PRELOAD_LENGTH);
	memcpy(our_preload + PRELOAD_LENGTH, library, strlen(library) + 1);
	our_preload_length = strlen(our_preload);
	/* The record belongs to the library that comes first in LD_PRELOAD. */
	if (!is_ours(preload))
		return false;
	memcpy(our_record, record, strlen(record) + 1);
	return true;
}

const char *environment_record(void)
{
	return our_record[0] != '\0' ? our_record + RECORD_LENGTH : secure_getenv("SPRAYCC_RECORD");
}

void environment_hide(char **env)
{
	remove_ours(env);
	/* Another constructor that ran before this may have made a copy. */
	if (environ && environ != env)
		remove_ours(environ);
}

/* The environment that the program means, even while another thread has the longer one lent. */
static char *const *as_given(char *const env[])
{
	static char *const none[] = {NULL};
	if (!env)
		return none;
	return lent.array && env == lent.array ? lent.original : env;
}

size_t environment_size(char *const env[])
{
	size_t size = 3 * sizeof(char *);
	/* The constructor has not run yet, so both variables are in the environment. */
	if (our_record[0] == '\0' || !record_map())
		return 0;
	for (env = as_given(env); *env && size <= MOST_BYTES; env++) {
		size += sizeof(char *);
		if (strncmp(*env, PRELOAD, PRELOAD_LENGTH) != 0)
			continue;
		if (program_wants_first(*env))
			return 0;
		size += our_preload_length + 1 + strlen(*env + PRELOAD_LENGTH) + 1;
	}
	return size <= MOST_BYTES ? size : 0;
}

/* The pointers are at the start of the room, and the texts fill it from its end. */
char **environment_fill(char *const env[], void *room, size_t size)
{
	char **first = room;
	char **to = first;
	char *texts = (char *)room + size;
	*to++ = our_record;
	if (!find_entry(as_given(env), PRELOAD, PRELOAD_LENGTH))
		*to++ = our_preload;
	for (char *const *from = as_given(env); *from; from++) {
		char *entry = *from;
		if (strncmp(entry, PRELOAD, PRELOAD_LENGTH) == 0) {
			size_t length = strlen(entry + PRELOAD_LENGTH) + 1;
			/* Another thread has changed the environment since its size was taken. */
			if ((size_t)(texts - (char *)to) < our_preload_length + 1 + length + 2 * sizeof(char *))
				return (char **)(uintptr_t)env;
			texts -= our_preload_length + 1 + length;
			memcpy(texts, our_preload, our_preload_length);
			texts[our_preload_length] = ':';
			memcpy(texts + our_preload_length + 1, entry + PRELOAD_LENGTH, length);
			entry = texts;
		}
		if ((size_t)(texts - (char *)to) < 2 * sizeof(char *))
			return (char **)(uintptr_t)env;
		*to++ = entry;
	}
	*to = NULL;
	return first;
}

/* Does not wait for ever: a child of fork may have inherited the lock from another thread of its parent. */
static bool take_lock(void)
{
	for (int tries = 0; tries < MOST_TRIES; tries++) {
		int expected = 0;
		if (atomic_compare_exchange_strong(&lent.lock, &expected, 1))
			return true;
		sched_yield();
	}
	return false;
}

static bool lend(void)
{
	size_t size = environment_size(environ);
	if (size == 0)
		return false;
	if (lent.size < size) {
		size_t room = (size + MOST_BYTES - 1) / MOST_BYTES * MOST_BYTES;
		long place = raw_syscall(SYS_mmap, NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);
		if (place == -1)
			return false;
		lent.array = (char **)place;
		lent.size = room;
	}
	if (environ != lent.array)
		lent.original = environ;
	if (environment_fill(environ, lent.array, lent.size) != lent.array)
		return false;
	environ = lent.array;
	return true;
}

bool environment_lend(void)
{
	if (!take_lock())
		return false;
	bool done = lent.users != 0 || lend();
	lent.users += done;
	atomic_store(&lent.lock, 0);
	return done;
}

void environment_return(void)
{
	/* Without the lock the longer environment stays. */
	if (!take_lock())
		return;
	if (--lent.users == 0) {
		if (environ == lent.array)
			environ = lent.original;
		else if (environ)
			remove_ours(environ); /* setenv has made a copy */
	}
	atomic_store(&lent.lock, 0);
}
