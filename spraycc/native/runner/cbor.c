#include "cbor.h"

#include <string.h>

enum major { UNSIGNED = 0, NEGATIVE = 1, BYTES = 2, TEXT = 3, ARRAY = 4 };

static void head(struct buffer *out, enum major major, uint64_t value)
{
	unsigned char bytes[9];
	int width = value < 24 ? 0 : value <= 0xff ? 1 : value <= 0xffff ? 2 : value <= 0xffffffff ? 4 : 8;
	unsigned info = width == 0 ? (unsigned)value : width == 1 ? 24 : width == 2 ? 25 : width == 4 ? 26 : 27;
	bytes[0] = (unsigned char)((unsigned)major << 5 | info);
	for (int i = width; i > 0; i--) {
		bytes[i] = (unsigned char)value;
		value >>= 8;
	}
	buffer_add(out, bytes, 1 + (size_t)width);
}

void cbor_array(struct buffer *out, uint64_t count)
{
	head(out, ARRAY, count);
}

void cbor_uint(struct buffer *out, uint64_t value)
{
	head(out, UNSIGNED, value);
}

void cbor_int(struct buffer *out, int64_t value)
{
	if (value >= 0)
		head(out, UNSIGNED, (uint64_t)value);
	else
		head(out, NEGATIVE, (uint64_t)(-1 - value));
}

void cbor_bytes(struct buffer *out, const void *bytes, size_t n)
{
	head(out, BYTES, n);
	buffer_add(out, bytes, n);
}

void cbor_text(struct buffer *out, const char *text)
{
	size_t n = strlen(text);
	head(out, TEXT, n);
	buffer_add(out, text, n);
}

static bool read_head(struct cbor *in, enum major wanted, uint64_t *value)
{
	if (in->at == in->end || *in->at >> 5 != wanted)
		return false;
	unsigned info = *in->at++ & 31;
	if (info < 24) {
		*value = info;
		return true;
	}
	if (info > 27)
		return false; /* reserved, or of indefinite length */
	size_t width = (size_t)1 << (info - 24);
	if ((size_t)(in->end - in->at) < width)
		return false;
	uint64_t sum = 0;
	while (width--)
		sum = sum << 8 | *in->at++;
	*value = sum;
	return true;
}

static bool read_string(struct cbor *in, enum major wanted, const unsigned char **bytes, size_t *n)
{
	uint64_t size;
	if (!read_head(in, wanted, &size) || size > (uint64_t)(in->end - in->at))
		return false;
	*bytes = in->at;
	*n = (size_t)size;
	in->at += size;
	return true;
}

bool cbor_read_array(struct cbor *in, uint64_t *count)
{
	return read_head(in, ARRAY, count);
}

bool cbor_read_uint(struct cbor *in, uint64_t *value)
{
	return read_head(in, UNSIGNED, value);
}

bool cbor_read_bytes(struct cbor *in, const unsigned char **bytes, size_t *n)
{
	return read_string(in, BYTES, bytes, n);
}

bool cbor_read_text(struct cbor *in, const unsigned char **text, size_t *n)
{
	return read_string(in, TEXT, text, n);
}
