/*
 * generate_test.c
 *		Generation on the software GPU: prompts in packed passes, then tokens
 *		one by one against the cache, are the CPU's token for token.
 */
#include "pair.h"
#include "responses.h"
#include "stories.h"

#define PROMPTS 5

/* Prompts of 1 to 23 tokens. */
static TokenList *
make_prompts(Arena *arena)
{
	TokenList *prompts = arena_alloc(arena, PROMPTS * sizeof(TokenList));

	for (int i = 0; i < PROMPTS; i++)
	{
		int length = 1 + i * 11 % 24;

		prompts[i] =
			(TokenList){arena_alloc(arena, (size_t) length * sizeof(int32_t)),
		                length, length};
		for (int t = 0; t < length; t++)
			prompts[i].ids[t] = 3 + (i * 53 + t * 29) % 250;
	}
	return prompts;
}

/* Both devices' responses by these options; no choice hangs on roundings. */
static void
check_options(const char *directory, const GenerateOptions *options)
{
	Arena *arena = arena_create();
	TokenList *prompts = make_prompts(arena);
	Generation *made[2];
	int tokens = 0;

	for (int d = 0; d < 2; d++)
		made[d] = responses(
			arena, open_stories(arena, pair_device[d], directory, DTYPE_F32),
			options, prompts, PROMPTS);
	for (int i = 0; i < PROMPTS; i++)
	{
		assert_same_response(&made[1][i], &made[0][i]);
		tokens += made[1][i].count;
	}
	assert_true(tokens > 2 * PROMPTS);
	pair_assert_well();
	arena_destroy(arena);
}

static void
check_model(const char *directory)
{
	const GenerateOptions greedy = {
		.max_tokens = 9, .top_p = 1, .repetition_penalty = 1};
	const GenerateOptions drawn = {.max_tokens = 9,
	                               .temperature = 0.9,
	                               .top_p = 0.95,
	                               .top_k = 40,
	                               .repetition_penalty = 1.2,
	                               .seed = 11};
	const GenerateOptions beams = {.max_tokens = 5,
	                               .top_p = 1,
	                               .repetition_penalty = 1,
	                               .num_beams = 3,
	                               .length_penalty = 1};

	check_options(directory, &greedy);
	check_options(directory, &drawn);
	check_options(directory, &beams);
}

static void
responses_are_the_cpus(void **state)
{
	(void) state;
	with_made_stories(check_model);
}

static void
so_are_those_of_the_real_model(void **state)
{
	(void) state;
	with_real_stories(check_model);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(responses_are_the_cpus),
		cmocka_unit_test(so_are_those_of_the_real_model),
	};

	return run_pairs(tests);
}
