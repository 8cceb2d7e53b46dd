/* Recognizes programs by their names, as spraycc/commands/names.py does. That module has the lists, and the configuration
 * has copies of them. So only the grammar is written twice, and a test compares. */
#include "exec.h"

#include <string.h>

enum { NAME_MOST = 255 }; /* NAME_MAX of Linux: no file has a longer name */

/* The end of a set such as [a-c] or [!x], or NULL: then the bracket is an ordinary byte. */
static const char *set_end(const char *set)
{
	const char *at = set + 1;
	if (*at == '!')
		at++;
	if (*at == ']')
		at++;
	return strchr(at, ']');
}

static bool set_has(const char *set, const char *end, unsigned char byte)
{
	bool negated = set[1] == '!';
	bool found = false;
	for (const char *at = set + 1 + negated; at < end;) {
		if (end - at > 2 && at[1] == '-') {
			found |= (unsigned char)at[0] <= byte && byte <= (unsigned char)at[2];
			at += 3;
		} else {
			found |= (unsigned char)*at++ == byte;
		}
	}
	return found != negated;
}

/* The length of the pattern's first element if it matches this byte, else 0. */
static size_t match_one(const char *pattern, char byte)
{
	const char *end;
	if (*pattern == '?')
		return 1;
	if (*pattern == '[' && (end = set_end(pattern)))
		return set_has(pattern, end, (unsigned char)byte) ? (size_t)(end + 1 - pattern) : 0;
	return *pattern != '\0' && *pattern == byte;
}

bool pattern_matches(const char *pattern, const char *text, size_t length)
{
	const char *end = text + length;
	const char *star = NULL;
	const char *resume = NULL;
	while (text < end) {
		size_t size;
		if (*pattern == '*') {
			star = ++pattern;
			resume = text;
		} else if ((size = match_one(pattern, *text)) != 0) {
			pattern += size;
			text++;
		} else if (star) {
			pattern = star;
			text = ++resume;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

static bool is_digit(char byte)
{
	return byte >= '0' && byte <= '9';
}

static bool is_word_byte(char byte)
{
	return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') || is_digit(byte) || byte == '_' || byte == '.';
}

static const char *past_digits(const char *at)
{
	while (is_digit(*at))
		at++;
	return at;
}

/* True if the rest of the name may follow a stem. Sets *is_numbered if a version follows without a hyphen. */
static bool is_end(const char *rest, bool *is_numbered)
{
	*is_numbered = is_digit(*rest);
	if (*is_numbered) {
		rest = past_digits(rest);
	} else if (*rest == '-' && is_digit(rest[1])) {
		rest = past_digits(rest + 1);
		while (*rest == '.' && is_digit(rest[1]))
			rest = past_digits(rest + 1);
	} else if (strncmp(rest, "-mp-", 4) == 0 && (is_digit(rest[4]) || rest[4] == '.')) {
		rest += 4 + strspn(rest + 4, "0123456789.");
	} else if (strncmp(rest, "-devel", 6) == 0) {
		rest += 6;
	}
	return *rest == '\0' || strcmp(rest, "-posix") == 0 || strcmp(rest, "-win32") == 0;
}

/* The stem at the start of the name, with nothing but an end behind it. The first stem in the order of the configuration
 * counts, as in a regular expression. NULL if there is none. */
static const char *find_stem(const struct configuration *configuration, const char *name, bool *is_numbered)
{
	for (const char *stem = NULL; (stem = configuration_next(configuration, "stem", stem));) {
		size_t length = strlen(stem);
		if (strncmp(name, stem, length) == 0 && is_end(name + length, is_numbered))
			return stem;
	}
	return NULL;
}

/* True if one of these patterns matches the start of the word. */
static bool begins_as(const struct configuration *configuration, const char *key, const char *word, size_t length)
{
	for (const char *pattern = NULL; (pattern = configuration_next(configuration, key, pattern));)
		for (size_t n = 0; n <= length; n++)
			if (pattern_matches(pattern, word, n))
				return true;
	return false;
}

/* The length of the prefix's next component, with its hyphen. 0 if no component follows. */
static size_t component(const char *at)
{
	size_t length = 0;
	while (is_word_byte(at[length]))
		length++;
	return length != 0 && at[length] == '-' ? length + 1 : 0;
}

/* The stem behind a target. By `key`, a target begins with an architecture or ends with a system. The shortest target
 * counts. */
static const char *find_behind_target(const struct configuration *configuration, const char *key, bool at_start,
                                      const char *name, bool *is_numbered)
{
	size_t length;
	for (const char *at = name; (length = component(at)) != 0;) {
		bool fits = at_start && at != name ? true : begins_as(configuration, key, at, length - 1);
		if (at_start && !fits)
			return NULL;
		at += length;
		const char *stem = fits ? find_stem(configuration, at, is_numbered) : NULL;
		if (stem)
			return stem;
	}
	return NULL;
}

/* Some stems may have a version without a hyphen (gcc12). For others, the name is another program's (cc1). */
static bool may_be_numbered(const struct configuration *configuration, const char *stem)
{
	for (const char *start = NULL; (start = configuration_next(configuration, "numbered", start));)
		if (strncmp(stem, start, strlen(start)) == 0)
			return true;
	return false;
}

bool name_is_tool(const struct configuration *configuration, const char *name)
{
	bool is_numbered = false;
	if (strnlen(name, NAME_MOST + 1) > NAME_MOST)
		return false;
	const char *stem = find_behind_target(configuration, "architecture", true, name, &is_numbered);
	if (!stem)
		stem = find_behind_target(configuration, "system", false, name, &is_numbered);
	if (!stem)
		stem = find_stem(configuration, name, &is_numbered);
	return stem && (!is_numbered || may_be_numbered(configuration, stem));
}

static bool is_listed(const struct configuration *configuration, const char *key, const char *word, size_t length)
{
	for (const char *value = NULL; (value = configuration_next(configuration, key, value));)
		if (strlen(value) == length && memcmp(value, word, length) == 0)
			return true;
	return false;
}

bool path_is_launcher(const struct configuration *configuration, const char *path)
{
	const char *name = base_name(path);
	if (is_listed(configuration, "launcher", name, strlen(name)))
		return true;
	/* Links to a launcher are in its directory (/usr/lib/ccache/gcc), or one below. */
	const char *end = name;
	for (int above = 0; above < 2 && end > path + 1; above++) {
		const char *start = --end;
		while (start > path && start[-1] != '/')
			start--;
		if (start > path && is_listed(configuration, "launcher-directory", start, (size_t)(end - start)))
			return true;
		if (start == end)
			return false;
		end = start;
	}
	return false;
}
