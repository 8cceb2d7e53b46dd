/* A recipe that logs its start and end. usage: tick LOG SECONDS, tick LOG command COMMAND..., tick LOG recipe COMMAND...
 *
 * Appends "+ NANOSECONDS" to LOG when it begins and "- NANOSECONDS" when it ends, each in one write. In between it sleeps,
 * or runs a command in place of the sleep. So LOG shows how many recipes were at work at any time.
 *
 * With TICK_TOGETHER=N in its environment it does not sleep or start its command before N recipes of LOG have been at work
 * at the same time. So a test of this number does not depend on how quickly the recipes start.
 *
 * With "recipe", it does not log a command that make runs for its function $(shell). make runs and awaits this command
 * while it reads makefiles or expands a recipe's lines, before it asks for the recipe's token. The command's standard
 * output is a pipe to make; a recipe's standard output is make's own. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void mark(int log, char sign)
{
	struct timespec now;
	char line[64];
	clock_gettime(CLOCK_MONOTONIC, &now);
	int n = snprintf(line, sizeof line, "%c %lld\n", sign, (long long)now.tv_sec * 1000000000 + now.tv_nsec);
	if (write(log, line, (size_t)n) != n)
		_exit(98);
}

/* Waits until LOG shows that this number of recipes were at work at the same time, now or earlier. */
static void wait_for_others(const char *path, int count)
{
	const struct timespec pause = {0, 5 * 1000 * 1000};
	for (;;) {
		int running = 0, most = 0, sign, next;
		FILE *log = fopen(path, "r");
		if (log == NULL)
			_exit(97);
		while ((sign = getc(log)) != EOF) {
			running += sign == '+' ? 1 : -1;
			most = running > most ? running : most;
			while ((next = getc(log)) != '\n' && next != EOF)
				;
		}
		fclose(log);
		if (most >= count)
			return;
		nanosleep(&pause, NULL);
	}
}

static int is_function(void)
{
	char path[64];
	struct stat mine, parents;
	snprintf(path, sizeof path, "/proc/%d/fd/1", (int)getppid());
	return fstat(1, &mine) == 0 && stat(path, &parents) == 0 && S_ISFIFO(mine.st_mode) &&
	       (mine.st_dev != parents.st_dev || mine.st_ino != parents.st_ino);
}

int main(int argc, char **argv)
{
	if (argc > 3 && strcmp(argv[2], "recipe") == 0 && is_function()) {
		execvp(argv[3], argv + 3);
		return 127;
	}
	int log = argc > 2 ? open(argv[1], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666) : -1;
	int status = 0;
	if (log < 0)
		return 99;
	mark(log, '+');
	const char *together = getenv("TICK_TOGETHER");
	if (together != NULL)
		wait_for_others(argv[1], atoi(together));
	if (argc > 3) {
		pid_t child = fork();
		if (child == 0) {
			execvp(argv[3], argv + 3);
			_exit(127);
		}
		waitpid(child, &status, 0);
	} else {
		double seconds = atof(argv[2]);
		struct timespec left = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
		while (nanosleep(&left, &left) != 0)
			;
	}
	mark(log, '-');
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
