/*
 * gguf_parts.h
 *		An opened GGUF file from within.
 */
#pragma once

#include "base/file.h"
#include "formats/gguf.h"

/* A key and its value, walked over and found complete when it was opened. */
typedef struct Entry
{
	const char *key;
	GgufType type; /* of an array: of its elements */
	bool is_array;
	uint64_t count;       /* of an array's elements */
	const uint8_t *start; /* the key's length */
	const uint8_t *data;
	const uint8_t *end;
} Entry;

struct GgufFile
{
	Arena *arena;
	const char *path;
	MappedFile mapped;
	Entry *entries; /* [entry_count], sorted by key */
	size_t entry_count;
	StoredTensor *tensors;        /* [tensor_count] */
	const StoredTensor **by_name; /* [tensor_count] */
	size_t tensor_count;
};

/* Bytes of a number, or of the least a string or an array takes. */
extern const int gguf_least_bytes[GGUF_TYPES];

/* The number in count bytes. */
extern uint64_t gguf_little_endian(const uint8_t *bytes, int count);

/* The order of entries. */
extern int gguf_compare_keys(const void *a, const void *b);
