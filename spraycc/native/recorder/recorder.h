/* libspraycc-recorder.so: records every file that a command opens or examines, and every missing file that it looks
 * for.
 *
 * The executor preloads the library into a command (LD_PRELOAD). Each process of the command maps the same file, whose
 * absolute path is in SPRAYCC_RECORD, and writes each record there at once. So an end by _exit, exec or a signal loses
 * nothing. Without the variable, or without a usable file, the library records nothing and passes all calls on.
 *
 * The constructor removes both variables from the command's environment, and the functions that execute a program pass
 * them on (environment.c). The library does not see a system call that bypasses the C library, nor a program that such
 * a system call executes.
 *
 * The rules of preload/preload.h hold, with these exceptions:
 *   - the map and the loaded objects are state that changes;
 *   - system and popen take a lock to lend an environment: no signal handler and no child of vfork may call them.
 *
 * The file (host byte order; spraycc/executor/recorder.py makes and reads it):
 *   header    struct record_header, 64 bytes
 *   records   RECORD_COUNT of struct record, 48 bytes each
 *   texts     TEXT_BYTES: for each record the lookup (kind, absolute path) and a NUL
 * Stamps and lookups are those of spraycc/stamps.py.
 *
 * The file has holes. On a full disk, a write to a new page would end the process by SIGBUS. So the kernel tries each
 * page before the library's first write to it.
 */
#ifndef SPRAYCC_RECORDER_H
#define SPRAYCC_RECORDER_H

#include "../preload/preload.h"

#include <sys/stat.h>
#include <sys/types.h>

#define RECORD_MAGIC UINT64_C(0x3130524343595053) /* "SPYCCR01" on a little-endian host */
#define RECORD_COUNT UINT32_C(262144)
#define TEXT_BYTES UINT32_C(33554432)

/* Bits of record_header.flags. With any of them set, the reader treats the whole record as incomplete. */
enum {
	RECORD_OVERFLOW = 1, /* more records or texts than the file or the disk has room for */
	RECORD_UNDESCRIBED = 2, /* the command did something that no record can describe */
};

struct record_header {
	uint64_t magic; /* written by the executor */
	/* High 32 bits: number of records. Low 32 bits: bytes used of the texts. One addition reserves both, so records and
	 * texts have the same order. */
	_Atomic uint64_t position;
	_Atomic uint64_t flags;
	/* Programs that were executed and have not loaded this library. The executor writes 1, for the command itself. A
	 * number other than 0 at the end means that a program ran unseen: a static program, for instance. */
	_Atomic int64_t pending;
	/* Bytes that the disk has room for, from the first page of the records, and of the texts. */
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
	/* The command had the file's contents, not only its state. With MARK_WRITTEN: the old contents may be a part of the
	 * new contents, as after an append. */
	MARK_OPENED = 4,
};

/* What the name of a MARK_WRITTEN record leads to after the call. The stamp of the record has it as its kind. */
enum {
	NAME_AS_BEFORE = 0, /* the same file, which the command changed */
	NAME_IS_TREE = STAMP_DIRECTORY, /* a new directory: the command makes everything below it */
	NAME_LEADS_ELSEWHERE = STAMP_LINK, /* a symbolic link, or a directory that had another name before */
	NAME_IS_ANOTHER = STAMP_OTHER, /* another file than before, or no file */
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
	/* The user may read, write or execute the file, or make and remove the name. */
	LOOKUP_READ = 'r',
	LOOKUP_WRITE = 'w',
	LOOKUP_EXECUTE = 'x',
	LOOKUP_CHANGE = 'd',
};

/* The kind of lookup for the flags of fstatat and similar functions. */
#define KIND_AT(flags) (((flags) & AT_SYMLINK_NOFOLLOW) != 0 ? LOOKUP_LINK : LOOKUP_FILE)

/* record.c. These functions leave errno as it is. A path may be relative to dirfd, or to the working directory
 * (AT_FDCWD). */

/* The map, or NULL if nothing is to be recorded. */
struct record_file *record_map(void);
/* From now on, the library records nothing in this process, and makes no system call of its own. Marks the record as
 * incomplete. */
void record_stop(void);
/* A program is about to be executed (+1), or could not be executed (-1). */
void record_pending(int change);
/* The command did something that no record describes. */
void record_undescribed(void);
/* The stamp for a lookup by this host's cache, without a round trip to the file server. */
struct stamp stamp_now(int kind, int dirfd, const char *path);
/* The same, before a call that may change the file. Zeros if nothing is to be recorded. */
struct stamp stamp_before(int kind, int dirfd, const char *path);
/* The kernel's path of a file (from a link in /proc) says that the file is deleted. */
bool is_deleted(const char *path, size_t length);
/* True if both paths lead to the same file. May change errno. */
bool record_same_file(const char *path, const char *other);
/* The result of stat (LOOKUP_FILE) or lstat (LOOKUP_LINK) as a stamp. */
struct stamp stamp_of_stat(const struct stat *status);
/* Records a read of the file with this stamp. */
void record_read(int kind, int dirfd, const char *path, const struct stamp *stamp);
/* Records a read with stamp_now. */
void record_lookup(int kind, int dirfd, const char *path);
/* The same, for a file of which the command has the contents. */
void record_loaded(int kind, int dirfd, const char *path);
/* Records a read that opened fd. A directory becomes LOOKUP_NAMES, unless the descriptor is only a place (O_PATH). */
void record_opened(int kind, int dirfd, const char *path, int fd, bool only_a_place);
/* Records that the command changed the file that the name leads to. keeps: the old contents may be a part of the new
 * contents. */
void record_written(int dirfd, const char *path, bool keeps);
/* Records that the command made, replaced or removed the name; name_now is a NAME_ constant. For a directory that moved
 * away, moved_to is the number of the record of its new name, otherwise 0. Returns the number of the new record, or 0
 * if there is none. */
uint64_t record_named(int name_now, int dirfd, const char *path, uint64_t moved_to);
/* Records that the command made the name, which was missing before. */
void record_made(int name_now, int dirfd, const char *path);
/* Records a call that failed with this errno. */
void record_failed(int kind, int dirfd, const char *path, int error);
/* Records that this user may not do this with the file, if the errno says so. The file's state may be equal on two hosts
 * on which the user has different groups. */
void record_denied(int kind, int dirfd, const char *path, int error);

/* wrap_open.c: before and after a call that opens a file with these flags of open(2). */

/* The stamp of a file that the call may change. Zeros if the call changes no existing file. */
struct stamp open_before(int dirfd, const char *path, int flags);
void open_after(int fd, int dirfd, const char *path, int flags, const struct stamp *old);

/* wrap_change.c: before and after a call that removes a name and returns 0 or -1. Only an empty directory can be
 * removed, so all names of a directory are an input (LOOKUP_NAMES). */
struct removal {
	int kind;
	struct stamp old;
};

struct removal removal_before(int dirfd, const char *path);
int removal_after(int result, const struct removal *removal, int dirfd, const char *path);

/* wrap_stat.c */

/* After a call that examines a file, and whose result gives no stamp. */
void stat_after(bool success, int kind, int dirfd, const char *path);
/* The same for access(2) with this mode. */
void access_after(bool success, int kind, int dirfd, const char *path, int mode);
/* After readlink(2), with the stamp from before the call. */
void readlink_after(ssize_t length, int dirfd, const char *path, const struct stamp *old);

/* environment.c */

/* Remembers the recorder's variables. False unless the executor, or another process of its command, has preloaded the
 * library. */
bool environment_begin(char **env);
/* The value of SPRAYCC_RECORD, or NULL. */
const char *environment_record(void);
/* Removes the variables from this environment, and from environ. */
void environment_hide(char **env);
/* Bytes of room that environment_fill needs, or 0 if the program gets the environment as it is. */
size_t environment_size(char *const env[]);
/* The environment with the variables for a program that is executed. Allocates nothing but in the room. */
char **environment_fill(char *const env[], void *room, size_t size);
/* For functions that use environ inside the C library: until environment_return, environ has the variables. False if
 * environ stays as it is. */
bool environment_lend(void);
void environment_return(void);

/* wrap_exec.c: true if the program loads this library without a complaint. Records the lookups of interpreters. */
bool can_preload(int dirfd, const char *path);

/* loaded_objects.c. These functions leave errno as it is. */

/* Records the program and its libraries. Called by the constructor. */
void loaded_begin(void);
/* Records the libraries that the loader has added since. */
void loaded_update(void);

#endif
