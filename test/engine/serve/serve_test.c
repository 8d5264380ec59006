/*
 * serve_test.c
 *		The conversation, held with a real engine process over a socket: the
 *		handshake, replies, cancelling, nesting, a whole job, and everything
 *		that breaks the rules.
 */
#include "near.h"

#include "serve/serve.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

typedef struct Peer
{
	pid_t pid;
	Connection connection;
	uint32_t last_id;
	Frame *frame; /* the last that came */
	json_t *head; /* its head */
	Arena *arena;
} Peer;

static Peer peer;

/* The leak checker looks at a process by ptrace(), which an engine may not
 * use; and an engine ends in the middle of things. */
static bool is_engine;

extern int __lsan_is_turned_off(void);

int
__lsan_is_turned_off(void)
{
	return is_engine;
}

static void
send_frame(uint16_t type, uint32_t id, const char *head, const void *items,
           size_t size)
{
	WireBuffer *outbox = &peer.connection.outbox;
	size_t begin = wire_frame_begin(outbox, type, id);

	wire_put_text(outbox, head, strlen(head));
	wire_put_bytes(outbox, items, size);
	wire_frame_end(outbox, begin);
	connection_flush(&peer.connection);
}

/* The next frame's type, or 0 when the engine has gone. */
static int
receive(void)
{
	Failure failure = {0};

	if (peer.frame != NULL)
		frame_free(peer.frame);
	peer.frame = NULL;
	while (peer.connection.first == NULL)
	{
		if (peer.connection.closed)
			return 0;
		connection_pump(&peer.connection, -1);
	}
	peer.frame = connection_take(&peer.connection, &peer.connection.first);
	assert_ok(
		frame_head(peer.arena, &peer.frame->payload, &peer.head, &failure),
		failure);
	return peer.frame->header.type;
}

static int
ask(uint16_t type, const char *head, const WireBuffer *items)
{
	int answer;

	send_frame(type, ++peer.last_id, head, items == NULL ? NULL : items->data,
	           items == NULL ? 0 : items->size);
	do
		answer = receive();
	while (answer == WIRE_PROGRESS);
	return answer;
}

static const char *
word(const char *key)
{
	const char *text = json_string_value(json_object_get(peer.head, key));

	return text == NULL ? "" : text;
}

static void
start_engine(void)
{
	int sockets[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	memset(&peer, 0, sizeof(peer));
	peer.pid = fork();
	assert_true(peer.pid >= 0);
	if (peer.pid == 0)
	{
		is_engine = true;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(sockets[0]);
		/* What the engine says last is not for the tests' output. */
		if (freopen("/dev/null", "w", stderr) == NULL)
			_exit(2);
		serve_run(sockets[1]);
	}
	close(sockets[1]);
	peer.arena = arena_create();
	connection_open(&peer.connection, sockets[0]);
}

static void
greet(void)
{
	start_engine();
	assert_int_equal(
		ask(WIRE_HELLO,
	        arena_printf(peer.arena,
	                     "{\"version\": 1, \"parent\": %d, \"threads\": 1}",
	                     (int) getpid()),
	        NULL),
		WIRE_RESULT);
}

/* Closes the socket if it is open, and gives the exit status. */
static int
end(void)
{
	int status = 0;

	close(peer.connection.socket);
	waitpid(peer.pid, &status, 0);
	if (peer.frame != NULL)
		frame_free(peer.frame);
	while (peer.connection.first != NULL)
		frame_free(connection_take(&peer.connection, &peer.connection.first));
	free(peer.connection.inbox.bytes.data);
	free(peer.connection.outbox.data);
	arena_destroy(peer.arena);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* A buffer in the peer's outbox style. */
static void *
resize(void *old, size_t size)
{
	void *memory = realloc(old, size);

	assert_non_null(memory);
	return memory;
}

static const char *
model_path(void)
{
	char *own = test_golden_path(peer.arena, "training/llama");

	return file_exists(own)
	           ? own
	           : test_shared_path(peer.arena, "golden/training/llama");
}

/* {"model": ...} with more members behind it, or NULL where there is none. */
static const char *
model_head(const char *more)
{
	const char *path = model_path();

	if (path == NULL)
		return NULL;
	return arena_printf(peer.arena,
	                    "{\"model\": {\"name\": \"tiny\", \"path\": \"%s\"}%s}",
	                    path, more);
}

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
	assert_int_equal(json_array_size(methods), 11);
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
	assert_int_equal(ask(WIRE_HELLO, "{\"version\": 1, \"parent\": 1}", NULL),
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
		ask(WIRE_HELLO, "{\"version\": 1, \"idle_timeout\": 1}", NULL),
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
	                                 WIRE_GENERATE, WIRE_LOGPROB, WIRE_LOGITS};
	const uint8_t items[] = {1, 0, 0, 0, 9, 0, 0, 0, 'a', 'b'};

	(void) state;
	for (int i = 0; i < 5; i++)
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

/* -------------------------------------------------------------- a job */

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
		cmocka_unit_test(long_work_is_cancelled_and_the_engine_lives_on),
		cmocka_unit_test(a_closed_socket_ends_work),
		cmocka_unit_test(training_needs_a_job),
		cmocka_unit_test(a_job_from_rows_to_a_model),
		cmocka_unit_test(a_broken_row_fails_and_names_it),
		cmocka_unit_test(rows_are_grouped_after_the_last),
		cmocka_unit_test(half_a_pair_without_tokens_takes_the_other_along),
		cmocka_unit_test(half_a_pair_breaks_the_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
