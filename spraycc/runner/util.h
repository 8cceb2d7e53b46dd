/* Small things that every file of the runner needs: growing buffers, loops around write(2), messages, descriptors. */
#ifndef SPRAYCC_RUNNER_UTIL_H
#define SPRAYCC_RUNNER_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that grow. The memory comes from mmap(2) and not from malloc(3), so that giving it back shrinks the process:
 * runners wait by the thousand. All zero is an empty one. After a failed allocation `failed` is set and nothing more is
 * added; whoever uses the bytes looks at it once, at the end. */
struct buf {
	unsigned char *data;
	size_t len;
	size_t cap;
	bool failed;
};

/* Room for `more` bytes after `len`; false if there is no memory. */
bool buf_reserve(struct buf *b, size_t more);
void buf_add(struct buf *b, const void *bytes, size_t n);
void buf_free(struct buf *b);

/* Writes all of it, through short writes, signals and a descriptor that someone made non-blocking. 0 or an errno. */
int write_all(int fd, const void *bytes, size_t n);

/* One line on standard error, in one write: the strings up to the first NULL, then a newline. */
void say(const char *first, ...) __attribute__((sentinel));

/* `n` in decimal; the result lies in `space`. */
const char *decimal(char space[24], uint64_t n);

/* What follows the last slash. */
const char *base_name(const char *path);

/* Puts a close-on-exec descriptor that can neither be read nor written on each of 0, 1 and 2 that is closed, so that
 * nothing we open lands there: to the program the descriptor is closed as before, and so it is for us. */
void plug_standard_streams(void);

#endif
