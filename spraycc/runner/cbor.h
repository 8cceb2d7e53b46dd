/* The part of CBOR (RFC 8949) that the runner's messages use: unsigned integers, byte and text strings, arrays. */
#ifndef SPRAYCC_RUNNER_CBOR_H
#define SPRAYCC_RUNNER_CBOR_H

#include "util.h"

void cbor_array(struct buf *out, uint64_t count);
void cbor_int(struct buf *out, int64_t value);
void cbor_uint(struct buf *out, uint64_t value);
void cbor_bytes(struct buf *out, const void *bytes, size_t n);
void cbor_text(struct buf *out, const char *text);

/* What is left to read. */
struct cbor {
	const unsigned char *at;
	const unsigned char *end;
};

/* Each reads one item (of an array, its head) and is false where the next one is of another type, of indefinite length,
 * or cut off; the cursor is then of no more use. Strings are not copied. */
bool cbor_read_array(struct cbor *in, uint64_t *count);
bool cbor_read_uint(struct cbor *in, uint64_t *value);
bool cbor_read_bytes(struct cbor *in, const unsigned char **bytes, size_t *n);
bool cbor_read_text(struct cbor *in, const unsigned char **text, size_t *n);

#endif
