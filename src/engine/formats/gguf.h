/*
 * gguf.h
 *		GGUF files: metadata by key, and tensors in one file.
 *
 * "GGUF", version, numbers of tensors and of metadata; the metadata (key,
 * type, value); the tensors' names, shapes, types and offsets; then, aligned,
 * the data.  All little-endian.  The file is mapped: tensors and arrays are
 * views into it, and live as long as the arena it was opened in.
 */
#pragma once

#include "formats/safetensors.h"

/* As the file numbers them. */
typedef enum GgufType
{
	GGUF_U8,
	GGUF_I8,
	GGUF_U16,
	GGUF_I16,
	GGUF_U32,
	GGUF_I32,
	GGUF_F32,
	GGUF_BOOL,
	GGUF_STRING,
	GGUF_ARRAY,
	GGUF_U64,
	GGUF_I64,
	GGUF_F64,
	GGUF_TYPES
} GgufType;

typedef struct GgufText
{
	const char *text; /* [length], no zero byte after it */
	size_t length;
} GgufText;

typedef struct GgufFile GgufFile;

/*
 * Opens versions 2 and 3.  Everything is checked: counts, lengths and offsets
 * against the file's size, types, shapes, alignment, overlaps, and that keys
 * and names differ.
 */
extern bool gguf_open(Arena *arena, const char *path, GgufFile **file,
                      Failure *failure);

extern const char *gguf_path(const GgufFile *file);

/* A number that tells its contents from those of others. */
extern uint64_t gguf_source(const GgufFile *file);

extern bool gguf_has(const GgufFile *file, const char *key);

/* Values by key; fallback where there is none.  Wrong types and numbers
 * outside [min, max] fail and name the key.  Integers of any width fit int,
 * integers and floats fit double. */
extern bool gguf_get_int(const GgufFile *file, const char *key,
                         int64_t fallback, int64_t min, int64_t max,
                         int64_t *value, Failure *failure);
extern bool gguf_get_double(const GgufFile *file, const char *key,
                            double fallback, double min, double max,
                            double *value, Failure *failure);
extern bool gguf_get_bool(const GgufFile *file, const char *key, bool fallback,
                          bool *value, Failure *failure);
/* With a zero byte after it; one within it fails. */
extern bool gguf_get_text(const GgufFile *file, const char *key,
                          const char *fallback, const char **value,
                          Failure *failure);

/* Arrays, copied to arena; without the key NULL and a count of 0. */
extern bool gguf_get_texts(Arena *arena, const GgufFile *file, const char *key,
                           GgufText **texts, size_t *count, Failure *failure);
extern bool gguf_get_doubles(Arena *arena, const GgufFile *file,
                             const char *key, double **numbers, size_t *count,
                             Failure *failure);

/* The bytes of entry `index`, key and all, or none where its key does not
 * begin so; false past the last. */
extern bool gguf_entry(const GgufFile *file, size_t index, const char *prefix,
                       GgufText *entry);

/* Tensors in the order of the file, as [rows, cols]: GGUF lists the fast
 * dimension first, StoredTensor last. */
extern int gguf_tensor_count(const GgufFile *file);
extern const StoredTensor *gguf_tensor(const GgufFile *file, int index);
extern const StoredTensor *gguf_tensor_find(const GgufFile *file,
                                            const char *name);

/* What GGUF calls a dtype; dtypes it lacks: -1. */
extern int gguf_type_number(DType dtype);
