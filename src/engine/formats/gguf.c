/*
 * gguf.c
 *		Reading GGUF files.
 *
 * A cursor walks through the mapped header and never past its end.  A count
 * is believed only if so many of the smallest entries fit what is left, so
 * nothing is allocated that the file does not pay for.
 */
#include "formats/gguf_parts.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#define ARRAY_DEPTH 4
#define LARGEST_NAME 65535
#define LARGEST_ALIGNMENT (1 << 20)

/* What is left of the header. */
typedef struct Cursor
{
	const GgufFile *file;
	const uint8_t *at;
	const uint8_t *end;
	Failure *failure;
} Cursor;

/* A tensor type: its number, name, and block. */
typedef struct TensorType
{
	int number;
	const char *label;
	DType dtype;
	int block;
	int bytes;
} TensorType;

static const TensorType tensor_types[] = {
	{0, "F32", DTYPE_F32, 1, 4},
	{1, "F16", DTYPE_F16, 1, 2},
	{2, "Q4_0", DTYPE_Q4_0, 32, 18},
	{3, "Q4_1", DTYPE_Q4_1, 32, 20},
	{6, "Q5_0", DTYPE_Q5_0, 32, 22},
	{7, "Q5_1", DTYPE_Q5_1, 32, 24},
	{8, "Q8_0", DTYPE_Q8_0, 32, 34},
	{9, "Q8_1", DTYPE_OTHER, 32, 36},
	{10, "Q2_K", DTYPE_OTHER, 256, 84},
	{11, "Q3_K", DTYPE_OTHER, 256, 110},
	{12, "Q4_K", DTYPE_Q4_K, 256, 144},
	{13, "Q5_K", DTYPE_Q5_K, 256, 176},
	{14, "Q6_K", DTYPE_Q6_K, 256, 210},
	{15, "Q8_K", DTYPE_OTHER, 256, 292},
	{16, "IQ2_XXS", DTYPE_OTHER, 256, 66},
	{17, "IQ2_XS", DTYPE_OTHER, 256, 74},
	{18, "IQ3_XXS", DTYPE_OTHER, 256, 98},
	{19, "IQ1_S", DTYPE_OTHER, 256, 50},
	{20, "IQ4_NL", DTYPE_OTHER, 32, 18},
	{21, "IQ3_S", DTYPE_OTHER, 256, 110},
	{22, "IQ2_S", DTYPE_OTHER, 256, 82},
	{23, "IQ4_XS", DTYPE_OTHER, 256, 136},
	{24, "I8", DTYPE_OTHER, 1, 1},
	{25, "I16", DTYPE_OTHER, 1, 2},
	{26, "I32", DTYPE_OTHER, 1, 4},
	{27, "I64", DTYPE_OTHER, 1, 8},
	{28, "F64", DTYPE_OTHER, 1, 8},
	{29, "IQ1_M", DTYPE_OTHER, 256, 56},
	{30, "BF16", DTYPE_BF16, 1, 2},
	{34, "TQ1_0", DTYPE_OTHER, 256, 54},
	{35, "TQ2_0", DTYPE_OTHER, 256, 66},
	{39, "MXFP4", DTYPE_OTHER, 32, 17},
};

#define TENSOR_TYPES ((int) (sizeof(tensor_types) / sizeof(tensor_types[0])))

int
gguf_type_number(DType dtype)
{
	for (int i = 0; i < TENSOR_TYPES; i++)
		if (tensor_types[i].dtype == dtype && dtype != DTYPE_OTHER)
			return tensor_types[i].number;
	return -1;
}

/* ----------------------------------------------------------- the cursor */

/* The next bytes, or NULL. */
static const uint8_t *
take(Cursor *cursor, uint64_t bytes, const char *what)
{
	const uint8_t *data = cursor->at;
	uint64_t left = (uint64_t) (cursor->end - data);

	if (bytes > left)
	{
		fail(
			cursor->failure, FAILURE_BAD_FILE,
			"\"%s\" ends within %s, which needs %llu bytes where %llu are left",
			cursor->file->path, what, (unsigned long long) bytes,
			(unsigned long long) left);
		return NULL;
	}
	cursor->at += bytes;
	return data;
}

static bool
take_u32(Cursor *cursor, uint32_t *value, const char *what)
{
	const uint8_t *data = take(cursor, 4, what);

	if (data == NULL)
		return false;
	*value = (uint32_t) gguf_little_endian(data, 4);
	return true;
}

static bool
take_u64(Cursor *cursor, uint64_t *value, const char *what)
{
	const uint8_t *data = take(cursor, 8, what);

	if (data == NULL)
		return false;
	*value = gguf_little_endian(data, 8);
	return true;
}

static bool
take_text(Cursor *cursor, GgufText *text, const char *what)
{
	const uint8_t *data;
	uint64_t length;

	if (!take_u64(cursor, &length, what))
		return false;
	data = take(cursor, length, what);
	if (data == NULL)
		return false;
	*text = (GgufText){(const char *) data, length};
	return true;
}

/* A key or a name: with a zero byte after it, and none within. */
static bool
take_name(Cursor *cursor, const char **name, const char *what)
{
	GgufText text;

	if (!take_text(cursor, &text, what))
		return false;
	if (text.length == 0 || text.length > LARGEST_NAME ||
	    memchr(text.text, 0, text.length) != NULL)
		return fail(cursor->failure, FAILURE_BAD_FILE,
		            "%s of \"%s\" has %zu bytes or a zero byte", what,
		            cursor->file->path, text.length);
	*name = arena_strndup(cursor->file->arena, text.text, text.length);
	return true;
}

/* ---------------------------------------------------------- the metadata */

static bool take_values(Cursor *cursor, uint32_t type, uint64_t count,
                        int depth, const char *key);

/* An array within an array is read over: nothing that is known has one. */
static bool
take_array(Cursor *cursor, uint32_t *type, uint64_t *count, int depth,
           const char *key)
{
	if (depth > ARRAY_DEPTH)
		return fail(cursor->failure, FAILURE_BAD_FILE,
		            "arrays of \"%s\" in \"%s\" are more than %d deep", key,
		            cursor->file->path, ARRAY_DEPTH);
	return take_u32(cursor, type, key) && take_u64(cursor, count, key);
}

/* Walks over count values of a type. */
static bool
take_values(Cursor *cursor, uint32_t type, uint64_t count, int depth,
            const char *key)
{
	uint64_t left = (uint64_t) (cursor->end - cursor->at);

	if (type >= GGUF_TYPES)
		return fail(cursor->failure, FAILURE_BAD_FILE,
		            "\"%s\" in \"%s\" has the unknown type %u", key,
		            cursor->file->path, type);
	if (count > left / (uint64_t) gguf_least_bytes[type])
		return fail(cursor->failure, FAILURE_BAD_FILE,
		            "\"%s\" in \"%s\" has %llu values, more than fit the %llu "
		            "bytes that are left",
		            key, cursor->file->path, (unsigned long long) count,
		            (unsigned long long) left);
	if (type != GGUF_STRING && type != GGUF_ARRAY)
		return take(cursor, count * (uint64_t) gguf_least_bytes[type], key) !=
		       NULL;
	for (uint64_t i = 0; i < count; i++)
	{
		uint32_t inner = 0;
		uint64_t inner_count = 0;
		GgufText text;

		if (type == GGUF_STRING
		        ? !take_text(cursor, &text, key)
		        : !take_array(cursor, &inner, &inner_count, depth, key) ||
		              !take_values(cursor, inner, inner_count, depth + 1, key))
			return false;
	}
	return true;
}

static bool
take_entry(Cursor *cursor, Entry *entry)
{
	uint32_t type;

	entry->start = cursor->at;
	if (!take_name(cursor, &entry->key, "a key") ||
	    !take_u32(cursor, &type, entry->key))
		return false;
	entry->is_array = type == GGUF_ARRAY;
	entry->count = 1;
	if (entry->is_array &&
	    !take_array(cursor, &type, &entry->count, 1, entry->key))
		return false;
	entry->data = cursor->at;
	if (!take_values(cursor, type, entry->count, 2, entry->key))
		return false;
	entry->type = (GgufType) type;
	entry->end = cursor->at;
	return true;
}

int
gguf_compare_keys(const void *a, const void *b)
{
	return strcmp(((const Entry *) a)->key, ((const Entry *) b)->key);
}

static bool
read_metadata(Cursor *cursor, GgufFile *file)
{
	file->entries = arena_try(file->arena, file->entry_count, sizeof(Entry),
	                          cursor->failure);
	if (file->entries == NULL)
		return false;
	for (size_t i = 0; i < file->entry_count; i++)
		if (!take_entry(cursor, &file->entries[i]))
			return false;
	qsort(file->entries, file->entry_count, sizeof(Entry), gguf_compare_keys);
	for (size_t i = 1; i < file->entry_count; i++)
		if (gguf_compare_keys(&file->entries[i - 1], &file->entries[i]) == 0)
			return fail(cursor->failure, FAILURE_BAD_FILE,
			            "key \"%s\" appears twice in \"%s\"",
			            file->entries[i].key, file->path);
	return true;
}

/* ----------------------------------------------------------- the tensors */

static bool
take_shape(Cursor *cursor, StoredTensor *tensor)
{
	uint32_t dimensions;

	if (!take_u32(cursor, &dimensions, tensor->name))
		return false;
	if (dimensions < 1 || dimensions > 4)
		return fail(cursor->failure, FAILURE_BAD_FILE,
		            "tensor \"%s\" in \"%s\" has %u dimensions, not 1 to 4",
		            tensor->name, cursor->file->path, dimensions);
	tensor->dimensions = (int) dimensions;
	tensor->count = 1;
	for (int i = tensor->dimensions - 1; i >= 0; i--)
	{
		uint64_t size;

		if (!take_u64(cursor, &size, tensor->name))
			return false;
		if (size == 0 || size > INT64_MAX ||
		    __builtin_mul_overflow(tensor->count, (int64_t) size,
		                           &tensor->count))
			return fail(cursor->failure, FAILURE_BAD_FILE,
			            "dimensions of tensor \"%s\" in \"%s\" are 0 or "
			            "overflow",
			            tensor->name, cursor->file->path);
		tensor->shape[i] = (int64_t) size;
	}
	return true;
}

static bool
take_type(Cursor *cursor, StoredTensor *tensor)
{
	const TensorType *type = NULL;
	uint32_t number;

	if (!take_u32(cursor, &number, tensor->name))
		return false;
	for (int i = 0; i < TENSOR_TYPES && type == NULL; i++)
		if ((uint32_t) tensor_types[i].number == number)
			type = &tensor_types[i];
	if (type == NULL)
		return fail(cursor->failure, FAILURE_UNSUPPORTED,
		            "tensor \"%s\" in \"%s\" has the unknown type %u",
		            tensor->name, cursor->file->path, number);
	if (tensor->shape[tensor->dimensions - 1] % type->block != 0)
		return fail(cursor->failure, FAILURE_BAD_FILE,
		            "rows of tensor \"%s\" in \"%s\" have %lld numbers, not a "
		            "multiple of the %d in a block of %s",
		            tensor->name, cursor->file->path,
		            (long long) tensor->shape[tensor->dimensions - 1],
		            type->block, type->label);
	if (__builtin_mul_overflow(tensor->count / type->block,
	                           (int64_t) type->bytes, &tensor->bytes))
		return fail(cursor->failure, FAILURE_BAD_FILE,
		            "tensor \"%s\" in \"%s\" is too large", tensor->name,
		            cursor->file->path);
	tensor->dtype = type->dtype;
	tensor->label = type->label;
	return true;
}

/* Offsets count from the data, whose place is known when all are read. */
static bool
take_tensor(Cursor *cursor, StoredTensor *tensor, uint64_t *offset)
{
	return take_name(cursor, &tensor->name, "the name of a tensor") &&
	       take_shape(cursor, tensor) && take_type(cursor, tensor) &&
	       take_u64(cursor, offset, tensor->name);
}

/* From offsets to places in the file. */
static bool
place_tensors(const GgufFile *file, const uint64_t *offsets, uint64_t header,
              Failure *failure)
{
	uint64_t available;
	int64_t alignment;
	uint64_t start;

	if (!gguf_get_int(file, "general.alignment", 32, 1, LARGEST_ALIGNMENT,
	                  &alignment, failure))
		return false;
	if ((alignment & (alignment - 1)) != 0)
		return fail(failure, FAILURE_BAD_FILE,
		            "alignment %lld of \"%s\" is no power of two",
		            (long long) alignment, file->path);
	start = (header + (uint64_t) alignment - 1) / (uint64_t) alignment *
	        (uint64_t) alignment;
	available = file->mapped.size > start ? file->mapped.size - start : 0;
	for (size_t i = 0; i < file->tensor_count; i++)
	{
		StoredTensor *tensor = &file->tensors[i];
		uint64_t bytes = (uint64_t) tensor->bytes;

		if (offsets[i] % (uint64_t) alignment != 0)
			return fail(failure, FAILURE_BAD_FILE,
			            "tensor \"%s\" in \"%s\" begins at %llu, not a "
			            "multiple of %lld",
			            tensor->name, file->path,
			            (unsigned long long) offsets[i], (long long) alignment);
		if (bytes > available || offsets[i] > available - bytes)
			return fail(failure, FAILURE_BAD_FILE,
			            "tensor \"%s\" needs %llu bytes at %llu, \"%s\" has "
			            "%llu for all",
			            tensor->name, (unsigned long long) bytes,
			            (unsigned long long) offsets[i], file->path,
			            (unsigned long long) available);
		tensor->data = file->mapped.data + start + offsets[i];
	}
	return true;
}

static int
compare_places(const void *a, const void *b)
{
	const StoredTensor *left = *(const StoredTensor *const *) a;
	const StoredTensor *right = *(const StoredTensor *const *) b;

	return left->data < right->data ? -1 : left->data > right->data;
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp((*(const StoredTensor *const *) a)->name,
	              (*(const StoredTensor *const *) b)->name);
}

/* No two share bytes or a name; leaves them sorted by name. */
static bool
check_tensors(GgufFile *file, Failure *failure)
{
	const StoredTensor **sorted = file->by_name;

	for (size_t i = 0; i < file->tensor_count; i++)
		sorted[i] = &file->tensors[i];
	qsort(sorted, file->tensor_count, sizeof(*sorted), compare_places);
	for (size_t i = 1; i < file->tensor_count; i++)
		if ((const uint8_t *) sorted[i]->data -
		        (const uint8_t *) sorted[i - 1]->data <
		    sorted[i - 1]->bytes)
			return fail(failure, FAILURE_BAD_FILE,
			            "tensors \"%s\" and \"%s\" overlap in \"%s\"",
			            sorted[i - 1]->name, sorted[i]->name, file->path);
	qsort(sorted, file->tensor_count, sizeof(*sorted), compare_names);
	for (size_t i = 1; i < file->tensor_count; i++)
		if (compare_names(&sorted[i - 1], &sorted[i]) == 0)
			return fail(failure, FAILURE_BAD_FILE,
			            "tensor \"%s\" appears twice in \"%s\"",
			            sorted[i]->name, file->path);
	return true;
}

static bool
read_tensors(Cursor *cursor, GgufFile *file)
{
	Failure *failure = cursor->failure;
	size_t count = file->tensor_count;
	uint64_t *offsets =
		arena_try(file->arena, count, sizeof(uint64_t), failure);

	if (offsets == NULL)
		return false;
	file->tensors =
		arena_try(file->arena, count, sizeof(StoredTensor), failure);
	if (file->tensors == NULL)
		return false;
	file->by_name =
		arena_try(file->arena, count, sizeof(StoredTensor *), failure);
	if (file->by_name == NULL)
		return false;
	for (size_t i = 0; i < count; i++)
		if (!take_tensor(cursor, &file->tensors[i], &offsets[i]))
			return false;
	return place_tensors(file, offsets,
	                     (uint64_t) (cursor->at - file->mapped.data),
	                     failure) &&
	       check_tensors(file, failure);
}

/* ------------------------------------------------------------- the whole */

/* Magic, version and counts. */
static bool
read_start(Cursor *cursor, GgufFile *file)
{
	/* A tensor: lengths of 8, 4 and 8 bytes, a dimension, type, offset. */
	const uint64_t least_tensor = 8 + 1 + 4 + 8 + 4 + 8;
	const uint64_t least_entry = 8 + 1 + 4 + 1;
	const uint8_t *magic = take(cursor, 4, "its first four bytes");
	uint64_t tensors;
	uint64_t entries;
	uint32_t version;
	uint64_t left;

	if (magic == NULL)
		return false;
	if (memcmp(magic, "GGUF", 4) != 0)
		return fail(cursor->failure, FAILURE_BAD_FILE,
		            "\"%s\" is not a GGUF file", file->path);
	if (!take_u32(cursor, &version, "its version"))
		return false;
	if (version == 0x03000000 || version == 0x02000000)
		return fail(cursor->failure, FAILURE_UNSUPPORTED,
		            "\"%s\" is a big-endian GGUF file", file->path);
	if (version != 2 && version != 3)
		return fail(cursor->failure, FAILURE_UNSUPPORTED,
		            "\"%s\" is of GGUF version %u, not 2 or 3", file->path,
		            version);
	if (!take_u64(cursor, &tensors, "the number of tensors") ||
	    !take_u64(cursor, &entries, "the number of keys"))
		return false;
	left = (uint64_t) (cursor->end - cursor->at);
	if (tensors > left / least_tensor || entries > left / least_entry ||
	    tensors > INT_MAX)
		return fail(cursor->failure, FAILURE_BAD_FILE,
		            "\"%s\" claims %llu tensors and %llu keys, more than fit "
		            "its %llu bytes",
		            file->path, (unsigned long long) tensors,
		            (unsigned long long) entries, (unsigned long long) left);
	file->tensor_count = tensors;
	file->entry_count = entries;
	return true;
}

bool
gguf_open(Arena *arena, const char *path, GgufFile **result, Failure *failure)
{
	GgufFile *file = arena_alloc(arena, sizeof(GgufFile));
	Cursor cursor = {.file = file, .failure = failure};

	file->arena = arena;
	file->path = arena_strdup(arena, path);
	if (!file_map(arena, path, &file->mapped, failure))
		return false;
	if (file->mapped.size == 0)
		return fail(failure, FAILURE_BAD_FILE, "\"%s\" is empty", path);
	cursor.at = file->mapped.data;
	cursor.end = cursor.at + file->mapped.size;
	*result = file;
	return read_start(&cursor, file) && read_metadata(&cursor, file) &&
	       read_tensors(&cursor, file);
}

uint64_t
gguf_source(const GgufFile *file)
{
	return file_identity_add(0, &file->mapped);
}

const char *
gguf_path(const GgufFile *file)
{
	return file->path;
}

int
gguf_tensor_count(const GgufFile *file)
{
	return (int) file->tensor_count;
}

const StoredTensor *
gguf_tensor(const GgufFile *file, int index)
{
	return &file->tensors[index];
}

const StoredTensor *
gguf_tensor_find(const GgufFile *file, const char *name)
{
	StoredTensor key = {.name = name};
	const StoredTensor *wanted = &key;
	const StoredTensor **found =
		bsearch(&wanted, file->by_name, file->tensor_count,
	            sizeof(StoredTensor *), compare_names);

	return found == NULL ? NULL : *found;
}
