/* Prints for each file 1 if, by spraycc/native/recorder/can_preload.c, it is a program that loads the library; else 0. */
#include "../../../spraycc/native/recorder/recorder.h"

#include <fcntl.h>
#include <stdio.h>

static struct record_file file;

struct record_file *record_map(void)
{
	return &file;
}

void record_lookup(int kind, int dirfd, const char *path)
{
	(void)kind;
	(void)dirfd;
	(void)path;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		printf("%d", can_preload(AT_FDCWD, argv[i]));
	return 0;
}
