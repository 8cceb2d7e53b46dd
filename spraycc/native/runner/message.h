/* The messages that a server may send to a runner; docs/reference/protocol.md has the grammar. */
#ifndef SPRAYCC_RUNNER_MESSAGE_H
#define SPRAYCC_RUNNER_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Version of the messages in both directions; the runner sends it in its first message. */
#define RUNNER_PROTOCOL 1

/* Size of the largest frame that a server sends. */
#define MAX_FRAME_BYTES (16u * 1024 * 1024)

/* Value of `stay`: end when the server closes the connection. Larger values: end after the report. */
#define STAY_AND_ASK 1

struct message {
	enum { OUT, EXIT, HERE, REFUSED } kind;
	union {
		struct {
			int fd;                    /* 1 or 2 */
			const unsigned char *data; /* inside the frame */
			size_t n;
		} out;
		struct {
			int code;          /* 0 to 255 */
			int signal_number; /* 0, or the signal that killed the command */
		} exit;
		struct {
			uint64_t out, err; /* bytes of stdout and stderr to be skipped */
			uint64_t stay;     /* 0: execute; STAY_AND_ASK or more: run as a child, and report its end */
		} here;
	};
};

/* False if the bytes are no message that the grammar allows. Further elements, from a newer server, are ignored. */
bool message_decode(const unsigned char *body, size_t n, struct message *message);

#endif
