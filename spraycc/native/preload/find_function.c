/* Finds a function without dlsym. Up to glibc 2.33, dlsym is in libdl, and many programs do not load libdl. */
#include "preload.h"

#include <elf.h>
#include <link.h>
#include <string.h>

/* A symbol with this bit has an old version of its function. dlsym does not find such symbols, either. */
#define OLD_VERSION 0x8000

struct search {
	const char *name;
	bool after_this_library;
	uintptr_t address;
};

/* DT_GNU_HASH. The Bloom filter follows the header, then the buckets, then the chains. */
struct hash_table {
	uint32_t bucket_count, first_symbol, bloom_count, bloom_shift;
};

struct symbols {
	const Elf64_Sym *table;
	const char *texts;
	const Elf64_Half *versions; /* NULL if the library has none */
	const struct hash_table *hash;
};

/* Most libraries' tables hold addresses, which the loader has computed. The kernel's vDSO has offsets. */
static const void *table_at(const struct dl_phdr_info *object, uint64_t value)
{
	uintptr_t address = value < object->dlpi_addr ? object->dlpi_addr + value : value;
	return (const void *)address; /* NOLINT(performance-no-int-to-ptr) */
}

static bool read_symbols(const struct dl_phdr_info *object, struct symbols *symbols)
{
	const Elf64_Dyn *entry = NULL;
	*symbols = (struct symbols){0};
	for (size_t i = 0; i < object->dlpi_phnum; i++)
		if (object->dlpi_phdr[i].p_type == PT_DYNAMIC)
			entry = (const Elf64_Dyn *)table_at(object, object->dlpi_phdr[i].p_vaddr);
	for (; entry && entry->d_tag != DT_NULL; entry++) {
		const void *place = table_at(object, entry->d_un.d_ptr);
		if (entry->d_tag == DT_SYMTAB)
			symbols->table = place;
		else if (entry->d_tag == DT_STRTAB)
			symbols->texts = place;
		else if (entry->d_tag == DT_VERSYM)
			symbols->versions = place;
		else if (entry->d_tag == DT_GNU_HASH)
			symbols->hash = place;
	}
	return symbols->table && symbols->texts && symbols->hash;
}

static uint32_t hash_of(const char *name)
{
	uint32_t hash = 5381;
	for (const unsigned char *at = (const unsigned char *)name; *at != '\0'; at++)
		hash = hash * 33 + *at;
	return hash;
}

static bool is_match(const struct symbols *symbols, uint32_t index, const char *name)
{
	const Elf64_Sym *symbol = &symbols->table[index];
	return symbol->st_shndx != SHN_UNDEF && ELF64_ST_TYPE(symbol->st_info) == STT_FUNC &&
	       !(symbols->versions && (symbols->versions[index] & OLD_VERSION)) &&
	       strcmp(symbols->texts + symbol->st_name, name) == 0;
}

/* The number of the function's symbol, or 0. */
static uint32_t find_symbol(const struct symbols *symbols, const char *name)
{
	const struct hash_table *table = symbols->hash;
	const uint64_t *bloom = (const uint64_t *)(table + 1);
	const uint32_t *buckets = (const uint32_t *)(bloom + table->bloom_count);
	const uint32_t *chains = buckets + table->bucket_count;
	uint32_t hash = hash_of(name);
	uint32_t index = table->bucket_count != 0 ? buckets[hash % table->bucket_count] : 0;
	if (index < table->first_symbol)
		return 0;
	for (;; index++) {
		uint32_t other = chains[index - table->first_symbol];
		if ((other | 1) == (hash | 1) && is_match(symbols, index, name))
			return index;
		if (other & 1)
			return 0;
	}
}

static bool is_this_library(const struct dl_phdr_info *object)
{
	static const char inside;
	uintptr_t offset = (uintptr_t)&inside - object->dlpi_addr;
	for (size_t i = 0; i < object->dlpi_phnum; i++) {
		const Elf64_Phdr *segment = &object->dlpi_phdr[i];
		if (segment->p_type == PT_LOAD && offset >= segment->p_vaddr && offset - segment->p_vaddr < segment->p_memsz)
			return true;
	}
	return false;
}

static int look_into(struct dl_phdr_info *object, size_t size, void *data)
{
	struct search *search = data;
	struct symbols symbols;
	uint32_t index;
	(void)size;
	if (!search->after_this_library) {
		search->after_this_library = is_this_library(object);
		return 0;
	}
	if (!read_symbols(object, &symbols) || (index = find_symbol(&symbols, search->name)) == 0)
		return 0;
	search->address = object->dlpi_addr + symbols.table[index].st_value;
	return 1;
}

uintptr_t find_next_function(const char *name)
{
	struct search search = {name, false, 0};
	/* The objects come in the order of loading, in which RTLD_NEXT searches, too. */
	dl_iterate_phdr(look_into, &search);
	return search.address;
}
