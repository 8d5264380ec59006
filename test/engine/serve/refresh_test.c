/*
 * refresh_test.c
 *		A policy that has learned enough becomes the reference, over the wire:
 *		its rows are scored anew, and training goes on, whether or not the
 *		engine died in between.
 */
#include "serve/peer.h"

#define ROWS 4

/* What a life of the engine adds to the jobs of a test. */
typedef struct Life
{
	const char *directory;
	const char *method;
	int rank;
	double value; /* of all prompts, to the reference at hand */
	double rewards[5];
	int questions; /* asked so far */
	double first_ratio;
	double first_logprob; /* of the last row under the first reference */
	WireRowResult row[ROWS];
} Life;

static json_int_t
number(const char *key)
{
	return json_integer_value(json_object_get(peer.head, key));
}

/* Opens the job, which knows of this checkpoint; false: there is no model. */
static bool
open_job(const Life *life, int checkpoint)
{
	const char *head;

	head = model_head(arena_printf(
		peer.arena,
		", \"checkpoint\": %d, \"directory\": \"%s\", \"settings\": "
		"{\"method\": \"%s\", \"steps\": 4, \"batch_size\": 2, \"lora_rank\": "
		"%d, \"lora_dropout\": 0, \"learning_rate\": 1e-2, \"max_response_tokens\": 8, "
		"\"evaluate_every\": 1, \"refresh_reference\": 0.25}",
		checkpoint, life->directory, life->method, life->rank));
	if (head == NULL)
		return false;
	assert_int_equal(ask(WIRE_JOB_OPEN, head, NULL), WIRE_RESULT);
	return true;
}

static void
send_rows(Life *life)
{
	WireBuffer items = {.resize = resize};
	WireReader *reader;

	wire_put_u32(&items, ROWS);
	for (int i = 0; i < ROWS; i++)
	{
		WireRow row = {.row_number = i + 1,
		               .prompt = "Hello",
		               .prompt_length = 5,
		               .response = " there, you",
		               .response_length = 6 + (size_t) i,
		               .flags = WIRE_ROW_HAS_REWARD | WIRE_ROW_HAS_VALUE,
		               .reward = 0.25 * (i + 1),
		               .value = life->value};

		wire_put_row(&items, &row);
	}
	assert_int_equal(ask(WIRE_JOB_ROWS, "{\"last\": true}", &items),
	                 WIRE_RESULT);
	reader = &peer.frame->payload;
	assert_int_equal(wire_get_count(reader, WIRE_ROW_RESULT_SIZE), ROWS);
	for (int i = 0; i < ROWS; i++)
		wire_get_row_result(reader, &life->row[i]);
	free(items.data);
}

/* Answers with the rewards of the test, and remembers the first ratio. */
static void
train(Life *life)
{
	WireBuffer items = {.resize = resize};
	int type;

	life->first_ratio = NAN;
	wire_put_u32(&items, 1);
	wire_put_text(&items, "Hello", 5);
	send_frame(WIRE_JOB_TRAIN, 500, "{\"evaluate\": true}", items.data,
	           items.size);
	while ((type = receive()) != WIRE_RESULT)
	{
		WireReader *reader = &peer.frame->payload;
		uint32_t count;

		assert_int_not_equal(type, 0);
		assert_int_not_equal(type, WIRE_ERROR);
		count = type == WIRE_METRICS ? wire_get_count(reader, 4 + 8) : 0;
		for (uint32_t i = 0; i < count; i++)
		{
			size_t length;
			const char *name = wire_get_text(reader, &length);
			double value = wire_get_f64(reader);

			if (length == 10 && memcmp(name, "ratio/mean", length) == 0 &&
			    isnan(life->first_ratio))
				life->first_ratio = value;
		}
		if (type != WIRE_ASK)
			continue;
		assert_in_range(life->questions, 0, 4);
		items.size = 0;
		wire_put_u32(&items, 1);
		wire_put_f64(&items, life->rewards[life->questions++]);
		send_frame(WIRE_ANSWER, 500, "{}", items.data, items.size);
	}
	free(items.data);
}

static const char *
reference_file(const Life *life)
{
	return arena_printf(peer.arena, "%s/reference/%s", life->directory,
	                    life->rank > 0 ? "adapter_model.safetensors"
	                                   : "model.safetensors");
}

/* Rounds until the job waits for rows that the policy of step 2 has scored. */
static bool
come_to_the_refresh(Life *life)
{
	life->value = 0.3;
	life->questions = 0;
	memcpy(life->rewards, (double[]){0.5, 0.7, 0.75, 0.9, 0.8},
	       sizeof(life->rewards));
	if (!open_job(life, 0))
		return false;
	assert_int_equal(number("refreshed"), 0);
	send_rows(life);
	assert_int_equal(life->row[0].selected, 0);
	assert_int_equal(life->row[1].selected, 1);
	life->first_logprob = life->row[3].ref_logprob;
	train(life);
	assert_true(json_is_true(json_object_get(peer.head, "is_refreshed")));
	assert_int_equal(life->questions, 3); /* 0.7 is not enough */
	assert_false(file_exists(reference_file(life)));
	return true;
}

/* The rest; the weights that come of it, in arena. */
static MappedFile
finish(Life *life, Arena *arena)
{
	MappedFile file = {0};
	Failure failure = {0};

	assert_true(open_job(life, 2));
	assert_int_equal(number("refreshed"), 2);
	assert_int_equal(number("step"), 2);
	assert_int_equal(number("steps"), 4);
	assert_true(json_is_false(json_object_get(peer.head, "rows_ready")));
	assert_near(
		json_number_value(json_object_get(peer.head, "reference_reward")), 0.75,
		0);
	assert_near(json_number_value(json_object_get(peer.head, "start_reward")),
	            0.5, 0);
	assert_true(file_exists(reference_file(life)));
	life->value = 0.6;
	send_rows(life);
	assert_int_equal(number("selected"), 2);
	assert_int_equal(number("steps"), 4);
	assert_near(life->row[3].advantage, 0.4, 1e-12);
	assert_true(life->row[3].ref_logprob != life->first_logprob);
	train(life);
	/* The policy is the reference, but for the roundings of other batches. */
	assert_near(life->first_ratio, 1, 1e-5);
	assert_int_equal(number("step"), 3); /* 0.9 is better still */
	assert_int_equal(number("steps"), 4);
	assert_near(json_number_value(json_object_get(peer.head, "start_reward")),
	            0.5, 0);
	assert_ok(file_map(arena,
	                   arena_printf(arena, "%s/model/%s", life->directory,
	                                life->rank > 0 ? "adapter_model.safetensors"
	                                               : "model.safetensors"),
	                   &file, &failure),
	          failure);
	return file;
}

static void
a_better_policy_becomes_the_reference(void **state)
{
	Arena *arena = arena_create();

	(void) state;
	for (int rank = 0; rank <= 4; rank += 4)
	{
		Life whole = {.directory = test_directory(arena),
		              .method = "a_lol",
		              .rank = rank};
		Life broken = whole;
		MappedFile a, b;

		broken.directory = test_directory(arena);
		greet();
		if (!come_to_the_refresh(&whole))
		{
			assert_int_equal(end(), 0);
			break;
		}
		a = finish(&whole, arena);
		assert_int_equal(end(), 0);

		/* Killed before the rows come, and again when they are scored. */
		greet();
		assert_true(come_to_the_refresh(&broken));
		kill(peer.pid, SIGKILL);
		(void) end();
		greet();
		assert_true(open_job(&broken, 2));
		broken.value = 0.6;
		send_rows(&broken);
		kill(peer.pid, SIGKILL);
		(void) end();
		greet();
		b = finish(&broken, arena);
		assert_int_equal(end(), 0);
		assert_int_equal(a.size, b.size);
		assert_memory_equal(a.data, b.data, a.size);
	}
	arena_destroy(arena);
}

/* Where no row is better than the new reference the run ends with it. */
static void
without_rows_it_is_the_end(void **state)
{
	Life life = {.method = "a_lol_ref_free"};

	(void) state;
	greet();
	life.directory = test_directory(peer.arena);
	if (come_to_the_refresh(&life))
	{
		assert_true(open_job(&life, 2));
		life.value = 2;
		send_rows(&life);
		assert_int_equal(number("selected"), 0);
		train(&life);
		assert_int_equal(life.questions, 3);
		assert_int_equal(number("step"), 2);
		assert_int_equal(number("steps"), 2);
		assert_true(file_exists(arena_printf(peer.arena, "%s/model.safetensors",
		                                     word("directory"))));
	}
	assert_int_equal(end(), 0);
}

/* Rows of a reference that is no more cannot be scored again. */
static void
lost_rows_of_a_refreshed_reference_start_training_over(void **state)
{
	Life life = {.method = "a_lol"};

	(void) state;
	greet();
	life.directory = test_directory(peer.arena);
	if (come_to_the_refresh(&life))
	{
		(void) finish(&life, peer.arena);
		assert_true(open_job(&life, 4));
		assert_true(json_is_true(json_object_get(peer.head, "rows_ready")));
		assert_int_equal(number("step"), 4);
		assert_int_equal(
			unlink(arena_printf(peer.arena, "%s/rows-2", life.directory)), 0);
		assert_true(open_job(&life, 4));
		assert_non_null(strstr(word("notice"), "training starts over"));
		assert_int_equal(number("refreshed"), 0);
		assert_int_equal(number("step"), 0);
	}
	assert_int_equal(end(), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_better_policy_becomes_the_reference),
		cmocka_unit_test(without_rows_it_is_the_end),
		cmocka_unit_test(
			lost_rows_of_a_refreshed_reference_start_training_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
