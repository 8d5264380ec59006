/*
 * attention_task.h
 *		Attention in pieces: a sequence and a key/value head, a block of
 *		queries, a block of keys.
 *
 * Keys and values of a sequence are copied into panels, its own behind those
 * of what it continues.  A block has some queries of all heads that share the
 * key/value head, a row each, query by query.  Rows are computed some at a
 * time, a chunk, and keys ATTENTION_KEYS at a time, a tile; a chunk's scores of
 * a tile are computed if one of its rows sees one of the tile's keys.
 */
#pragma once

#include "device/cpu/attention_tile.h"
#include "device/cpu/cpu.h"
#include "device/cpu/lanes.h"

#define ATTENTION_KEYS 32   /* of a tile */
#define ATTENTION_BLOCK 256 /* keys whose scores are held at a time */
#define ATTENTION_ROWS 48   /* of a block, if the heads are not more */

/* Queries of a text that are worth packing all its keys again for. */
#define PIECE_QUERIES 128

/* Floats from a row's scores to the next one's: not a power of two, which
 * would put them all into the same places of the cache. */
#define SCORE_STRIDE (ATTENTION_BLOCK + 16)

/* Tokens are counted from the first of what the sequence continues, if
 * anything. */
typedef struct AttentionTask
{
	const AttentionShape *shape;
	const AttentionTiles *tiles;
	int group;      /* query heads on the key/value head */
	int first_head; /* of these */
	int64_t kv_column;
	int width;   /* head_dim padded to LANES */
	int queries; /* of a block */
	int length;  /* the most tokens, padded to ATTENTION_KEYS */

	/* The sequence. */
	int64_t before_start; /* row of what it continues */
	int64_t start;        /* row of its token 0, were its own all there is */
	int before;           /* tokens of what it continues */
	int tokens;           /* with these */
	int window;           /* 0: none that matters */

	/* The block: queries [first, last). */
	int first;
	int last;
	int rows; /* queries times heads */
	int end;  /* behind the last query of all blocks */
} AttentionTask;

/* Numbers of a panel in rows of width, one for each of count tokens. */
static inline size_t
panel_size(const AttentionTask *task, int count)
{
	return (size_t) count * (size_t) task->width;
}

/* Rows of a block at most. */
static inline int
most_rows(const AttentionTask *task)
{
	return task->queries * task->group;
}

/* Query i sees the keys [seen_from(i), seen_to(i)). */
static inline int
seen_from(const AttentionTask *task, int i)
{
	return task->window > 0 && i >= task->window ? i + 1 - task->window : 0;
}

static inline int
seen_to(const AttentionTask *task, int i)
{
	return task->shape->is_bidirectional ? task->tokens : i + 1;
}

/* The row of the packed batch that a query is. */
static inline int64_t
query_row(const AttentionTask *task, int i)
{
	return task->start + i;
}

/* Some rows of a block, and the keys [from, to) that it is computed with. */
typedef struct Chunk
{
	int first;
	int rows;
	int from; /* at the beginning of a tile */
	int to;   /* at the end of one */
} Chunk;

/* Tokens of a sequence of its own. */
extern int sequence_tokens(const AttentionShape *shape, int sequence);

/* The sequence that this one continues, or -1. */
extern int sequence_prefix(const AttentionShape *shape, int sequence);

/* A key/value head of sequences of up to so many tokens, with what they
 * continue. */
extern AttentionTask attention_task(const AttentionShape *shape, int head,
                                    int tokens);
extern void task_set_sequence(AttentionTask *task, int sequence);
/* The block of queries from first on, none of them behind `end`. */
extern void task_set_block(AttentionTask *task, int first, int end);

/* The chunk that begins with this row, and its keys among [start, end). */
extern Chunk task_chunk(const AttentionTask *task, int row, int start, int end);

/* The rows [first, end) whose chunks are computed with the tile that begins at
 * key j. */
extern void task_rows_of_tile(const AttentionTask *task, int j, int *first,
                              int *end);

/* panel[length][width] = the sequence's rows of x, and zeros */
extern void pack_panel(const AttentionTask *task, float *panel, Tensor x);
/* The same by tiles of keys: panel[length / KEYS][head_dim][KEYS] */
extern void pack_tiles(const AttentionTask *task, float *panel, Tensor x);

/* The block's rows of x, and back: rows[task->rows][width] times factor; what
 * pads them stays as it is. */
extern void load_rows(const AttentionTask *task, float *rows, Tensor x,
                      float factor);
extern void store_rows(const AttentionTask *task, Tensor x, const float *rows,
                       const float *factor);

/* Asks for what a row is of x, in this block or, if there is one, in the next.
 * A row at a time: processors drop more than they can wait for. */
__attribute__((always_inline)) static inline void
fetch_row(const AttentionTask *task, Tensor x, int row, bool is_next)
{
	int i = (is_next ? task->last : task->first) + row / task->group;
	int head = task->first_head + row % task->group;

	if (i < task->end)
		cpu_fetch(cpu_row(x, query_row(task, i)) +
		              (size_t) head * (size_t) task->shape->head_dim,
		          task->shape->head_dim);
}

/* score[rows][SCORE_STRIDE] = rows times the keys [start, end) of a panel of
 * tiles, where chunks see them; start is a multiple of ATTENTION_KEYS. */
extern void multiply_tiles(const AttentionTask *task, float *score,
                           const float *rows, const float *tiles, int start,
                           int end);
/* out[rows][width] += score's keys [start, end) times a panel */
extern void multiply_panel(const AttentionTask *task, float *out,
                           const float *score, const float *panel, int start,
                           int end);
/* panel[keys][width] += score^T times rows */
extern void add_to_panel(const AttentionTask *task, float *panel,
                         const float *score, const float *rows, int start,
                         int end);

/* Adds what distances say to scores of the keys [start, end). */
extern void add_relative(const AttentionTask *task, float *score, int start,
                         int end);
/* The gradient of the scores goes to the numbers that were added. */
extern void add_relative_grad(const AttentionTask *task, const float *dscore,
                              int start, int end);
