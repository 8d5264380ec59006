/*
 * checkpoint.c
 *		From where a job goes on after a crash, and the best weights so far.
 *
 * A file is a header (with the state of the run), arrays of 4-byte words,
 * padded to eight bytes, and a checksum over all of it.
 */
#include "train/checkpoint.h"

#include "base/file.h"
#include "train/checksum.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define VERSION 6
#define KEPT 2

/* Numbers written at once; a multiple of two, for the padding. */
#define PIECE 8192

static const char magic[8] = "alolstat";

typedef struct Head
{
	char magic[8];
	uint32_t version;
	uint32_t arrays;
	int64_t parameters; /* floats of the weights */
	int64_t moments;    /* words of each moment, as the model lays them out */
	int64_t is_coded;   /* as bytes (0 or 1) */
	TrainState state;
} Head;

/* What a checkpoint holds, in this order; best weights are the first alone. */
static const ModelState saved[] = {MODEL_WEIGHTS, MODEL_FIRST_MOMENT,
                                   MODEL_SECOND_MOMENT};
#define SAVED ((int) (sizeof(saved) / sizeof(saved[0])))

static size_t
array_size(int64_t words)
{
	return ((size_t) words * sizeof(float) + 7) / 8 * 8;
}

/* Words of the i-th array. */
static int64_t
array_words(const Head *head, int i)
{
	return saved[i] == MODEL_WEIGHTS ? head->parameters : head->moments;
}

static size_t
arrays_size(const Head *head, int arrays)
{
	size_t size = 0;

	for (int i = 0; i < arrays; i++)
		size += array_size(array_words(head, i));
	return size;
}

static void
put(FileWriter *writer, uint64_t *checksum, const void *data, size_t size)
{
	file_write(writer, data, size);
	*checksum = checksum_add(*checksum, data, size);
}

/* One array, a piece at a time: the model is large, and memory is short. */
static void
put_array(FileWriter *writer, uint64_t *checksum, Model *model,
          ModelState state, int64_t words)
{
	float piece[PIECE] = {0};

	for (int64_t first = 0; first < words; first += PIECE)
	{
		int64_t left = words - first;
		int64_t count = left < PIECE ? left : PIECE;

		model_state_download(model, state, first, count, piece);
		put(writer, checksum, piece, array_size(count));
	}
}

static bool
write_arrays(const char *path, Model *model, const TrainState *state,
             int arrays, Failure *failure)
{
	Head head = {.version = VERSION,
	             .arrays = (uint32_t) arrays,
	             .parameters = model_state_size(model),
	             .moments = model_moment_size(model),
	             .is_coded = model_codes_moments(model),
	             .state = *state};
	uint64_t checksum = CHECKSUM_START;
	FileWriter writer;

	memcpy(head.magic, magic, sizeof(magic));
	if (!file_writer_open(&writer, path, failure))
		return false;
	put(&writer, &checksum, &head, sizeof(head));
	for (int i = 0; i < arrays; i++)
		put_array(&writer, &checksum, model, saved[i], array_words(&head, i));
	file_write(&writer, &checksum, sizeof(checksum));
	if (!model_device(model)->sync(model_device(model), failure))
	{
		file_writer_close(&writer);
		return false;
	}
	return file_writer_commit(&writer, failure);
}

/* Maps a file of `arrays` arrays and checks all of it. */
static const uint8_t *
map_arrays(Arena *arena, const char *path, int arrays, Head *head,
           Failure *failure)
{
	MappedFile file;
	uint64_t checksum;
	size_t size;

	if (!file_map(arena, path, &file, failure))
		return NULL;
	memset(head, 0, sizeof(Head));
	if (file.size >= sizeof(Head))
		memcpy(head, file.data, sizeof(Head));
	if (memcmp(head->magic, magic, sizeof(magic)) != 0 ||
	    head->version != VERSION || head->arrays != (uint32_t) arrays ||
	    head->parameters < 0 || head->parameters > INT64_MAX / 64 ||
	    head->moments < 0 || head->moments > INT64_MAX / 64)
	{
		fail(failure, FAILURE_BAD_FILE,
		     "\"%s\" is no checkpoint of this version", path);
		return NULL;
	}
	size = sizeof(Head) + arrays_size(head, arrays);
	if (file.size != size + sizeof(checksum))
	{
		fail(failure, FAILURE_BAD_FILE, "\"%s\" has %zu bytes, not %zu", path,
		     file.size, size + sizeof(checksum));
		return NULL;
	}
	memcpy(&checksum, file.data + size, sizeof(checksum));
	if (checksum != checksum_add(CHECKSUM_START, file.data, size))
	{
		fail(failure, FAILURE_BAD_FILE,
		     "the checksum of \"%s\" does not match its content", path);
		return NULL;
	}
	return file.data + sizeof(Head);
}

static char *
path_of(Arena *arena, const char *directory, const char *kind, int64_t step)
{
	return arena_printf(arena, "%s/%s-%lld", directory, kind, (long long) step);
}

/* The step in a name of this kind, or -1: "best-120", "best-120.tmp". */
static int64_t
step_of(const char *name, const char *kind, bool *is_temporary)
{
	size_t length = strlen(kind);
	long long step;
	int end = 0;

	if (strncmp(name, kind, length) != 0 || name[length] != '-' ||
	    sscanf(name + length + 1, "%18lld%n", &step, &end) != 1 || step < 0)
		return -1;
	*is_temporary = strcmp(name + length + 1 + end, ".tmp") == 0;
	if (!*is_temporary && name[length + 1 + end] != '\0')
		return -1;
	return step;
}

/* The highest whole step of a kind that is below `below`, or -1. */
static int64_t
newest(const char *directory, const char *kind, int64_t below)
{
	DIR *stream = opendir(directory);
	struct dirent *entry;
	int64_t best = -1;

	if (stream == NULL)
		return -1;
	while ((entry = readdir(stream)) != NULL)
	{
		bool is_temporary = false;
		int64_t step = step_of(entry->d_name, kind, &is_temporary);

		if (!is_temporary && step > best && step < below)
			best = step;
	}
	closedir(stream);
	return best;
}

/* Removes the files of a kind but those of the steps in keep[count].  What
 * cannot be removed does no harm. */
static void
remove_others(const char *directory, const char *kind, const int64_t *keep,
              int count)
{
	Arena *arena = arena_create();
	DIR *stream = opendir(directory);
	struct dirent *entry;

	while (stream != NULL && (entry = readdir(stream)) != NULL)
	{
		bool is_temporary = false;
		int64_t step = step_of(entry->d_name, kind, &is_temporary);
		bool is_kept = step < 0;

		for (int i = 0; i < count && !is_temporary; i++)
			is_kept = is_kept || step == keep[i];
		if (!is_kept)
			unlink(arena_printf(arena, "%s/%s", directory, entry->d_name));
	}
	if (stream != NULL)
		closedir(stream);
	arena_destroy(arena);
}

/* The best step and that of the reference that a checkpoint refers to; -1
 * where they cannot be read. */
static void
read_references(const char *path, int64_t *best, int64_t *refreshed)
{
	Arena *arena = arena_create();
	Failure ignored;
	MappedFile file;
	Head head;

	*best = *refreshed = -1;
	if (file_map(arena, path, &file, &ignored) && file.size >= sizeof(Head))
	{
		memcpy(&head, file.data, sizeof(Head));
		*best = head.state.best_step;
		*refreshed = head.state.refreshed_step;
	}
	arena_destroy(arena);
}

char *
checkpoint_name(Arena *arena, const char *kind, int64_t step)
{
	return step == 0 ? arena_strdup(arena, kind)
	                 : arena_printf(arena, "%s-%lld", kind, (long long) step);
}

bool
checkpoint_write(const char *directory, Model *model, const TrainState *state,
                 Failure *failure)
{
	Arena *arena = arena_create();
	int64_t earlier = newest(directory, "checkpoint", state->step);
	int64_t steps[KEPT] = {state->step, earlier};
	int64_t bests[KEPT] = {state->best_step, -1};
	int64_t refreshed[KEPT] = {state->refreshed_step, -1};
	bool done =
		write_arrays(path_of(arena, directory, "checkpoint", state->step),
	                 model, state, SAVED, failure);

	if (done && earlier >= 0)
		read_references(path_of(arena, directory, "checkpoint", earlier),
		                &bests[1], &refreshed[1]);
	if (done)
	{
		remove_others(directory, "checkpoint", steps, KEPT);
		remove_others(directory, "best", bests, KEPT);
		remove_others(directory, "rows", refreshed, KEPT);
		remove_others(directory, "held", refreshed, KEPT);
	}
	arena_destroy(arena);
	return done;
}

/* The newest whole checkpoint of a step before `step`; false: there is none. */
static bool
find_before(const char *directory, int64_t step, TrainState *state,
            Failure *failure)
{
	while ((step = newest(directory, "checkpoint", step)) > 0)
	{
		Arena *arena = arena_create();
		Head head;
		bool is_whole =
			map_arrays(arena, path_of(arena, directory, "checkpoint", step),
		               SAVED, &head, failure) != NULL;

		arena_destroy(arena);
		if (!is_whole || head.state.step != step)
			continue;
		*state = head.state;
		state->plan.description[sizeof(state->plan.description) - 1] = '\0';
		return true;
	}
	return false;
}

void
checkpoint_find(const char *directory, int64_t known, TrainState *state,
                Failure *failure)
{
	memset(state, 0, sizeof(TrainState));
	if (known > 0 && !find_before(directory, known + 1, state, failure))
		find_before(directory, INT64_MAX, state, failure);
}

/* What a file has must be what the model holds. */
static bool
check_parameters(const char *path, const Head *head, const Model *model,
                 Failure *failure)
{
	return head->parameters == model_state_size(model) ||
	       fail(failure, FAILURE_BAD_FILE,
	            "\"%s\" is of a model with %lld parameters, not %lld", path,
	            (long long) head->parameters,
	            (long long) model_state_size(model));
}

static bool
check_moments(const char *path, const Head *head, const Model *model,
              Failure *failure)
{
	static const char *const optimizer[] = {"adamw", "adamw8bit"};
	bool is_coded = head->is_coded != 0;

	if (is_coded != model_codes_moments(model))
		return fail(failure, FAILURE_BAD_FILE,
		            "\"%s\" has the moments of %s, and the job trains by %s",
		            path, optimizer[is_coded], optimizer[!is_coded]);
	return head->moments == model_moment_size(model) ||
	       fail(failure, FAILURE_BAD_FILE,
	            "\"%s\" has moments of %lld words, not %lld", path,
	            (long long) head->moments,
	            (long long) model_moment_size(model));
}

bool
checkpoint_load(const char *directory, Model *model, const TrainState *state,
                Failure *failure)
{
	Arena *arena = arena_create();
	const char *path = path_of(arena, directory, "checkpoint", state->step);
	Head head;
	const uint8_t *data = map_arrays(arena, path, SAVED, &head, failure);
	bool done = data != NULL && check_parameters(path, &head, model, failure) &&
	            check_moments(path, &head, model, failure);

	for (int i = 0; done && i < SAVED; i++)
	{
		model_state_upload(model, saved[i], 0, array_words(&head, i),
		                   (const float *) data);
		data += array_size(array_words(&head, i));
	}
	done = done && model_device(model)->sync(model_device(model), failure);
	arena_destroy(arena);
	return done;
}

bool
best_write(const char *directory, Model *model, int64_t step, Failure *failure)
{
	Arena *arena = arena_create();
	TrainState state = {.step = step};
	bool done = write_arrays(path_of(arena, directory, "best", step), model,
	                         &state, 1, failure);

	arena_destroy(arena);
	return done;
}

bool
best_open(Arena *arena, const char *directory, const Model *model, int64_t step,
          const float **weights, Failure *failure)
{
	const char *path = path_of(arena, directory, "best", step);
	Head head;
	const uint8_t *data = map_arrays(arena, path, 1, &head, failure);

	*weights = (const float *) data;
	return data != NULL && check_parameters(path, &head, model, failure);
}
