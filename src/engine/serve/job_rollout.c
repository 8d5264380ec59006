/*
 * job_rollout.c
 *		Rewards of new responses: the other side is asked, and may ask this
 *		engine things before it answers.
 */
#include "base/streams.h"
#include "formats/json.h"
#include "serve/generation.h"
#include "serve/job.h"
#include "serve/requests.h"

#include <math.h>

bool
job_read_generation(const Job *job, Arena *arena, double temperature,
                    GenerateOptions *options, Failure *failure)
{
	json_t *given;

	if (!json_get_object(job->settings, "generation", &given, failure) ||
	    !generation_read(arena, given, job->model,
	                     job->options.max_response_tokens, options, failure))
		return false;
	if (json_member(given, "temperature") == NULL)
		options->temperature = temperature;
	options->seed = job->options.seed;
	return true;
}

void
put_responses(WireBuffer *frame, int count, const uint32_t *number,
              const Generation *responses)
{
	wire_put_u32(frame, (uint32_t) count);
	for (int i = 0; i < count; i++)
	{
		wire_put_u32(frame, number[i]);
		wire_put_text(frame, responses[i].text, responses[i].length);
	}
}

static bool
receive_rewards(Frame *frame, int count, const uint32_t *number, double *reward,
                Failure *failure)
{
	Arena *arena = arena_create();
	json_t *head;
	uint32_t received;
	bool done = frame_head(arena, &frame->payload, &head, failure);

	received = wire_get_count(&frame->payload, sizeof(double));
	if (done && (frame->payload.broken || received != (uint32_t) count))
		done = fail(failure, FAILURE_PROTOCOL, "%u rewards for %d responses",
		            received, count);
	for (int i = 0; done && i < count; i++)
	{
		reward[i] = wire_get_f64(&frame->payload);
		if (isinf(reward[i]))
			done = fail(failure, FAILURE_BAD_INPUT,
			            "the reward of a response to prompt %u is %g",
			            number[i] + 1, reward[i]);
	}
	arena_destroy(arena);
	return done;
}

bool
job_ask_rewards(Request *request, const char *kind, int64_t step, int count,
                const uint32_t *number, const Generation *responses,
                double *reward, Failure *failure)
{
	WireBuffer *question = reply_begin(
		request, WIRE_ASK,
		json_pack("{s:s, s:I}", "kind", kind, "step", (json_int_t) step));
	Frame *answer;
	bool done;

	put_responses(question, count, number, responses);
	if (!reply_end(request, failure))
		return false;
	answer = serve_await(request, failure);
	if (answer == NULL)
		return false;
	done = receive_rewards(answer, count, number, reward, failure);
	frame_free(answer);
	return done;
}

/* ------------------------------------------------------------- rollouts */

/* What the other side calls the prompts' rows. */
static bool
number_rows(const Rollout *rollouts, int count, uint32_t *number,
            Failure *failure)
{
	for (int i = 0; i < count; i++)
	{
		int64_t row = rollouts[i].prompt->row_number;

		if (row < 1 || row > UINT32_MAX)
			return fail(failure, FAILURE_BAD_INPUT,
			            "row %lld is beyond the %u that responses can be to",
			            (long long) row, UINT32_MAX);
		number[i] = (uint32_t) (row - 1);
	}
	return true;
}

/* Takes over responses and rewards: all must be there. */
static bool
complete(Rollout *rollouts, int count, const Generation *responses,
         const double *reward, Failure *failure)
{
	for (int i = 0; i < count; i++)
	{
		if (isnan(reward[i]))
		{
			fail(failure, FAILURE_BAD_INPUT,
			     "the reward of a new response to the prompt of row %lld is "
			     "null",
			     (long long) rollouts[i].prompt->row_number);
			return fail_hint(failure, "coalesce() in the reward can say what "
			                          "such responses are worth.");
		}
		rollouts[i].ids = responses[i].ids;
		rollouts[i].tokens = responses[i].count;
		rollouts[i].score = reward[i];
	}
	return true;
}

bool
job_roll_out(void *argument, Arena *arena, int64_t step, int count,
             Rollout *rollouts, Failure *failure)
{
	Request *request = argument;
	Job *job = request->serve->job;
	ShownGeneration shown = {request, "generating", clock_ms()};
	size_t n = (size_t) count;
	TokenList *prompt = arena_try(arena, n, sizeof(TokenList), failure);
	uint32_t *number = arena_try(arena, n, sizeof(uint32_t), failure);
	Generation *response = arena_try(arena, n, sizeof(Generation), failure);
	double *reward = arena_try(arena, n, sizeof(double), failure);
	GenerateOptions options;

	if (prompt == NULL || number == NULL || response == NULL ||
	    reward == NULL || !number_rows(rollouts, count, number, failure) ||
	    !job_read_generation(job, arena, 1, &options, failure))
		return false;
	for (int i = 0; i < count; i++)
		prompt[i] = (TokenList){
			.ids =
				(int32_t *) (uintptr_t) rollouts[i].prompt->ids, /* only read */
			.count = rollouts[i].prompt->tokens};
	options.seed = random_bits(
		options.seed, random_stream(RANDOM_ROLLOUT, (uint64_t) step), 0);
	return generate(job->model, arena, &options, count, prompt, response,
	                generation_show, &shown, failure) &&
	       job_ask_rewards(request, "rollout", step, count, number, response,
	                       reward, failure) &&
	       complete(rollouts, count, response, reward, failure);
}
