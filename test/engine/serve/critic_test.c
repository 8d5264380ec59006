/*
 * critic_test.c
 *		Jobs of classifiers over the wire: from texts and labels to a model, and
 *		what breaks the rules.
 */
#include "serve/peer.h"

/* The head of WIRE_JOB_OPEN; more is further members. */
static const char *
job_head(const char *directory, const char *objective, const char *more)
{
	const char *head = model_head(arena_printf(
		peer.arena,
		", \"directory\": \"%s\", \"settings\": {\"method\": \"%s\", \"steps\": "
		"4, \"batch_size\": 2, \"learning_rate\": 0.01}%s",
		directory, objective, more));

	if (head == NULL)
	{
		end();
		skip();
	}
	return head;
}

static void
put_text(WireBuffer *items, int number, const char *text, uint8_t flags,
         double label)
{
	WireRow row = {.row_number = number,
	               .prompt = "Hello",
	               .prompt_length = 5,
	               .response = text,
	               .response_length = strlen(text),
	               .flags = flags,
	               .reward = label};

	wire_put_row(items, &row);
}

/* Six texts of two kinds, one of them empty, two held out. */
static void
put_texts(WireBuffer *items)
{
	const uint8_t held = WIRE_ROW_IS_HELD | WIRE_ROW_IS_SINGLE;

	wire_put_u32(items, 6);
	put_text(items, 1, " good", 0, 1);
	put_text(items, 2, " bad", 0, 0);
	put_text(items, 3, " very good", WIRE_ROW_IS_SINGLE, 1);
	put_text(items, 4, "", WIRE_ROW_IS_SINGLE, 1);
	put_text(items, 5, "good", held, 1);
	put_text(items, 6, "bad", held, 0);
}

static int64_t
count_of(const char *key)
{
	return json_integer_value(json_object_get(peer.head, key));
}

/* Trains; how many metrics of held-out rows came. */
static int
train(int *evaluated)
{
	int type;

	*evaluated = 0;
	send_frame(WIRE_JOB_TRAIN, 500, "{}", "\0\0\0", 4);
	while ((type = receive()) != WIRE_RESULT && type != WIRE_ERROR && type != 0)
	{
		uint32_t count;

		if (type != WIRE_METRICS)
			continue;
		count = wire_get_count(&peer.frame->payload, 12);
		for (uint32_t i = 0; i < count; i++)
		{
			size_t length;
			const char *name = wire_get_text(&peer.frame->payload, &length);

			assert_true(isfinite(wire_get_f64(&peer.frame->payload)));
			*evaluated += length > 11 && strncmp(name, "evaluation/", 11) == 0;
		}
	}
	return type;
}

static void
texts_and_labels_become_a_classifier(void **state)
{
	WireBuffer items = {.resize = resize};
	const char *directory, *head;
	int evaluated;

	(void) state;
	greet();
	directory = test_directory(peer.arena);
	head = job_head(directory, "classification",
	                ", \"checkpoint\": 4, \"labels\": [\"no\", \"yes\"]");
	assert_int_equal(ask(WIRE_JOB_OPEN, head, NULL), WIRE_RESULT);
	put_texts(&items);
	assert_int_equal(ask(WIRE_JOB_ROWS, "{\"last\": true}", &items),
	                 WIRE_RESULT);
	/* The tokenizer puts a BOS before nothing, too. */
	assert_int_equal(count_of("selected") + count_of("empty"), 4);
	assert_int_equal(count_of("held"), 2);
	assert_int_equal(count_of("steps"), 4);

	assert_int_equal(train(&evaluated), WIRE_RESULT);
	/* Six numbers before, and after each step. */
	assert_int_equal(evaluated, 30);
	assert_true(file_exists(
		arena_printf(peer.arena, "%s/model.safetensors", word("directory"))));

	/* Opened again it has its rows, held-out ones too. */
	assert_int_equal(ask(WIRE_JOB_OPEN, head, NULL), WIRE_RESULT);
	assert_true(json_is_true(json_object_get(peer.head, "rows_ready")));
	assert_int_equal(train(&evaluated), WIRE_RESULT);
	assert_int_equal(evaluated, 0);
	free(items.data);
	assert_int_equal(end(), 0);
}

/* The error that such a row gives. */
static void
check_refused(const char *objective, const WireBuffer *items,
              const char *message)
{
	greet();
	assert_int_equal(ask(WIRE_JOB_OPEN,
	                     job_head(test_directory(peer.arena), objective,
	                              ", \"labels\": [\"no\", \"yes\"]"),
	                     NULL),
	                 WIRE_RESULT);
	assert_int_equal(ask(WIRE_JOB_ROWS, "{\"last\": true}", items), WIRE_ERROR);
	if (strstr(word("message"), message) == NULL)
		fail_msg("\"%s\" is not \"%s\"", word("message"), message);
	(void) end();
}

static void
a_label_that_is_none_is_refused(void **state)
{
	static const double wrong[] = {2, -1, 0.5, 1e300, NAN};

	(void) state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
	{
		WireBuffer items = {.resize = resize};

		wire_put_u32(&items, 1);
		put_text(&items, 7, "a", 0, wrong[i]);
		check_refused("classification", &items, "the label of row 7 is");
		free(items.data);
	}
}

static void
half_a_pair_is_refused(void **state)
{
	static const uint8_t wrong[][2] = {
		{WIRE_ROW_IS_CHOSEN, 0},
		{0, WIRE_ROW_IS_REJECTED},
		{WIRE_ROW_IS_REJECTED, WIRE_ROW_IS_CHOSEN},
		{WIRE_ROW_IS_CHOSEN, WIRE_ROW_IS_CHOSEN}};

	(void) state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
	{
		WireBuffer items = {.resize = resize};

		wire_put_u32(&items, 2);
		put_text(&items, 1, "a", wrong[i][0], 0);
		put_text(&items, 1, "b", wrong[i][1], 1);
		check_refused("pairwise", &items, "half a pair");
		free(items.data);
	}
}

static void
rows_cut_short_end_the_engine_politely(void **state)
{
	WireBuffer items = {.resize = resize};

	(void) state;
	put_texts(&items);
	for (size_t cut = 4; cut < items.size; cut += 13)
	{
		WireBuffer part = items;
		int status;

		greet();
		assert_int_equal(
			ask(WIRE_JOB_OPEN,
		        job_head(test_directory(peer.arena), "classification",
		                 ", \"labels\": [\"no\", \"yes\"]"),
		        NULL),
			WIRE_RESULT);
		part.size = cut;
		assert_int_equal(ask(WIRE_JOB_ROWS, "{\"last\": true}", &part),
		                 WIRE_ERROR);
		status = end();
		assert_in_range(status, 0, 1);
	}
	free(items.data);
}

static void
labels_must_be_texts(void **state)
{
	(void) state;
	greet();
	assert_int_equal(ask(WIRE_JOB_OPEN,
	                     job_head(test_directory(peer.arena), "classification",
	                              ", \"labels\": [\"no\", 7]"),
	                     NULL),
	                 WIRE_ERROR);
	assert_non_null(strstr(word("message"), "a label is no text"));
	(void) end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_and_labels_become_a_classifier),
		cmocka_unit_test(a_label_that_is_none_is_refused),
		cmocka_unit_test(half_a_pair_is_refused),
		cmocka_unit_test(rows_cut_short_end_the_engine_politely),
		cmocka_unit_test(labels_must_be_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
