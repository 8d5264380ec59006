/*
 * safetensors.c
 *		Reading and writing safetensors files.
 *
 * The header is believed only after every number in it was compared with the
 * size of the file, so no tensor reaches past the mapping and no two share
 * bytes.
 */
#include "formats/safetensors.h"

#include "base/file.h"
#include "formats/json.h"

#include <limits.h>
#include <string.h>

#define LARGEST_HEADER ((uint64_t) 100000000) /* the format's own limit */
#define LARGEST_INDEX ((size_t) 64 << 20)

struct StoredModel
{
	StoredTensor *tensors;        /* [count] in file order */
	const StoredTensor **by_name; /* [count] sorted */
	int count;
	int64_t bytes;
	uint64_t source;
};

/* One file while it is being opened. */
typedef struct Shard
{
	const char *path;
	MappedFile file;
	uint64_t header; /* bytes of the header, without its length */
	json_t *json;
	StoredTensor *tensors;
	int count;
} Shard;

/* What a file calls a dtype, what we call it, and bits of one element. */
typedef struct Label
{
	const char *label;
	DType dtype;
	int size;
} Label;

static const Label labels[] = {
	{"F32", DTYPE_F32, 4},       {"F16", DTYPE_F16, 2},
	{"BF16", DTYPE_BF16, 2},     {"F64", DTYPE_OTHER, 8},
	{"I64", DTYPE_OTHER, 8},     {"U64", DTYPE_OTHER, 8},
	{"I32", DTYPE_OTHER, 4},     {"U32", DTYPE_OTHER, 4},
	{"I16", DTYPE_OTHER, 2},     {"U16", DTYPE_OTHER, 2},
	{"I8", DTYPE_OTHER, 1},      {"U8", DTYPE_OTHER, 1},
	{"BOOL", DTYPE_OTHER, 1},    {"F8_E4M3", DTYPE_OTHER, 1},
	{"F8_E5M2", DTYPE_OTHER, 1}, {"C64", DTYPE_OTHER, 8},
};

/* NULL for a label we have not heard of. */
static const Label *
find_label(const char *label)
{
	for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++)
		if (strcmp(labels[i].label, label) == 0)
			return &labels[i];
	return NULL;
}

static uint64_t
read_le64(const uint8_t *bytes)
{
	uint64_t value = 0;

	for (int i = 7; i >= 0; i--)
		value = value << 8 | bytes[i];
	return value;
}

/* "shape" of a tensor's entry, and its product. */
static bool
read_shape(const Shard *shard, const json_t *entry, StoredTensor *tensor,
           Failure *failure)
{
	const json_t *shape = json_object_get(entry, "shape");

	if (!json_is_array(shape))
		return fail(failure, FAILURE_BAD_FILE,
		            "tensor \"%s\" in \"%s\" has no shape", tensor->name,
		            shard->path);
	if (json_array_size(shape) > 4)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "tensor \"%s\" in \"%s\" has %zu dimensions, more than 4",
		            tensor->name, shard->path, json_array_size(shape));
	tensor->dimensions = (int) json_array_size(shape);
	tensor->count = 1;
	for (int i = 0; i < tensor->dimensions; i++)
	{
		const json_t *size = json_array_get(shape, (size_t) i);

		if (!json_is_integer(size) || json_integer_value(size) < 0)
			return fail(failure, FAILURE_BAD_FILE,
			            "dimension %d of tensor \"%s\" in \"%s\" is not a "
			            "size",
			            i, tensor->name, shard->path);
		tensor->shape[i] = json_integer_value(size);
		if (__builtin_mul_overflow(tensor->count, tensor->shape[i],
		                           &tensor->count))
			return fail(failure, FAILURE_BAD_FILE,
			            "shape of tensor \"%s\" in \"%s\" overflows",
			            tensor->name, shard->path);
	}
	return true;
}

/* "data_offsets" of a tensor's entry, against the file's size. */
static bool
read_offsets(const Shard *shard, const json_t *entry, StoredTensor *tensor,
             Failure *failure)
{
	const json_t *offsets = json_object_get(entry, "data_offsets");
	int64_t available = (int64_t) (shard->file.size - 8 - shard->header);
	int64_t ends[2];

	for (size_t i = 0; i < 2; i++)
	{
		const json_t *end = json_array_get(offsets, i);

		if (json_array_size(offsets) != 2 || !json_is_integer(end) ||
		    json_integer_value(end) < 0)
			return fail(failure, FAILURE_BAD_FILE,
			            "tensor \"%s\" in \"%s\" has no valid data_offsets",
			            tensor->name, shard->path);
		ends[i] = json_integer_value(end);
	}
	if (ends[0] > ends[1])
		return fail(failure, FAILURE_BAD_FILE,
		            "tensor \"%s\" in \"%s\" ends at %lld, before it begins "
		            "at %lld",
		            tensor->name, shard->path, (long long) ends[1],
		            (long long) ends[0]);
	if (ends[1] > available)
		return fail(failure, FAILURE_BAD_FILE,
		            "tensor \"%s\" needs data up to byte %lld, \"%s\" has %lld",
		            tensor->name, (long long) ends[1], shard->path,
		            (long long) available);
	tensor->bytes = ends[1] - ends[0];
	tensor->data = shard->file.data + 8 + shard->header + ends[0];
	return true;
}

/* One entry of the header. */
static bool
read_tensor(const Shard *shard, const char *name, const json_t *entry,
            StoredTensor *tensor, Failure *failure)
{
	const Label *label;
	int64_t bytes;

	tensor->name = name;
	if (!json_is_object(entry))
		return fail(failure, FAILURE_BAD_FILE,
		            "entry \"%s\" of \"%s\" is %s, not an object", name,
		            shard->path, json_type_name(entry));
	tensor->label = json_string_value(json_object_get(entry, "dtype"));
	if (tensor->label == NULL)
		return fail(failure, FAILURE_BAD_FILE,
		            "tensor \"%s\" in \"%s\" has no dtype", name, shard->path);
	if (!read_shape(shard, entry, tensor, failure) ||
	    !read_offsets(shard, entry, tensor, failure))
		return false;
	label = find_label(tensor->label);
	tensor->dtype = label == NULL ? DTYPE_OTHER : label->dtype;
	if (label == NULL)
		return true;
	if (__builtin_mul_overflow(tensor->count, (int64_t) label->size, &bytes) ||
	    bytes != tensor->bytes)
		return fail(failure, FAILURE_BAD_FILE,
		            "tensor \"%s\" in \"%s\" has %lld numbers of %s in %lld "
		            "bytes",
		            name, shard->path, (long long) tensor->count, tensor->label,
		            (long long) tensor->bytes);
	return true;
}

static int
compare_places(const void *a, const void *b)
{
	const StoredTensor *left = a;
	const StoredTensor *right = b;

	if (left->data != right->data)
		return left->data < right->data ? -1 : 1;
	if (left->bytes != right->bytes)
		return left->bytes < right->bytes ? -1 : 1;
	return strcmp(left->name, right->name);
}

/* The tensors fill the data exactly: no overlap, no hole, nothing after. */
static bool
check_places(const Shard *shard, Failure *failure)
{
	const uint8_t *start = shard->file.data + 8 + shard->header;
	const uint8_t *next = start;
	const uint8_t *end = shard->file.data + shard->file.size;

	for (int i = 0; i < shard->count; i++)
	{
		const StoredTensor *tensor = &shard->tensors[i];
		const uint8_t *data = tensor->data;

		if (data < next)
			return fail(failure, FAILURE_BAD_FILE,
			            "tensors \"%s\" and \"%s\" overlap in \"%s\"",
			            shard->tensors[i - 1].name, tensor->name, shard->path);
		if (data > next)
			return fail(failure, FAILURE_BAD_FILE,
			            "tensor \"%s\" in \"%s\" leaves %lld bytes unused "
			            "before it",
			            tensor->name, shard->path, (long long) (data - next));
		next = data + tensor->bytes;
	}
	if (next != end)
		return fail(failure, FAILURE_BAD_FILE,
		            "\"%s\" has %lld bytes after its last tensor", shard->path,
		            (long long) (end - next));
	return true;
}

/* Maps the file and parses its header. */
static bool
open_header(Arena *arena, Shard *shard, Failure *failure)
{
	if (!file_map(arena, shard->path, &shard->file, failure))
		return false;
	if (shard->file.size < 8)
		return fail(failure, FAILURE_BAD_FILE,
		            "\"%s\" has %zu bytes, too few for a safetensors file",
		            shard->path, shard->file.size);
	shard->header = read_le64(shard->file.data);
	if (shard->header > LARGEST_HEADER)
		return fail(failure, FAILURE_BAD_FILE,
		            "header of \"%s\" claims %llu bytes, more than the %llu "
		            "allowed",
		            shard->path, (unsigned long long) shard->header,
		            (unsigned long long) LARGEST_HEADER);
	if (shard->header > shard->file.size - 8)
		return fail(failure, FAILURE_BAD_FILE,
		            "header of \"%s\" needs %llu bytes, file has %zu",
		            shard->path, (unsigned long long) shard->header,
		            shard->file.size - 8);
	if (!json_open_text(arena, (const char *) shard->file.data + 8,
	                    shard->header,
	                    arena_printf(arena, "header of \"%s\"", shard->path),
	                    &shard->json, failure))
		return false;
	if (!json_is_object(shard->json))
		return fail(failure, FAILURE_BAD_FILE,
		            "header of \"%s\" is %s, not an object", shard->path,
		            json_type_name(shard->json));
	return true;
}

static bool
open_shard(Arena *arena, Shard *shard, Failure *failure)
{
	const char *name;
	json_t *entry;

	if (!open_header(arena, shard, failure))
		return false;
	shard->tensors = arena_try(arena, json_object_size(shard->json),
	                           sizeof(StoredTensor), failure);
	if (shard->tensors == NULL)
		return false;
	json_object_foreach(shard->json, name, entry)
	{
		if (strcmp(name, "__metadata__") == 0)
			continue;
		if (!read_tensor(shard, name, entry, &shard->tensors[shard->count++],
		                 failure))
			return false;
	}
	qsort(shard->tensors, (size_t) shard->count, sizeof(StoredTensor),
	      compare_places);
	return check_places(shard, failure);
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp((*(const StoredTensor *const *) a)->name,
	              (*(const StoredTensor *const *) b)->name);
}

bool
stored_model_create(Arena *arena, StoredTensor *tensors, int count,
                    StoredModel **result, Failure *failure)
{
	StoredModel *model = arena_alloc(arena, sizeof(StoredModel));

	model->tensors = tensors;
	model->count = count;
	model->by_name =
		arena_try(arena, (size_t) count, sizeof(StoredTensor *), failure);
	if (model->by_name == NULL)
		return false;
	for (int i = 0; i < count; i++)
	{
		model->bytes += tensors[i].bytes;
		model->by_name[i] = &tensors[i];
	}
	qsort(model->by_name, (size_t) count, sizeof(StoredTensor *),
	      compare_names);
	for (int i = 1; i < count; i++)
		if (compare_names(&model->by_name[i - 1], &model->by_name[i]) == 0)
			return fail(failure, FAILURE_BAD_FILE,
			            "tensor \"%s\" is in more than one shard",
			            model->by_name[i]->name);
	*result = model;
	return true;
}

/* Joins the opened shards into one model. */
static bool
join_shards(Arena *arena, const Shard *shards, int shard_count,
            StoredModel **result, Failure *failure)
{
	StoredTensor *tensors;
	uint64_t source = 0;
	size_t total = 0;
	int next = 0;

	for (int i = 0; i < shard_count; i++)
	{
		total += (size_t) shards[i].count;
		source = file_identity_add(source, &shards[i].file);
	}
	tensors = arena_try(arena, total, sizeof(StoredTensor), failure);
	if (tensors == NULL)
		return false;
	for (int i = 0; i < shard_count; i++)
		for (int j = 0; j < shards[i].count; j++)
			tensors[next++] = shards[i].tensors[j];
	if (!stored_model_create(arena, tensors, next, result, failure))
		return false;
	(*result)->source = source;
	return true;
}

bool
stored_tensor_is_crooked(const StoredTensor *tensor)
{
	size_t size = dtype_size(tensor->dtype);

	return size > 0 && (uintptr_t) tensor->data % size != 0;
}

void
stored_model_move(StoredModel *model, int i, const void *data, bool is_copy)
{
	model->tensors[i].data = data;
	model->tensors[i].is_copy = is_copy;
}

bool
stored_model_align(Arena *arena, StoredModel *model, Failure *failure)
{
	for (int i = 0; i < model->count; i++)
	{
		const StoredTensor *tensor = &model->tensors[i];
		void *copy;

		if (!stored_tensor_is_crooked(tensor))
			continue;
		copy = arena_try(arena, (size_t) tensor->bytes, 1, failure);
		if (copy == NULL)
			return false;
		memcpy(copy, tensor->data, (size_t) tensor->bytes);
		stored_model_move(model, i, copy, true);
	}
	return true;
}

static bool
map_file(Arena *arena, const char *path, StoredModel **model, Failure *failure)
{
	Shard shard = {0};

	shard.path = arena_strdup(arena, path);
	return open_shard(arena, &shard, failure) &&
	       join_shards(arena, &shard, 1, model, failure);
}

bool
stored_file_open(Arena *arena, const char *path, StoredModel **model,
                 Failure *failure)
{
	return map_file(arena, path, model, failure) &&
	       stored_model_align(arena, *model, failure);
}

/* A shard is a file of the same directory. */
static bool
shard_name_is_plain(const char *name)
{
	return name[0] != '\0' && strchr(name, '/') == NULL &&
	       strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* The number of the shard of that path, opened now if it is not yet. */
static int
find_shard(Arena *arena, Shard *shards, int *shard_count, const char *directory,
           const char *name, Failure *failure)
{
	char *path = arena_printf(arena, "%s/%s", directory, name);

	for (int i = *shard_count - 1; i >= 0; i--)
		if (strcmp(shards[i].path, path) == 0)
			return i;
	shards[*shard_count].path = path;
	if (!open_shard(arena, &shards[*shard_count], failure))
		return -1;
	return (*shard_count)++;
}

static bool
shard_has(const Shard *shard, const char *name)
{
	return json_object_get(shard->json, name) != NULL;
}

static bool
open_index(Arena *arena, const char *directory, const char *path,
           StoredModel **model, Failure *failure)
{
	json_t *index;
	json_t *map;
	json_t *entry;
	const char *name;
	Shard *shards;
	int shard_count = 0;

	if (!json_open_file(arena, path, LARGEST_INDEX, &index, failure))
		return false;
	if (!json_get_object(index, "weight_map", &map, failure))
		return fail_while(failure, "reading \"%s\"", path);
	if (map == NULL)
		return fail(failure, FAILURE_BAD_FILE, "\"%s\" has no weight_map",
		            path);
	shards = arena_try(arena, json_object_size(map), sizeof(Shard), failure);
	if (shards == NULL)
		return false;
	json_object_foreach(map, name, entry)
	{
		const char *file = json_string_value(entry);
		int i;

		if (file == NULL || !shard_name_is_plain(file))
			return fail(failure, FAILURE_BAD_FILE,
			            "tensor \"%s\" of \"%s\" is not in a file of its "
			            "directory",
			            name, path);
		i = find_shard(arena, shards, &shard_count, directory, file, failure);
		if (i < 0)
			return false;
		if (!shard_has(&shards[i], name))
			return fail(failure, FAILURE_BAD_FILE,
			            "tensor \"%s\" is not in \"%s\", where the index "
			            "puts it",
			            name, shards[i].path);
	}
	return join_shards(arena, shards, shard_count, model, failure);
}

bool
stored_model_open(Arena *arena, const char *directory, StoredModel **model,
                  Failure *failure)
{
	char *single = arena_printf(arena, "%s/model.safetensors", directory);
	char *index = arena_printf(arena, "%s.index.json", single);

	if (file_exists(single))
		return map_file(arena, single, model, failure);
	if (file_exists(index))
		return open_index(arena, directory, index, model, failure);
	return fail(failure, FAILURE_NOT_FOUND,
	            "\"%s\" has neither model.safetensors nor "
	            "model.safetensors.index.json",
	            directory);
}

const StoredTensor *
stored_model_find(const StoredModel *model, const char *name)
{
	StoredTensor key = {.name = name};
	const StoredTensor *wanted = &key;
	const StoredTensor **found =
		bsearch(&wanted, model->by_name, (size_t) model->count,
	            sizeof(StoredTensor *), compare_names);

	return found == NULL ? NULL : *found;
}

int
stored_model_count(const StoredModel *model)
{
	return model->count;
}

const StoredTensor *
stored_model_tensor(const StoredModel *model, int i)
{
	return &model->tensors[i];
}

uint64_t
stored_model_source(const StoredModel *model)
{
	return model->source;
}

int64_t
stored_model_bytes(const StoredModel *model)
{
	return model->bytes;
}

static int64_t
bytes_to_store(const TensorToStore *tensor)
{
	int64_t bytes = (int64_t) dtype_size(tensor->dtype);

	for (int i = 0; i < tensor->dimensions; i++)
		bytes *= tensor->shape[i];
	return bytes;
}

/* The header as text, malloc'd; NULL if there is no memory for it. */
static char *
format_header(const TensorToStore *tensors, int count)
{
	static const char *const written[] = {
		[DTYPE_F32] = "F32", [DTYPE_F16] = "F16", [DTYPE_BF16] = "BF16"};
	json_t *header = json_pack("{s{ss}}", "__metadata__", "format", "pt");
	int64_t offset = 0;
	char *text;

	for (int i = 0; i < count; i++)
	{
		json_t *shape = json_array();
		int64_t end = offset + bytes_to_store(&tensors[i]);

		for (int j = 0; j < tensors[i].dimensions; j++)
			json_array_append_new(shape, json_integer(tensors[i].shape[j]));
		json_object_set_new(header, tensors[i].name,
		                    json_pack("{sssos[II]}", "dtype",
		                              written[tensors[i].dtype], "shape", shape,
		                              "data_offsets", (json_int_t) offset,
		                              (json_int_t) end));
		offset = end;
	}
	text = json_dumps(header, JSON_COMPACT | JSON_PRESERVE_ORDER);
	json_decref(header);
	return text;
}

/* The numbers of a tensor that lies nowhere as a whole. */
static void
write_pieces(FileWriter *writer, const TensorToStore *tensors, int index,
             TensorSource source, void *argument)
{
	uint8_t piece[1 << 15];
	int64_t size = (int64_t) dtype_size(tensors[index].dtype);
	int64_t numbers = bytes_to_store(&tensors[index]) / size;
	int64_t most = (int64_t) sizeof(piece) / size;

	for (int64_t first = 0; first < numbers; first += most)
	{
		int64_t count = numbers - first < most ? numbers - first : most;

		source(argument, index, first, count, piece);
		file_write(writer, piece, (size_t) (count * size));
	}
}

bool
safetensors_write(const char *path, const TensorToStore *tensors, int count,
                  TensorSource source, void *argument, Failure *failure)
{
	FileWriter writer;
	uint8_t length[8];
	size_t used;
	size_t padded;
	char *header;

	for (int i = 0; i < count; i++)
		if (tensors[i].dtype == DTYPE_OTHER)
			return fail(failure, FAILURE_INTERNAL,
			            "tensor \"%s\" has no dtype to be written in",
			            tensors[i].name);
	if (!file_writer_open(&writer, path, failure))
		return false;
	header = format_header(tensors, count);
	if (header == NULL)
	{
		file_writer_close(&writer);
		return fail(failure, FAILURE_OUT_OF_MEMORY,
		            "cannot make the header of \"%s\"", path);
	}
	used = strlen(header);
	padded = (used + 7) / 8 * 8;
	for (int i = 0; i < 8; i++)
		length[i] = (uint8_t) (padded >> 8 * i);
	file_write(&writer, length, sizeof(length));
	file_write(&writer, header, used);
	file_write(&writer, "       ", padded - used);
	free(header);
	for (int i = 0; i < count; i++)
		if (tensors[i].data == NULL)
			write_pieces(&writer, tensors, i, source, argument);
		else
			file_write(&writer, tensors[i].data,
			           (size_t) bytes_to_store(&tensors[i]));
	return file_writer_commit(&writer, failure);
}
