/* Environments for new programs, on the caller's stack: a child of vfork must not allocate.
 *
 * Most programs hand their environment on, with everything in it that a program of the build needs. Then nothing is
 * copied. */
#include "exec.h"

#include <string.h>

#include "../common/preload_list.h"

#define PROGRAM "SPRAYCC_PROGRAM="
#define SLOT "SPRAYCC_SLOT="
#define TRACE "LD_TRACE_LOADED_OBJECTS="

enum {
	PRELOAD_LENGTH = sizeof PRELOAD - 1,
	PROGRAM_LENGTH = sizeof PROGRAM - 1,
	/* Threads have small stacks. With a larger array of entries, a program gets its environment as it is. */
	MOST_BYTES = 65536,
};

static bool is_preload(const char *entry)
{
	return strncmp(entry, PRELOAD, PRELOAD_LENGTH) == 0;
}

static bool gives_library(enum action action)
{
	return action == JOIN || action == HAND_ON;
}

/* What becomes of an entry of the environment. */
enum change { KEEP, DROP, ADD_LIBRARY, TAKE_LIBRARY };

static enum change change_of(enum action action, const char *entry)
{
	if (is_preload(entry)) {
		bool has_ours = preload_has_ours(entry + PRELOAD_LENGTH);
		if (gives_library(action))
			return has_ours ? KEEP : ADD_LIBRARY;
		return has_ours ? TAKE_LIBRARY : KEEP;
	}
	return action_is_runner(action) && strncmp(entry, PROGRAM, PROGRAM_LENGTH) == 0 ? DROP : KEEP;
}

/* The copy of a variable that the environment lacks, or NULL. A program that leaves needs no variables, and the runner
 * does not need the configuration. */
static const char *lacking(enum action action, char *const env[], int variable)
{
	const char *prefix = variable_prefixes[variable];
	if (action == LEAVE || (action == WRAP && variable == INTERCEPT) || find_entry(env, prefix, strlen(prefix)))
		return NULL;
	return state->configuration.variables[variable];
}

bool environment_opts_out(char *const env[])
{
	/* ldd: the loader lists the program's libraries. A build may read the list. */
	if (find_entry(env, TRACE, sizeof TRACE - 1))
		return true;
	const char *slot = find_entry(env, SLOT, sizeof SLOT - 1);
	const char *intercept = find_entry(env, variable_prefixes[INTERCEPT], strlen(variable_prefixes[INTERCEPT]));
	return (slot && slot[sizeof SLOT - 1] != '\0') ||
	       (intercept && strcmp(intercept, variable_prefixes[INTERCEPT]) == 0);
}

size_t environment_size(enum action action, char *const env[], const char *program)
{
	size_t size = sizeof(char *);
	bool is_changed = action_is_runner(action);
	if (action == AS_GIVEN)
		return 0;
	if (action_is_runner(action))
		size += sizeof(char *) + PROGRAM_LENGTH + strlen(program) + 1;
	for (char *const *entry = env; entry && *entry && size <= MOST_BYTES; entry++) {
		enum change change = change_of(action, *entry);
		size += sizeof(char *);
		is_changed |= change != KEEP;
		if (change == ADD_LIBRARY || change == TAKE_LIBRARY)
			size += strlen(*entry) + 1;
		if (change == ADD_LIBRARY)
			size += 1 + strlen(state->configuration.library);
	}
	if (gives_library(action) && !find_entry(env, PRELOAD, PRELOAD_LENGTH)) {
		size += sizeof(char *) + PRELOAD_LENGTH + strlen(state->configuration.library) + 1;
		is_changed = true;
	}
	for (int i = 0; i < VARIABLES; i++)
		if (lacking(action, env, i)) {
			size += sizeof(char *);
			is_changed = true;
		}
	return is_changed && size <= MOST_BYTES ? size : 0;
}

/* The pointers are at the start of the room, and the texts fill it from its end. */
struct room {
	char **next;
	char *texts;
	bool is_full; /* another thread has changed the environment since its size was taken */
};

/* Room for a text of this length, or NULL. */
static char *take(struct room *room, size_t length)
{
	room->is_full |= (size_t)(room->texts - (char *)room->next) < length + 1 + 2 * sizeof(char *);
	return room->is_full ? NULL : (room->texts -= length + 1);
}

static void add(struct room *room, const char *entry)
{
	room->is_full |= (size_t)(room->texts - (char *)room->next) < 2 * sizeof(char *);
	if (!room->is_full)
		*room->next++ = (char *)(uintptr_t)entry;
}

/* Adds an entry of several texts. */
static void add_text(struct room *room, const char *first, const char *second, const char *third)
{
	char *text = take(room, strlen(first) + strlen(second) + strlen(third));
	if (!text)
		return;
	stpcpy(stpcpy(stpcpy(text, first), second), third);
	add(room, text);
}

static void add_changed(struct room *room, enum change change, const char *entry)
{
	char *text;
	switch (change) {
	case KEEP:
		add(room, entry);
		break;
	case DROP:
		break;
	case ADD_LIBRARY:
		add_text(room, entry, entry[PRELOAD_LENGTH] != '\0' ? ":" : "", state->configuration.library);
		break;
	case TAKE_LIBRARY:
		text = take(room, strlen(entry));
		if (text && preload_without_ours(stpcpy(text, PRELOAD), entry + PRELOAD_LENGTH) != 0)
			add(room, text);
	}
}

char **environment_fill(enum action action, char *const env[], const char *program, void *place, size_t size)
{
	struct room room = {.next = place, .texts = (char *)place + size};
	for (char *const *entry = env; entry && *entry; entry++)
		add_changed(&room, change_of(action, *entry), *entry);
	if (gives_library(action) && !find_entry(env, PRELOAD, PRELOAD_LENGTH))
		add_text(&room, PRELOAD, state->configuration.library, "");
	for (int i = 0; i < VARIABLES; i++)
		if (lacking(action, env, i))
			add(&room, lacking(action, env, i));
	if (action_is_runner(action))
		add_text(&room, PROGRAM, program, "");
	if (room.is_full)
		return NULL;
	*room.next = NULL;
	return place;
}
