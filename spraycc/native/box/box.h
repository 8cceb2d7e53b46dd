/* spraycc-box: runs one command in a private view of the file system. The top of main.c describes the whole. */
#ifndef SPRAYCC_BOX_H
#define SPRAYCC_BOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* One --overlay. The descriptors are -1 until open_overlays. */
struct overlay {
	const char *lower;
	const char *upper;
	const char *work;
	int lower_fd;
	int mount_fd;
	int kept; /* index in kept.c, of the serving box only */
};

/* One --writable. */
struct writable {
	const char *path;
	int path_fd;
	int mount_fd;
};

/* One --rlimit, as setrlimit(2) wants it. */
struct limit {
	int resource;
	unsigned long long soft;
	unsigned long long hard;
};

/* The parsed command line; strings point into argv. */
struct options {
	struct overlay *overlays;
	size_t n_overlays;
	struct writable *writables;
	size_t n_writables;
	struct limit *limits;
	size_t n_limits;
	const char **forgotten;
	size_t n_forgotten;
	const char *chdir;
	const char *program;
	char **argv;
	pid_t parent;
	int umask; /* -1: as inherited */
	int nice;
	bool in_place;
	bool pid_namespace;
};

/* How a command ended, and the resources that the command and its descendants used. */
struct outcome {
	int status; /* as waitpid(2) gives it */
	uint64_t user_us;
	uint64_t system_us;
	uint64_t peak_rss_kib;
};

/* report.c: the report to the executor. The first two functions end the process. */
_Noreturn void fail_setup(const char *stage, int error);
_Noreturn void fail_exec(int error);
void report_ended(const struct outcome *outcome);
void report_kept(void);
void report_to(int fd);

/* main.c */
void parse(struct options *options, int argc, char **argv);

/* mounts.c */
void enter_namespaces(const struct options *options);
void mount_overlays(const struct options *options);
void mount_proc(void);
void make_overlay(struct overlay *overlay);
void attach_all(const struct options *options);

/* kept.c */
void hold_overlays_in(const char *directory);
void keep_overlays(struct options *options);
void show_kept(struct options *options);
bool can_serve_again(const struct options *options);

/* serve.c */
int serve(int fd, const char *hold);

/* command.c */
pid_t start_command(const struct options *options);
struct outcome wait_for_command(pid_t command, bool *stopped);
void kill_the_rest(void);

#endif
