/* Prints what the library that intercepts executions decides by texts alone: decides CONFIGURATION <QUESTIONS. A question is
 * a line: "t NAME" (a tool?), "l PATH" (a launcher?), "m PATTERN TEXT" (does the pattern match?). The answers are 1 and 0.
 * Prints "malformed" if the configuration is. */
#include "../../../spraycc/native/exec/exec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct state *state;

static bool answer(const struct configuration *configuration, char *line)
{
	char *words = line + 2;
	if (line[0] == 't')
		return name_is_tool(configuration, words);
	if (line[0] == 'l')
		return path_is_launcher(configuration, words);
	char *text = strchr(words, ' ');
	*text++ = '\0';
	return pattern_matches(words, text, strlen(text));
}

int main(int argc, char **argv)
{
	static char text[1 << 16];
	static char line[1 << 12];
	struct configuration configuration = {0};
	FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
	if (!file)
		return 2;
	size_t length = fread(text, 1, sizeof text - 1, file);
	fclose(file);
	/* On the heap, so that AddressSanitizer sees each step too far. */
	char *copy = malloc(length + 1);
	memcpy(copy, text, length + 1);
	bool is_well_formed = configuration_parse(&configuration, copy, length);
	if (!is_well_formed)
		puts("malformed");
	while (is_well_formed && fgets(line, sizeof line, stdin)) {
		char *question = malloc(strcspn(line, "\n") + 1);
		memcpy(question, line, strcspn(line, "\n"));
		question[strcspn(line, "\n")] = '\0';
		putchar(answer(&configuration, question) ? '1' : '0');
		free(question);
	}
	free(copy);
	return 0;
}
