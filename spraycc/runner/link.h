/* The connection to the server. */
#ifndef SPRAYCC_RUNNER_LINK_H
#define SPRAYCC_RUNNER_LINK_H

#include "util.h"

/* A blocking connection to the server whose socket this is, and which is a process of our own user; -1 if there is none. */
int link_connect(const char *socket_path);

/* Sends all of it; false if the server is gone. */
bool link_send(int fd, const unsigned char *bytes, size_t n);

/* The body of the next frame, valid until the next call. False if the server is gone, or sends a frame over the limit. */
bool link_receive(int fd, const unsigned char **body, size_t *n);

#endif
