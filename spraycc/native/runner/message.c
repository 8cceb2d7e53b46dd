#include "message.h"

#include <string.h>

#include "cbor.h"

/* Linux has 64 signals. */
#define LAST_SIGNAL 64

static bool is(const unsigned char *text, size_t n, const char *word)
{
	return n == strlen(word) && memcmp(text, word, n) == 0;
}

bool message_decode(const unsigned char *body, size_t n, struct message *message)
{
	struct cbor in = {.at = body, .end = body + n};
	uint64_t count;
	const unsigned char *tag;
	size_t tag_length;
	if (!cbor_read_array(&in, &count) || count == 0 || !cbor_read_text(&in, &tag, &tag_length))
		return false;
	count--;
	if (is(tag, tag_length, "out")) {
		uint64_t fd;
		message->kind = OUT;
		if (count < 2 || !cbor_read_uint(&in, &fd) || (fd != 1 && fd != 2))
			return false;
		message->out.fd = (int)fd;
		return cbor_read_bytes(&in, &message->out.data, &message->out.n);
	}
	if (is(tag, tag_length, "exit")) {
		uint64_t code, sig;
		message->kind = EXIT;
		if (count < 2 || !cbor_read_uint(&in, &code) || !cbor_read_uint(&in, &sig) || code > 255 || sig > LAST_SIGNAL)
			return false;
		message->exit.code = (int)code;
		message->exit.signal_number = (int)sig;
		return true;
	}
	if (is(tag, tag_length, "here")) {
		message->kind = HERE;
		message->here.out = message->here.err = message->here.stay = 0;
		return (count < 1 || cbor_read_uint(&in, &message->here.out)) &&
		       (count < 2 || cbor_read_uint(&in, &message->here.err)) &&
		       (count < 3 || cbor_read_uint(&in, &message->here.stay));
	}
	if (is(tag, tag_length, "refused")) {
		message->kind = REFUSED;
		return true;
	}
	return false;
}
