/*
 * bpe_train_test.c
 *		A BPE learnt here has the merges one counts by hand, and opens as any
 *		other tokenizer.
 */
#include "testing.h"

#include "text/models/bpe_train.h"
#include "text/tokenizer.h"

static Arena *arena;
static Failure failure;
static char *directory;

/* Learns from texts (a NULL ends them) and opens what was written. */
static Tokenizer *
learn(const char *const *texts, int vocab_size, int *entries)
{
	BpeTrainer *trainer = bpe_trainer_create(arena);
	Tokenizer *tokenizer;

	for (int i = 0; texts[i] != NULL; i++)
		assert_ok(
			bpe_trainer_add(trainer, texts[i], strlen(texts[i]), &failure),
			failure);
	assert_ok(
		bpe_trainer_write(trainer, vocab_size, directory, entries, &failure),
		failure);
	assert_ok(tokenizer_open(arena, directory, &tokenizer, &failure), failure);
	assert_int_equal(tokenizer_size(tokenizer), *entries);
	assert_int_equal(tokenizer_eos(tokenizer), *entries - 1);
	assert_int_equal(tokenizer_bos(tokenizer), *entries - 1);
	return tokenizer;
}

static void
check_token(const Tokenizer *tokenizer, int id, const char *text)
{
	const uint8_t *bytes;
	size_t length;

	assert_true(tokenizer_token_bytes(tokenizer, id, &bytes, &length));
	assert_int_equal(length, strlen(text));
	assert_memory_equal(bytes, text, length);
}

static void
without_texts_it_is_the_bytes(void **state)
{
	const char *const none[] = {NULL};
	int entries;
	Tokenizer *tokenizer = learn(none, 5000, &entries);
	TokenList list = {0};
	DecodeOptions options = {0};
	char *text;
	size_t length;

	(void) state;
	assert_int_equal(entries, 257);
	assert_true(tokenizer_encode(tokenizer, arena, "a\xc3\xa9 <|endoftext|>\n",
	                             18, true, &list, &failure));
	assert_int_equal(list.count, 6);
	assert_int_equal(list.ids[0], 'a');
	assert_int_equal(list.ids[1], 0xc3);
	assert_int_equal(list.ids[3], ' ');
	assert_int_equal(list.ids[4], 256);
	assert_int_equal(list.ids[5], '\n');
	assert_true(tokenizer_decode(tokenizer, arena, list.ids, list.count,
	                             &options, &text, &length, &failure));
	assert_string_equal(text, "a\xc3\xa9 <|endoftext|>\n");
}

/* "lo" and "low" occur 7 times, " low" 4 times, the end of lowest twice. */
static void
frequent_pairs_come_first_and_ties_by_id(void **state)
{
	const char *const texts[] = {"low low low", "lowest", "low low lowest",
	                             NULL};
	int entries;
	Tokenizer *tokenizer = learn(texts, 1000, &entries);

	(void) state;
	check_token(tokenizer, 256, "lo");
	check_token(tokenizer, 257, "low");
	check_token(tokenizer, 258, " low");
	/* "es" and "st" twice each: 'e' is less than 's'. */
	check_token(tokenizer, 259, "es");
	check_token(tokenizer, 260, "est");
	assert_int_equal(entries, 256 + 5 + 1);
}

static void
repeated_letters_are_counted_once(void **state)
{
	const char *const texts[] = {"aaaa", "aaa", NULL};
	int entries;
	Tokenizer *tokenizer = learn(texts, 1000, &entries);
	TokenList list = {0};

	(void) state;
	/* aa: 5 pairs; after it aa aa and aa a occur once each: no more. */
	check_token(tokenizer, 256, "aa");
	assert_int_equal(entries, 258);
	assert_true(
		tokenizer_encode(tokenizer, arena, "aaaaa", 5, true, &list, &failure));
	assert_int_equal(list.count, 3);
}

static void
the_size_is_kept_and_the_order_of_texts_is_nothing(void **state)
{
	const char *const texts[] = {"the cat sat on the mat",
	                             "the dog sat on the log", NULL};
	const char *const turned[] = {texts[1], texts[0], NULL};
	int entries;
	size_t size;
	size_t turned_size;
	char *path = arena_printf(arena, "%s/tokenizer.json", directory);
	char *first;
	char *second;

	(void) state;
	learn(texts, 262, &entries);
	assert_int_equal(entries, 262);
	first = file_read(arena, path, 1 << 20, &size, &failure);
	learn(turned, 262, &entries);
	second = file_read(arena, path, 1 << 20, &turned_size, &failure);
	assert_int_equal(size, turned_size);
	assert_memory_equal(first, second, size);
}

static void
a_vocabulary_smaller_than_the_bytes_is_refused(void **state)
{
	BpeTrainer *trainer = bpe_trainer_create(arena);
	int entries;

	(void) state;
	assert_fails(bpe_trainer_write(trainer, 256, directory, &entries, &failure),
	             failure, FAILURE_BAD_INPUT,
	             "a vocabulary of 256 entries is too small");
}

static void
any_bytes_can_be_learnt(void **state)
{
	BpeTrainer *trainer = bpe_trainer_create(arena);
	char text[5000];
	uint32_t random = 7;
	int entries;
	Tokenizer *tokenizer;

	(void) state;
	for (size_t i = 0; i < sizeof(text); i++)
	{
		random = random * 1664525 + 1013904223;
		text[i] = (char) (random >> 24);
	}
	assert_ok(bpe_trainer_add(trainer, text, sizeof(text), &failure), failure);
	memset(text, 'x', sizeof(text)); /* one word of 5,000 bytes */
	assert_ok(bpe_trainer_add(trainer, text, sizeof(text), &failure), failure);
	assert_ok(bpe_trainer_write(trainer, 400, directory, &entries, &failure),
	          failure);
	assert_ok(tokenizer_open(arena, directory, &tokenizer, &failure), failure);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_texts_it_is_the_bytes),
		cmocka_unit_test(frequent_pairs_come_first_and_ties_by_id),
		cmocka_unit_test(repeated_letters_are_counted_once),
		cmocka_unit_test(the_size_is_kept_and_the_order_of_texts_is_nothing),
		cmocka_unit_test(a_vocabulary_smaller_than_the_bytes_is_refused),
		cmocka_unit_test(any_bytes_can_be_learnt),
	};
	int failed;

	arena = arena_create();
	directory = test_directory(arena);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(arena_printf(arena, "%s/tokenizer.json", directory));
	unlink(arena_printf(arena, "%s/tokenizer_config.json", directory));
	rmdir(directory);
	arena_destroy(arena);
	return failed;
}
