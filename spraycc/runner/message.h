/* What a server may say to a runner; the grammar is docs/protocol.md. */
#ifndef SPRAYCC_RUNNER_MESSAGE_H
#define SPRAYCC_RUNNER_MESSAGE_H

#include "util.h"

/* Version of the messages in both directions, sent in the first. */
#define RUNNER_PROTOCOL 1

/* Largest frame of an honest server. */
#define MAX_FRAME_BYTES (16u * 1024 * 1024)

struct message {
	enum { OUT, EXIT, HERE, REFUSED } kind;
	union {
		struct {
			int fd; /* 1 or 2 */
			const unsigned char *data; /* inside the frame */
			size_t n;
		} out;
		struct {
			int code; /* 0 to 255 */
			int sig;  /* 0, or the signal it died of */
		} exit;
		struct {
			uint64_t out, err; /* bytes to be dropped of stdout and stderr */
			uint64_t stay;     /* 1: say when it is done, and end when the server closes the connection */
		} skip;
	} u;
};

/* False where the bytes are no message that the grammar allows here. Elements that a newer server added are ignored. */
bool message_decode(const unsigned char *body, size_t n, struct message *m);

#endif
