/* Fuzz target for the runner's other parsers: the search in PATH, PATH without the shims, a build tool's words that may be
 * a -j, and the jobserver's place in MAKEFLAGS. With libFuzzer:
 *
 *   clang -std=c11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined -I spraycc/native/runner \
 *       tests/system/runner/fuzz_words.c spraycc/native/common/{text,output,preload_list}.c \
 *       spraycc/native/runner/{buffer,environment,find_program,run_here,server_connection,task,cbor}.c -o fuzz_words
 *   ./fuzz_words tests/system/runner/corpus_words
 *
 * An input is a letter that selects the parser, and then texts that end with a zero. Each answer is compared with that of
 * the simplest algorithm, on copies of exactly the needed size. */
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>

#include "build_tool.c" /* for a function of its own */

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST_WORDS 32

static char top[] = "/tmp/spraycc-fuzz-XXXXXX";
static bool was_open[1024];

static void require(bool truth)
{
	if (!truth)
		abort();
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *where)
{
	(void)status, (void)kind, (void)where;
	return remove(path);
}

static void clear_away(void)
{
	(void)!chdir("/");
	nftw(top, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void make_file(const char *path, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT, mode);
	require(fd >= 0 && fchmod(fd, mode) == 0);
	close(fd);
}

/* Directories a, b and s with programs, other files and a link to this program; and a server's directory with a fifo. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	static const char *const directories[] = {"a", "b", "s", "b/cc", "x", "x/builds", "x/builds/b"};
	require(mkdtemp(top) && chdir(top) == 0);
	atexit(clear_away);
	for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
		require(mkdir(directories[i], 0700) == 0);
	make_file("a/gcc", 0600);
	make_file("a/cc", 0700);
	make_file("b/gcc", 0700);
	make_file("s/gcc", 0700);
	make_file("gcc", 0700);
	require(symlink("/proc/self/exe", "a/ld") == 0 && symlink("nowhere", "a/as") == 0);
	require(mkfifo("x/builds/b/fifo", 0600) == 0);
	for (int fd = 0; fd < 1024; fd++)
		was_open[fd] = fcntl(fd, F_GETFD) >= 0;
	return 0;
}

static bool is_shims(const char *element, size_t n, const char *shims)
{
	size_t m = shims ? strlen(shims) : 0;
	if (m == 0)
		return false;
	while (m > 1 && shims[m - 1] == '/')
		m--;
	while (n > 1 && element[n - 1] == '/')
		n--;
	return n == m && memcmp(element, shims, n) == 0;
}

/* The first element of `path` with a program `name` that is not this program; NULL if there is none. */
static char *search_simply(const char *name, const char *path, const char *shims)
{
	struct stat self, status;
	require(stat("/proc/self/exe", &self) == 0);
	for (const char *at = path;; at++) {
		size_t n = strcspn(at, ":");
		char *file = malloc(n + strlen(name) + 2);
		require(file);
		sprintf(file, "%.*s%s%s", (int)n, at, n ? "/" : "", name);
		if (*name && !is_shims(at, n, shims) && strlen(file) < PATH_MAX && stat(file, &status) == 0 &&
		    S_ISREG(status.st_mode) && access(file, X_OK) == 0 &&
		    (status.st_ino != self.st_ino || status.st_dev != self.st_dev))
			return file;
		free(file);
		at += n;
		if (!*at)
			return NULL;
	}
}

static void try_search(char **words, int count)
{
	if (count < 2)
		return;
	const char *found = NULL, *shims = count > 2 ? words[2] : NULL;
	int problem = find_program(words[0], words[1], shims, &found);
	if (strchr(words[0], '/'))
		return;
	char *wanted = search_simply(words[0], words[1], shims);
	require((problem == 0) == (wanted != NULL));
	require(!wanted || strcmp(wanted, found) == 0);
	free(wanted);
}

static void try_strip(char **words, int count)
{
	if (count < 2)
		return;
	char *path = malloc(strlen(words[0]) + 6), *left = malloc(strlen(words[0]) + 2), *to = left;
	static char other[] = "OTHER=PATH=/x";
	require(path && left);
	sprintf(path, "PATH=%s", words[0]);
	bool any = false;
	for (const char *at = words[0];; at++) {
		size_t n = strcspn(at, ":");
		if (!*words[1] || !is_shims(at, n, words[1])) {
			to += sprintf(to, "%s%.*s", any ? ":" : "", (int)n, at);
			any = true;
		}
		at += n;
		if (!*at)
			break;
	}
	*to = '\0';
	char *vector[] = {other, path, NULL}, **before = environ;
	environ = vector;
	environment_strip_path(words[1]);
	environ = before;
	require(vector[0] == other && strcmp(other, "OTHER=PATH=/x") == 0);
	if (any)
		require(vector[1] == path && strcmp(path + 5, left) == 0);
	else
		require(vector[1] == NULL);
	free(path);
	free(left);
}

/* A false positive costs time. A miss would let the tool leave the jobserver. */
static void try_width(char **words)
{
	bool must = false, may = false;
	for (char **word = words[0] ? words + 1 : words; *word && strcmp(*word, "--") != 0; word++) {
		must = must || strncmp(*word, "-j", 2) == 0 || strncmp(*word, "--jobs", 6) == 0 ||
		       strcmp(*word, "--parallel") == 0 || strcmp(*word, "-kj8") == 0;
		may = may || strchr(*word, 'j') || strstr(*word, "--parallel");
	}
	bool said = may_set_width(words);
	require(said || !must);
	require(!said || may);
}

static void try_jobserver(char **words, int count)
{
	if (count < 1)
		return;
	char *flags = malloc(strlen(words[0]) + 11);
	require(flags);
	sprintf(flags, "MAKEFLAGS=%s", words[0]);
	char *vector[] = {flags, NULL}, **before = environ;
	environ = vector;
	reopen_jobserver("x/socket", count > 1 ? words[1] : "b");
	environ = before;
	free(flags);
	int opened = 0;
	for (int fd = 0; fd < 1024; fd++)
		if (!was_open[fd] && fcntl(fd, F_GETFD) >= 0) {
			struct stat status;
			require(fd >= 3 && fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode));
			require(!(fcntl(fd, F_GETFD) & FD_CLOEXEC) && !(fcntl(fd, F_GETFL) & O_NONBLOCK));
			close(fd);
			opened++;
		}
	require(opened <= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *words[MOST_WORDS + 1] = {NULL};
	int count = 0;
	if (size == 0)
		return 0;
	for (const uint8_t *at = data + 1, *end; at < data + size && count < MOST_WORDS; at = end + 1) {
		end = memchr(at, 0, (size_t)(data + size - at));
		if (!end)
			break;
		words[count] = malloc((size_t)(end - at) + 1);
		require(words[count]);
		memcpy(words[count++], at, (size_t)(end - at) + 1);
	}
	switch (data[0] % 4) {
	case 0:
		try_search(words, count);
		break;
	case 1:
		try_strip(words, count);
		break;
	case 2:
		try_width(words);
		break;
	case 3:
		try_jobserver(words, count);
		break;
	}
	for (int i = 0; i < count; i++)
		free(words[i]);
	return 0;
}
