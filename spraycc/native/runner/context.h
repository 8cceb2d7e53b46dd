/* What decides which file a path means, and whether this user may read it. spraycc/context.py explains it. */
#ifndef SPRAYCC_RUNNER_CONTEXT_H
#define SPRAYCC_RUNNER_CONTEXT_H

#include "buffer.h"

/* Adds the context of this process as text, the same that spraycc/context.py writes, and " cwd:hidden" if `cwd`, the
 * path of the working directory, leads to another directory or to none. */
void context_add(struct buffer *out, const char *cwd);

#endif
