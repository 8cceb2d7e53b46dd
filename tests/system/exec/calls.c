/* Executes a program by one of the C library's functions: calls HOW FILE [WORD...], where the words are the program's argv.
 * If the call fails, prints its errno. For the tests of the library that intercepts executions.
 *
 * CALLS_ENV says what environment the program gets: "empty", "null", "large" (1 MiB more, in 16 entries), "many" (20,000
 * entries more); otherwise this program's own. CALLS_ARGV adds so many words. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LARGE = 65536, LARGE_ENTRIES = 16, MANY = 20000, THREADS = 8, SMALL_STACK = 16384, SIGNAL_STACK = 8192 };

static char **words;
static char **env;
static const char *file;

static int ended(pid_t child)
{
	int status = 0;
	waitpid(child, &status, 0);
	if (WIFSIGNALED(status))
		printf("signal %d\n", WTERMSIG(status));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

static int failed(int error)
{
	printf("errno %d\n", error);
	return 98;
}

static int after_spawn(int error, pid_t child)
{
	return error != 0 ? failed(error) : ended(child);
}

static int by_descriptor(int flags)
{
	int fd = open(file, O_RDONLY | flags);
	if (fd < 0)
		return failed(errno);
	fexecve(fd, words, env);
	return failed(errno);
}

static int at_directory(int flags)
{
	int fd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	execveat(fd, file, words, env, flags);
	return failed(errno);
}

static int at_descriptor(void)
{
	int fd = open(file, O_PATH);
	if (fd < 0)
		return failed(errno);
	execveat(fd, "", words, env, AT_EMPTY_PATH);
	return failed(errno);
}

static int in_vfork(void)
{
	pid_t child = vfork();
	if (child == 0) {
		execve(file, words, env);
		_exit(97);
	}
	return ended(child);
}

static int by_spawn_elsewhere(void)
{
	posix_spawn_file_actions_t actions;
	pid_t child = -1;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addchdir_np(&actions, "elsewhere");
	return after_spawn(posix_spawn(&child, file, &actions, NULL, words, env), child);
}

static int by_spawn_with_actions(void)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	pid_t child = -1;
	unlink("opened");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 5, "opened", O_WRONLY | O_CREAT | O_EXCL, 0600);
	posix_spawn_file_actions_adddup2(&actions, 5, 2);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
	return after_spawn(posix_spawnp(&child, file, &actions, &attributes, words, env), child);
}

static int by_spawn(void)
{
	pid_t child = -1;
	return after_spawn(posix_spawn(&child, file, NULL, NULL, words, env), child);
}

static int by_spawnp(void)
{
	pid_t child = -1;
	return after_spawn(posix_spawnp(&child, file, NULL, NULL, words, env), child);
}

static void *execute_in_thread(void *unused)
{
	(void)unused;
	execvpe(file, words, env);
	exit(failed(errno));
}

/* The smallest stack that the C library allows. */
static int in_small_thread(void)
{
	pthread_attr_t attributes;
	pthread_t thread;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, SMALL_STACK);
	pthread_create(&thread, &attributes, execute_in_thread, NULL);
	pthread_join(thread, NULL);
	return 96;
}

static void *spawn_in_thread(void *unused)
{
	(void)unused;
	for (int i = 0; i < 20; i++) {
		int status = i % 2 == 0 ? by_spawn() : in_vfork();
		if (status != 0)
			return (void *)file;
	}
	return NULL;
}

static int in_threads(void)
{
	pthread_t threads[THREADS];
	int status = 0;
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, spawn_in_thread, NULL);
	for (int i = 0; i < THREADS; i++) {
		void *result;
		pthread_join(threads[i], &result);
		status |= result != NULL;
	}
	return status;
}

static void on_signal(int number)
{
	(void)number;
	execve(file, words, env);
	_exit(failed(errno));
}

static int in_signal_handler(void)
{
	static char stack[SIGNAL_STACK];
	stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack};
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
	sigaltstack(&alternative, NULL);
	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
	return 95;
}

/* The words are at most three. */
static int by_list(const char *how)
{
	const char *second = words[0] ? words[1] : NULL;
	const char *third = second ? words[2] : NULL;
	if (strcmp(how, "execl") == 0)
		execl(file, words[0], second, third, (char *)NULL);
	else if (strcmp(how, "execlp") == 0)
		execlp(file, words[0], second, third, (char *)NULL);
	else if (third)
		execle(file, words[0], second, third, (char *)NULL, env);
	else if (second)
		execle(file, words[0], second, (char *)NULL, env);
	else
		execle(file, words[0], (char *)NULL, env);
	return failed(errno);
}

static int execute(const char *how)
{
	if (strncmp(how, "execl", 5) == 0)
		return by_list(how);
	if (strcmp(how, "execve") == 0)
		execve(file, words, env);
	else if (strcmp(how, "execv") == 0)
		execv(file, words);
	else if (strcmp(how, "execvp") == 0)
		execvp(file, words);
	else if (strcmp(how, "execvpe") == 0)
		execvpe(file, words, env);
	else if (strcmp(how, "execveat") == 0)
		execveat(AT_FDCWD, file, words, env, 0);
	else if (strcmp(how, "execveat-nofollow") == 0)
		execveat(AT_FDCWD, file, words, env, AT_SYMLINK_NOFOLLOW);
	else if (strcmp(how, "execveat-directory") == 0)
		return at_directory(0);
	else if (strcmp(how, "execveat-descriptor") == 0)
		return at_descriptor();
	else if (strcmp(how, "fexecve") == 0)
		return by_descriptor(0);
	else if (strcmp(how, "posix_spawn") == 0)
		return by_spawn();
	else if (strcmp(how, "posix_spawnp") == 0)
		return by_spawnp();
	else if (strcmp(how, "spawn-elsewhere") == 0)
		return by_spawn_elsewhere();
	else if (strcmp(how, "spawn-actions") == 0)
		return by_spawn_with_actions();
	else if (strcmp(how, "vfork") == 0)
		return in_vfork();
	else if (strcmp(how, "small-thread") == 0)
		return in_small_thread();
	else if (strcmp(how, "threads") == 0)
		return in_threads();
	else if (strcmp(how, "signal-handler") == 0)
		return in_signal_handler();
	else if (strcmp(how, "system") == 0)
		return WEXITSTATUS(system(file));
	else if (strcmp(how, "bad-path") == 0)
		execve((const char *)1, words, env);
	else if (strcmp(how, "overwritten") == 0) {
		/* As programs do that write their title there. */
		memset(environ[0], 'x', 20);
		execve(file, words, env);
	} else
		return 94;
	return failed(errno);
}

static char **larger(size_t entries, size_t size)
{
	size_t count = 0;
	while (environ[count])
		count++;
	char **more = calloc(count + entries + 1, sizeof *more);
	memcpy(more, environ, count * sizeof *more);
	for (size_t i = 0; i < entries; i++) {
		char *text = malloc(size);
		memset(text, 'x', size);
		snprintf(text, size, "MORE_%zu=", i);
		text[strlen(text)] = 'x';
		text[size - 1] = '\0';
		more[count + i] = text;
	}
	return more;
}

int main(int argc, char **argv)
{
	static char *none[] = {NULL};
	static char more_words[] = "word";
	const char *which = getenv("CALLS_ENV") ? getenv("CALLS_ENV") : "";
	const char *more = getenv("CALLS_ARGV");
	setvbuf(stdout, NULL, _IONBF, 0);
	if (argc < 3)
		return 93;
	file = argv[2];
	words = argv + 3;
	env = environ;
	if (strcmp(which, "empty") == 0)
		env = none;
	else if (strcmp(which, "null") == 0)
		env = NULL;
	else if (strcmp(which, "large") == 0)
		env = larger(LARGE_ENTRIES, LARGE);
	else if (strcmp(which, "many") == 0)
		env = larger(MANY, 20);
	if (more) {
		size_t count = strtoul(more, NULL, 10);
		char **longer = calloc(count + 2, sizeof *longer);
		longer[0] = words[0];
		for (size_t i = 1; i <= count; i++)
			longer[i] = more_words;
		words = longer;
	}
	return execute(argv[1]);
}
