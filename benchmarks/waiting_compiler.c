/*
 * A compiler that waits: stands in for g++ on the hosts of a farm, so that two cores can carry hundreds of compiles.
 *
 * The source says how long the compile takes and how large the object is, in a line that the preprocessor keeps:
 *
 *     #pragma waiting_compiler MICROSECONDS BYTES
 *
 * For a command line with -c and -o it sleeps until that time after its start, then writes an object of that size: a
 * real object with debug information, repeated (OBJECT). All other command lines go to the real compiler (REAL).
 * The program is static, because icecream runs it in a root directory of its own.
 */

#define _GNU_SOURCE /* program_invocation_short_name */

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define STRING_OF(x) #x
#define STRING(x) STRING_OF(x)

/* OBJECT and REAL are paths in quotes, given as macros by the benchmark. */
/* clang-format off */
__asm__(".section .rodata\n"
        ".global object_begin\n"
        "object_begin: .incbin " STRING(OBJECT) "\n"
        ".global object_end\n"
        "object_end: .byte 0\n"
        ".previous\n");
/* clang-format on */

extern const char object_begin[], object_end[];

static const char MARK[] = "#pragma waiting_compiler ";

enum { BLOCK_BYTES = 1 << 16, MARK_LENGTH = sizeof MARK - 1, LINE_BYTES = 64 };

struct unit {
	long long microseconds;
	long long bytes;
};

static void fail(const char *what, const char *name)
{
	fprintf(stderr, "waiting compiler: %s %s: %s\n", what, name, strerror(errno));
	exit(1);
}

static ssize_t read_block(int fd, char *block, size_t room, const char *name)
{
	ssize_t n;
	do {
		n = read(fd, block, room);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		fail("read", name);
	return n;
}

/* Finds the line. Reads the source to its end, as a compiler does: a sender on a pipe waits for that. */
static struct unit read_unit(const char *name)
{
	static char block[BLOCK_BYTES + 1];
	struct unit unit = {-1, -1};
	int fd = strcmp(name, "-") == 0 ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail("open", name);
	size_t kept = 0;
	for (;;) {
		ssize_t n = read_block(fd, block + kept, BLOCK_BYTES - kept, name);
		if (unit.bytes >= 0) {
			if (n == 0)
				break;
			continue;
		}
		size_t length = kept + (size_t)n;
		block[length] = '\0';
		char *found = memmem(block, length, MARK, MARK_LENGTH);
		if (found && (memchr(found, '\n', (size_t)(block + length - found)) || n == 0)) {
			if (sscanf(found + MARK_LENGTH, "%lld %lld", &unit.microseconds, &unit.bytes) != 2)
				break;
			kept = 0;
		} else {
			/* The line may be in two blocks. */
			kept = length < LINE_BYTES ? length : LINE_BYTES;
			memmove(block, block + length - kept, kept);
		}
		if (n == 0)
			break;
	}
	if (unit.microseconds < 0 || unit.bytes < 0) {
		fprintf(stderr, "waiting compiler: %s has no line '%sMICROSECONDS BYTES'\n", name, MARK);
		exit(1);
	}
	return unit;
}

static void wait_until(const struct timespec *start, long long microseconds)
{
	struct timespec end = {start->tv_sec + microseconds / 1000000, start->tv_nsec + microseconds % 1000000 * 1000};
	if (end.tv_nsec >= 1000000000) {
		end.tv_sec++;
		end.tv_nsec -= 1000000000;
	}
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) == EINTR)
		continue;
}

static void write_object(const char *name, long long bytes)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		fail("open", name);
	const long long size = object_end - object_begin;
	for (long long at = 0; at < bytes;) {
		long long from = at % size;
		long long more = size - from < bytes - at ? size - from : bytes - at;
		ssize_t n = write(fd, object_begin + from, (size_t)more);
		if (n < 0 && errno != EINTR)
			fail("write", name);
		at += n < 0 ? 0 : n;
	}
	if (close(fd) < 0)
		fail("close", name);
}

static bool is_source(const char *word)
{
	if (strcmp(word, "-") == 0)
		return true;
	const char *dot = strrchr(word, '.');
	return word[0] != '-' && dot && (strcmp(dot, ".cc") == 0 || strcmp(dot, ".ii") == 0 || strcmp(dot, ".cpp") == 0);
}

int main(int argc, char **argv)
{
	struct timespec start;
	clock_gettime(CLOCK_MONOTONIC, &start);
	/* icecream tries a toolchain by running true from it. */
	if (strcmp(program_invocation_short_name, "true") == 0)
		return 0;
	const char *source = NULL, *object = NULL;
	bool compiles = false;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "-c") == 0)
			compiles = true;
		else if (strcmp(argv[i], "-o") == 0 && i + 1 < argc)
			object = argv[++i];
		else if (is_source(argv[i]))
			source = argv[i];
	}
	if (!compiles || !object || !source) {
		argv[0] = REAL; /* g++ looks for its parts beside this name */
		execv(REAL, argv);
		fail("execute", REAL);
	}
	struct unit unit = read_unit(source);
	wait_until(&start, unit.microseconds);
	write_object(object, unit.bytes);
	return 0;
}
