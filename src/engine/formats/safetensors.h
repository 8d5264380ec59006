/*
 * safetensors.h
 *		Tensors in safetensors files: one file, or the shards of an index.
 *
 * A file is eight bytes with the length of a JSON header, the header (name ->
 * dtype, shape, data_offsets), and the data.  Files are mapped and tensors
 * are views into the mapping: nothing is read before it is used, and
 * processes that open the same file share its memory.
 */
#pragma once

#include "base/dtype.h"

#include "base/arena.h"

/* Lives, with its data, as long as the arena its model was opened in. */
typedef struct StoredTensor
{
	const char *name;
	DType dtype; /* DTYPE_OTHER: not a float we know; see label */
	int dimensions;
	int64_t shape[4];
	const void *data; /* [count] aligned to the size of one number */
	bool is_copy;     /* data lies in memory of its own, not in the file */
	int64_t count;    /* product of the shape; 1 for a scalar */
	int64_t bytes;
	const char *label; /* the dtype as the file spells it, "F32" */
} StoredTensor;

typedef struct StoredModel StoredModel;

/*
 * Opens directory/model.safetensors or, where that is not there,
 * directory/model.safetensors.index.json with all its shards.  Everything
 * about the header is checked: sizes, shapes against offsets, overlaps,
 * holes, duplicate names.
 */
extern bool stored_model_open(Arena *arena, const char *directory,
                              StoredModel **model, Failure *failure);

/* Data behind a header without padding may lie crooked: it is to be put
 * straight elsewhere by stored_model_move(), or by stored_model_align(), which
 * copies into arena what is left of it. */
extern bool stored_tensor_is_crooked(const StoredTensor *tensor);
extern void stored_model_move(StoredModel *model, int i, const void *data,
                              bool is_copy);
extern bool stored_model_align(Arena *arena, StoredModel *model,
                               Failure *failure);

/* Opens one file, for example an adapter or a value head, all straight. */
extern bool stored_file_open(Arena *arena, const char *path,
                             StoredModel **model, Failure *failure);

/* A model of tensors from elsewhere; they and their data are kept, not
 * copied.  Names must differ. */
extern bool stored_model_create(Arena *arena, StoredTensor *tensors, int count,
                                StoredModel **model, Failure *failure);

/* The tensor of that name, or NULL. */
extern const StoredTensor *stored_model_find(const StoredModel *model,
                                             const char *name);

/* Tensors in the order of the file's data, shard by shard. */
extern int stored_model_count(const StoredModel *model);
extern const StoredTensor *stored_model_tensor(const StoredModel *model, int i);

/* A number that tells the contents of its files from others. */
extern uint64_t stored_model_source(const StoredModel *model);

/* Bytes of all tensors together. */
extern int64_t stored_model_bytes(const StoredModel *model);

typedef struct TensorToStore
{
	const char *name;
	DType dtype;
	int dimensions;
	int64_t shape[4];
	const void *data; /* of dtype, written from where it lies; NULL: asked for
	                   * piece by piece */
} TensorToStore;

/* Gives numbers [first, first + count) of the tensor at this index, of its
 * dtype. */
typedef void (*TensorSource)(void *argument, int index, int64_t first,
                             int64_t count, void *target);

/*
 * Writes a file whole or not at all (FileWriter): the header, padded to eight
 * bytes, with metadata {"format": "pt"}, then the data in the order given.
 * source may be NULL where every tensor has its data.
 */
extern bool safetensors_write(const char *path, const TensorToStore *tensors,
                              int count, TensorSource source, void *argument,
                              Failure *failure);
