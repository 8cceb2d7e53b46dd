#include "environment.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../common/preload_list.h"
#include "../common/text.h"
#include "find_program.h"

#define HOLDS_SLOT "SPRAYCC_SLOT=1"

bool environment_is_ours(const char *entry)
{
	return strncmp(entry, "SPRAYCC_", 8) == 0;
}

const char *environment_value(const char *name)
{
	const char *value = getenv(name);
	return value && *value ? value : NULL;
}

/* Takes the shim directory out of the text. False if no element is left; an empty text is one element, the working
 * directory. */
static bool strip(char *path, const char *shims)
{
	char *to = path;
	bool any = false;
	size_t n;
	for (const char *rest = path, *element; (element = next_element(&rest, &n));) {
		if (is_shim_directory(element, n, shims))
			continue;
		if (any)
			*to++ = ':';
		memmove(to, element, n);
		to += n;
		any = true;
	}
	*to = '\0'; /* never beyond the old end */
	return any;
}

void environment_strip_path(const char *shims)
{
	if (!shims)
		return;
	char **to = environ;
	for (char **from = environ; *from; from++)
		if (strncmp(*from, "PATH=", 5) != 0 || strip(*from + 5, shims))
			*to++ = *from;
	*to = NULL;
}

/* The value if the entry is of this variable, else NULL. */
static char *value_of(char *entry, const char *name, size_t length)
{
	return strncmp(entry, name, length) == 0 && entry[length] == '=' ? entry + length + 1 : NULL;
}

void environment_strip_preload(void)
{
	static const char name[] = "LD_PRELOAD";
	char **to = environ;
	for (char **from = environ; *from; from++) {
		char *list = value_of(*from, name, sizeof name - 1);
		if (!list || !preload_has_ours(list) || preload_without_ours(list, list) != 0)
			*to++ = *from;
	}
	*to = NULL;
}

static const char program_variable[] = "SPRAYCC_PROGRAM";

const char *environment_take_program(void)
{
	const char *program = NULL;
	char **to = environ;
	for (char **from = environ; *from; from++) {
		const char *value = value_of(*from, program_variable, sizeof program_variable - 1);
		if (value)
			program = value;
		else
			*to++ = *from;
	}
	*to = NULL;
	return program && *program ? program : NULL;
}

void environment_give_program(const char *program)
{
	char **end = environ;
	while (*end)
		end++;
	/* There is room: the entry was removed from this array. The value is a part of the entry. */
	*end++ = (char *)(uintptr_t)(program - sizeof program_variable);
	*end = NULL;
}

bool environment_lacks_library(void)
{
	const char *preload = environment_value("LD_PRELOAD");
	return environment_value("SPRAYCC_EXEC") && !(preload && preload_has_ours(preload));
}

void environment_hold_slot(void)
{
	static char holds[] = HOLDS_SLOT;
	char **to = environ, **from = environ;
	bool said = false;
	for (; *from; from++) {
		bool slot = !said && strcmp(*from, HOLDS_SLOT) == 0;
		said = said || slot;
		if (slot || !environment_is_ours(*from))
			*to++ = *from;
	}
	/* There is room: a slot comes with SPRAYCC_SLOT or SPRAYCC_SOCKET, and both entries are gone now. */
	if (!said && to < from)
		*to++ = holds;
	*to = NULL;
}
