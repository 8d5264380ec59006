/*
 * beam.c
 *		Beam search, as transformers 5 does it.
 *
 * A step scores all continuations of a prompt's B beams by the sum of their
 * log-probabilities and looks at the best K = max(2, 1 + stop tokens) * B.
 * Those that end here (a stop token, a stop text, the last token allowed) are
 * results if they are among the first B, with score / length^length_penalty;
 * the best B that go on are the next beams.  Stop texts end a beam like stop
 * tokens, but K does not grow with them, so fewer than B beams may go on.
 */
#include "model/generation/response.h"
#include "model/generation/softmax.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(BEAMS_MAX <= LANES_MAX, "a beam needs a lane");

/* A token and what came before it; beams share their beginnings. */
typedef struct Node
{
	int before; /* -1: the prompt */
	int32_t id;
} Node;

typedef struct Beam
{
	float score; /* sum of log-probabilities */
	int node;
	int lane;
	StopTail tail;
} Beam;

typedef struct BeamResult
{
	float score; /* after the length penalty */
	int node;
	bool ended; /* not by a limit */
} BeamResult;

/* Beam `beam` continued with id. */
typedef struct Candidate
{
	float score;
	int beam;
	int32_t id;
} Candidate;

/* The search for one prompt's response. */
typedef struct Search
{
	int limit;
	int length;  /* new tokens of each beam */
	Beam *beams; /* [B] */
	int count;
	BeamResult *results; /* [B], falling score */
	int result_count;
	Node *nodes;
	int node_count;
	int capacity;     /* of nodes */
	bool *has_prompt; /* [B], of each lane */
} Search;

typedef struct Beams
{
	int width;             /* B */
	int keep;              /* K */
	Search *searches;      /* [places] */
	Candidate *candidates; /* [K], a heap, then sorted */
	int candidate_count;
	Beam *next; /* [B] */
	StopTail tail;
	uint32_t *marked; /* [V] last penalized at this stamp */
	uint32_t stamp;
} Beams;

static bool
open_search(Generator *g, int width, Search *search, Failure *failure)
{
	size_t count = (size_t) width;

	search->beams = arena_alloc(g->scratch, count * sizeof(Beam));
	search->results = arena_alloc(g->scratch, count * sizeof(BeamResult));
	search->has_prompt = arena_alloc(g->scratch, count * sizeof(bool));
	for (int i = 0; i < width; i++)
		if (!stop_tail_open(g, &search->beams[i].tail, failure))
			return false;
	return true;
}

bool
beams_open(Generator *g, void **state, Failure *failure)
{
	int width = g->options->num_beams;
	int stops = g->model->config.stops;
	Beams *beams = arena_alloc(g->scratch, sizeof(Beams));

	*state = beams;
	beams->width = width;
	beams->keep = (stops > 1 ? 1 + stops : 2) * width;
	beams->searches =
		arena_alloc(g->scratch, (size_t) g->place_count * sizeof(Search));
	beams->candidates =
		arena_alloc(g->scratch, (size_t) beams->keep * sizeof(Candidate));
	beams->next = arena_alloc(g->scratch, (size_t) width * sizeof(Beam));
	beams->marked = arena_try(g->scratch, (size_t) g->model->config.vocabulary,
	                          sizeof(uint32_t), failure);
	if (beams->marked == NULL || !stop_tail_open(g, &beams->tail, failure))
		return false;
	for (int i = 0; i < width; i++)
		if (!stop_tail_open(g, &beams->next[i].tail, failure))
			return false;
	for (int i = 0; i < g->place_count; i++)
		if (!open_search(g, width, &beams->searches[i], failure))
			return false;
	return true;
}

/* One beam that holds the prompt, in the first lane of its place. */
static void
begin_search(Generator *g, Beams *beams, int place)
{
	Search *search = &beams->searches[place];

	search->limit = response_limit(g, g->prompt[place]);
	search->length = 0;
	search->count = 1;
	search->result_count = 0;
	search->node_count = 0;
	search->beams[0].score = 0;
	search->beams[0].node = -1;
	search->beams[0].lane = place * beams->width;
	search->beams[0].tail.count = 0;
	for (int i = 0; i < beams->width; i++)
		search->has_prompt[i] = i == 0;
}

/* ------------------------------------------------------------- the scores */

/* Logits to log-probabilities, in place. */
static void
to_logprobs(float *logits, int vocabulary)
{
	double largest = logits[softmax_largest(logits, vocabulary)];
	float lse =
		(float) (largest + log(softmax_sum(logits, vocabulary, largest)));

	for (int i = 0; i < vocabulary; i++)
		logits[i] -= lse;
}

static void
penalize_token(Generator *g, Beams *beams, float *logp, int32_t id)
{
	float factor = (float) g->options->repetition_penalty;

	if (id < 0 || id >= g->model->config.vocabulary ||
	    beams->marked[id] == beams->stamp)
		return;
	beams->marked[id] = beams->stamp;
	logp[id] = logp[id] < 0 ? logp[id] * factor : logp[id] / factor;
}

/* The repetition penalty for all tokens of the prompt and the beam. */
static void
penalize(Generator *g, Beams *beams, const TokenList *prompt,
         const Search *search, int node, float *logp)
{
	if (g->options->repetition_penalty == 1)
		return;
	beams->stamp++;
	for (int t = 0; t < prompt->count; t++)
		penalize_token(g, beams, logp, prompt->ids[t]);
	for (; node >= 0; node = search->nodes[node].before)
		penalize_token(g, beams, logp, search->nodes[node].id);
}

/* Higher score first, then the earlier beam, then the lower id. */
static int
compare(const void *left, const void *right)
{
	const Candidate *a = left;
	const Candidate *b = right;

	if (a->score != b->score)
		return a->score > b->score ? -1 : 1;
	if (a->beam != b->beam)
		return a->beam < b->beam ? -1 : 1;
	return (a->id > b->id) - (a->id < b->id);
}

/* Sinks what is on top of the heap, whose top is the worst. */
static void
sink(Candidate *heap, int count)
{
	Candidate moved = heap[0];
	int place = 0;

	for (;;)
	{
		int child = 2 * place + 1;

		if (child + 1 < count && compare(&heap[child + 1], &heap[child]) > 0)
			child++;
		if (child >= count || compare(&heap[child], &moved) <= 0)
			break;
		heap[place] = heap[child];
		place = child;
	}
	heap[place] = moved;
}

static void
rise(Candidate *heap, int place)
{
	Candidate moved = heap[place];

	while (place > 0 && compare(&moved, &heap[(place - 1) / 2]) > 0)
	{
		heap[place] = heap[(place - 1) / 2];
		place = (place - 1) / 2;
	}
	heap[place] = moved;
}

/* Offers the beam's continuations, which come in the order of compare(): an
 * equal of the worst that is kept never replaces it. */
static void
offer(Beams *beams, int beam, float score, const float *logp, int vocabulary)
{
	Candidate *heap = beams->candidates;

	for (int i = 0; i < vocabulary; i++)
	{
		Candidate candidate = {score + logp[i], beam, i};

		if (beams->candidate_count < beams->keep && !isnan(candidate.score))
		{
			heap[beams->candidate_count] = candidate;
			rise(heap, beams->candidate_count++);
		}
		else if (candidate.score > heap[0].score)
		{
			heap[0] = candidate;
			sink(heap, beams->candidate_count);
		}
	}
}

/* The best K continuations of all beams, from their logits [count, V]. */
static bool
find_candidates(Generator *g, Beams *beams, int place, float *logits,
                Failure *failure)
{
	const TokenList *prompt = &g->prompts[g->prompt[place]];
	Search *search = &beams->searches[place];
	int vocabulary = g->model->config.vocabulary;

	beams->candidate_count = 0;
	for (int i = 0; i < search->count; i++)
	{
		const Beam *beam = &search->beams[i];
		float *logp = logits + (size_t) i * (size_t) vocabulary;

		to_logprobs(logp, vocabulary);
		penalize(g, beams, prompt, search, beam->node, logp);
		offer(beams, i, beam->score, logp, vocabulary);
	}
	if (beams->candidate_count == 0)
		return fail(failure, FAILURE_BAD_INPUT,
		            "the model's logits are not numbers");
	qsort(beams->candidates, (size_t) beams->candidate_count, sizeof(Candidate),
	      compare);
	return true;
}

/* -------------------------------------------------------------- the beams */

static bool
add_node(Generator *g, Search *search, int before, int32_t id, int *node,
         Failure *failure)
{
	if (search->node_count == search->capacity)
	{
		int capacity = search->capacity == 0 ? 256 : 2 * search->capacity;
		Node *nodes =
			arena_try(g->scratch, (size_t) capacity, sizeof(Node), failure);

		if (nodes == NULL)
			return false;
		if (search->node_count > 0)
			memcpy(nodes, search->nodes,
			       (size_t) search->node_count * sizeof(Node));
		search->nodes = nodes;
		search->capacity = capacity;
	}
	search->nodes[search->node_count] = (Node){before, id};
	*node = search->node_count++;
	return true;
}

static float
at_length(const Generator *g, float score, int length)
{
	return score / (float) pow(length, g->options->length_penalty);
}

/* Into the results, behind its equals; the worst of too many is dropped. */
static void
add_result(Beams *beams, Search *search, BeamResult result)
{
	int place = search->result_count;

	while (place > 0 && search->results[place - 1].score < result.score)
		place--;
	if (place == beams->width)
		return;
	if (search->result_count < beams->width)
		search->result_count++;
	memmove(&search->results[place + 1], &search->results[place],
	        (size_t) (search->result_count - 1 - place) * sizeof(BeamResult));
	search->results[place] = result;
}

static void
copy_tail(StopTail *target, const StopTail *source)
{
	memcpy(target->bytes, source->bytes, source->count);
	target->count = source->count;
}

/* Deals the candidates out: results, and the next beams, with the lanes that
 * those before them had. */
static bool
choose(Generator *g, Beams *beams, Search *search, Failure *failure)
{
	int kept = 0;

	search->length++;
	for (int i = 0; i < beams->candidate_count; i++)
	{
		const Candidate *candidate = &beams->candidates[i];
		const Beam *beam = &search->beams[candidate->beam];
		bool ended, over;
		int node;

		copy_tail(&beams->tail, &beam->tail);
		ended = response_is_stop(&g->model->config, candidate->id) ||
		        stop_tail_add(g, &beams->tail, candidate->id);
		over = ended || search->length == search->limit;
		if (over ? i >= beams->width : kept == beams->width)
			continue;
		if (!add_node(g, search, beam->node, candidate->id, &node, failure))
			return false;
		if (over)
			add_result(
				beams, search,
				(BeamResult){at_length(g, candidate->score, search->length),
			                 node, ended});
		else
		{
			Beam *next = &beams->next[kept++];

			next->score = candidate->score;
			next->node = node;
			next->lane = beam->lane;
			copy_tail(&next->tail, &beams->tail);
		}
	}
	search->count = kept;
	return true;
}

/* Every beam beyond the first with a lane gets one that nobody goes on in, and
 * a copy of what it has in common with its sibling. */
static void
share_lanes(Generator *g, Beams *beams, Search *search, int place)
{
	int first = place * beams->width;
	int prompt = g->prompts[g->prompt[place]].count;
	bool taken[BEAMS_MAX] = {false};
	bool moves[BEAMS_MAX];
	int next = 0;

	for (int i = 0; i < search->count; i++)
	{
		int lane = beams->next[i].lane - first;

		moves[i] = taken[lane];
		taken[lane] = true;
	}
	for (int i = 0; i < search->count; i++)
	{
		if (!moves[i])
			continue;
		while (taken[next])
			next++;
		taken[next] = true;
		lanes_copy(&g->lanes, first + next, beams->next[i].lane,
		           search->has_prompt[next] ? prompt : 0);
		search->has_prompt[next] = true;
		beams->next[i].lane = first + next;
	}
}

static void
exchange(Beams *beams, Search *search)
{
	Beam *beams_before = search->beams;

	search->beams = beams->next;
	beams->next = beams_before;
}

/* Nothing goes on, or what goes on cannot or need not become better. */
static bool
is_over(const Generator *g, const Beams *beams, const Search *search)
{
	int length = search->length;

	if (search->count == 0)
		return true;
	if (search->result_count < beams->width)
		return false;
	if (g->options->beam_end == BEAM_END_EARLY)
		return true;
	/* "never" hopes for the length at which a score looks best. */
	if (g->options->beam_end == BEAM_END_NEVER &&
	    g->options->length_penalty > 0)
		length = search->limit;
	return at_length(g, search->beams[0].score, length) <=
	       search->results[beams->width - 1].score;
}

/* The best result is the response. */
static bool
finish(Generator *g, Search *search, int place, Failure *failure)
{
	const BeamResult *best = &search->results[0];
	Generation *result = &g->results[g->prompt[place]];
	int32_t *ids = arena_try(g->scratch, (size_t) search->length,
	                         sizeof(int32_t), failure);
	int count = 0;

	if (ids == NULL)
		return false;
	for (int n = best->node; n >= 0; n = search->nodes[n].before)
		count++;
	for (int n = best->node, i = count; n >= 0; n = search->nodes[n].before)
		ids[--i] = search->nodes[n].id;
	result->ended = best->ended;
	result->score = best->score;
	return response_finish(g, place, ids, count, failure);
}

/* The next token of each place's beams, whose logits lie one after another. */
static bool
take_tokens(Generator *g, Beams *beams, int count, const int *places,
            Failure *failure)
{
	float *logits = g->lanes.logits;

	for (int i = 0; i < count; i++)
	{
		Search *search = &beams->searches[places[i]];
		int rows = search->count;

		if (!find_candidates(g, beams, places[i], logits, failure) ||
		    !choose(g, beams, search, failure))
			return false;
		logits += (size_t) rows * (size_t) g->model->config.vocabulary;
		g->tokens++;
		share_lanes(g, beams, search, places[i]);
		exchange(beams, search);
		if (is_over(g, beams, search) && !finish(g, search, places[i], failure))
			return false;
	}
	return true;
}

bool
beams_step(Generator *g, void *state, Arena *step, Failure *failure)
{
	Beams *beams = state;
	int places[LANES_MAX];
	int lanes[LANES_MAX];
	int32_t ids[LANES_MAX];
	int rows = 0;
	int count;

	if (!response_admit(g, step, places, &count, failure))
		return false;
	for (int i = 0; i < count; i++)
		begin_search(g, beams, places[i]);
	if (!take_tokens(g, beams, count, places, failure))
		return false;
	count = 0;
	for (int i = 0; i < g->place_count; i++)
	{
		const Search *search = &beams->searches[i];

		if (g->prompt[i] < 0)
			continue;
		places[count++] = i;
		for (int b = 0; b < search->count; b++)
		{
			lanes[rows] = search->beams[b].lane;
			ids[rows++] = search->nodes[search->beams[b].node].id;
		}
	}
	return count == 0 || (lanes_extend(&g->lanes, rows, lanes, ids, failure) &&
	                      take_tokens(g, beams, count, places, failure));
}
