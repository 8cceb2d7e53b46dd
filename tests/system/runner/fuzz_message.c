/* Fuzz target for what the runner parses: the bodies of frames. With libFuzzer:
 *
 *   clang -std=c11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined -I spraycc/runner \
 *       tests/system/runner/fuzz_message.c spraycc/runner/{message,cbor,util}.c -o fuzz_message
 *   ./fuzz_message tests/system/runner/corpus
 *
 * Invariant: any bytes either are a message that the grammar allows, with data that lies inside them, or are refused.
 * With -DSTANDALONE it prints what becomes of each frame (4-byte length, body) of standard input, for the test that compares
 * it with spraycc.wire. */
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

static bool parse(const uint8_t *data, size_t size, struct message *m)
{
	memset(m, 0xa5, sizeof *m);
	if (!message_decode(data, size, m))
		return false;
	switch (m->kind) {
	case OUT:
		require(m->u.out.fd == 1 || m->u.out.fd == 2);
		require(m->u.out.data >= data && m->u.out.n <= size && m->u.out.data + m->u.out.n <= data + size);
		break;
	case EXIT:
		require(m->u.exit.code >= 0 && m->u.exit.code <= 255 && m->u.exit.sig >= 0 && m->u.exit.sig <= 64);
		break;
	case HERE:
	case REFUSED:
		break;
	}
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct message m;
	parse(data, size, &m);
	return 0;
}

#ifdef STANDALONE
int main(void)
{
	unsigned char head[4];
	while (fread(head, 1, 4, stdin) == 4) {
		size_t size = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
		/* Exactly as large as the frame, so that the sanitizer sees the first byte that is read behind it. */
		unsigned char *body = malloc(size ? size : 1);
		struct message m;
		if (!body || fread(body, 1, size, stdin) != size)
			return 2;
		if (!parse(body, size, &m))
			puts("garbage");
		else if (m.kind == OUT)
			printf("out %d %zu\n", m.u.out.fd, m.u.out.n);
		else if (m.kind == EXIT)
			printf("exit %d %d\n", m.u.exit.code, m.u.exit.sig);
		else if (m.kind == HERE)
			printf("here %llu %llu\n", (unsigned long long)m.u.skip.out, (unsigned long long)m.u.skip.err);
		else
			puts("refused");
		free(body);
	}
	return 0;
}
#endif
