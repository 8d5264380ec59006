/*
 * parameters.c
 *		The list of a model's weights: which there are, what they are called
 *		in the file, and where layers find them.
 */
#include "model/layers.h"

/* One walk counts, the next one fills. */
typedef struct Lister
{
	Model *model;
	const Architecture *names;
	const char *prefix;
	bool has_pooler; /* of a bare encoder */
	int count;
	int64_t total;
} Lister;

static Parameter *
add(Lister *lister, const char *name, int64_t rows, int64_t cols,
    bool transposed)
{
	Model *model = lister->model;
	Parameter *parameter =
		model->parameters == NULL ? NULL : &model->parameters[lister->count];
	int64_t count = rows * (cols == 0 ? 1 : cols);

	if (parameter != NULL)
	{
		parameter->name = name;
		parameter->dimensions = cols == 0 ? 1 : 2;
		parameter->shape[0] = transposed ? cols : rows;
		parameter->shape[1] = transposed ? rows : cols;
		parameter->count = count;
		parameter->offset = lister->total;
		parameter->transposed = transposed;
		parameter->decays = cols != 0;
	}
	lister->count++;
	lister->total += whole_lines(count);
	return parameter;
}

static char *
layer_name(Lister *lister, int layer, const char *part, const char *ending)
{
	char *inner =
		arena_printf(lister->model->arena, lister->names->layer, layer);

	return arena_printf(lister->model->arena, "%s%s%s.%s", lister->prefix,
	                    inner, part, ending);
}

static Norm
add_norm(Lister *lister, const char *weight, const char *bias, int width)
{
	Norm norm = {NULL, NULL};

	norm.weight = add(lister, weight, width, 0, false);
	if (norm.weight != NULL)
		norm.weight->is_scale = true;
	if (lister->model->config.norm == NORM_LAYER)
		norm.bias = add(lister, bias, width, 0, false);
	return norm;
}

static Norm
add_layer_norm(Lister *lister, int layer, const char *part, int width)
{
	return add_norm(lister, layer_name(lister, layer, part, "weight"),
	                layer_name(lister, layer, part, "bias"), width);
}

static Linear
add_linear(Lister *lister, int layer, const char *part, int outputs, int inputs,
           bool has_bias)
{
	bool is_gguf = lister->model->gguf != NULL;
	Linear linear = {0};

	linear.weight = add(lister, layer_name(lister, layer, part, "weight"),
	                    outputs, inputs, lister->names->transposed && !is_gguf);
	if (linear.weight != NULL)
		linear.weight->is_turned = lister->names->transposed && is_gguf;
	if (has_bias)
		linear.bias = add(lister, layer_name(lister, layer, part, "bias"),
		                  outputs, 0, false);
	return linear;
}

/* The maps to queries, keys and values, and the norms behind them. */
static void
add_projections(Lister *lister, int number, Layer *layer)
{
	const ModelConfig *c = &lister->model->config;
	const Architecture *names = lister->names;
	int queries = c->heads * c->head_dim;
	int keys = c->kv_heads * c->head_dim;

	if (c->qkv != QKV_APART)
		layer->qkv = add_linear(lister, number, names->qkv, queries + 2 * keys,
		                        c->hidden, c->qkv_bias);
	else
	{
		layer->q = add_linear(lister, number, names->q, queries, c->hidden,
		                      c->qkv_bias);
		layer->k =
			add_linear(lister, number, names->k, keys, c->hidden, c->qkv_bias);
		layer->v =
			add_linear(lister, number, names->v, keys, c->hidden, c->qkv_bias);
	}
	if (c->distance_query && !c->distance_shared)
		layer->distance_key = add_linear(lister, number, names->distance_key,
		                                 keys, c->hidden, c->qkv_bias);
	if (c->distance_key && !c->distance_shared)
		layer->distance_query =
			add_linear(lister, number, names->distance_query, queries,
		               c->hidden, c->qkv_bias);
	if (!c->head_norm)
		return;
	layer->q_norm = add_layer_norm(lister, number, names->q_norm, c->head_dim);
	layer->k_norm = add_layer_norm(lister, number, names->k_norm, c->head_dim);
}

static void
add_layer(Lister *lister, int number)
{
	const ModelConfig *c = &lister->model->config;
	const Architecture *names = lister->names;
	Layer layer = {0};

	layer.attention_norm =
		add_layer_norm(lister, number, names->attention_norm, c->hidden);
	add_projections(lister, number, &layer);
	layer.out = add_linear(lister, number, names->out, c->hidden,
	                       c->heads * c->head_dim, c->out_bias);
	layer.mlp_norm = add_layer_norm(lister, number, names->mlp_norm, c->hidden);
	layer.gate = add_linear(lister, number, names->gate, c->feed_forward,
	                        c->hidden, c->mlp_bias);
	if (c->gated)
		layer.up = add_linear(lister, number, names->up, c->feed_forward,
		                      c->hidden, c->mlp_bias);
	layer.down = add_linear(lister, number, names->down, c->hidden,
	                        c->feed_forward, c->mlp_bias);
	if (lister->model->parameters != NULL)
		lister->model->layers[number] = layer;
}

/* A table of the body; NULL name: there is none. */
static Parameter *
add_table(Lister *lister, const char *name, int rows)
{
	const ModelConfig *c = &lister->model->config;
	Parameter *table;

	if (name == NULL || rows == 0)
		return NULL;
	table =
		add(lister,
	        arena_printf(lister->model->arena, "%s%s", lister->prefix, name),
	        rows, c->hidden, false);
	if (table != NULL)
		table->is_table = true;
	return table;
}

/* A norm of the body outside of its layers; NULL name: there is none. */
static Norm
add_body_norm(Lister *lister, const char *name)
{
	Arena *arena = lister->model->arena;

	if (name == NULL)
		return (Norm){NULL, NULL};
	return add_norm(lister,
	                arena_printf(arena, "%s%s.weight", lister->prefix, name),
	                arena_printf(arena, "%s%s.bias", lister->prefix, name),
	                lister->model->config.hidden);
}

/* A map of the head, whose name may begin with the body's prefix. */
static Linear
add_head_map(Lister *lister, const char *prefix, const char *name, int outputs,
             bool has_bias)
{
	Arena *arena = lister->model->arena;
	int hidden = lister->model->config.hidden;
	Linear linear = {0};

	linear.weight =
		add(lister, arena_printf(arena, "%s%s.weight", prefix, name), outputs,
	        hidden, false);
	if (has_bias)
		linear.bias =
			add(lister, arena_printf(arena, "%s%s.bias", prefix, name), outputs,
		        0, false);
	return linear;
}

/* What stands on the body: an LM head, a classifier's maps, or nothing. */
static void
add_head(Lister *lister)
{
	Model *model = lister->model;
	const ModelConfig *c = &model->config;
	const Architecture *names = lister->names;
	bool is_classifier = c->kind == MODEL_CLASSIFIER;

	model->head = NULL;
	model->pooler = model->classifier = (Linear){0};
	if (c->kind == MODEL_LANGUAGE)
		model->head =
			c->tied ? model->embedding
					: add(lister, names->head, c->vocabulary, c->hidden, false);
	if (is_classifier && names->dense != NULL)
		model->pooler = add_head_map(lister, "", names->dense, c->hidden, true);
	else if (names->pooler != NULL && (is_classifier || lister->has_pooler))
		model->pooler = add_head_map(lister, lister->prefix, names->pooler,
		                             c->hidden, true);
	if (is_classifier)
		model->classifier = add_head_map(lister, "", names->classifier,
		                                 c->labels, c->is_bidirectional);
}

static void
walk(Lister *lister)
{
	Model *model = lister->model;
	const ModelConfig *c = &model->config;
	const Architecture *names = lister->names;

	lister->count = 0;
	lister->total = 0;
	model->embedding = add_table(lister, names->embedding, c->vocabulary);
	model->position_table = c->position != POSITION_LEARNED
	                            ? NULL
	                            : add_table(lister, names->position,
	                                        c->context + c->first_position);
	model->type_table = add_table(lister, names->type, c->types);
	model->embedding_norm = add_body_norm(lister, names->embedding_norm);
	model->distance_table = add_table(lister, names->distance, c->distances);
	model->distance_norm =
		add_body_norm(lister, c->distance_norm ? names->distance_norm : NULL);
	for (int i = 0; i < c->layers; i++)
		add_layer(lister, i);
	model->final_norm = add_body_norm(lister, names->final_norm);
	add_head(lister);
}

void
model_list_parameters(Model *model, const char *prefix, bool has_pooler)
{
	Lister lister = {.model = model,
	                 .names = architecture_find(model->config.architecture),
	                 .prefix = prefix,
	                 .has_pooler = has_pooler};

	model->prefix = prefix;
	model->parameters = NULL;
	walk(&lister);
	model->parameters =
		arena_alloc(model->arena, (size_t) (lister.count + VALUE_PARAMETERS) *
	                                  sizeof(Parameter));
	model->layers = arena_alloc(model->arena,
	                            (size_t) model->config.layers * sizeof(Layer));
	walk(&lister);
	model->parameter_count = lister.count;
	model->parameter_total = lister.total;
}

ParameterList
trained_parameters(const Model *model)
{
	const Adapter *adapter = model->adapter;
	ParameterList list = {model->parameters, model->parameter_count,
	                      model->parameter_total};

	if (adapter != NULL)
		list = (ParameterList){adapter->parameters,
		                       2 * adapter->loras + adapter->wholes,
		                       adapter->parameter_total};
	if (model->value.weight != NULL)
	{
		list.count += VALUE_PARAMETERS;
		list.total = model->value.bias->offset + PARAMETER_LINE;
	}
	return list;
}

void
layer_linears(Layer *layer, Linear *linears[LAYER_LINEARS])
{
	Linear *all[LAYER_LINEARS] = {&layer->qkv, &layer->q,   &layer->k,
	                              &layer->v,   &layer->out, &layer->gate,
	                              &layer->up,  &layer->down};

	for (int i = 0; i < LAYER_LINEARS; i++)
		linears[i] = all[i]->weight == NULL ? NULL : all[i];
}

static Tensor
gradient_at(const Model *model, const Parameter *parameter, int64_t rows,
            int64_t cols)
{
	return tensor_at(model->gradients + parameter->offset, rows, cols);
}

Tensor
parameter_vector(const Parameter *parameter)
{
	/* Never written: training works on copies. */
	return tensor_at((float *) (uintptr_t) parameter->value, 1,
	                 parameter->count);
}

Matrix
parameter_matrix(const Parameter *parameter)
{
	Tensor stored = {(void *) (uintptr_t) parameter->value, parameter->dtype,
	                 parameter->shape[0], parameter->shape[1],
	                 parameter->shape[1]};

	return (Matrix){stored, parameter->transposed, parameter->packed.data,
	                parameter->packed_grad};
}

Tensor
gradient_vector(const Model *model, const Parameter *parameter)
{
	return gradient_at(model, parameter, 1, parameter->count);
}

Matrix
gradient_matrix(const Model *model, const Parameter *parameter)
{
	return (Matrix){
		gradient_at(model, parameter, parameter->shape[0], parameter->shape[1]),
		parameter->transposed, NULL, NULL};
}
