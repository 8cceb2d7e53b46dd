/* Output of the runner and the box: whole writes, and messages on standard error. */
#ifndef SPRAYCC_COMMON_OUTPUT_H
#define SPRAYCC_COMMON_OUTPUT_H

#include <stddef.h>

/* Writes all bytes, in spite of short writes, signals, and a descriptor that another process has made non-blocking.
 * Returns 0 or an errno. */
int write_all(int fd, const void *bytes, size_t n);

/* Writes one line to standard error in one write: the strings up to the first NULL, then a newline. */
void say(const char *first, ...) __attribute__((sentinel));

#endif
