/* The connection to the server: a Unix socket with frames. */
#ifndef SPRAYCC_RUNNER_SERVER_CONNECTION_H
#define SPRAYCC_RUNNER_SERVER_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Opens the directory of the socket, which is the server's own (O_PATH). -1 on failure. */
int open_socket_directory(const char *socket_path);

/* Instead of a connection: there is no server, or it is another user's (after sudo in a recipe). */
enum { SERVER_GONE = -1, SERVER_OF_ANOTHER = -2 };

/* A blocking connection to the server at this socket, which must be a process of this user. `server` gets its id. */
int server_connect(const char *socket_path, pid_t *server);

/* Sends all bytes. False if the server is gone. */
bool server_send(int fd, const void *bytes, size_t n);

/* The body of the next frame, valid until the next call. False if the server is gone, or sends a frame over the
 * limit. */
bool server_receive(int fd, const unsigned char **body, size_t *n);

#endif
