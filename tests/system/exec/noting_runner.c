/* Stands before the runner RUNNER: appends a line with the program and its words to the file LOG. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static char line[65536];
	const char *program = getenv("SPRAYCC_PROGRAM");
	int fd = open(LOG, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	char *end = stpcpy(line, program ? program : "(unset)");
	for (int i = 1; i < argc && (size_t)(line + sizeof line - end) > strlen(argv[i]) + 2; i++)
		end = stpcpy(stpcpy(end, " "), argv[i]);
	/* In one write, as several runners write. */
	end = stpcpy(end, "\n");
	if (write(fd, line, (size_t)(end - line)) < 0)
		return 1;
	execv(RUNNER, argv);
	return 2;
}
