/* Small programs for the tests of the recorder: recorder_program NAME, or look PATH. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 8, OPENS = 500, TOO_MANY = 300000, MANY = 70000 };

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

/* A child of vfork shares the parent's memory, but has its own working directory. */
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

static void look_often(int times)
{
	for (int i = 0; i < times; i++)
		access("nowhere", F_OK);
}

static void overflow(void)
{
	look_often(TOO_MANY);
}

static void many(void)
{
	look_often(MANY);
}

static void *spawn_and_look(void *unused)
{
	char *words[] = {"true", NULL};
	pid_t child;
	int status;

	(void)unused;
	if (posix_spawnp(&child, "true", NULL, NULL, words, environ) != 0 || waitpid(child, &status, 0) != child ||
	    status != 0)
		abort();
	access("of-thread", F_OK);
	free(realpath("link", NULL));
	return NULL;
}

static void small_thread(void)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	if (pthread_attr_setstacksize(&attributes, 16384) != 0 ||
	    pthread_create(&thread, &attributes, spawn_and_look, NULL) != 0)
		abort();
	pthread_join(thread, NULL);
}

static void execute(int number)
{
	int status;
	pid_t child = fork();

	(void)number;
	if (child == 0) {
		access("of-handler", F_OK);
		execlp("true", "true", NULL);
		_exit(3);
	}
	if (waitpid(child, &status, 0) != child || status != 0)
		_exit(4);
}

/* Two pages, and below them one that must not be touched. */
static void small_handler_stack(void)
{
	char *pages = mmap(NULL, 3 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t stack = {.ss_sp = pages + 4096, .ss_size = 2 * 4096};
	struct sigaction action = {.sa_handler = execute, .sa_flags = SA_ONSTACK};

	if (pages == MAP_FAILED || mprotect(stack.ss_sp, stack.ss_size, PROT_READ | PROT_WRITE) != 0 ||
	    sigaltstack(&stack, NULL) != 0 || sigaction(SIGUSR1, &action, NULL) != 0 || raise(SIGUSR1) != 0)
		abort();
}

/* The filter kills a process at a system call that the recorder makes and the program itself does not. */
static const struct sock_filter instructions[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_statx, 5, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_futex, 4, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getcwd, 3, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_readlinkat, 2, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpid, 1, 0),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
};

static void work_with_filter(void)
{
	pid_t child;
	int status;

	open("behind-the-filter", O_RDONLY);
	unlink("behind-the-filter");
	child = fork();
	if (child == 0) {
		access("behind-the-filter", F_OK);
		/* The filter kills this program if it is recorded, too. */
		execl("/bin/true", "true", NULL);
		_exit(3);
	}
	if (waitpid(child, &status, 0) != child || status != 0)
		abort();
}

static void filter_by_prctl(void)
{
	struct sock_fprog filter = {sizeof(instructions) / sizeof(instructions[0]),
	                            (struct sock_filter *)(uintptr_t)instructions};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
		abort();
	work_with_filter();
}

static void filter_by_syscall(void)
{
	struct sock_fprog filter = {sizeof(instructions) / sizeof(instructions[0]),
	                            (struct sock_filter *)(uintptr_t)instructions};

	if (syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L) != 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) != 0)
		abort();
	work_with_filter();
}

/* Like libseccomp. */
static void filter_question(void)
{
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL) != -1 || errno != EFAULT)
		abort();
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0L, NULL) != -1 || errno != EFAULT)
		abort();
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

static void by_descriptor(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/dev/fd/%d/nowhere", open(".", O_PATH | O_DIRECTORY));
	access(path, F_OK);
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
		{"threads", threads},
		{"vfork", child_of_vfork},
		{"overflow", overflow},
		{"many", many},
		{"small-thread", small_thread},
		{"small-handler-stack", small_handler_stack},
		{"filter-by-prctl", filter_by_prctl},
		{"filter-by-syscall", filter_by_syscall},
		{"filter-question", filter_question},
		{"odd-paths", odd_paths},
		{"long-path", long_path},
		{"no-directory", no_directory},
		{"by-descriptor", by_descriptor},
		{"nothing", NULL},
	};

	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
		if (argc == 2 && strcmp(argv[1], programs[i].name) == 0) {
			if (programs[i].run != NULL)
				programs[i].run();
			return 0;
		}
	if (argc == 3 && strcmp(argv[1], "look") == 0) {
		access(argv[2], F_OK);
		return 0;
	}
	return 2;
}
