/* Loads an object, and ends: recorder_objects OBJECT HOW. For the tests of the recorder. */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, CHILDREN = 200 };

#ifdef OWN_LIBRARY
int own(void);
#endif

static atomic_bool done;

static void *load_and_unload(void *object)
{
	while (!atomic_load(&done))
		dlclose(dlopen(object, RTLD_NOW));
	return NULL;
}

/* A child may inherit the loader's lock from a thread that it does not have. */
static void fork_while_others_load(char *object)
{
	static char *words[] = {"true", NULL};
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, load_and_unload, object);
	for (int i = 0; i < CHILDREN; i++) {
		pid_t child = fork();

		if (child == 0) {
			if (i % 2 == 0 || chdir("/") != 0)
				_exit(0);
			execv("/bin/true", words);
		}
		waitpid(child, NULL, 0);
	}
	atomic_store(&done, 1);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
	static char *words[] = {"true", NULL};
	const char *how = argc == 3 ? argv[2] : "";
	void *handle;

#ifdef OWN_LIBRARY
	own();
#endif
	if (argc != 3)
		return 0;
	if (strcmp(how, "fork") == 0) {
		fork_while_others_load(argv[1]);
		return 0;
	}
	if (strcmp(how, "namespace") == 0)
		return dlmopen(LM_ID_NEWLM, argv[1], RTLD_NOW) == NULL;
	handle = dlopen(argv[1], RTLD_NOW);
	if (strcmp(how, "fails") == 0)
		return handle != NULL;
	if (handle == NULL) {
		puts(dlerror());
		return 1;
	}
	if (strcmp(how, "_exit") == 0)
		_exit(0);
	if (strcmp(how, "_Exit") == 0)
		_Exit(0);
	if (strcmp(how, "quick_exit") == 0)
		quick_exit(0);
	if (strcmp(how, "exec") == 0)
		execv("/bin/true", words);
	if (strcmp(how, "unload") == 0)
		return dlclose(handle);
	if (strcmp(how, "chdir") == 0)
		return chdir("/");
	if (strcmp(how, "fchdir") == 0)
		return fchdir(open("/", O_RDONLY));
	return 0;
}
