/*
 * serve_test.c
 *		The conversation, held with a real engine process over a socket: the
 *		handshake, replies, cancelling, and everything that breaks the rules.
 */
#include "serve/peer.h"
#include "tiny.h"

/* The head that names the classifier of the golden set. */
static const char *
classifier_head(void)
{
	return arena_printf(peer.arena,
	                    "{\"model\": {\"name\": \"judge\", \"path\": \"%s\"}}",
	                    test_golden_path(peer.arena, "classifiers/bert"));
}

/* ------------------------------------------------------------- the rules */

static void
the_handshake_lists_methods(void **state)
{
	json_t *methods;

	(void) state;
	greet();
	methods = json_object_get(peer.head, "methods");
	assert_int_equal(json_array_size(methods), 12);
	assert_string_equal(
		json_string_value(json_object_get(json_array_get(methods, 0), "name")),
		"nll");
	assert_int_equal(json_integer_value(json_object_get(peer.head, "pid")),
	                 peer.pid);
	assert_int_equal(end(), 0);
}

static void
nothing_comes_before_the_handshake(void **state)
{
	(void) state;
	start_engine();
	assert_int_equal(ask(WIRE_DEVICES, "{}", NULL), WIRE_ERROR);
	assert_string_equal(word("sqlstate"), "08P01");
	assert_int_equal(receive(), 0);
	assert_int_equal(end(), 1);
}

static void
an_engine_without_its_parent_ends(void **state)
{
	(void) state;
	start_engine();
	assert_int_equal(ask(WIRE_HELLO, "{\"version\": 2, \"parent\": 1}", NULL),
	                 0);
	assert_int_equal(end(), 1);
}

static void
another_version_is_refused_politely(void **state)
{
	(void) state;
	start_engine();
	assert_int_equal(ask(WIRE_HELLO, "{\"version\": 99}", NULL), WIRE_ERROR);
	assert_string_equal(word("sqlstate"), "0A000");
	assert_int_equal(end(), 0);
}

static void
bytes_that_are_no_frame_end_the_engine(void **state)
{
	(void) state;
	greet();
	assert_int_equal(write(peer.connection.socket,
	                       "\377\377\377\377\377\377\377\377"
	                       "\377\377\377\377",
	                       12),
	                 12);
	assert_int_equal(receive(), 0);
	assert_int_equal(end(), 1);
}

static void
a_head_that_is_no_object_ends_the_engine(void **state)
{
	(void) state;
	greet();
	assert_int_equal(ask(WIRE_DEVICES, "[1]", NULL), WIRE_ERROR);
	assert_int_equal(receive(), 0);
	assert_int_equal(end(), 1);
}

static void
an_unknown_request_is_an_error_and_no_more(void **state)
{
	(void) state;
	greet();
	assert_int_equal(ask(99, "{}", NULL), WIRE_ERROR);
	assert_int_equal(ask(WIRE_DEVICES, "{}", NULL), WIRE_RESULT);
	assert_int_equal(end(), 0);
}

static void
late_frames_are_ignored(void **state)
{
	(void) state;
	greet();
	send_frame(WIRE_CANCEL, 77, "{}", NULL, 0);
	send_frame(WIRE_ANSWER, 78, "{}", NULL, 0);
	send_frame(WIRE_DATA_END, 79, "{}", NULL, 0);
	assert_int_equal(ask(WIRE_DEVICES, "{}", NULL), WIRE_RESULT);
	assert_int_equal(end(), 0);
}

static void
an_idle_engine_ends(void **state)
{
	(void) state;
	start_engine();
	assert_int_equal(
		ask(WIRE_HELLO, "{\"version\": 2, \"idle_timeout\": 1}", NULL),
		WIRE_RESULT);
	assert_int_equal(receive(), 0);
	assert_int_equal(end(), 0);
}

static void
a_missing_model_is_an_error_with_its_name(void **state)
{
	(void) state;
	greet();
	assert_int_equal(ask(WIRE_MODEL_INSPECT,
	                     "{\"model\": {\"name\": \"x\", \"path\": \"/no\"}}",
	                     NULL),
	                 WIRE_ERROR);
	assert_string_equal(word("sqlstate"), "58P01");
	assert_non_null(strstr(word("context"), "loading model \"x\""));
	assert_int_equal(end(), 0);
}

/* Items cut short at every byte are a broken frame, never a crash. */
static void
short_items_break_the_rules(void **state)
{
	static const uint16_t types[] = {WIRE_TOKENIZE, WIRE_DETOKENIZE,
	                                 WIRE_GENERATE, WIRE_LOGPROB,
	                                 WIRE_LOGITS,   WIRE_CHAT_PROMPT};
	const uint8_t items[] = {1, 0, 0, 0, 9, 0, 0, 0, 'a', 'b'};

	(void) state;
	for (int i = 0; i < 6; i++)
		for (size_t size = 0; size < sizeof(items); size += 3)
		{
			WireBuffer buffer = {.data = (uint8_t *) items, .size = size};

			greet();
			if (model_path() != NULL)
			{
				assert_int_equal(ask(types[i],
				                     types[i] == WIRE_LOGITS ? classifier_head()
				                                             : model_head(""),
				                     &buffer),
				                 WIRE_ERROR);
				assert_string_equal(word("sqlstate"), "08P01");
				assert_int_equal(end(), 1);
			}
			else
				end();
		}
}

/* ------------------------------------------------------------- the work */

static void
texts_become_tokens_and_come_back(void **state)
{
	WireBuffer items = {.resize = resize};
	WireReader *reader;
	WireBuffer ids = {.resize = resize};
	size_t length;
	const char *text;
	uint32_t count;

	(void) state;
	greet();
	if (model_path() != NULL)
	{
		wire_put_u32(&items, 1);
		wire_put_text(&items, "Hello there", 11);
		assert_int_equal(ask(WIRE_TOKENIZE, model_head(""), &items),
		                 WIRE_RESULT);
		reader = &peer.frame->payload;
		assert_int_equal(wire_get_count(reader, 4), 1);
		count = wire_get_count(reader, 4);
		wire_put_u32(&ids, 1);
		wire_put_u32(&ids, count);
		for (uint32_t i = 0; i < count; i++)
			wire_put_u32(&ids, wire_get_u32(reader));
		assert_false(reader->broken);
		assert_int_equal(ask(WIRE_DETOKENIZE, model_head(""), &ids),
		                 WIRE_RESULT);
		reader = &peer.frame->payload;
		assert_int_equal(wire_get_count(reader, 4), 1);
		text = wire_get_text(reader, &length);
		assert_int_equal(length, 11);
		assert_memory_equal(text, "Hello there", 11);
	}
	free(items.data);
	free(ids.data);
	assert_int_equal(end(), 0);
}

static void
a_classifier_answers_with_its_outputs(void **state)
{
	WireBuffer items = {.resize = resize};
	WireReader *reader;
	json_t *texts;

	(void) state;
	greet();
	texts = json_object_get(
		test_read_json(peer.arena,
	                   test_golden_path(peer.arena, "classifiers/bert"),
	                   "golden.json"),
		"texts");
	wire_put_u32(&items, (uint32_t) json_array_size(texts));
	for (size_t i = 0; i < json_array_size(texts); i++)
	{
		json_t *text = json_array_get(texts, i);
		json_t *first = json_object_get(text, "first");
		json_t *second = json_object_get(text, "second");
		bool has_prompt = json_is_string(second);

		wire_put_u8(&items, has_prompt);
		wire_put_text(&items, has_prompt ? json_string_value(first) : "",
		              has_prompt ? json_string_length(first) : 0);
		wire_put_text(&items, json_string_value(has_prompt ? second : first),
		              json_string_length(has_prompt ? second : first));
	}
	assert_int_equal(ask(WIRE_LOGITS, classifier_head(), &items), WIRE_RESULT);
	reader = &peer.frame->payload;
	assert_int_equal(wire_get_count(reader, 4), json_array_size(texts));
	for (size_t i = 0; i < json_array_size(texts); i++)
	{
		json_t *logits = json_object_get(json_array_get(texts, i), "logits");

		assert_int_equal(wire_get_count(reader, 8), json_array_size(logits));
		for (size_t j = 0; j < json_array_size(logits); j++)
			assert_near(wire_get_f64(reader),
			            json_number_value(json_array_get(logits, j)), 1e-4);
	}
	assert_false(reader->broken);
	free(items.data);
	assert_int_equal(end(), 0);
}

static void
models_are_asked_what_their_kind_answers(void **state)
{
	const uint8_t none[4] = {0};
	const WireBuffer items = {.data = (uint8_t *) (uintptr_t) none, .size = 4};

	(void) state;
	greet();
	assert_int_equal(ask(WIRE_MODEL_INSPECT, classifier_head(), NULL),
	                 WIRE_RESULT);
	assert_string_equal(word("kind"), "classifier");
	assert_int_equal(json_integer_value(json_object_get(peer.head, "labels")),
	                 3);
	assert_int_equal(ask(WIRE_LOGPROB, classifier_head(), &items), WIRE_ERROR);
	assert_string_equal(word("message"),
	                    "the model is a classifier, not a language model");
	assert_string_equal(word("context"), "using model \"judge\"");
	assert_int_equal(ask(WIRE_GENERATE, classifier_head(), &items), WIRE_ERROR);
	assert_int_equal(ask(WIRE_LOGITS, model_head(""), &items), WIRE_ERROR);
	assert_string_equal(word("message"),
	                    "the model is a language model, not a classifier");
	assert_int_equal(end(), 0);
}

static void
what_cannot_be_kept_is_told_once_before_the_result(void **state)
{
	WireBuffer items = {.resize = resize};
	const char *directory, *head;

	(void) state;
	greet();
	directory = tiny_directory(peer.arena, TINY_LLAMA(""), 3);
	head = arena_printf(peer.arena,
	                    "{\"model\": {\"path\": \"%s\", \"dtype\": \"bf16\", "
	                    "\"forms\": \"%s/none\"}}",
	                    directory, directory);
	wire_put_u32(&items, 1);
	wire_put_text(&items, "a", 1);
	wire_put_text(&items, "b", 1);
	assert_int_equal(ask(WIRE_LOGPROB, head, &items), WIRE_NOTICE);
	assert_string_equal(word("severity"), "log");
	assert_non_null(strstr(word("message"), "none/bf16.form.tmp"));
	assert_int_equal(receive(), WIRE_RESULT);
	assert_int_equal(ask(WIRE_LOGPROB, head, &items), WIRE_RESULT);
	free(items.data);
	assert_int_equal(end(), 0);
}

static void
long_work_is_cancelled_and_the_engine_lives_on(void **state)
{
	WireBuffer items = {.resize = resize};
	const char *head;

	(void) state;
	greet();
	head = model_head(", \"max_tokens\": 1000, \"temperature\": 1");
	if (head != NULL)
	{
		wire_put_u32(&items, 20000);
		for (int i = 0; i < 20000; i++)
			wire_put_text(&items, "Hello", 5);
		send_frame(WIRE_GENERATE, 5, head, items.data, items.size);
		send_frame(WIRE_CANCEL, 5, "{}", NULL, 0);
		while (receive() == WIRE_PROGRESS)
			;
		assert_int_equal(peer.frame->header.type, WIRE_ERROR);
		assert_int_equal(peer.frame->header.request, 5);
		assert_string_equal(word("sqlstate"), "57014");
		assert_int_equal(ask(WIRE_DEVICES, "{}", NULL), WIRE_RESULT);
	}
	free(items.data);
	assert_int_equal(end(), 0);
}

static void
a_closed_socket_ends_work(void **state)
{
	WireBuffer items = {.resize = resize};
	const char *head;

	(void) state;
	greet();
	head = model_head(", \"max_tokens\": 1000, \"temperature\": 1");
	if (head != NULL)
	{
		wire_put_u32(&items, 20000);
		for (int i = 0; i < 20000; i++)
			wire_put_text(&items, "Hello", 5);
		send_frame(WIRE_GENERATE, 5, head, items.data, items.size);
	}
	free(items.data);
	assert_int_equal(end(), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_handshake_lists_methods),
		cmocka_unit_test(nothing_comes_before_the_handshake),
		cmocka_unit_test(an_engine_without_its_parent_ends),
		cmocka_unit_test(another_version_is_refused_politely),
		cmocka_unit_test(bytes_that_are_no_frame_end_the_engine),
		cmocka_unit_test(a_head_that_is_no_object_ends_the_engine),
		cmocka_unit_test(an_unknown_request_is_an_error_and_no_more),
		cmocka_unit_test(late_frames_are_ignored),
		cmocka_unit_test(an_idle_engine_ends),
		cmocka_unit_test(a_missing_model_is_an_error_with_its_name),
		cmocka_unit_test(short_items_break_the_rules),
		cmocka_unit_test(texts_become_tokens_and_come_back),
		cmocka_unit_test(a_classifier_answers_with_its_outputs),
		cmocka_unit_test(models_are_asked_what_their_kind_answers),
		cmocka_unit_test(what_cannot_be_kept_is_told_once_before_the_result),
		cmocka_unit_test(long_work_is_cancelled_and_the_engine_lives_on),
		cmocka_unit_test(a_closed_socket_ends_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
