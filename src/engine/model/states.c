/*
 * states.c
 *		What the forward pass of layers leaves for their backward pass, in 16
 *		bits a number.
 *
 * Where products round their factors to 16 bits anyway, nothing is gained by
 * keeping states in 32: all layers share memory for the state of one, and what
 * they leave there is rewritten in half as many bytes when the next layer comes
 * and read back when its turn has come.  Most of these bytes are in the cache
 * both times, so that little time is lost.
 *
 * The last layer's state stays where it is, as the way back begins there, but
 * for its input, in whose place its output is.
 */
#include "base/fixed16.h"
#include "model/layers.h"

#include <string.h>

bool
states_are_short(const Model *model)
{
	return model->products == DTYPE_BF16 && model->device->keeps_fixed;
}

/* Queries, keys and values of a whole pass (attention.c: split), `count` of
 * these parts: a slice's rows of each, or with slice NULL all. */
static int
add_parts(const ModelConfig *c, const Pass *slice, Tensor whole, int count,
          Tensor *piece)
{
	int64_t cols[] = {(int64_t) c->heads * c->head_dim,
	                  (int64_t) c->kv_heads * c->head_dim,
	                  (int64_t) c->kv_heads * c->head_dim};
	float *data = whole.data;

	for (int i = 0; i < count; i++)
	{
		Tensor part = tensor_at(data, whole.rows, cols[i]);

		piece[i] = slice == NULL ? part : pass_rows(slice, part);
		data += data == NULL ? 0 : whole.rows * cols[i];
	}
	return count;
}

/* Of list_pieces(): what goes into the activation is read where it is kept. */
#define GATE 1
#define UP 2
#define REST 3

/*
 * The pieces of a layer's state that are kept: its input first, then what goes
 * into the activation.  Of a slice's rows, or with slice NULL all.  What the
 * model does not have has no rows.
 */
static void
list_pieces(const Model *model, const Pass *slice, const LayerState *whole,
            Tensor piece[KEPT_MAX])
{
	const ModelConfig *config = &model->config;
	LayerState state = *whole;
	Tensor rows[] = {
		state.input,         state.gate,   state.up,      state.attended,
		state.attention_sum, state.middle, state.mlp_sum, state.low};
	int count = (int) (sizeof(rows) / sizeof(rows[0]));

	memset(piece, 0, KEPT_MAX * sizeof(Tensor));
	for (int i = 0; i < count; i++)
		piece[i] = slice == NULL ? rows[i] : pass_rows(slice, rows[i]);
	if (config->qkv == QKV_APART)
		count += add_parts(config, slice, state.qkv, 3, piece + count);
	else
	{
		piece[count] = state.qkv;
		if (slice != NULL)
			piece[count] = pass_rows(slice, state.qkv);
		count++;
	}
	/* Queries and keys before their norms. */
	if (config->head_norm)
		add_parts(config, slice, state.raw, 2, piece + count);
}

void
states_plan_kept(Plan *plan, const Model *model, const LayerState *states,
                 KeptState *kept)
{
	for (int i = 0; i < model->config.layers; i++)
	{
		bool is_last = i == model->config.layers - 1;
		Tensor piece[KEPT_MAX];

		list_pieces(model, NULL, &states[i], piece);
		for (int j = 0; j < KEPT_MAX; j++)
		{
			size_t rows = (size_t) piece[j].rows;
			size_t cols = (size_t) piece[j].cols;

			kept[i].piece[j] = (Fixed){NULL, NULL};
			/* The first layer's input is nobody's output. */
			if (rows == 0 || (j == 0 ? i == 0 : is_last))
				continue;
			kept[i].piece[j].code =
				plan_bytes(plan, rows * cols * sizeof(int16_t));
			kept[i].piece[j].scale = plan_bytes(
				plan,
				rows * (size_t) fixed16_blocks((int64_t) cols) * sizeof(float));
		}
	}
}

/* The slice's rows of a piece of so many columns. */
static Fixed
kept_rows(const Pass *slice, int layer, int piece, int64_t cols)
{
	Fixed kept = slice->kept[layer].piece[piece];

	if (kept.code == NULL)
		return kept;
	return (Fixed){kept.code + slice->first * cols,
	               kept.scale + slice->first * fixed16_blocks(cols)};
}

/* A slice's rows of pieces [first, last). */
static void
move(const Pass *slice, int layer, int first, int last, bool is_back)
{
	Model *model = slice->model;
	Device *device = model->device;
	Tensor piece[KEPT_MAX];

	list_pieces(model, slice, &slice->states[layer], piece);
	for (int i = first; i < last; i++)
	{
		Fixed kept = kept_rows(slice, layer, i, piece[i].cols);

		if (kept.code == NULL)
			continue;
		if (is_back)
			device->read_fixed(device, piece[i], kept);
		else
			device->write_fixed(device, kept, piece[i]);
	}
}

void
state_keep_input(const Pass *slice, int layer)
{
	if (slice->kept != NULL)
		move(slice, layer, 0, 1, false);
}

void
state_keep(const Pass *slice, int layer)
{
	if (slice->kept != NULL)
		move(slice, layer, 1, KEPT_MAX, false);
}

void
state_recall_input(Pass *slice, int layer)
{
	if (slice->kept != NULL)
		move(slice, layer, 0, 1, true);
}

void
state_recall(Pass *slice, int layer)
{
	if (slice->kept == NULL)
		return;
	move(slice, layer, 0, GATE, true);
	move(slice, layer, REST, KEPT_MAX, true);
}

const Fixed *
state_activation(const Pass *slice, int layer, Fixed kept[2])
{
	int64_t cols = slice->states[layer].gate.cols;

	if (slice->kept == NULL || slice->kept[layer].piece[GATE].code == NULL)
		return NULL;
	kept[0] = kept_rows(slice, layer, GATE, cols);
	kept[1] = kept_rows(slice, layer, UP, cols);
	return kept;
}
