#include "message.h"

#include <string.h>

#include "cbor.h"

/* Linux has 64 signals. */
#define LAST_SIGNAL 64

static bool is(const unsigned char *text, size_t n, const char *word)
{
	return n == strlen(word) && memcmp(text, word, n) == 0;
}

bool message_decode(const unsigned char *body, size_t n, struct message *m)
{
	struct cbor in = {.at = body, .end = body + n};
	uint64_t count;
	const unsigned char *tag;
	size_t tag_len;
	if (!cbor_read_array(&in, &count) || count == 0 || !cbor_read_text(&in, &tag, &tag_len))
		return false;
	count--;
	if (is(tag, tag_len, "out")) {
		uint64_t fd;
		m->kind = OUT;
		if (count < 2 || !cbor_read_uint(&in, &fd) || (fd != 1 && fd != 2))
			return false;
		m->u.out.fd = (int)fd;
		return cbor_read_bytes(&in, &m->u.out.data, &m->u.out.n);
	}
	if (is(tag, tag_len, "exit")) {
		uint64_t code, sig;
		m->kind = EXIT;
		if (count < 2 || !cbor_read_uint(&in, &code) || !cbor_read_uint(&in, &sig) || code > 255 || sig > LAST_SIGNAL)
			return false;
		m->u.exit.code = (int)code;
		m->u.exit.sig = (int)sig;
		return true;
	}
	if (is(tag, tag_len, "here")) {
		m->kind = HERE;
		m->u.skip.out = m->u.skip.err = m->u.skip.stay = 0;
		return (count < 1 || cbor_read_uint(&in, &m->u.skip.out)) &&
		       (count < 2 || cbor_read_uint(&in, &m->u.skip.err)) &&
		       (count < 3 || cbor_read_uint(&in, &m->u.skip.stay));
	}
	if (is(tag, tag_len, "refused")) {
		m->kind = REFUSED;
		return true;
	}
	return false;
}
