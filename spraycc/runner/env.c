#include "env.h"

#include <stdlib.h>
#include <string.h>

#include "find.h"

#define HOLDS_SLOT "SPRAYCC_SLOT=1"

bool env_is_ours(const char *entry)
{
	return strncmp(entry, "SPRAYCC_", 8) == 0;
}

const char *env_value(const char *name)
{
	const char *value = getenv(name);
	return value && *value ? value : NULL;
}

/* False if no element is left. (An empty string that is left is one element: the working directory.) */
static bool strip(char *path, const char *shims)
{
	char *to = path;
	bool any = false;
	for (char *element = path, *next; element; element = next) {
		char *colon = strchrnul(element, ':');
		size_t n = (size_t)(colon - element);
		next = *colon ? colon + 1 : NULL;
		if (is_shim_directory(element, n, shims))
			continue;
		if (any)
			*to++ = ':';
		memmove(to, element, n);
		to += n;
		any = true;
	}
	*to = '\0'; /* never behind the old end */
	return any;
}

void env_strip_path(const char *shims)
{
	if (!shims)
		return;
	char **to = environ;
	for (char **from = environ; *from; from++)
		if (strncmp(*from, "PATH=", 5) != 0 || strip(*from + 5, shims))
			*to++ = *from;
	*to = NULL;
}

void env_hold_slot(void)
{
	static char holds[] = HOLDS_SLOT;
	char **to = environ, **from = environ;
	bool said = false;
	for (; *from; from++) {
		bool slot = !said && strcmp(*from, HOLDS_SLOT) == 0;
		said = said || slot;
		if (slot || !env_is_ours(*from))
			*to++ = *from;
	}
	/* There is room: whoever holds a slot was told so by SPRAYCC_SLOT or got it by SPRAYCC_SOCKET, which is gone now. */
	if (!said && to < from)
		*to++ = holds;
	*to = NULL;
}
