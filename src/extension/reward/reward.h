/*
 * reward.h
 *		Rewards: SQL expressions over the rows of a source.
 *
 * A reward is the name of a column, one SQL expression over the columns of
 * the source, or a JSON object of such expressions by name, whose sum it is.
 * Everything that cannot work raises in reward_open().  The expressions run
 * as the current user; the caller provides a READ ONLY transaction.
 */
#pragma once

#include "access/htup.h"
#include "access/tupdesc.h"
#include "nodes/bitmapset.h"
#include "utils/tuplestore.h"

#include "source/source.h"

typedef struct Reward Reward;

/* The name by which an expression may qualify the columns of its row. */
#define REWARD_ROW "alol_row"

/*
 * Parses a reward for rows of these columns (source->columns, or what
 * spool_columns() gives).  expression NULL is the column "reward".  Raises
 * with the argument's name for: no such column, several statements, clauses
 * or values, aggregates, window and set-returning functions, a type that is
 * not a number.  Lives in the current memory context.
 */
extern Reward *reward_open(const char *expression, TupleDesc columns,
                           const Source *source);

/*
 * True when it cannot say anything of a new response: it (or one of its
 * components) reads columns of the row but not its response.
 */
extern bool reward_is_stored(const Reward *reward);

/* Number of named components; 0 for a reward without names. */
extern int reward_components(const Reward *reward);
extern const char *reward_component_name(const Reward *reward, int i);

/* Attribute numbers of the columns that it reads, for spool_keep(). */
extern Bitmapset *reward_columns(const Reward *reward);

/* What rows are called in messages: "row 12". */
typedef struct RewardRows
{
	const char *kind;
	const int64 *number; /* [count], from 0 */
} RewardRows;

/*
 * Evaluates it over the first count rows of a tuplestore, in order.
 *
 * reward and isnull are [count]; components is [count * reward_components()],
 * row by row, or NULL when not wanted (a NULL component is NaN there and makes
 * the reward NULL).  NaN and infinities are returned: the caller names the
 * row.  SPI must be connected and a snapshot active.  An error has the
 * component as context, and in its detail the row that raised it: where one
 * of them does, they are done again one by one.
 */
extern void reward_evaluate(Reward *reward, Tuplestorestate *rows, int count,
                            const RewardRows *names, double *result,
                            bool *isnull, double *components);

/*
 * A copy of a row with another response, a text in UTF-8, which is converted
 * to the database's encoding and the column's type.
 */
extern HeapTuple reward_replace_response(TupleDesc columns, AttrNumber response,
                                         HeapTuple row, const char *utf8,
                                         size_t length);
