/* Texts in fixed room: numbers, paths, lists of directories. Nothing here allocates or makes a system call, so the
 * recorder may use all of it in signal handlers and in children of vfork. */
#ifndef SPRAYCC_COMMON_TEXT_H
#define SPRAYCC_COMMON_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DECIMAL_BYTES = 24, DESCRIPTOR_PATH_BYTES = 40 };

/* The number in decimal; the result is inside `room`. */
const char *decimal(char room[DECIMAL_BYTES], uint64_t number);

/* Append at `at`, and return the new end, where a NUL is. `last` is the last byte of the room: a longer text is
 * cut. */
char *append(char *at, char *last, const char *text);
char *append_number(char *at, char *last, uint64_t number);

/* A path to the file that a descriptor has open, /proc/self/fd/N; the result is `room`. */
const char *descriptor_path(char room[DESCRIPTOR_PATH_BYTES], int fd);

/* The part of a path after its last slash. */
const char *base_name(const char *path);

/* Writes DIRECTORY/NAME, or only the name if the directory is empty (as execvp does). False if the room is too
 * small. */
bool join_path(char *room, size_t size, const char *directory, size_t length, const char *name);

/* True if the path's first components are these. */
bool begins_with(const char *path, const char *components);

/* The list that execvp(3) searches if PATH is unset. */
#define DEFAULT_PATH "/bin:/usr/bin"

/* Takes the first element off a list like PATH, and sets its length. NULL after the last element. */
const char *next_element(const char **list, size_t *length);

#endif
