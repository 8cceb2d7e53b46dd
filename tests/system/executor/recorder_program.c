/* Small programs for the tests of the recorder: recorder_program NAME. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 8, OPENS = 500, TOO_MANY = 70000 };

static void *open_many(void *number)
{
	char path[64];

	for (int i = 0; i < OPENS; i++) {
		snprintf(path, sizeof(path), "%s-%d", (char *)number, i);
		open(path, O_RDONLY);
		if (errno != ENOENT)
			abort();
	}
	return NULL;
}

static void threads(void)
{
	static char numbers[THREADS][8];
	pthread_t all[THREADS];

	for (int i = 0; i < THREADS; i++) {
		snprintf(numbers[i], sizeof(numbers[i]), "t%d", i);
		pthread_create(&all[i], NULL, open_many, numbers[i]);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(all[i], NULL);
}

/* A child of vfork shares the parent's memory and has a working directory of its own. */
static void child_of_vfork(void)
{
	pid_t child = vfork();

	if (child == 0) {
		if (chdir("sub") == 0)
			open("of-child", O_RDONLY);
		execl("./nowhere", "nowhere", NULL);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	open("of-parent", O_RDONLY);
}

static void overflow(void)
{
	for (int i = 0; i < TOO_MANY; i++)
		access("nowhere", F_OK);
}

static void odd_paths(void)
{
	int sub = open("sub", O_PATH | O_DIRECTORY);
	char buffer[PATH_MAX];

	if (open("", O_RDONLY) != -1 || errno != ENOENT)
		abort();
	if (open((const char *)(uintptr_t)1, O_RDONLY) != -1 || errno != EFAULT)
		abort();
	if (access((const char *)(uintptr_t)1, 77) != -1 || errno != EINVAL)
		abort();
	openat(sub, "../sub/./below", O_RDONLY);
	openat(sub, "/nowhere/absolute", O_RDONLY);
	faccessat(77, "bad", F_OK, 0);
	open("/dev/null", O_RDONLY);
	open("/proc/self/fd/0", O_RDONLY);
	if (realpath("one/x", buffer) == NULL)
		abort();
	open("x.txt/below-a-file", O_RDONLY);
	open("x.txt", O_RDONLY | O_DIRECTORY);
	if (open("x.txt", O_RDWR | O_CREAT | O_EXCL, 0600) != -1)
		abort();
}

static void long_path(void)
{
	char *path = malloc(2 * PATH_MAX);

	memset(path, 'x', 2 * PATH_MAX);
	path[2 * PATH_MAX - 1] = '\0';
	open(path, O_RDONLY);
}

/* Another file for each process. */
static void by_proc(void)
{
	access("/proc/self/cwd/nowhere", F_OK);
}

static void by_descriptor(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/dev/fd/%d/nowhere", open(".", O_PATH | O_DIRECTORY));
	access(path, F_OK);
}

static void out_of_dev(void)
{
	access("/dev/../nowhere", F_OK);
}

static void no_directory(void)
{
	if (mkdir("gone", 0700) != 0 || chdir("gone") != 0 || rmdir("../gone") != 0)
		abort();
	open("anything", O_RDONLY);
}

int main(int argc, char **argv)
{
	static const struct program {
		const char *name;
		void (*run)(void);
	} programs[] = {
		{"threads", threads},     {"vfork", child_of_vfork},        {"overflow", overflow},
		{"odd-paths", odd_paths}, {"long-path", long_path},         {"no-directory", no_directory},
		{"by-proc", by_proc},     {"by-descriptor", by_descriptor}, {"out-of-dev", out_of_dev},
		{"nothing", NULL},
	};

	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
		if (argc == 2 && strcmp(argv[1], programs[i].name) == 0) {
			if (programs[i].run != NULL)
				programs[i].run();
			return 0;
		}
	return 2;
}
