/* The part of CBOR (RFC 8949) that the runner's messages use: integers, byte and text strings, arrays. */
#ifndef SPRAYCC_RUNNER_CBOR_H
#define SPRAYCC_RUNNER_CBOR_H

#include <stdint.h>

#include "buffer.h"

void cbor_array(struct buffer *out, uint64_t count);
void cbor_int(struct buffer *out, int64_t value);
void cbor_uint(struct buffer *out, uint64_t value);
void cbor_bytes(struct buffer *out, const void *bytes, size_t n);
void cbor_text(struct buffer *out, const char *text);

/* The bytes that are left to read. */
struct cbor {
	const unsigned char *at;
	const unsigned char *end;
};

/* Each function reads one item (of an array, its head). False if the item has another type or an indefinite length, or
 * is cut off: then the cursor is of no more use. Strings are not copied. */
bool cbor_read_array(struct cbor *in, uint64_t *count);
bool cbor_read_uint(struct cbor *in, uint64_t *value);
bool cbor_read_bytes(struct cbor *in, const unsigned char **bytes, size_t *n);
bool cbor_read_text(struct cbor *in, const unsigned char **text, size_t *n);

#endif
