/* libspraycc-recorder.so: notes every file that a command opens or examines, and every name that it looks for in vain.
 *
 * The executor preloads the library into a command (LD_PRELOAD). Each process of the command maps the same file, whose
 * absolute path is in SPRAYCC_RECORD, and writes each record there at once: an end by _exit, exec or a signal loses
 * nothing. Without the variable, or without a usable file, the library records nothing and passes all calls on.
 *
 * The constructor takes both variables out of the command's environment, and the functions that execute a program hand them
 * on (environment.c). A system call without the C library is not seen, nor is the program that it executes.
 *
 * A call that is recorded returns what the C library's function returns, and leaves errno as that function left it.
 *
 * Rules for this code, because it runs in signal handlers, in threads and in children of vfork:
 *   - no lock, no allocation, no stdio: only atomics, the stack and the map;
 *   - no state but the map, the addresses of the real functions, what the constructor remembers, and what the process that
 *     it ran in has loaded, as a child of vfork shares its parent's memory. So nothing remembers the working directory:
 *     the kernel is asked for it each time.
 *   - system and popen, which no signal handler and no child of vfork may call, lend an environment under a lock.
 *
 * The file (host byte order; spraycc/executor/recorder.py makes and reads it):
 *   header    struct record_header, 64 bytes
 *   records   RECORD_COUNT of struct record, 48 bytes each
 *   texts     TEXT_BYTES: for each record the lookup (kind, absolute path) and a NUL
 * Stamps and lookups are those of spraycc/stamps.py.
 *
 * The file has holes. A page that the disk has no room for would end the process by SIGBUS when it is written. So the
 * library has the kernel try each page before the first write to it.
 */
#ifndef SPRAYCC_RECORD_H
#define SPRAYCC_RECORD_H

/* Fortified headers define some of the wrapped functions themselves, and large-file redirection renames them. */
#undef _FORTIFY_SOURCE
#undef _FILE_OFFSET_BITS

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#if !defined(__GLIBC__) || !defined(__LP64__)
#error "the recorder wraps the functions of glibc on 64-bit hosts, where struct stat and struct stat64 are the same"
#endif

#define RECORD_MAGIC UINT64_C(0x3130524343595053) /* "SPYCCR01" on a little-endian host */
#define RECORD_COUNT UINT32_C(262144)
#define TEXT_BYTES UINT32_C(33554432)

/* Bits of record_header.flags. Each of them makes the reader treat the whole record as incomplete. */
enum {
	RECORD_OVERFLOW = 1,    /* more records or texts than the file or the disk has room for */
	RECORD_UNDESCRIBED = 2, /* the command did something that the recorder can't describe */
};

struct record_header {
	uint64_t magic; /* written by the executor */
	/* High 32 bits: number of records. Low 32 bits: bytes used of the texts. One addition reserves both, so record
	 * and text have the same order. */
	_Atomic uint64_t position;
	_Atomic uint64_t flags;
	/* Programs that were executed and have not loaded this library. The executor writes 1, for the command itself.
	 * A number other than 0 at the end means that a program ran unseen: a static one, for instance. */
	_Atomic int64_t pending;
	/* Where the pages end that the disk has room for: counted from the first page of the records, and of the texts. */
	_Atomic uint64_t ready_records;
	_Atomic uint64_t ready_texts;
	uint64_t reserved[2];
};

/* Kinds of stamps: spraycc/stamps.py. */
enum {
	STAMP_MISSING,
	STAMP_REGULAR,
	STAMP_DIRECTORY,
	STAMP_NAMES,
	STAMP_LINK,
	STAMP_OTHER,
	STAMP_ERROR,
};

struct stamp {
	uint64_t kind;
	uint64_t inode;
	uint64_t size;
	int64_t mtime_ns;
	int64_t ctime_ns;
};

/* Bits of record.mark, which is written last. */
enum {
	MARK_DONE = 1,
	MARK_WRITTEN = 2, /* the command made, replaced or removed the file */
};

/* What the name of a MARK_WRITTEN record leads to now. It is the kind in the record's stamp. */
enum {
	NAME_AS_BEFORE = 0,                 /* what it led to before, of which the command has changed something */
	NAME_IS_TREE = STAMP_DIRECTORY,     /* a new directory: the command has made all that is below it */
	NAME_LEADS_ELSEWHERE = STAMP_LINK,  /* a symbolic link, or a directory that had another name */
	NAME_IS_ANOTHER = STAMP_OTHER,      /* another file than before, or none */
};

struct record {
	struct stamp stamp;
	_Atomic uint64_t mark;
};

struct record_file {
	struct record_header header;
	struct record records[RECORD_COUNT];
	char texts[TEXT_BYTES];
};

_Static_assert(sizeof(struct record_header) == 64, "the reader knows the header's size");
_Static_assert(sizeof(struct record) == 48, "the reader knows a record's size");

/* Kinds of lookups. */
enum {
	LOOKUP_FILE = 'f',
	LOOKUP_NAMES = 'n',
	LOOKUP_LINK = 'l',
};

/* The kind for the flags of fstatat and its like. */
#define KIND_AT(flags) (((flags) & AT_SYMLINK_NOFOLLOW) != 0 ? LOOKUP_LINK : LOOKUP_FILE)

/* record.c. These leave errno as it is. A path may be relative to dirfd, or to the working directory (AT_FDCWD). */

/* The map, or NULL if nothing is to be recorded. */
struct record_file *record_map(void);
/* From now on, this process records nothing and makes no system call of its own. The record is incomplete. */
void record_stop(void);
/* A program is about to be executed (+1), or could not be executed (-1). */
void record_pending(int change);
/* The command did something that no record describes. */
void record_undescribed(void);
/* What this host's cache says of a lookup, without a round trip to the file server. */
struct stamp stamp_now(int kind, int dirfd, const char *path);
/* The kernel's name for what the descriptor has open. */
#define DESCRIPTOR_PATH 32
void descriptor_path(int fd, char path[DESCRIPTOR_PATH]);
/* Both paths lead to the same file. May change errno. */
bool record_same_file(const char *path, const char *other);
/* The result of stat (LOOKUP_FILE) or lstat (LOOKUP_LINK) as a stamp. */
struct stamp stamp_of_stat(const struct stat *status);
void record_read(int kind, int dirfd, const char *path, const struct stamp *stamp);
/* A read with stamp_now. */
void record_look(int kind, int dirfd, const char *path);
/* A read that opened the descriptor fd. A directory becomes LOOKUP_NAMES unless the descriptor is only a place. */
void record_opened(int kind, int dirfd, const char *path, int fd, bool only_a_place);
/* The command has changed what the name leads to. */
void record_written(int dirfd, const char *path);
/* The command has made, replaced or removed the name: NAME_…. A directory that moved away: moved_to is the number of its
 * new name's record. Returns the number of the record, or 0. */
uint64_t record_named(int name_now, int dirfd, const char *path, uint64_t moved_to);
/* The command has made the name, which was missing. */
void record_made(int name_now, int dirfd, const char *path);
/* A call failed with this errno. */
void record_failed(int kind, int dirfd, const char *path, int error);

/* open.c: around a call that opens a file with these flags of open(2). */

/* The stamp of a file that the call may change. */
struct stamp open_before(int dirfd, const char *path, int flags);
void open_after(int fd, int dirfd, const char *path, int flags, const struct stamp *old);

/* change.c: around a call that removes a name and says 0 or -1. A directory can be removed only if it is empty, so all its
 * names are read. */
struct removal {
	int kind;
	struct stamp old;
};

struct removal removal_before(int dirfd, const char *path);
int removal_after(int result, const struct removal *removal, int dirfd, const char *path);

/* stat.c */

/* After a call that examines the file, and says nothing from which a stamp could be made. */
void stat_after(bool success, int kind, int dirfd, const char *path);
/* Around readlink(2). */
struct stamp readlink_before(int dirfd, const char *path);
void readlink_after(ssize_t length, int dirfd, const char *path, const struct stamp *old);

/* syscall.c */

/* syscall(2). The exported syscall is a wrapper, and records. */
long raw_syscall(long number, ...);

/* environment.c */

/* Remembers the recorder's variables. False if the library was not preloaded by the executor, or by another process of its
 * command. */
bool environment_begin(char **env);
/* The value of SPRAYCC_RECORD, or NULL. */
const char *environment_record(void);
/* Takes the variables out of this environment, and out of environ. */
void environment_hide(char **env);
/* Bytes of room that environment_fill needs, or 0 if the environment is to be handed on as it is. */
size_t environment_size(char *const env[]);
/* The environment with the variables for a program that is executed. Allocates nothing but in the room. */
char **environment_fill(char *const env[], void *room, size_t size);
/* For functions that take environ inside the C library: until environment_return, environ has the variables. False if it
 * stays as it is. */
bool environment_lend(void);
void environment_return(void);

/* elf.c. Leaves errno as it is. */

/* The program loads this library without a complaint. Records the look at a script's interpreter. */
bool program_loads(int dirfd, const char *path);
/* A library among these names does not bear another one before it. */
bool comes_first(const char *names);

/* loaded.c. These leave errno as it is. */

/* Records the program and its libraries. Called by the constructor. */
void loaded_begin(void);
/* Records what the loader has added since. */
void loaded_look(void);

/* real.c: the C library's functions. */
struct real {
	const char *name;
	_Atomic uintptr_t address;
};

uintptr_t real_address(struct real *real);

#define EXPORT __attribute__((visibility("default")))
/* Before the definition of a wrapper: has the constructor look up the function that it wraps. */
#define WRAPS(function) \
	static struct real real_##function __attribute__((section("spraycc_reals"), used)) = {#function, 0}
#define REAL(function) ((__typeof__(&function))real_address(&real_##function))

#endif
