/* Stands in for the runner: prints what the runner gets from the library that intercepts executions. */
#include <stdio.h>
#include <stdlib.h>

static void print(const char *name)
{
	const char *value = getenv(name);
	printf("%s=%s\n", name, value ? value : "(unset)");
}

int main(int argc, char **argv)
{
	printf("runner");
	for (int i = 0; i < argc && i < 4; i++)
		printf(" [%s]", argv[i]);
	printf(" %d\n", argc);
	print("SPRAYCC_PROGRAM");
	print("LD_PRELOAD");
	print("SPRAYCC_SOCKET");
	print("SPRAYCC_BUILD");
	print("MARK");
	return 42;
}
