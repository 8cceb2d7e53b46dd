#include "buffer.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

bool buffer_reserve(struct buffer *b, size_t more)
{
	if (b->failed)
		return false;
	if (more <= b->capacity - b->length)
		return true;
	size_t capacity = b->capacity ? b->capacity : 16384;
	while (capacity - b->length < more) {
		if (capacity > SIZE_MAX / 2) {
			b->failed = true;
			return false;
		}
		capacity *= 2;
	}
	void *data = b->data ? mremap(b->data, b->capacity, capacity, MREMAP_MAYMOVE)
	                     : mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (data == MAP_FAILED) {
		b->failed = true;
		return false;
	}
	b->data = data;
	b->capacity = capacity;
	return true;
}

void buffer_add(struct buffer *b, const void *bytes, size_t n)
{
	if (n == 0 || !buffer_reserve(b, n))
		return;
	memcpy(b->data + b->length, bytes, n);
	b->length += n;
}

void buffer_add_text(struct buffer *b, const char *text)
{
	buffer_add(b, text, strlen(text));
}

void buffer_free(struct buffer *b)
{
	if (b->data)
		munmap(b->data, b->capacity);
	*b = (struct buffer){0};
}
