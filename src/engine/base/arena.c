/*
 * arena.c
 *		Memory by lifetime.
 *
 * Small requests share 64 KiB blocks; larger ones get a block each, the
 * largest in huge pages of their own: a workspace is touched from end to end,
 * and comes and goes, so that faults of small pages would take a third of a
 * short pass.  Such pages come zeroed.
 */
#include "base/arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ALIGNMENT ((size_t) 64)
#define BLOCK_SIZE ((size_t) 65536)
#define MEBIBYTE (UINT64_C(1) << 20)
#define HUGE_PAGE ((size_t) 2 << 20)

typedef struct Block
{
	struct Block *next;
	size_t size; /* bytes after the header */
	size_t used;
	bool is_mapped; /* and zeroed */
} Block;

typedef struct Closer
{
	struct Closer *next;
	void (*close)(void *);
	void *object;
} Closer;

struct Arena
{
	Block *blocks; /* the newest first; small requests use the first */
	Closer *closers;
};

#define HEADER ((sizeof(Block) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT)

/* The model thread alone allocates, so a plain counter will do. */
static uint64_t limit_bytes = 0;
static uint64_t used_bytes = 0;

void
memory_limit_set(uint64_t bytes)
{
	limit_bytes = bytes;
}

uint64_t
memory_limit(void)
{
	return limit_bytes;
}

uint64_t
memory_left(void)
{
	if (limit_bytes == 0)
		return UINT64_MAX;
	return limit_bytes > used_bytes ? limit_bytes - used_bytes : 0;
}

uint64_t
memory_used(void)
{
	return used_bytes;
}

Arena *
arena_create(void)
{
	Arena *arena = calloc(1, sizeof(Arena));

	if (arena == NULL)
	{
		fprintf(stderr, "out of memory\n");
		exit(1);
	}
	return arena;
}

/* AddressSanitizer finds what is written beyond the end of malloc's blocks
 * alone. */
#ifdef __SANITIZE_ADDRESS__
#define MAPPED_LEAST SIZE_MAX
#else
#define MAPPED_LEAST (2 * HUGE_PAGE)
#endif

static size_t
mapped_bytes(size_t bytes)
{
	return (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
}

/* Whole huge pages; NULL if they cannot be had. */
static void *
map_pages(size_t bytes)
{
	size_t whole = mapped_bytes(bytes);
	char *memory = mmap(NULL, whole + HUGE_PAGE, PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t before;

	if (memory == MAP_FAILED)
		return NULL;
	/* A page more is sure to hold one that begins as huge pages do. */
	before = (HUGE_PAGE - (uintptr_t) memory % HUGE_PAGE) % HUGE_PAGE;
	if (before > 0)
		munmap(memory, before);
	munmap(memory + before + whole, HUGE_PAGE - before);
	/* Where there are no huge pages small ones will do. */
	(void) madvise(memory + before, bytes / HUGE_PAGE * HUGE_PAGE,
	               MADV_HUGEPAGE);
	return memory + before;
}

/* Memory for a block of `bytes`; NULL if it cannot be had. */
static Block *
allocate(size_t bytes)
{
	bool is_mapped = bytes >= MAPPED_LEAST;
	void *memory;

	if (is_mapped)
		memory = map_pages(bytes);
	else if (posix_memalign(&memory, ALIGNMENT, bytes) != 0)
		memory = NULL;
	if (memory != NULL)
		((Block *) memory)->is_mapped = is_mapped;
	return memory;
}

static void
give_back(Block *block)
{
	if (block->is_mapped)
		munmap(block, mapped_bytes(HEADER + block->size));
	else
		free(block);
}

void
arena_destroy(Arena *arena)
{
	if (arena == NULL)
		return;
	for (Closer *closer = arena->closers; closer != NULL;)
	{
		Closer *next = closer->next;

		closer->close(closer->object);
		free(closer);
		closer = next;
	}
	for (Block *block = arena->blocks; block != NULL;)
	{
		Block *next = block->next;

		used_bytes -= block->size;
		give_back(block);
		block = next;
	}
	free(arena);
}

/* A block of at least size bytes, put first; NULL if it cannot be had. */
static Block *
add_block(Arena *arena, size_t size)
{
	Block *block;

	if (limit_bytes != 0 &&
	    (used_bytes > limit_bytes || size > limit_bytes - used_bytes))
		return NULL;
	block = allocate(HEADER + size);
	if (block == NULL)
		return NULL;
	block->size = size;
	block->used = 0;
	used_bytes += size;
	block->next = arena->blocks;
	arena->blocks = block;
	return block;
}

/* size is a multiple of ALIGNMENT. */
static void *
take(Arena *arena, size_t size)
{
	Block *block = arena->blocks;
	void *memory;

	if (block == NULL || block->size - block->used < size)
	{
		Block *first = block;

		block = add_block(arena, size > BLOCK_SIZE / 4 ? size : BLOCK_SIZE);
		if (block == NULL)
			return NULL;
		/* A block of its own goes second, so that small ones still share. */
		if (size > BLOCK_SIZE / 4 && first != NULL)
		{
			block->next = first->next;
			first->next = block;
			arena->blocks = first;
		}
	}
	memory = (char *) block + HEADER + block->used;
	block->used += size;
	return block->is_mapped ? memory : memset(memory, 0, size);
}

bool
memory_check(uint64_t bytes, Failure *failure)
{
	uint64_t left = memory_left();

	if (bytes <= left)
		return true;
	fail(
		failure, FAILURE_OUT_OF_MEMORY,
		"needs %llu MiB more memory, alol.memory_limit leaves %llu MiB of %llu "
		"MiB",
		(unsigned long long) (bytes + MEBIBYTE - 1) / MEBIBYTE,
		(unsigned long long) left / MEBIBYTE,
		(unsigned long long) limit_bytes / MEBIBYTE);
	return fail_needing(failure, used_bytes, bytes, true);
}

void *
arena_try(Arena *arena, size_t count, size_t size, Failure *failure)
{
	size_t total;
	void *memory;

	if (__builtin_mul_overflow(count, size, &total) || total > SIZE_MAX / 2)
	{
		fail(failure, FAILURE_OUT_OF_MEMORY,
		     "a table of %zu times %zu bytes is too large", count, size);
		return NULL;
	}
	total = (total + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	memory = take(arena, total == 0 ? ALIGNMENT : total);
	if (memory == NULL)
	{
		if (memory_check(total, failure))
			fail(failure, FAILURE_OUT_OF_MEMORY, "cannot allocate %zu MiB",
			     total >> 20);
	}
	return memory;
}

bool
arena_try_tables(Arena *arena, const ArenaTable *tables, size_t count,
                 Failure *failure)
{
	for (size_t i = 0; i < count; i++)
	{
		*tables[i].memory =
			arena_try(arena, (size_t) tables[i].count, tables[i].size, failure);
		if (*tables[i].memory == NULL)
			return false;
	}
	return true;
}

void *
arena_alloc(Arena *arena, size_t size)
{
	Failure failure;
	void *memory = arena_try(arena, 1, size, &failure);

	if (memory == NULL)
	{
		fprintf(stderr, "%s\n", failure.message);
		exit(1);
	}
	return memory;
}

char *
arena_strndup(Arena *arena, const char *text, size_t length)
{
	char *copy = arena_alloc(arena, length + 1);

	memcpy(copy, text, length);
	return copy;
}

char *
arena_strdup(Arena *arena, const char *text)
{
	return arena_strndup(arena, text, strlen(text));
}

char *
arena_printf(Arena *arena, const char *format, ...)
{
	va_list arguments;
	char start[1];
	char *text;
	int length;

	va_start(arguments, format);
	length = vsnprintf(start, sizeof(start), format, arguments);
	va_end(arguments);
	text = arena_alloc(arena, (size_t) length + 1);
	va_start(arguments, format);
	vsnprintf(text, (size_t) length + 1, format, arguments);
	va_end(arguments);
	return text;
}

void
arena_on_destroy(Arena *arena, void (*close)(void *), void *object)
{
	Closer *closer = malloc(sizeof(Closer));

	if (closer == NULL)
	{
		fprintf(stderr, "out of memory\n");
		exit(1);
	}
	closer->close = close;
	closer->object = object;
	closer->next = arena->closers;
	arena->closers = closer;
}
