/* The arguments of a variadic function that passes a system call on. Needs <stdarg.h>. */
#ifndef SPRAYCC_PRELOAD_SIX_ARGUMENTS_H
#define SPRAYCC_PRELOAD_SIX_ARGUMENTS_H

/* Collects six arguments, the most that a system call has. A call may have fewer: then the rest is not used. */
#define SIX_ARGUMENTS(a, number) \
	long a[6]; \
	do { \
		va_list list_; \
		va_start(list_, number); \
		for (int i_ = 0; i_ < 6; i_++) \
			a[i_] = va_arg(list_, long); \
		va_end(list_); \
	} while (0)

#endif
