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
	MOST_ENTRIES = 128,
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
	long length = syscall(SYS_pread64, fd, buffer, size, offset);

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
	char path[LINE_BYTES];
	const char *slash;

	if (header->p_filesz >= sizeof(path))
		return false;
	read_text(fd, path, header->p_filesz + 1, header->p_offset);
	slash = strrchr(path, '/');
	for (size_t i = 0; i < sizeof(loaders) / sizeof(loaders[0]); i++)
		if (strncmp(slash != NULL ? slash + 1 : path, loaders[i], strlen(loaders[i])) == 0)
			return true;
	return false;
}

/* The place in the file of what is at this address in memory, or 0. */
static uint64_t place_of_address(const Elf64_Phdr *headers, size_t count, uint64_t address)
{
	for (size_t i = 0; i < count; i++)
		if (headers[i].p_type == PT_LOAD && address >= headers[i].p_vaddr &&
		    address - headers[i].p_vaddr < headers[i].p_filesz)
			return address - headers[i].p_vaddr + headers[i].p_offset;
	return 0;
}

/* Among the libraries that the program itself names. */
static bool needs_first(int fd, const Elf64_Phdr *headers, size_t count, const Elf64_Phdr *dynamic)
{
	Elf64_Dyn entries[MOST_ENTRIES];
	size_t size = dynamic->p_filesz < sizeof(entries) ? dynamic->p_filesz : sizeof(entries);
	size_t most = read_at(fd, entries, size, dynamic->p_offset) / sizeof(entries[0]);
	uint64_t names = 0;

	for (size_t i = 0; i < most && entries[i].d_tag != DT_NULL; i++)
		if (entries[i].d_tag == DT_STRTAB)
			names = place_of_address(headers, count, entries[i].d_un.d_ptr);
	for (size_t i = 0; i < most && entries[i].d_tag != DT_NULL; i++) {
		char name[NAME_BYTES];

		if (entries[i].d_tag != DT_NEEDED)
			continue;
		read_text(fd, name, sizeof(name), names + entries[i].d_un.d_val);
		if (comes_first(name))
			return true;
	}
	return false;
}

static bool loads(int fd, const Elf64_Ehdr *elf)
{
	Elf64_Phdr headers[MOST_HEADERS];
	const Elf64_Phdr *interpreter = NULL;
	const Elf64_Phdr *dynamic = NULL;
	size_t size = elf->e_phnum * sizeof(headers[0]);

	if (memcmp(elf->e_ident, __ehdr_start.e_ident, EI_VERSION) != 0 || elf->e_machine != __ehdr_start.e_machine)
		return false;
	if (elf->e_phentsize != sizeof(headers[0]) || elf->e_phnum > MOST_HEADERS ||
	    read_at(fd, headers, size, elf->e_phoff) != size)
		return false;
	for (size_t i = 0; i < elf->e_phnum; i++) {
		if (headers[i].p_type == PT_INTERP)
			interpreter = &headers[i];
		if (headers[i].p_type == PT_DYNAMIC)
			dynamic = &headers[i];
	}
	if (interpreter == NULL || !is_glibcs_loader(fd, interpreter))
		return false;
	return dynamic == NULL || !needs_first(fd, headers, elf->e_phnum, dynamic);
}

/* Opened for reading, or -1: no plain file, one that changes the user, or one that can't be read. */
static int open_program(int dirfd, const char *path)
{
	struct stat status;

	if (syscall(SYS_newfstatat, dirfd, path, &status, 0) != 0 || !S_ISREG(status.st_mode) ||
	    (status.st_mode & (S_ISUID | S_ISGID)) != 0)
		return -1;
	return (int)syscall(SYS_openat, dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
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
		Elf64_Ehdr elf;
		int fd = open_program(dirfd, path);
		size_t length;
		bool found = false;

		if (fd < 0)
			return false;
		length = read_text(fd, line, sizeof(line), 0);
		if (length >= sizeof(elf) && memcmp(line, ELFMAG, SELFMAG) == 0) {
			memcpy(&elf, line, sizeof(elf));
			found = loads(fd, &elf);
		}
		syscall(SYS_close, fd);
		if (length >= SELFMAG && memcmp(line, ELFMAG, SELFMAG) == 0)
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
