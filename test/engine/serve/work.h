/*
 * work.h
 *		A short job for an engine, begun and gone on with as often as it takes.
 */
#pragma once

#include "serve/program.h"

#include <dirent.h>

/* Of the last error. */
static char last_message[2 * FAILURE_TEXT];

/* What a job in a new directory is asked to do. */
typedef struct Work
{
	Arena *arena;
	char *directory;
	const char *head;
	WireBuffer rows;
} Work;

/* What most jobs are told. */
#define WORK_SETTINGS                                                          \
	"\"method\": \"a_lol\", \"steps\": 3, \"batch_size\": 4, "                 \
	"\"max_response_tokens\": 8, \"evaluate_every\": 2, "                      \
	"\"checkpoint_every\": 1, \"generation\": {\"max_tokens\": 2}"

#define WORK_ROWS 5

/* settings: the members of the job's. */
static inline Work
plan_work(const char *settings)
{
	Work work = {.arena = arena_create(), .rows = {.resize = resize}};

	work.directory = test_directory(work.arena);
	work.head = arena_printf(
		work.arena,
		"{\"model\": {\"name\": \"tiny\", \"path\": \"%s\"}, \"checkpoint\": "
		"1000000, \"directory\": \"%s\", \"settings\": {%s}}",
		test_golden_path(work.arena, "training/llama"), work.directory,
		settings);
	wire_put_u32(&work.rows, WORK_ROWS);
	for (int i = 0; i < WORK_ROWS; i++)
	{
		WireRow row = {.row_number = i + 1,
		               .prompt = "Hello",
		               .prompt_length = 5,
		               .response = " there, you",
		               .response_length = 3 + 2 * (size_t) i,
		               .flags = WIRE_ROW_HAS_REWARD | WIRE_ROW_HAS_VALUE,
		               .reward = 1 + i,
		               .value = 0.5};

		wire_put_row(&work.rows, &row);
	}
	return work;
}

static inline void
remove_directory(Arena *arena, const char *path)
{
	DIR *stream = opendir(path);
	struct dirent *entry;

	if (stream == NULL)
		return;
	while ((entry = readdir(stream)) != NULL)
	{
		char *file = arena_printf(arena, "%s/%s", path, entry->d_name);

		if (entry->d_name[0] == '.')
			continue;
		if (unlink(file) != 0)
			remove_directory(arena, file);
	}
	closedir(stream);
	rmdir(path);
}

static inline void
forget_work(Work *work)
{
	remove_directory(work->arena, work->directory);
	free(work->rows.data);
	arena_destroy(work->arena);
}

#define TRAIN_ID 500

static inline void
begin_training(void)
{
	WireBuffer items = {.resize = resize};

	wire_put_u32(&items, 1);
	wire_put_text(&items, "Hello", 5);
	send_frame(WIRE_JOB_TRAIN, TRAIN_ID, "{\"evaluate\": true}", items.data,
	           items.size);
	free(items.data);
}

/* Answers with rewards; the type of what ends the training. */
static inline int
end_training(void)
{
	WireBuffer items = {.resize = resize};
	int type;

	while ((type = receive()) != WIRE_RESULT && type != WIRE_ERROR && type != 0)
	{
		if (type != WIRE_ASK)
			continue;
		items.size = 0;
		wire_put_u32(&items, 1);
		wire_put_f64(&items, 1);
		send_frame(WIRE_ANSWER, TRAIN_ID, "{}", items.data, items.size);
	}
	free(items.data);
	return type;
}

/* Brings it to where a new engine trains; the type of the last answer. */
static inline int
begin_work(Work *work, const char *device, const char *faults)
{
	int type;

	set_faults(faults);
	type = greet_program(device, ", \"ranks\": true");
	if (type == WIRE_RESULT)
		type = ask(WIRE_JOB_OPEN, work->head, NULL);
	if (type == WIRE_RESULT &&
	    !json_is_true(json_object_get(peer.head, "rows_ready")))
		type = ask(WIRE_JOB_ROWS, "{\"last\": true}", &work->rows);
	if (type == WIRE_RESULT)
		begin_training();
	return type;
}

/* Does what is left to do of it in a new engine; the type of the answer that
 * ended it, and how the engine did. */
static inline int
do_work(Work *work, const char *device, const char *faults, int *status)
{
	int type = begin_work(work, device, faults);

	if (type == WIRE_RESULT)
		type = end_training();
	if (type == WIRE_ERROR && word("message")[0] == '\0')
		fail_msg("an error without a word");
	if (type == WIRE_ERROR)
		snprintf(last_message, sizeof(last_message), "%s %s", word("message"),
		         word("detail"));
	*status = end();
	return type;
}

/* The file of the model or adapter that it made. */
static inline char *
read_model(Work *work, size_t *size)
{
	Failure failure = {0};
	char *path = arena_printf(work->arena, "%s/model/model.safetensors",
	                          work->directory);
	char *bytes;

	if (!file_exists(path))
		path = arena_printf(work->arena, "%s/model/adapter_model.safetensors",
		                    work->directory);
	bytes = file_read(work->arena, path, (size_t) 1 << 28, size, &failure);
	assert_ok(bytes != NULL, failure);
	return bytes;
}

/* Does it without any disturbance; the model. */
static inline char *
finish_work(Work *work, const char *device, size_t *size)
{
	int status;
	int type = do_work(work, device, "", &status);

	if (type != WIRE_RESULT)
		fail_msg("on %s: %s", device, last_message);
	assert_int_equal(status, 0);
	return read_model(work, size);
}

/* Bit by bit. */
static inline void
expect_model(Work *work, const char *model, size_t size)
{
	size_t own_size;
	char *own = read_model(work, &own_size);

	assert_int_equal(own_size, size);
	assert_memory_equal(own, model, size);
}
