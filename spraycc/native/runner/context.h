/* What decides which file a path means, and whether this user may read it. spraycc/context.py explains it. */
#ifndef SPRAYCC_RUNNER_CONTEXT_H
#define SPRAYCC_RUNNER_CONTEXT_H

#include <sys/types.h>

#include "buffer.h"

/* Adds the context of this process as text, the same that spraycc/context.py writes. Then " cwd:hidden" if `cwd`, the
 * path of the working directory, leads to another directory or to none. */
void context_add(struct buffer *out, const char *cwd);

/* Adds " server:hidden" if the kernel does not let this process look at the server's files (ptrace(2), access mode
 * checking): this process is in a Landlock sandbox, and the server is not. */
void context_add_server(struct buffer *out, pid_t server);

#endif
