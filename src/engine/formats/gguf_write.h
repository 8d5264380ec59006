/*
 * gguf_write.h
 *		Writing GGUF files, version 3.
 *
 * Order of life: gguf_writer_create(), metadata by key, gguf_add_tensor() in
 * the order of the data, gguf_write().
 */
#pragma once

#include "formats/gguf.h"

typedef struct GgufWriter GgufWriter;

/* Lives in arena. */
extern GgufWriter *gguf_writer_create(Arena *arena);

/* Each key once; texts and arrays are copied. */
extern void gguf_put_u32(GgufWriter *writer, const char *key, uint32_t value);
extern void gguf_put_f32(GgufWriter *writer, const char *key, float value);
extern void gguf_put_bool(GgufWriter *writer, const char *key, bool value);
extern void gguf_put_text(GgufWriter *writer, const char *key, const char *text,
                          size_t length);
extern void gguf_put_texts(GgufWriter *writer, const char *key,
                           const GgufText *texts, size_t count);
extern void gguf_put_i32s(GgufWriter *writer, const char *key,
                          const int32_t *numbers, size_t count);
extern void gguf_put_f32s(GgufWriter *writer, const char *key,
                          const float *numbers, size_t count);

/* All entries of an opened file whose keys begin so, as they are. */
extern void gguf_put_entries(GgufWriter *writer, const GgufFile *file,
                             const char *prefix);

/*
 * shape as in StoredTensor.  dtype: one that gguf_type_number() knows and that
 * floats can be turned to; rows are whole blocks of it.  The name is kept.
 */
extern void gguf_add_tensor(GgufWriter *writer, const char *name, DType dtype,
                            int dimensions, const int64_t *shape);

/*
 * Writes the file whole or not at all.  source gives the fp32 numbers of row
 * `row` of the tensor that was added as number `index`.
 */
typedef void (*GgufSource)(void *argument, int index, int64_t row,
                           float *target);

extern bool gguf_write(GgufWriter *writer, const char *path, GgufSource source,
                       void *argument, Failure *failure);
