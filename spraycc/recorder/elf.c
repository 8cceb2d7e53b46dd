/* Whether a program would load this library. The loader of a 32-bit program complains about it on the program's stderr, and
 * AddressSanitizer's library ends the program if another one comes before it. can_preload in
 * spraycc/executor/recorder.py decides the same for the first program of a command.
 */
#include "record.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	MOST_SCRIPTS = 4, /* a script's interpreter may be a script; Linux allows one more */
	LINE_BYTES = 256, /* Linux reads no more of a script's first line */
	MOST_HEADERS = 64,
	MOST_ENTRIES = 256,
	SOME_ENTRIES = 8,
	NAME_BYTES = 32,
};

/* The linker's name for the header of this library. */
extern const Elf64_Ehdr __ehdr_start __attribute__((visibility("hidden")));

bool comes_first(const char *names)
{
	static const char *const libraries[] = {"libasan.so", "libhwasan.so", "libclang_rt.asan", "libclang_rt.hwasan"};

	for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++)
		if (strstr(names, libraries[i]) != NULL)
			return true;
	return false;
}

/* Direct system calls: pread of the C library is a cancellation point. */
static size_t read_at(int fd, void *buffer, size_t size, uint64_t offset)
{
	long length = raw_syscall(SYS_pread64, fd, buffer, size, offset);

	return length > 0 ? (size_t)length : 0;
}

static size_t read_text(int fd, char *buffer, size_t size, uint64_t offset)
{
	size_t length = read_at(fd, buffer, size - 1, offset);

	buffer[length] = '\0';
	return length;
}

static bool is_glibcs_loader(int fd, const Elf64_Phdr *header)
{
	static const char *const loaders[] = {"ld-linux", "ld64.so", "ld.so.1"};
	char path[NAME_BYTES + 1]; /* its end */
	uint64_t before = header->p_filesz > NAME_BYTES ? header->p_filesz - NAME_BYTES : 0;
	const char *slash;

	read_text(fd, path, header->p_filesz - before + 1, header->p_offset + before);
	slash = strrchr(path, '/');
	for (size_t i = 0; i < sizeof(loaders) / sizeof(loaders[0]); i++)
		if (strncmp(slash != NULL ? slash + 1 : path, loaders[i], strlen(loaders[i])) == 0)
			return true;
	return false;
}

/* Entries of a table in the file, some at a time: a signal handler's stack may have two pages. */
struct table {
	uint64_t place;
	size_t count;
};

static bool read_header(int fd, struct table headers, size_t i, Elf64_Phdr *header)
{
	return i < headers.count &&
	       read_at(fd, header, sizeof(*header), headers.place + i * sizeof(*header)) == sizeof(*header);
}

/* The place in the file of what is at this address in memory, or 0. */
static uint64_t place_of_address(int fd, struct table headers, uint64_t address)
{
	Elf64_Phdr header;

	for (size_t i = 0; read_header(fd, headers, i, &header); i++)
		if (header.p_type == PT_LOAD && address >= header.p_vaddr && address - header.p_vaddr < header.p_filesz)
			return address - header.p_vaddr + header.p_offset;
	return 0;
}

/* How many entries were read, or 0 behind the last one. */
static size_t read_entries(int fd, struct table table, size_t from, Elf64_Dyn entries[SOME_ENTRIES])
{
	size_t count = table.count - from < SOME_ENTRIES ? table.count - from : SOME_ENTRIES;

	return read_at(fd, entries, count * sizeof(entries[0]), table.place + from * sizeof(entries[0])) /
	       sizeof(entries[0]);
}

/* Among the libraries that the program itself names. */
static bool needs_first(int fd, struct table headers, struct table table)
{
	Elf64_Dyn entries[SOME_ENTRIES];
	char name[NAME_BYTES];
	uint64_t names = 0;
	size_t count;

	for (size_t at = 0; (count = read_entries(fd, table, at, entries)) != 0; at += count)
		for (size_t i = 0; i < count; i++)
			if (entries[i].d_tag == DT_STRTAB)
				names = place_of_address(fd, headers, entries[i].d_un.d_ptr);
	for (size_t at = 0; (count = read_entries(fd, table, at, entries)) != 0; at += count)
		for (size_t i = 0; i < count; i++) {
			if (entries[i].d_tag != DT_NEEDED)
				continue;
			read_text(fd, name, sizeof(name), names + entries[i].d_un.d_val);
			if (comes_first(name))
				return true;
		}
	return false;
}

static bool loads(int fd)
{
	Elf64_Ehdr elf;
	Elf64_Phdr header;
	struct table headers;
	struct table dynamic = {0, 0};
	bool is_ours = false;

	if (read_at(fd, &elf, sizeof(elf), 0) != sizeof(elf) ||
	    memcmp(elf.e_ident, __ehdr_start.e_ident, EI_VERSION) != 0 || elf.e_machine != __ehdr_start.e_machine ||
	    elf.e_phentsize != sizeof(header) || elf.e_phnum > MOST_HEADERS)
		return false;
	headers = (struct table){elf.e_phoff, elf.e_phnum};
	for (size_t i = 0; i < headers.count; i++) {
		if (!read_header(fd, headers, i, &header))
			return false;
		if (header.p_type == PT_INTERP)
			is_ours = is_glibcs_loader(fd, &header);
		if (header.p_type == PT_DYNAMIC)
			dynamic = (struct table){header.p_offset, header.p_filesz / sizeof(Elf64_Dyn)};
	}
	if (dynamic.count > MOST_ENTRIES)
		dynamic.count = MOST_ENTRIES;
	return is_ours && !needs_first(fd, headers, dynamic);
}

/* Opened for reading, or -1: no plain file, one that changes the user, or one that can't be read. */
static __attribute__((noinline)) int open_program(int dirfd, const char *path)
{
	struct stat status;

	if (raw_syscall(SYS_newfstatat, dirfd, path, &status, 0) != 0 || !S_ISREG(status.st_mode) ||
	    (status.st_mode & (S_ISUID | S_ISGID)) != 0)
		return -1;
	return (int)raw_syscall(SYS_openat, dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
}

/* Cuts the interpreter's path out of a script's first line. NULL if there is none. */
static char *interpreter_of(char *line)
{
	char *path = line + strspn(line, " \t");

	path[strcspn(path, " \t\n")] = '\0';
	return path[0] != '\0' ? path : NULL;
}

static bool follow(int dirfd, const char *path)
{
	char line[LINE_BYTES + 1];

	for (int scripts = 0; scripts <= MOST_SCRIPTS; scripts++) {
		int fd = open_program(dirfd, path);
		size_t length;
		bool is_elf;
		bool found;

		if (fd < 0)
			return false;
		length = read_text(fd, line, sizeof(line), 0);
		is_elf = length >= SELFMAG && memcmp(line, ELFMAG, SELFMAG) == 0;
		found = is_elf && loads(fd);
		raw_syscall(SYS_close, fd);
		if (is_elf)
			return found;
		dirfd = AT_FDCWD;
		/* execvp has the shell read a file that the kernel does not know. */
		path = line[0] == '#' && line[1] == '!' ? interpreter_of(line + 2) : "/bin/sh";
		if (path == NULL)
			return false;
		record_look(LOOKUP_FILE, AT_FDCWD, path);
	}
	return false;
}

bool program_loads(int dirfd, const char *path)
{
	int error = errno;
	bool answer = path != NULL && record_map() != NULL && follow(dirfd, path);

	errno = error;
	return answer;
}
