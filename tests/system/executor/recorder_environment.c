/* Executes programs in different ways, or prints its environment: recorder_environment HOW [COMMAND WORD...]. For the tests of
 * the recorder. */
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 6, CALLS = 20, MANY = 20000 };

extern char **environ;
static char *none[] = {NULL};
static char *early[1000];

__attribute__((constructor)) static void begin(void)
{
	for (size_t i = 0; environ[i] != NULL && i < 999; i++)
		early[i] = environ[i];
}

static int print(char **env)
{
	for (; *env != NULL; env++)
		puts(*env);
	return 0;
}

static int ended(pid_t child)
{
	int status = -1;

	waitpid(child, &status, 0);
	return status != 0;
}

static int spawn(char **words)
{
	pid_t child;
	return posix_spawn(&child, words[0], NULL, NULL, words, none) != 0 || ended(child);
}

static int spawn_by_name(char **words)
{
	pid_t child;
	return posix_spawnp(&child, words[0], NULL, NULL, words, environ) != 0 || ended(child);
}

static int in_vfork(char **words)
{
	pid_t child = vfork();

	if (child == 0) {
		execve(words[0], words, none);
		_exit(1);
	}
	return ended(child);
}

static int by_descriptor(char **words)
{
	int fd = open(words[0], O_RDONLY);

	fexecve(fd, words, none);
	return 1;
}

static int by_pipe(char **words)
{
	FILE *pipe = popen(words[0], "w");
	return pipe == NULL || pclose(pipe) != 0;
}

static void *call_shell(void *command)
{
	for (int i = 0; i < CALLS; i++)
		if (i % 2 == 0 ? system(command) != 0 : by_pipe((char **)&command) != 0)
			abort();
	return NULL;
}

/* Leaves the environment unchanged. */
static int shells_in_threads(char **words)
{
	char **before = environ;
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, call_shell, words[0]);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return environ != before || print(environ) != 0;
}

static int with_many_variables(char **words)
{
	char **env = calloc(MANY + 1, sizeof(char *));

	for (int i = 0; i < MANY; i++)
		env[i] = "A=1";
	execve(words[0], words, env);
	return 1;
}

int main(int argc, char **argv, char **env)
{
	const char *how = argc > 1 ? argv[1] : "";
	char **words = argv + 2;

	if (strcmp(how, "main") == 0)
		return print(env);
	if (strcmp(how, "constructor") == 0)
		return print(early);
	if (argc < 3)
		return 2;
	if (strcmp(how, "execve") == 0)
		execve(words[0], words, none);
	else if (strcmp(how, "execve-null") == 0)
		execve(words[0], words, (char **)NULL);
	else if (strcmp(how, "execvp") == 0)
		execvp(words[0], words);
	else if (strcmp(how, "fexecve") == 0)
		return by_descriptor(words);
	else if (strcmp(how, "spawn") == 0)
		return spawn(words);
	else if (strcmp(how, "spawnp") == 0)
		return spawn_by_name(words);
	else if (strcmp(how, "vfork") == 0)
		return in_vfork(words);
	else if (strcmp(how, "system") == 0)
		return system(words[0]) != 0 || print(environ) != 0;
	else if (strcmp(how, "popen") == 0)
		return by_pipe(words) != 0 || print(environ) != 0;
	else if (strcmp(how, "threads") == 0)
		return shells_in_threads(words);
	else if (strcmp(how, "many") == 0)
		return with_many_variables(words);
	return 1;
}
