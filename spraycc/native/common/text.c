#include "text.h"

#include <string.h>

const char *decimal(char room[DECIMAL_BYTES], uint64_t number)
{
	char *at = room + DECIMAL_BYTES - 1;
	*at = '\0';
	do
		*--at = (char)('0' + number % 10);
	while ((number /= 10) != 0);
	return at;
}

char *append(char *at, char *last, const char *text)
{
	while (at < last && *text != '\0')
		*at++ = *text++;
	*at = '\0';
	return at;
}

char *append_number(char *at, char *last, uint64_t number)
{
	char room[DECIMAL_BYTES];
	return append(at, last, decimal(room, number));
}

const char *descriptor_path(char room[DESCRIPTOR_PATH_BYTES], int fd)
{
	char *last = room + DESCRIPTOR_PATH_BYTES - 1;
	append_number(append(room, last, "/proc/self/fd/"), last, (unsigned)fd);
	return room;
}

const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

bool join_path(char *room, size_t size, const char *directory, size_t length, const char *name)
{
	size_t name_size = strlen(name) + 1;
	if (length + 1 + name_size > size)
		return false;
	memcpy(room, directory, length);
	if (length != 0)
		room[length++] = '/';
	memcpy(room + length, name, name_size);
	return true;
}

bool begins_with(const char *path, const char *components)
{
	size_t length = strlen(components);
	return strncmp(path, components, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

const char *next_element(const char **list, size_t *length)
{
	const char *element = *list;
	if (!element)
		return NULL;
	*length = strcspn(element, ":");
	*list = element[*length] == ':' ? element + *length + 1 : NULL;
	return element;
}
