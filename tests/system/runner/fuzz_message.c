/* Fuzz target for the runner's parser of frame bodies. With libFuzzer:
 *
 *   clang -std=c11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined -I spraycc/native/runner \
 *       tests/system/runner/fuzz_message.c spraycc/native/runner/{message,cbor,buffer}.c -o fuzz_message
 *   ./fuzz_message tests/system/runner/corpus
 *
 * Invariant: any bytes are either refused, or a message of the grammar whose data is inside these bytes.
 * With -DSTANDALONE it prints the result of each frame (4-byte length, body) of standard input, for the test that
 * compares the results with spraycc.wire. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool truth)
{
	if (!truth)
		abort();
}

static bool parse(const uint8_t *data, size_t size, struct message *message)
{
	memset(message, 0xa5, sizeof *message);
	if (!message_decode(data, size, message))
		return false;
	switch (message->kind) {
	case OUT:
		require(message->out.fd == 1 || message->out.fd == 2);
		require(message->out.data >= data && message->out.n <= size &&
		        message->out.data + message->out.n <= data + size);
		break;
	case EXIT:
		require(message->exit.code >= 0 && message->exit.code <= 255 && message->exit.signal_number >= 0 &&
		        message->exit.signal_number <= 64);
		break;
	case HERE:
	case REFUSED:
		break;
	}
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct message message;
	parse(data, size, &message);
	return 0;
}

#ifdef STANDALONE
int main(void)
{
	unsigned char head[4];
	while (fread(head, 1, 4, stdin) == 4) {
		size_t size = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
		/* Exactly as large as the frame, so that the sanitizer reports the first byte that is read beyond its end. */
		unsigned char *body = malloc(size ? size : 1);
		struct message message;
		if (!body || fread(body, 1, size, stdin) != size)
			return 2;
		if (!parse(body, size, &message))
			puts("garbage");
		else if (message.kind == OUT)
			printf("out %d %zu\n", message.out.fd, message.out.n);
		else if (message.kind == EXIT)
			printf("exit %d %d\n", message.exit.code, message.exit.signal_number);
		else if (message.kind == HERE)
			printf("here %llu %llu\n", (unsigned long long)message.here.out, (unsigned long long)message.here.err);
		else
			puts("refused");
		free(body);
	}
	return 0;
}
#endif
