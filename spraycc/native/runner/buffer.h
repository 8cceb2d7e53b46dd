/* Bytes that grow. */
#ifndef SPRAYCC_RUNNER_BUFFER_H
#define SPRAYCC_RUNNER_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

/* The memory comes from mmap(2) and not from malloc(3), so that freeing it shrinks the process: thousands of runners
 * wait at once. All zeros is an empty buffer. After a failed allocation `failed` is set, and nothing more is added. So
 * the caller checks `failed` once, at the end. */
struct buffer {
	unsigned char *data;
	size_t length;
	size_t capacity;
	bool failed;
};

/* Makes room for `more` bytes after `length`. False if there is no memory. */
bool buffer_reserve(struct buffer *b, size_t more);
void buffer_add(struct buffer *b, const void *bytes, size_t n);
/* Adds a text without its NUL. */
void buffer_add_text(struct buffer *b, const char *text);
void buffer_free(struct buffer *b);

#endif
