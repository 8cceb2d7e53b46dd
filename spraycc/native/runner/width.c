#include "width.h"

#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../common/text.h"
#include "environment.h"

static unsigned local_slots(void)
{
	cpu_set_t set;
	const char *chosen = environment_value("SPRAYCC_LOCAL_SLOTS");
	unsigned long number = chosen ? strtoul(chosen, NULL, 10) : 0;
	if (number >= 1 && number <= 9999)
		return (unsigned)number;
	if (sched_getaffinity(0, sizeof set, &set) < 0 || CPU_COUNT(&set) < 1)
		return 1;
	return (unsigned)CPU_COUNT(&set);
}

static bool is_number(const char *text)
{
	return *text && strspn(text, "0123456789") == strlen(text);
}

/* The place of the number in a word that is a -j of make, ninja, cargo, ctest or cmake --build: behind the j of -j8 or
 * -kj8, or behind the sign of --jobs=8. NULL if the word is no -j. */
static char *number_in(char *word)
{
	static const char *const names[] = {"--jobs", "--parallel"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		size_t n = strlen(names[i]);
		if (strncmp(word, names[i], n) == 0 && (word[n] == '=' || !word[n]))
			return word + n + (word[n] == '=');
	}
	/* Only letters of options without an argument may precede the j. */
	char *at = word[0] == '-' ? word + 1 + strspn(word + 1, "BbdeikmnpqrRsStvw") : word;
	return at > word && *at == 'j' && (!at[1] || is_number(at + 1)) ? at + 1 : NULL;
}

static bool exceeds(const char *number, unsigned limit)
{
	return strtoul(number, NULL, 10) > limit;
}

/* Lowers each -j over the limit. The words may change, but not their number; `limit_text` is the limit. */
static void cap_jobs(char **argv, unsigned limit, char *limit_text)
{
	for (char **arg = argv + 1; *arg && strcmp(*arg, "--") != 0; arg++) {
		char *number = number_in(*arg);
		if (!number)
			continue;
		if (*number) {
			if (is_number(number) && exceeds(number, limit))
				strcpy(number, limit_text); /* not longer than the number: that is greater */
		} else if (arg[1] && is_number(arg[1])) {
			if (exceeds(arg[1], limit))
				arg[1] = limit_text;
			arg++;
		} else {
			/* A -j without a number means "no limit". */
			char *word = malloc(strlen(*arg) + DECIMAL_BYTES + 2);
			if (!word)
				continue;
			bool is_long = (*arg)[1] == '-';
			strcpy(word, *arg);
			strcat(word, is_long ? "=" : "");
			strcat(word, limit_text);
			*arg = word;
		}
	}
}

static bool has_jobserver(void)
{
	const char *flags = getenv("MAKEFLAGS");
	return flags && strstr(flags, "--jobserver");
}

void cap_width(char **argv)
{
	/* The words may point to the text. */
	static char limit_text[DECIMAL_BYTES];
	char room[DECIMAL_BYTES];
	unsigned limit = local_slots();
	if (has_jobserver())
		return;
	strcpy(limit_text, decimal(room, limit));
	cap_jobs(argv, limit, limit_text);
}
