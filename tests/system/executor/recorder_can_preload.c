/* Prints for each file 1 if, by spraycc/native/preload/program.c, it is a program that loads a library; else 0. */
#include "../../../spraycc/native/preload/preload.h"

#include <fcntl.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	static const struct examiner examiner;
	for (int i = 1; i < argc; i++)
		printf("%d", program_examine(AT_FDCWD, argv[i], &examiner) == PROGRAM_LOADS);
	return 0;
}
