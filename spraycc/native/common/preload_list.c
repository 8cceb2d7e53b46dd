#include "preload_list.h"

#include <string.h>

#define SEPARATORS ": "

static bool is_ours(const char *element, size_t length)
{
	size_t name = sizeof EXEC_LIBRARY - 1;
	return length >= name && memcmp(element + length - name, EXEC_LIBRARY, name) == 0 &&
	       (length == name || element[length - name - 1] == '/');
}

bool preload_has_ours(const char *list)
{
	for (;;) {
		size_t length = strcspn(list, SEPARATORS);
		if (is_ours(list, length))
			return true;
		if (list[length] == '\0')
			return false;
		list += length + 1;
	}
}

size_t preload_without_ours(char *to, const char *list)
{
	char *end = to;
	for (const char *element = list;;) {
		size_t length = strcspn(element, SEPARATORS);
		char after = element[length];
		if (!is_ours(element, length)) {
			/* Each element but the first keeps the separator before it. */
			if (end != to)
				*end++ = element[-1];
			memmove(end, element, length);
			end += length;
		}
		if (after == '\0')
			break;
		element += length + 1;
	}
	*end = '\0';
	return (size_t)(end - to);
}
