/* The functions of the exec family that have a path or a name. All of them end in own_execve or own_execvpe, which each
 * library defines. In the C library, too, these functions call each other inside, where no wrapper sees the call. */
#include "preload.h"

#include <stdarg.h>
#include <unistd.h>

EXPORT int execve(const char *path, char *const argv[], char *const env[])
{
	return own_execve(path, argv, env);
}

EXPORT int execv(const char *path, char *const argv[])
{
	return own_execve(path, argv, environ);
}

EXPORT int execvpe(const char *file, char *const argv[], char *const env[])
{
	return own_execvpe(file, argv, env);
}

EXPORT int execvp(const char *file, char *const argv[])
{
	return own_execvpe(file, argv, environ);
}

/* The variadic forms collect their words on the stack, as the C library does, and do as a function above does. */
static size_t count_words(va_list words)
{
	size_t count = 0;
	while (va_arg(words, char *))
		count++;
	return count;
}

#define COLLECT(argv, first, words) \
	size_t count_; \
	char **argv; \
	va_start(words, first); \
	count_ = 1 + count_words(words); \
	va_end(words); \
	argv = __builtin_alloca((count_ + 1) * sizeof(char *)); \
	va_start(words, first); \
	argv[0] = (char *)(uintptr_t)first; \
	for (size_t i_ = 1; i_ <= count_; i_++) \
		argv[i_] = va_arg(words, char *);

EXPORT int execl(const char *path, const char *word, ...)
{
	va_list words;
	COLLECT(argv, word, words)
	va_end(words);
	return own_execve(path, argv, environ);
}

EXPORT int execlp(const char *file, const char *word, ...)
{
	va_list words;
	COLLECT(argv, word, words)
	va_end(words);
	return own_execvpe(file, argv, environ);
}

EXPORT int execle(const char *path, const char *word, ...)
{
	va_list words;
	COLLECT(argv, word, words)
	char **env = va_arg(words, char **);
	va_end(words);
	return own_execve(path, argv, env);
}
