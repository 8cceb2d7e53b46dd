/* Decides if a program can load this library. The loader of a 32-bit program would complain on the program's stderr,
 * and the library of AddressSanitizer ends the program if another library comes before it. can_preload in
 * spraycc/system/preload.py decides the same for the first program of a command.
 */
#include "preload.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	MOST_SCRIPTS = 4, /* a script's interpreter may be a script; Linux allows one more */
	LINE_BYTES = 256, /* Linux reads only so much of a script's first line */
	MOST_HEADERS = 64,
	MOST_ENTRIES = 256,
	SOME_ENTRIES = 8,
	NAME_BYTES = 32,
	CHUNK_BYTES = 256,
};

/* The ELF header of this library, by a name that the linker defines. */
extern const Elf64_Ehdr __ehdr_start __attribute__((visibility("hidden")));

bool program_wants_first(const char *names)
{
	static const char *const libraries[] = {"libasan.so", "libhwasan.so", "libclang_rt.asan", "libclang_rt.hwasan"};
	for (size_t i = 0; i < sizeof libraries / sizeof libraries[0]; i++)
		if (strstr(names, libraries[i]))
			return true;
	return false;
}

/* A direct system call: pread of the C library is a cancellation point. */
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

/* A table in the file. Only some entries are read at a time: a signal handler's stack may have two pages. */
struct table {
	uint64_t offset;
	size_t count;
};

static bool read_header(int fd, struct table headers, size_t i, Elf64_Phdr *header)
{
	return i < headers.count &&
	       read_at(fd, header, sizeof *header, headers.offset + i * sizeof *header) == sizeof *header;
}

/* The offset in the file of an address in memory, or 0. */
static uint64_t offset_of_address(int fd, struct table headers, uint64_t address)
{
	Elf64_Phdr header;
	for (size_t i = 0; read_header(fd, headers, i, &header); i++)
		if (header.p_type == PT_LOAD && address >= header.p_vaddr && address - header.p_vaddr < header.p_filesz)
			return address - header.p_vaddr + header.p_offset;
	return 0;
}

/* Reads some entries. Returns their number, or 0 after the last entry. */
static size_t read_entries(int fd, struct table table, size_t from, Elf64_Dyn entries[SOME_ENTRIES])
{
	size_t count = table.count - from < SOME_ENTRIES ? table.count - from : SOME_ENTRIES;
	return read_at(fd, entries, count * sizeof entries[0], table.offset + from * sizeof entries[0]) / sizeof entries[0];
}

/* Applies program_wants_first to the libraries that the program itself names. */
static bool needs_first(int fd, struct table headers, struct table dynamic)
{
	Elf64_Dyn entries[SOME_ENTRIES];
	uint64_t names = 0;
	size_t count;
	for (size_t at = 0; (count = read_entries(fd, dynamic, at, entries)) != 0; at += count)
		for (size_t i = 0; i < count; i++)
			if (entries[i].d_tag == DT_STRTAB)
				names = offset_of_address(fd, headers, entries[i].d_un.d_ptr);
	for (size_t at = 0; (count = read_entries(fd, dynamic, at, entries)) != 0; at += count)
		for (size_t i = 0; i < count; i++) {
			char name[NAME_BYTES];
			if (entries[i].d_tag != DT_NEEDED)
				continue;
			read_text(fd, name, sizeof name, names + entries[i].d_un.d_val);
			if (program_wants_first(name))
				return true;
		}
	return false;
}

/* The parts of an ELF file of this library's kind. */
struct parts {
	struct table headers;
	struct table dynamic;
	Elf64_Phdr loader; /* its type is PT_INTERP, or PT_NULL if there is none */
};

static bool read_parts(int fd, struct parts *parts)
{
	Elf64_Ehdr elf;
	Elf64_Phdr header;
	*parts = (struct parts){0};
	if (read_at(fd, &elf, sizeof elf, 0) != sizeof elf || memcmp(elf.e_ident, __ehdr_start.e_ident, EI_VERSION) != 0 ||
	    elf.e_machine != __ehdr_start.e_machine || elf.e_phentsize != sizeof header || elf.e_phnum > MOST_HEADERS)
		return false;
	parts->headers = (struct table){elf.e_phoff, elf.e_phnum};
	for (size_t i = 0; i < parts->headers.count; i++) {
		if (!read_header(fd, parts->headers, i, &header))
			return false;
		if (header.p_type == PT_INTERP)
			parts->loader = header;
		if (header.p_type == PT_DYNAMIC)
			parts->dynamic = (struct table){header.p_offset, header.p_filesz / sizeof(Elf64_Dyn)};
	}
	if (parts->dynamic.count > MOST_ENTRIES)
		parts->dynamic.count = MOST_ENTRIES;
	return true;
}

static bool is_name_of_loader(const char *path)
{
	static const char *const loaders[] = {"ld-linux", "ld64.so", "ld.so.1"};
	for (size_t i = 0; i < sizeof loaders / sizeof loaders[0]; i++)
		if (strncmp(base_name(path), loaders[i], strlen(loaders[i])) == 0)
			return true;
	return false;
}

/* True if the loader's own texts have the version GLIBC_2.35. An older libc may lack dlsym, which was in a library of its
 * own up to 2.33, and the program would end with "undefined symbol". */
static __attribute__((noinline)) bool is_recent_loader(int fd)
{
	static const char version[] = "GLIBC_2.35";
	enum { OVERLAP = sizeof version };
	Elf64_Dyn entries[SOME_ENTRIES];
	char texts[CHUNK_BYTES];
	struct parts parts;
	uint64_t start = 0, size = 0;
	size_t count;
	if (!read_parts(fd, &parts))
		return false;
	for (size_t at = 0; (count = read_entries(fd, parts.dynamic, at, entries)) != 0; at += count)
		for (size_t i = 0; i < count; i++) {
			if (entries[i].d_tag == DT_STRTAB)
				start = offset_of_address(fd, parts.headers, entries[i].d_un.d_ptr);
			if (entries[i].d_tag == DT_STRSZ)
				size = entries[i].d_un.d_val;
		}
	for (uint64_t at = 0; at < size; at += CHUNK_BYTES - OVERLAP) {
		size_t length = read_at(fd, texts, sizeof texts, start + at);
		for (size_t i = 0; i + sizeof version <= length; i++)
			if (memcmp(texts + i, version, sizeof version) == 0)
				return true;
	}
	return false;
}

/* The path of the loader that has loaded this program. NULL if the loader itself was executed. */
static const char *own_loader(void)
{
	const Elf64_Phdr *headers = (const Elf64_Phdr *)getauxval(AT_PHDR); /* NOLINT(performance-no-int-to-ptr) */
	size_t count = getauxval(AT_PHNUM);
	uintptr_t start = 0;
	for (size_t i = 0; headers && i < count; i++) {
		if (headers[i].p_type == PT_PHDR)
			start = (uintptr_t)headers - headers[i].p_vaddr;
		if (headers[i].p_type == PT_INTERP)
			return (const char *)(start + headers[i].p_vaddr); /* NOLINT(performance-no-int-to-ptr) */
	}
	return NULL;
}

/* True if the program's loader is one of glibc's, and can load this library. */
static __attribute__((noinline)) bool has_fitting_loader(int fd, const Elf64_Phdr *header)
{
	char path[CHUNK_BYTES];
	const char *own = own_loader();
	if (header->p_type != PT_INTERP || header->p_filesz >= sizeof path)
		return false;
	read_text(fd, path, header->p_filesz + 1, header->p_offset);
	if (!is_name_of_loader(path))
		return false;
	if (own && strcmp(path, own) == 0)
		return true;
	int loader = program_open(AT_FDCWD, path);
	bool fits = loader >= 0 && is_recent_loader(loader);
	if (loader >= 0)
		raw_syscall(SYS_close, loader);
	return fits;
}

static bool loads(int fd, const char *path)
{
	struct parts parts;
	if (!read_parts(fd, &parts))
		return false;
	/* The loader may be executed with a program's path as its word. */
	if (parts.loader.p_type != PT_INTERP && is_name_of_loader(path))
		return is_recent_loader(fd);
	return has_fitting_loader(fd, &parts.loader) && !needs_first(fd, parts.headers, parts.dynamic);
}

int program_open(int dirfd, const char *path)
{
	return (int)raw_syscall(SYS_openat, dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
}

/* Opens the program for reading. If that fails, *problem says why. */
static __attribute__((noinline)) int open_program(int dirfd, const char *path, enum program *problem)
{
	struct stat status;
	*problem = PROGRAM_UNKNOWN;
	if (raw_syscall(SYS_newfstatat, dirfd, path, &status, 0) != 0) {
		if (errno == ENOENT || errno == ENOTDIR || errno == EFAULT)
			*problem = PROGRAM_MISSING;
		return -1;
	}
	if (!S_ISREG(status.st_mode))
		return -1;
	/* The loader of a setuid program takes no library from its user. */
	if ((status.st_mode & (S_ISUID | S_ISGID)) != 0) {
		*problem = PROGRAM_REFUSES;
		return -1;
	}
	int fd = program_open(dirfd, path);
	/* Without a free descriptor, nothing is known about the file. */
	if (fd < 0 && errno != EACCES)
		*problem = PROGRAM_MISSING;
	return fd;
}

/* Cuts the interpreter's path out of a script's first line. NULL if the line has none. */
static char *interpreter_of(char *line)
{
	char *path = line + strspn(line, " \t");
	path[strcspn(path, " \t\n")] = '\0';
	return path[0] != '\0' ? path : NULL;
}

static enum program follow(int dirfd, const char *path, const struct examiner *examiner)
{
	char line[LINE_BYTES + 1];
	for (int scripts = 0; scripts <= MOST_SCRIPTS; scripts++) {
		enum program problem;
		int fd = open_program(dirfd, path, &problem);
		if (fd < 0)
			return problem;
		size_t length = read_text(fd, line, sizeof line, 0);
		bool is_elf = length >= SELFMAG && memcmp(line, ELFMAG, SELFMAG) == 0;
		bool accepted = is_elf && loads(fd, path) && (!examiner->accepts || examiner->accepts(fd));
		raw_syscall(SYS_close, fd);
		if (is_elf)
			return accepted ? PROGRAM_LOADS : PROGRAM_REFUSES;
		dirfd = AT_FDCWD;
		/* execvp gives a file in an unknown format to the shell. */
		path = line[0] == '#' && line[1] == '!' ? interpreter_of(line + 2) : "/bin/sh";
		if (!path)
			return PROGRAM_UNKNOWN;
		if (examiner->interprets)
			examiner->interprets(path);
	}
	return PROGRAM_UNKNOWN;
}

enum program program_examine(int dirfd, const char *path, const struct examiner *examiner)
{
	int error = errno;
	enum program answer = path ? follow(dirfd, path, examiner) : PROGRAM_MISSING;
	errno = error;
	return answer;
}
