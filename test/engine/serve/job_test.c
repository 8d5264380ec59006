/*
 * job_test.c
 *		Jobs over the wire: from rows to a model, rows in groups, and what
 *		breaks the rules.
 */
#include "serve/peer.h"

static void
put_rows(WireBuffer *items)
{
	wire_put_u32(items, 5);
	for (int i = 0; i < 5; i++)
	{
		WireRow row = {.row_number = i + 1,
		               .prompt = "Hello",
		               .prompt_length = 5,
		               .response = " there, you",
		               .response_length = i == 4 ? 0 : 6 + (size_t) i,
		               .flags = WIRE_ROW_HAS_REWARD | WIRE_ROW_HAS_VALUE,
		               .reward = 0.25 * i,
		               .value = 0.25};

		wire_put_row(items, &row);
	}
}

/* Answers each question with rewards that rise, and asks one in between. */
static int
train(int *questions)
{
	WireBuffer items = {.resize = resize};
	int type;

	wire_put_u32(&items, 2);
	wire_put_text(&items, "Hello", 5);
	wire_put_text(&items, "", 0);
	send_frame(WIRE_JOB_TRAIN, 500, "{\"evaluate\": true}", items.data,
	           items.size);
	while ((type = receive()) != WIRE_RESULT && type != WIRE_ERROR && type != 0)
	{
		if (type != WIRE_ASK)
			continue;
		assert_int_equal(wire_get_count(&peer.frame->payload, 8), 2);
		assert_int_equal(ask(WIRE_DEVICES, "{}", NULL), WIRE_RESULT);
		items.size = 0;
		wire_put_u32(&items, 2);
		wire_put_f64(&items, 0.1 * ++*questions);
		wire_put_f64(&items, NAN);
		send_frame(WIRE_ANSWER, 500, "{}", items.data, items.size);
	}
	free(items.data);
	return type;
}

static void
training_needs_a_job(void **state)
{
	(void) state;
	greet();
	assert_int_equal(ask(WIRE_JOB_TRAIN, "{}", NULL), WIRE_ERROR);
	assert_int_equal(end(), 1);
}

static void
a_job_from_rows_to_a_model(void **state)
{
	WireBuffer items = {.resize = resize};
	WireReader *reader;
	WireRowResult result[5];
	const char *directory, *head;
	int questions = 0;

	(void) state;
	greet();
	directory = test_directory(peer.arena);
	head = model_head(arena_printf(
		peer.arena,
		", \"checkpoint\": 4, \"directory\": \"%s\", \"settings\": {\"method\": \"a_lol\", "
		"\"steps\": 4, \"batch_size\": 2, \"max_response_tokens\": 8}",
		directory));
	if (head != NULL)
	{
		assert_int_equal(ask(WIRE_JOB_OPEN, head, NULL), WIRE_RESULT);
		assert_true(json_is_false(json_object_get(peer.head, "rows_ready")));
		put_rows(&items);
		assert_int_equal(ask(WIRE_JOB_ROWS, "{\"last\": true}", &items),
		                 WIRE_RESULT);
		assert_int_equal(
			json_integer_value(json_object_get(peer.head, "selected")), 2);
		assert_int_equal(
			json_integer_value(json_object_get(peer.head, "steps")), 4);
		reader = &peer.frame->payload;
		assert_int_equal(wire_get_count(reader, WIRE_ROW_RESULT_SIZE), 5);
		for (int i = 0; i < 5; i++)
			wire_get_row_result(reader, &result[i]);
		assert_int_equal(result[1].selected, 0); /* A = 0 */
		assert_int_equal(result[2].selected, 1);
		assert_near(result[3].advantage, 0.5, 0);
		assert_true(result[0].ref_logprob < 0);
		assert_true(result[0].tokens > 1);
		assert_int_equal(result[4].status, WIRE_ROW_EMPTY_RESPONSE);

		/* What was told of the rows may not be written down yet. */
		assert_int_equal(ask(WIRE_JOB_OPEN, head, NULL), WIRE_RESULT);
		assert_true(json_is_false(json_object_get(peer.head, "rows_ready")));
		assert_int_equal(ask(WIRE_JOB_ROWS, "{\"last\": true}", &items),
		                 WIRE_RESULT);

		assert_int_equal(train(&questions), WIRE_RESULT);
		assert_int_equal(questions, 5);
		assert_int_equal(json_integer_value(json_object_get(peer.head, "step")),
		                 4);
		assert_near(
			json_number_value(json_object_get(peer.head, "best_reward")), 0.5,
			1e-9);
		assert_true(file_exists(arena_printf(peer.arena, "%s/model.safetensors",
		                                     word("directory"))));

		/* Opened again it needs no rows, and has done all its steps. */
		assert_int_equal(ask(WIRE_JOB_OPEN, head, NULL), WIRE_RESULT);
		assert_true(json_is_true(json_object_get(peer.head, "rows_ready")));
		assert_int_equal(json_integer_value(json_object_get(peer.head, "step")),
		                 4);
		assert_int_equal(
			json_integer_value(json_object_get(peer.head, "selected")), 2);
	}
	free(items.data);
	assert_int_equal(end(), 0);
}

static void
a_broken_row_fails_and_names_it(void **state)
{
	WireBuffer items = {.resize = resize};
	const char *head;

	(void) state;
	greet();
	head = model_head(arena_printf(peer.arena,
	                               ", \"directory\": \"%s\", \"settings\": {}",
	                               test_directory(peer.arena)));
	if (head != NULL)
	{
		WireRow row = {.row_number = 42,
		               .prompt = "a",
		               .prompt_length = 1,
		               .response = "b",
		               .response_length = 1,
		               .flags = WIRE_ROW_HAS_REWARD,
		               .reward = INFINITY};

		assert_int_equal(ask(WIRE_JOB_OPEN, head, NULL), WIRE_RESULT);
		wire_put_u32(&items, 1);
		wire_put_row(&items, &row);
		assert_int_equal(ask(WIRE_JOB_ROWS, "{}", &items), WIRE_ERROR);
		assert_string_equal(word("message"), "the reward of row 42 is inf");
		row.reward = 1;
		items.size = 4;
		wire_put_row(&items, &row);
		assert_int_equal(ask(WIRE_JOB_ROWS, "{}", &items), WIRE_ERROR);
		assert_non_null(strstr(word("message"), "row 42 has neither"));
	}
	free(items.data);
	assert_int_equal(end(), 0);
}

/* Opens a new job of this method; false where there is no model. */
static bool
open_job(const char *method)
{
	const char *head = model_head(
		arena_printf(peer.arena,
	                 ", \"directory\": \"%s\", \"settings\": {\"method\": "
	                 "\"%s\", \"steps\": 2, \"batch_size\": 2, "
	                 "\"max_response_tokens\": 8}",
	                 test_directory(peer.arena), method));

	if (head == NULL)
		return false;
	assert_int_equal(ask(WIRE_JOB_OPEN, head, NULL), WIRE_RESULT);
	return true;
}

static void
put_response(WireBuffer *items, int64_t number, const char *prompt,
             const char *response, uint8_t flags, double reward)
{
	WireRow row = {.row_number = number,
	               .prompt = prompt,
	               .prompt_length = strlen(prompt),
	               .response = response,
	               .response_length = strlen(response),
	               .flags = flags,
	               .reward = reward};

	wire_put_row(items, &row);
}

static json_int_t
number(const char *key)
{
	return json_integer_value(json_object_get(peer.head, key));
}

/* Rows of one prompt come in two requests; that of another is alone. */
static void
rows_are_grouped_after_the_last(void **state)
{
	WireBuffer items = {.resize = resize};
	WireReader *reader;
	WireRowResult result;
	int questions = 0;

	(void) state;
	greet();
	if (open_job("dpo"))
	{
		wire_put_u32(&items, 2);
		put_response(&items, 1, "Hello", " you", WIRE_ROW_HAS_REWARD, 0.5);
		put_response(&items, 2, "Bye", " you", WIRE_ROW_HAS_REWARD, 0.5);
		assert_int_equal(ask(WIRE_JOB_ROWS, "{}", &items), WIRE_RESULT);
		assert_null(json_object_get(peer.head, "groups"));
		items.size = 0;
		wire_put_u32(&items, 2);
		put_response(&items, 3, "Hello", " there", WIRE_ROW_HAS_REWARD, 0.25);
		put_response(&items, 4, "Hello", " all", WIRE_ROW_HAS_REWARD, 0.375);
		assert_int_equal(ask(WIRE_JOB_ROWS, "{\"last\": true}", &items),
		                 WIRE_RESULT);
		assert_int_equal(number("groups"), 1);
		assert_int_equal(number("prompts"), 2);
		assert_int_equal(number("lone"), 1);
		assert_int_equal(number("selected"), 2);
		assert_int_equal(number("steps"), 2);
		reader = &peer.frame->payload;
		assert_int_equal(wire_get_count(reader, WIRE_ROW_RESULT_SIZE), 2);
		for (int i = 0; i < 2; i++)
			wire_get_row_result(reader, &result);
		assert_int_equal(result.selected, 0); /* the middle one */
		assert_true(result.ref_logprob < 0);
		assert_true(isnan(result.advantage));
		assert_int_equal(wire_get_count(reader, 8), 2);
		assert_int_equal(wire_get_i64(reader), 1);
		assert_int_equal(wire_get_i64(reader), 3);
		assert_false(reader->broken);
		assert_int_equal(train(&questions), WIRE_RESULT);
	}
	free(items.data);
	assert_int_equal(end(), 0);
}

/* Trains without prompts to answer; the last of a metric, NaN: none came. */
static double
train_for(const char *name)
{
	double last = NAN;
	int type;

	send_frame(WIRE_JOB_TRAIN, 500, "{}", "\0\0\0", 4);
	while ((type = receive()) != WIRE_RESULT)
	{
		WireReader *reader = &peer.frame->payload;
		uint32_t count;

		assert_int_not_equal(type, WIRE_ERROR);
		assert_int_not_equal(type, 0);
		count = type == WIRE_METRICS ? wire_get_count(reader, 4 + 8) : 0;
		for (uint32_t i = 0; i < count; i++)
		{
			size_t length;
			const char *text = wire_get_text(reader, &length);
			double value = wire_get_f64(reader);

			if (length == strlen(name) && memcmp(text, name, length) == 0)
				last = value;
		}
	}
	return last;
}

static void
held_out_pairs_tell_the_best_step(void **state)
{
	const uint8_t held = WIRE_ROW_IS_HELD;
	WireBuffer items = {.resize = resize};

	(void) state;
	greet();
	if (open_job("dpo"))
	{
		double loss;

		wire_put_u32(&items, 6);
		put_response(&items, 1, "Hello", " you", WIRE_ROW_IS_CHOSEN, NAN);
		put_response(&items, 1, "Hello", " all", WIRE_ROW_IS_REJECTED, NAN);
		put_response(&items, 2, "Bye", " you", WIRE_ROW_IS_CHOSEN | held, NAN);
		put_response(&items, 2, "Bye", " all", WIRE_ROW_IS_REJECTED | held,
		             NAN);
		put_response(&items, 3, "Bye", " you", WIRE_ROW_IS_CHOSEN | held, NAN);
		put_response(&items, 3, "Bye", "", WIRE_ROW_IS_REJECTED | held, NAN);
		assert_int_equal(ask(WIRE_JOB_ROWS, "{\"last\": true}", &items),
		                 WIRE_RESULT);
		assert_int_equal(number("rows"), 2);
		assert_int_equal(number("groups"), 1);
		assert_int_equal(number("selected"), 1);
		loss = train_for("eval_loss");
		assert_true(isfinite(loss));
		assert_near(
			json_number_value(json_object_get(peer.head, "start_reward")),
			-log(2), 1e-5);
		assert_true(json_number_value(json_object_get(
						peer.head, "best_reward")) >= -log(2) - 1e-5);
	}
	free(items.data);
	assert_int_equal(end(), 0);
}

static void
training_waits_until_a_checkpoint_is_recorded(void **state)
{
	WireBuffer items = {.resize = resize};

	(void) state;
	greet();
	if (open_job("dpo"))
	{
		wire_put_u32(&items, 4);
		put_response(&items, 1, "Hello", " you", WIRE_ROW_IS_CHOSEN, NAN);
		put_response(&items, 1, "Hello", " all", WIRE_ROW_IS_REJECTED, NAN);
		put_response(&items, 2, "Bye", " you",
		             WIRE_ROW_IS_CHOSEN | WIRE_ROW_IS_HELD, NAN);
		put_response(&items, 2, "Bye", " all",
		             WIRE_ROW_IS_REJECTED | WIRE_ROW_IS_HELD, NAN);
		assert_int_equal(ask(WIRE_JOB_ROWS, "{\"last\": true}", &items),
		                 WIRE_RESULT);
		peer.withholds = true;
		send_frame(WIRE_JOB_TRAIN, 500, "{}", "\0\0\0", 4);
		while (receive() != WIRE_CHECKPOINT)
			assert_int_equal(peer.frame->header.request, 500);
		assert_int_equal(number("step"), 1);
		connection_pump(&peer.connection, 200);
		assert_null(peer.connection.first);
		peer.withholds = false;
		send_frame(WIRE_ANSWER, 500, "{}", NULL, 0);
		while (receive() != WIRE_RESULT)
			assert_int_equal(peer.frame->header.request, 500);
		assert_int_equal(number("step"), 2);
	}
	free(items.data);
	assert_int_equal(end(), 0);
}

static void
only_methods_that_rank_measure_rows(void **state)
{
	WireBuffer items = {.resize = resize};
	bool is_open;

	(void) state;
	greet();
	is_open = open_job("wbc");
	wire_put_u32(&items, 1);
	put_response(&items, 1, "a", "b", WIRE_ROW_HAS_REWARD | WIRE_ROW_IS_HELD,
	             1);
	if (is_open)
	{
		assert_int_equal(ask(WIRE_JOB_ROWS, "{}", &items), WIRE_ERROR);
		assert_string_equal(word("message"), "rows to measure for method wbc");
	}
	free(items.data);
	assert_int_equal(end(), is_open ? 1 : 0);
}

static void
half_a_pair_without_tokens_takes_the_other_along(void **state)
{
	WireBuffer items = {.resize = resize};
	WireReader *reader;
	WireRowResult result[4];

	(void) state;
	greet();
	if (open_job("dpo_ref_free"))
	{
		wire_put_u32(&items, 4);
		put_response(&items, 1, "Hello", " you", WIRE_ROW_IS_CHOSEN, NAN);
		put_response(&items, 1, "Hello", "", WIRE_ROW_IS_REJECTED, NAN);
		put_response(&items, 2, "Hello", " you", WIRE_ROW_IS_CHOSEN, NAN);
		put_response(&items, 2, "Hello", " all", WIRE_ROW_IS_REJECTED, NAN);
		assert_int_equal(ask(WIRE_JOB_ROWS, "{\"last\": true}", &items),
		                 WIRE_RESULT);
		assert_int_equal(number("groups"), 1);
		assert_int_equal(number("selected"), 1);
		reader = &peer.frame->payload;
		assert_int_equal(wire_get_count(reader, WIRE_ROW_RESULT_SIZE), 4);
		for (int i = 0; i < 4; i++)
			wire_get_row_result(reader, &result[i]);
		assert_int_equal(result[0].status, WIRE_ROW_EMPTY_RESPONSE);
		assert_int_equal(result[1].status, WIRE_ROW_EMPTY_RESPONSE);
		assert_int_equal(result[3].status, WIRE_ROW_USED);
		assert_int_equal(wire_get_count(reader, 8), 1);
		assert_int_equal(wire_get_i64(reader), 2);
	}
	free(items.data);
	assert_int_equal(end(), 0);
}

/* The halves of a pair are neighbours, and only methods of pairs take them. */
static void
half_a_pair_breaks_the_rules(void **state)
{
	static const struct
	{
		const char *method;
		uint8_t flags[2];
	} cases[] = {
		{"dpo", {WIRE_ROW_IS_CHOSEN, WIRE_ROW_HAS_REWARD}},
		{"dpo", {WIRE_ROW_IS_REJECTED, WIRE_ROW_IS_CHOSEN}},
		{"dpo", {WIRE_ROW_HAS_REWARD, WIRE_ROW_IS_CHOSEN}},
		{"dpo", {WIRE_ROW_IS_CHOSEN | WIRE_ROW_IS_REJECTED, 0}},
		{"pro", {WIRE_ROW_IS_CHOSEN, WIRE_ROW_IS_REJECTED}},
		{"nll", {WIRE_ROW_IS_CHOSEN, WIRE_ROW_IS_REJECTED}},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		WireBuffer items = {.resize = resize};
		bool is_open;

		greet();
		is_open = open_job(cases[i].method);
		wire_put_u32(&items, 2);
		for (int j = 0; j < 2; j++)
			put_response(&items, 1, "a", "b", cases[i].flags[j], 1);
		if (is_open)
		{
			assert_int_equal(ask(WIRE_JOB_ROWS, "{}", &items), WIRE_ERROR);
			assert_string_equal(word("message"), "rows and pairs are mixed");
		}
		free(items.data);
		assert_int_equal(end(), is_open ? 1 : 0);
	}
}

/* Trains a job of ppo; each response is worth `reward`, in answers that lack
 * so many rewards.  Counts what was asked of rollouts. */
static int
train_by_rollouts(double reward, uint32_t lacking, int *rollouts)
{
	WireBuffer items = {.resize = resize};
	int type;

	wire_put_u32(&items, 1);
	wire_put_text(&items, "Hello", 5);
	send_frame(WIRE_JOB_TRAIN, 500, "{\"evaluate\": true}", items.data,
	           items.size);
	while ((type = receive()) != WIRE_RESULT && type != WIRE_ERROR && type != 0)
	{
		WireReader *reader = &peer.frame->payload;
		bool is_rollout;
		uint32_t count;

		if (type != WIRE_ASK)
			continue;
		is_rollout = strcmp(word("kind"), "rollout") == 0;
		count = wire_get_count(reader, 8);
		assert_int_equal(count, is_rollout ? 2 : 1);
		for (uint32_t i = 0; is_rollout && i < count; i++)
		{
			size_t length;

			assert_in_range(wire_get_u32(reader), 0, 2);
			assert_non_null(wire_get_text(reader, &length));
		}
		assert_false(reader->broken);
		*rollouts += is_rollout;
		items.size = 0;
		count -= is_rollout ? lacking : 0;
		wire_put_u32(&items, count);
		for (uint32_t i = 0; i < count; i++)
			wire_put_f64(&items, is_rollout ? reward + i : 1);
		send_frame(WIRE_ANSWER, 500, "{}", items.data, items.size);
	}
	free(items.data);
	return type;
}

/* Opens a job of ppo with three prompts; false where there is no model. */
static bool
open_prompts(void)
{
	WireBuffer items = {.resize = resize};
	WireRowResult result;

	greet();
	if (!open_job("ppo"))
		return false;
	wire_put_u32(&items, 3);
	for (int i = 0; i < 3; i++)
		put_response(&items, i + 1, "Hello", "", 0, NAN);
	assert_int_equal(ask(WIRE_JOB_ROWS, "{\"last\": true}", &items),
	                 WIRE_RESULT);
	assert_int_equal(number("selected"), 3);
	assert_int_equal(wire_get_count(&peer.frame->payload, WIRE_ROW_RESULT_SIZE),
	                 3);
	wire_get_row_result(&peer.frame->payload, &result);
	assert_int_equal(result.status, WIRE_ROW_USED);
	assert_int_equal(result.tokens, 0);
	free(items.data);
	return true;
}

static void
ppo_asks_for_the_rewards_of_its_responses(void **state)
{
	int rollouts = 0;

	(void) state;
	if (open_prompts())
	{
		assert_int_equal(train_by_rollouts(0.5, 0, &rollouts), WIRE_RESULT);
		assert_int_equal(rollouts, 2);
		assert_int_equal(number("steps"), 2);
		assert_true(file_exists(arena_printf(peer.arena, "%s/model.safetensors",
		                                     word("directory"))));
	}
	assert_int_equal(end(), 0);
}

static void
responses_without_a_reward_end_ppo(void **state)
{
	static const struct
	{
		double reward;
		uint32_t lacking;
		const char *message;
	} cases[] = {
		{NAN, 0, "the reward of a new response to the prompt of row "},
		{INFINITY, 0, "the reward of a response to prompt "},
		{1, 1, "1 rewards for 2 responses"},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		int rollouts = 0;
		bool is_open = open_prompts();

		if (is_open)
		{
			assert_int_equal(
				train_by_rollouts(cases[i].reward, cases[i].lacking, &rollouts),
				WIRE_ERROR);
			assert_non_null(strstr(word("message"), cases[i].message));
			assert_int_equal(rollouts, 1);
		}
		(void) end();
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(training_needs_a_job),
		cmocka_unit_test(a_job_from_rows_to_a_model),
		cmocka_unit_test(a_broken_row_fails_and_names_it),
		cmocka_unit_test(rows_are_grouped_after_the_last),
		cmocka_unit_test(half_a_pair_without_tokens_takes_the_other_along),
		cmocka_unit_test(half_a_pair_breaks_the_rules),
		cmocka_unit_test(held_out_pairs_tell_the_best_step),
		cmocka_unit_test(training_waits_until_a_checkpoint_is_recorded),
		cmocka_unit_test(only_methods_that_rank_measure_rows),
		cmocka_unit_test(ppo_asks_for_the_rewards_of_its_responses),
		cmocka_unit_test(responses_without_a_reward_end_ppo),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
