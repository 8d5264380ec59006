/*
 * gguf_write.c
 *		Writing GGUF files.
 *
 * Metadata and tensors' entries grow in two streams in memory; the data follow
 * row by row.
 */
#include "formats/gguf_write.h"

#include "base/file.h"
#include "base/quant.h"

#include <string.h>

#define ALIGNMENT 32

/* Bytes in memory that grow as they are written. */
typedef struct Stream
{
	FILE *file;
	char *data;
	size_t size;
} Stream;

/* What is to come, in the order of the data. */
typedef struct Planned
{
	DType dtype;
	int64_t rows;
	int64_t cols;
} Planned;

struct GgufWriter
{
	Arena *arena;
	Stream metadata;
	Stream entries; /* of tensors */
	Stream tensors; /* of Planned */
	uint64_t keys;
	uint64_t count;
	uint64_t offset; /* of the next tensor */
};

static void
close_stream(Stream *stream)
{
	if (stream->file != NULL)
		fclose(stream->file);
	free(stream->data);
}

static void
close_writer(void *object)
{
	GgufWriter *writer = object;

	close_stream(&writer->metadata);
	close_stream(&writer->entries);
	close_stream(&writer->tensors);
}

static void
open_stream(Stream *stream)
{
	stream->file = open_memstream(&stream->data, &stream->size);
}

GgufWriter *
gguf_writer_create(Arena *arena)
{
	GgufWriter *writer = arena_alloc(arena, sizeof(GgufWriter));

	writer->arena = arena;
	open_stream(&writer->metadata);
	open_stream(&writer->entries);
	open_stream(&writer->tensors);
	arena_on_destroy(arena, close_writer, writer);
	return writer;
}

/* A stream that could not be opened, or grow, is found at the end. */
static void
put(Stream *stream, const void *data, size_t size)
{
	if (stream->file != NULL)
		fwrite(data, 1, size, stream->file);
}

static void
put_number(Stream *stream, uint64_t value, int bytes)
{
	uint8_t data[8];

	for (int i = 0; i < bytes; i++)
		data[i] = (uint8_t) (value >> 8 * i);
	put(stream, data, (size_t) bytes);
}

static void
put_text(Stream *stream, const char *text, size_t length)
{
	put_number(stream, length, 8);
	put(stream, text, length);
}

/* Key and type of an entry. */
static Stream *
begin(GgufWriter *writer, const char *key, GgufType type)
{
	put_text(&writer->metadata, key, strlen(key));
	put_number(&writer->metadata, type, 4);
	writer->keys++;
	return &writer->metadata;
}

static Stream *
begin_array(GgufWriter *writer, const char *key, GgufType type, size_t count)
{
	Stream *stream = begin(writer, key, GGUF_ARRAY);

	put_number(stream, type, 4);
	put_number(stream, count, 8);
	return stream;
}

static uint32_t
bits_of(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

void
gguf_put_u32(GgufWriter *writer, const char *key, uint32_t value)
{
	put_number(begin(writer, key, GGUF_U32), value, 4);
}

void
gguf_put_f32(GgufWriter *writer, const char *key, float value)
{
	put_number(begin(writer, key, GGUF_F32), bits_of(value), 4);
}

void
gguf_put_bool(GgufWriter *writer, const char *key, bool value)
{
	put_number(begin(writer, key, GGUF_BOOL), value, 1);
}

void
gguf_put_text(GgufWriter *writer, const char *key, const char *text,
              size_t length)
{
	put_text(begin(writer, key, GGUF_STRING), text, length);
}

void
gguf_put_texts(GgufWriter *writer, const char *key, const GgufText *texts,
               size_t count)
{
	Stream *stream = begin_array(writer, key, GGUF_STRING, count);

	for (size_t i = 0; i < count; i++)
		put_text(stream, texts[i].text, texts[i].length);
}

void
gguf_put_i32s(GgufWriter *writer, const char *key, const int32_t *numbers,
              size_t count)
{
	Stream *stream = begin_array(writer, key, GGUF_I32, count);

	for (size_t i = 0; i < count; i++)
		put_number(stream, (uint32_t) numbers[i], 4);
}

void
gguf_put_f32s(GgufWriter *writer, const char *key, const float *numbers,
              size_t count)
{
	Stream *stream = begin_array(writer, key, GGUF_F32, count);

	for (size_t i = 0; i < count; i++)
		put_number(stream, bits_of(numbers[i]), 4);
}

void
gguf_put_entries(GgufWriter *writer, const GgufFile *file, const char *prefix)
{
	GgufText entry;

	for (size_t i = 0; gguf_entry(file, i, prefix, &entry); i++)
		if (entry.length > 0)
		{
			put(&writer->metadata, entry.text, entry.length);
			writer->keys++;
		}
}

void
gguf_add_tensor(GgufWriter *writer, const char *name, DType dtype,
                int dimensions, const int64_t *shape)
{
	Planned tensor = {dtype, dimensions == 1 ? 1 : shape[0],
	                  shape[dimensions - 1]};
	uint64_t bytes = dtype_bytes(dtype, tensor.rows * tensor.cols);

	put_text(&writer->entries, name, strlen(name));
	put_number(&writer->entries, (uint64_t) dimensions, 4);
	for (int i = dimensions - 1; i >= 0; i--)
		put_number(&writer->entries, (uint64_t) shape[i], 8);
	put_number(&writer->entries, (uint64_t) gguf_type_number(dtype), 4);
	put_number(&writer->entries, writer->offset, 8);
	put(&writer->tensors, &tensor, sizeof(tensor));
	writer->offset += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	writer->count++;
}

/* Zeros up to the next multiple of the alignment. */
static void
write_padding(FileWriter *file, uint64_t written)
{
	static const uint8_t zeros[ALIGNMENT];
	uint64_t over = written % ALIGNMENT;

	if (over > 0)
		file_write(file, zeros, ALIGNMENT - over);
}

static bool
write_tensor(FileWriter *file, const Planned *tensor, int index,
             GgufSource source, void *argument, Failure *failure)
{
	Arena *arena = arena_create();
	size_t cols = (size_t) tensor->cols;
	size_t bytes = dtype_bytes(tensor->dtype, tensor->cols);
	float *row = arena_try(arena, cols, sizeof(float), failure);
	void *packed = row == NULL ? NULL : arena_try(arena, bytes, 1, failure);

	for (int64_t i = 0; packed != NULL && i < tensor->rows; i++)
	{
		source(argument, index, i, row);
		if (!quant_write(packed, row, tensor->dtype, tensor->cols))
			dtype_from_f32(packed, row, tensor->dtype, cols);
		file_write(file, packed, bytes);
	}
	write_padding(file, (uint64_t) tensor->rows * bytes);
	arena_destroy(arena);
	return packed != NULL;
}

/* Completes what a stream holds; false where memory failed it. */
static bool
finish(Stream *stream)
{
	return stream->file != NULL && fflush(stream->file) == 0 &&
	       !ferror(stream->file);
}

static void
write_header(const GgufWriter *writer, FileWriter *file)
{
	uint8_t start[24] = {'G', 'G', 'U', 'F', 3};

	for (int i = 0; i < 8; i++)
	{
		start[8 + i] = (uint8_t) (writer->count >> 8 * i);
		start[16 + i] = (uint8_t) (writer->keys >> 8 * i);
	}
	file_write(file, start, sizeof(start));
	file_write(file, writer->metadata.data, writer->metadata.size);
	file_write(file, writer->entries.data, writer->entries.size);
	write_padding(file,
	              sizeof(start) + writer->metadata.size + writer->entries.size);
}

bool
gguf_write(GgufWriter *writer, const char *path, GgufSource source,
           void *argument, Failure *failure)
{
	FileWriter file;
	bool done = true;

	if (!finish(&writer->metadata) || !finish(&writer->entries) ||
	    !finish(&writer->tensors))
		return fail(failure, FAILURE_OUT_OF_MEMORY,
		            "no memory for the header of \"%s\"", path);
	if (!file_writer_open(&file, path, failure))
		return false;
	write_header(writer, &file);
	for (uint64_t i = 0; done && i < writer->count; i++)
	{
		Planned tensor;

		memcpy(&tensor, writer->tensors.data + i * sizeof(Planned),
		       sizeof(Planned));
		done = write_tensor(&file, &tensor, (int) i, source, argument, failure);
	}
	if (done)
		return file_writer_commit(&file, failure);
	file_writer_close(&file);
	return false;
}
