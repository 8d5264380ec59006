/*
 * layers.h
 *		The transformer's inside: parameters, layers, and one pass through
 *		them.  Shape legend as in model.h; F is the feed-forward size, Q the
 *		width (H + 2 G) D of a row of queries, keys and values.
 */
#pragma once

#include "formats/gguf.h"
#include "model/files/config.h"
#include "model/files/forms.h"
#include "model/lora/lora.h"
#include "model/share.h"

/* A weight as products of bf16 read it (device.h: pack). */
typedef struct Packed
{
	const void *data; /* device; NULL: there is none */
	bool is_copy;     /* memory of its own, not a file's */
} Packed;

/* A weight of the file. */
typedef struct Parameter
{
	const char *name; /* as in the file */
	int dimensions;
	int64_t shape[2];
	int64_t count;
	int64_t offset;  /* in the flat state arrays */
	bool transposed; /* stored [inputs, outputs] */
	bool is_turned;  /* not so, though the architecture's files are */
	bool decays;     /* a matrix: weight decay applies */
	bool is_scale;   /* of a norm: 1 does nothing */
	bool is_table;   /* of embeddings */
	const StoredTensor *stored;
	DType dtype;       /* of value; vectors are always fp32 */
	const void *value; /* device: where the file lies, or in the flat weights */
	bool is_copy;      /* value is memory of the parameter's own */
	Packed packed;     /* value, for matmul */
	const void *packed_grad; /* for matmul_input_grad, for the moment (maps.c);
	                          * NULL: it is not */
} Parameter;

/* What an adapter adds to a linear map: scale B A dropout(x). */
typedef struct Lora
{
	Parameter *a; /* [rank, inputs] */
	Parameter *b; /* [outputs, rank] */
	int rank;
	double alpha;
	float scale;   /* alpha / rank, or alpha / sqrt(rank) */
	uint64_t site; /* the map's number in the model */
	int column;    /* of its LoraInput, its first */
	struct LoraInput *input;
} Lora;

/* The maps of a layer that read the same x, such as queries, keys and values:
 * their dropout is one. */
typedef struct LoraInput
{
	Lora *lora; /* [count], in the order in which they are computed */
	int count;
	int rank;      /* of all */
	uint64_t site; /* of the mask */
	int layer;
	int column;  /* of the layer's LayerState.low, its first */
	Parameter a; /* [rank, inputs]: all, where they lie one after the other
	              * (lora_join()); value NULL: they do not */
} LoraInput;

typedef struct Linear
{
	Parameter *weight;
	Parameter *bias;  /* NULL: none */
	const Lora *lora; /* NULL: none */
	bool is_whole;    /* trained as it is beside an adapter's maps */
} Linear;

typedef struct Norm
{
	Parameter *weight;
	Parameter *bias; /* NULL: none */
} Norm;

typedef struct Layer
{
	Norm attention_norm;
	Linear qkv; /* fused (GPT-2), or weight NULL and the three below */
	Linear q;
	Linear k;
	Linear v;
	Norm q_norm; /* of each head; weight NULL: none */
	Norm k_norm;
	Linear distance_query; /* of distances; weight NULL: q and k are */
	Linear distance_key;
	Linear out;
	Norm mlp_norm;
	Linear gate; /* GPT-2's c_fc: not gated, no up */
	Linear up;
	Linear down;
} Layer;

/* Linear maps of a layer at most. */
#define LAYER_LINEARS 8

/* Weights and biases of a classifier's head at most. */
#define HEAD_PARAMETERS 4

/* Every parameter starts on a 64-byte line of its own: so many numbers. */
#define PARAMETER_LINE 16

/* So many numbers in whole lines. */
static inline int64_t
whole_lines(int64_t count)
{
	return (count + PARAMETER_LINE - 1) / PARAMETER_LINE * PARAMETER_LINE;
}

/* Weight and bias of the value of a token, behind all others. */
#define VALUE_PARAMETERS 2

/* Low-rank changes of a model's linear maps (model/lora/). */
typedef struct Adapter
{
	const char *directory; /* NULL: a new one */
	uint64_t identity;     /* of its files */
	json_t *targets;       /* "target_modules": lives in the model's arena */
	int rank;              /* of those that no pattern of the file names */
	double alpha;
	bool rslora;   /* the scale is alpha / sqrt(rank) */
	uint64_t seed; /* of a new one's first values */
	double dropout;

	Lora *lora; /* [loras] */
	int loras;
	LoraInput *input; /* [inputs] */
	int inputs;
	Parameter *parameters; /* [2 loras]: A and B of each; then [wholes] */
	int64_t parameter_total;
	int layer_ranks;  /* of a layer's maps together, at most */
	int largest_rank; /* of a LoraInput */
	int largest_input;
	int whole[HEAD_PARAMETERS]; /* [wholes] which of the model's parameters */
	int wholes;                 /* of its head are trained beside the maps */
} Adapter;

/* What the forward pass of a layer leaves for its backward pass. */
typedef struct LayerState
{
	Tensor input;          /* [T, C] */
	Tensor attention_stat; /* [T, 2] */
	Tensor raw;            /* [T, (H + G) D], queries and keys before the */
	Tensor q_stat;         /* [T H, 2] norms of their heads, if any */
	Tensor k_stat;         /* [T G, 2] */
	Tensor qkv;            /* [T, Q], rotated */
	Tensor attended;       /* [T, H D] */
	Tensor lse;            /* [T, H] */
	Tensor attention_sum;  /* [T, C], before a norm behind the residual */
	Tensor middle;         /* [T, C], after attention's residual */
	Tensor mlp_stat;       /* [T, 2] */
	Tensor gate;           /* [T, F], before the activation */
	Tensor up;             /* [T, F], gated only */
	Tensor mlp_sum;        /* [T, C], before a norm behind the residual */
	Tensor low;            /* [T, layer_ranks], scale A dropout(x) of maps */
	Tensor output;         /* [T, C]; the next layer's input */
} LayerState;

/* Pieces of a LayerState that are kept in fewer bits, at most: qkv and raw in
 * their parts. */
#define KEPT_MAX 16

/* They, in the order of states.c. */
typedef struct KeptState
{
	Fixed piece[KEPT_MAX];
} KeptState;

/* Weights that are packed for the moment: of two layers' maps at most. */
typedef struct Maps
{
	char *memory; /* device; NULL: none are */
	Parameter *parameter[2 * LAYER_LINEARS];
	int count;
	size_t used; /* of memory */
} Maps;

struct Model
{
	Arena *arena;
	Device *device;
	ModelConfig config;
	const char *directory;
	const char *tokenizer_directory;
	Tokenizer *tokenizer;
	Forms *forms; /* of these files, also where it shares weights */
	StoredModel *stored;
	const GgufFile *gguf; /* a GGUF file in place of a directory, or NULL */
	DType stored_dtype;
	DType products;    /* of its passes, forward and backward */
	uint64_t identity; /* of the files: see model_is_current() */

	Parameter *parameters;
	int parameter_count;
	int64_t parameter_total;    /* numbers */
	const char *prefix;         /* in front of the file's names */
	const ClassifierPlan *plan; /* it is made a classifier; NULL: it is what
	                             * its files say */
	Parameter *embedding;
	Parameter *position_table; /* NULL: rotary */
	Parameter *type_table;     /* NULL: none */
	Parameter *distance_table; /* NULL: none */
	Norm distance_norm;
	Norm embedding_norm; /* weight NULL: none, as below */
	Layer *layers;
	Norm final_norm;
	Parameter *head;   /* the embedding where tied; NULL: no language model */
	Linear pooler;     /* a classifier's first map, or a bare encoder's */
	Linear classifier; /* its last, or only one */
	bool has_values;   /* a value of every token is trained, too */
	Linear value;      /* the map to it; weight NULL until trainable */

	float *angles; /* device, [angle_rows, rotary] */
	int angle_rows;

	Adapter *adapter;    /* NULL: none; else the weights above are frozen */
	bool shares_weights; /* they belong to another model */

	/* Trainable: [trained_total] each, on the device; else NULL.  Moments as
	 * moments.c lays them out. */
	float *weights;
	float *gradients;
	void *first_moment;
	void *second_moment;
	bool codes_moments; /* they are bytes, where that is worth it */
	bool has_changed;   /* the weights have, since they were packed */
	Maps maps;

	LayerState *states; /* [L], of the pass that runs */
	KeptState *kept;    /* [L], of the pass that runs */
	void *block;        /* the workspace's memory, reused by every pass */
	size_t block_size;
	uint64_t pass_limit; /* bytes of it in training; 0: no limit */
};

/* Keys and values of earlier tokens, for generation. */
typedef struct KvCache
{
	Tensor *keys;   /* [L] of [rows, G D] */
	Tensor *values; /* [L] */
} KvCache;

/* Distances between tokens as a pass sees them; R rows of their table. */
typedef struct Distances
{
	RelativeScores scores;
	Tensor table;    /* [R, C] */
	Tensor stat;     /* [R, 2] */
	Tensor normed;   /* [R, C], or the table itself */
	Tensor mapped;   /* [R, C] scratch */
	Tensor dnormed;  /* [R, C], backward */
	Tensor dmapped;  /* [R, C], backward scratch */
	int32_t *row;    /* device, [R]: 0, 1, 2, ... */
	int32_t *bucket; /* device, [2 context - 1] */
} Distances;

/* Scratch of a pass for its model's adapter. */
typedef struct LoraPass
{
	Tensor dlow;    /* [T, largest_rank] backward */
	Tensor dropped; /* [T, largest_input] dropout(x) and its gradient */
	uint64_t *key;  /* device, [T]: of the tokens' random numbers */
	bool drops;
} LoraPass;

/*
 * The rows whose output is wanted: behind the last layer's attention only they
 * go on, in this order.
 */
typedef struct Pick
{
	int count; /* R; 0: all rows are wanted, and nothing below is there */
	const int32_t *wanted; /* [R] (host), until the pass ends */
	int32_t *row;          /* device, [R] */
	Tensor input;          /* [R, C] of the layer's input */
	Tensor attended;       /* [R, H D] */
	Tensor dattended;      /* [R, H D], backward */
	Tensor dx;             /* [R, C], backward */
	uint64_t *key;         /* device, [R]: as in LoraPass */
} Pick;

/*
 * One pass of a packed batch through the model; or a slice of it, some of its
 * rows, whose scratch and tokens are theirs alone.  Between one layer's
 * attention and the next's no row needs another, so slices run side by side.
 * Of the picked rows of a pass there is such a view, too.
 */
typedef struct Pass
{
	Model *model;
	int tokens;
	int first;   /* of a slice: how many rows are before it, */
	int total;   /* among how many of all slices */
	int scratch; /* the first row whose scratch it has */
	bool is_picked;
	bool keeps_state; /* for a backward pass */
	bool recomputes;  /* of a layer only its input is kept, and its forward
	                   * pass done again on the way back */
	AttentionShape attention;
	const int32_t *ids;      /* device, [T] */
	const int32_t *position; /* device, [T] */
	const int32_t *types;    /* device, [T]; NULL: the model knows none */

	Distances distances;  /* where the model has a table of them */
	Tensor embedded;      /* [T, C], before the norm of embeddings, if any */
	Tensor embedded_stat; /* [T, 2] */

	/* Generation: where this pass's keys and values go in the cache, and for
	 * single tokens where they find the earlier ones. */
	KvCache *cache;
	const int32_t *cache_row;    /* device, [T] */
	const int32_t *cache_first;  /* device, [T]; NULL: a packed prompt */
	const int32_t *cache_length; /* device, [T] */

	LayerState *states; /* [L]; all the same memory unless keeps_state */
	KeptState *kept;    /* [L], of all but the last layer, whose state is
	                     * where it was, and of that its input; NULL: states
	                     * are kept as they are */
	Tensor wide;        /* [T, C] scratch */
	Tensor fused;       /* [T, Q] scratch: head by head as in the file */
	Tensor wide2;       /* [T, C], backward */
	Tensor branch;      /* [T, C], backward of parallel branches */
	Tensor inner;       /* [T, F] scratch */
	Tensor inner2;      /* [T, F], backward */
	Tensor dattended;   /* [T, H D], backward */
	Tensor dqkv;        /* [T, Q], backward */
	Tensor dx;          /* [T, C], backward */
	LoraPass lora;
	Pick pick;
} Pass;

/* A run of device memory handed out from the front; base NULL measures. */
typedef struct Plan
{
	char *base;
	size_t used;
} Plan;

extern void *plan_bytes(Plan *plan, size_t bytes);
extern Tensor plan_tensor(Plan *plan, int64_t rows, int64_t cols);

/* The first rows of a tensor that may be absent. */
static inline Tensor
first_rows(Tensor x, int64_t rows)
{
	return x.data == NULL ? x : tensor_rows(x, 0, rows);
}

/* ------------------------------------------------- parameters (model.c) */

/* What training changes: the adapter's, or all weights. */
typedef struct ParameterList
{
	Parameter *parameter;
	int count;
	int64_t total; /* numbers in the flat state arrays */
} ParameterList;

extern ParameterList trained_parameters(const Model *model);

/* Numbers [first, first + count) as the file has them, widened. */
extern void parameter_read(const Parameter *parameter, int64_t first,
                           int64_t count, float *target);
/* As they are now: of values, laid out as MODEL_WEIGHTS, where these are given
 * (else NULL), of what is trained, or as the file has them. */
extern void parameter_read_now(Model *model, const Parameter *parameter,
                               const float *values, int64_t first,
                               int64_t count, float *target);
/* Checks parameter->stored against the shape that `says` (a clause for
 * messages), and makes parameter->value what the file has, where it lies if
 * it can be used there. */
extern bool parameter_open(Model *model, Parameter *parameter, const char *says,
                           Failure *failure);
/* All of them to the device at target. */
extern void parameter_upload(Model *model, const Parameter *parameter,
                             float *target);
/* What config.json says, or would say of a GGUF file; owned by arena. */
extern bool model_config_json(Arena *arena, const Model *model, json_t **json,
                              Failure *failure);
/* Lets go of what was opened at parameter->value: not of a trained copy. */
extern void parameter_release(Model *model, Parameter *parameter);

/* What a pass reads packed of weights that are trained. */
typedef enum PackKind
{
	PACK_WHOLE,       /* all: single tokens are too few to pack weights for */
	PACK_KEPT,        /* what is packed already */
	PACK_FOR_TRAINING /* nothing, which the next step would change */
} PackKind;

/*
 * Packs the weights that products of bf16 read: those that are not, or have
 * changed.  What is frozen is mapped from a file where it can be kept in one
 * (forms.h).  Where memory is short they are read as they are stored
 * (products.c).
 */
extern void model_pack(Model *model, PackKind kind);
extern void parameter_unpack(Model *model, Parameter *parameter);

/* Packs quantised weights for the way back, until maps_forget(): those of the
 * maps to queries, keys and values of layer `into`, and of those behind the
 * attention of layer `behind`; layer -1 has none. */
extern void maps_pack(Model *model, int into, int behind);
extern void maps_forget(Model *model);
/* Takes the memory for them, once, where there is enough. */
extern void maps_reserve(Model *model);

/* The linear maps of a layer in a fixed order; NULL where there is none. */
extern void layer_linears(Layer *layer, Linear *linears[LAYER_LINEARS]);

extern Tensor parameter_vector(const Parameter *parameter);
extern Matrix parameter_matrix(const Parameter *parameter);
/* The same places in the gradient. */
extern Tensor gradient_vector(const Model *model, const Parameter *parameter);
extern Matrix gradient_matrix(const Model *model, const Parameter *parameter);

/* -------------------------------------------------- layers, both ways */

extern void norm_forward(Model *model, const Norm *norm, Tensor out, Tensor x,
                         Tensor stat);
/* dx = beta * dx + ... */
extern void norm_backward(Model *model, const Norm *norm, Tensor dx, float beta,
                          Tensor dout, Tensor x, Tensor stat);

/* A linear map, and its output or the gradient of that. */
typedef struct LinearEnd
{
	const Linear *linear;
	Tensor out;
} LinearEnd;

/* Maps that read the same x, at most LAYER_LINEARS. */
extern void linears_forward(Pass *pass, const LinearEnd *ends, int count,
                            Tensor x);
/* dx = beta * dx + ..., and the gradients of weights and biases; dx absent:
 * those alone */
extern void linears_backward(Pass *pass, const LinearEnd *ends, int count,
                             Tensor dx, float beta, Tensor x);
/* One map. */
extern void linear_forward(Pass *pass, const Linear *linear, Tensor out,
                           Tensor x);
extern void linear_backward(Pass *pass, const Linear *linear, Tensor dx,
                            float beta, Tensor dout, Tensor x);

/* arena_on_destroy()'s, of a model. */
extern void model_close(void *model);

/* Adds a file to a number that changes when one of them is exchanged. */
#define IDENTITY_START 14695981039346656037u /* FNV-1a, 64 bits */
extern uint64_t identity_add(uint64_t sum, const char *directory,
                             const char *name);
extern bool adapter_is_current(const Adapter *adapter);

/* Numbers of the adapter's parameter at index, on the host: of weights (laid
 * out as MODEL_WEIGHTS), or where it is NULL what they are now. */
extern void adapter_read(Model *model, const float *weights, int index,
                         int64_t first, int64_t count, float *target);

/* The model's weights with its adapter merged in, piece by piece (merge.c). */
typedef struct Merge Merge;
extern bool merge_open(Arena *arena, Model *model, const float *weights,
                       Merge **merge, Failure *failure);
/* TensorSource with a Merge: of the model's parameter at index. */
extern void merge_read(void *merge, int index, int64_t first, int64_t count,
                       void *target);

/*
 * A branch of a layer, attention or MLP, and its norm: in front of it, or in
 * models with norm_after behind the residual sum.
 */

/* What the branch reads of x. */
extern Tensor branch_input(Pass *pass, const Norm *norm, Tensor x, Tensor stat);
/* out = x + what the branch left in pass->wide; sum is what a norm behind it
 * reads, stat belongs to that norm. */
extern void branch_output(Pass *pass, const Norm *norm, Tensor out, Tensor x,
                          Tensor sum, Tensor stat);
/* pass->dx: from the gradient of out to that of the sum. */
extern void branch_output_backward(Pass *pass, const Norm *norm, Tensor sum,
                                   Tensor stat);
/* Where the gradient of branch_input() goes: dx = beta * dx + ... */
extern Tensor branch_gradient(const Pass *pass, float *beta);

/* Places what distances need of a pass over so many tokens. */
extern void distance_plan(Plan *plan, const ModelConfig *config, int64_t tokens,
                          bool keeps_state, Distances *distances);
/* Uploads buckets, reads and norms the table: once a pass. */
extern bool distance_begin(Pass *pass, Failure *failure);
/* pass->distances.scores of a layer, from its queries and keys; the backward
 * pass also zeroes their gradients. */
extern void distance_forward(Pass *pass, int layer, Tensor q, Tensor k);
/* From the gradients of the scores to those of queries, keys and maps. */
extern void distance_backward(Pass *pass, int layer, Tensor q, Tensor k,
                              Tensor dq, Tensor dk);
/* From all layers' gradients to the table's. */
extern void distance_end_backward(Pass *pass);

/*
 * middle = input + out(attend(norm(input))), in three parts: queries, keys and
 * values; attention itself, of the whole pass; the rest.  pass->dx in and out.
 */
extern void attention_project(Pass *pass, int layer);
extern void attention_attend(Pass *pass, int layer);
extern void attention_output(Pass *pass, int layer);
extern void attention_output_backward(Pass *pass, int layer);
extern void attention_attend_backward(Pass *pass, int layer);
extern void attention_project_backward(Pass *pass, int layer);

/* output = middle + mlp(norm(middle)), parallel: mlp(norm(input)); pass->dx in
 * and out */
extern void mlp_forward(Pass *pass, int layer);
extern void mlp_backward(Pass *pass, int layer);

/* Embeddings of tokens (positions, types), normed where the model norms them,
 * into the first layer's input; the gradient from pass->dx, which is used up.
 */
extern void embedding_forward(Pass *pass);
extern void embedding_backward(Pass *pass);

/* What divides every plain frequency, [rotary / 2], where the scaling is by
 * nothing else. */
extern void rotation_divisors(const ModelConfig *config, float *divisors);

/* Makes the table of rotation angles reach `rows` positions (rotation.c). */
extern bool model_reach_angles(Model *model, int rows, Failure *failure);

/* What divides every plain frequency, [rotary / 2]. */
extern void rotation_divisors(const ModelConfig *config, float *divisors);

/* --------------------------------------------------- passes (pass.c) */

/* Gives back the block of passes; the next one takes it again. */
extern void pass_give_back(Model *model);

/* Bytes of device memory a pass over so many tokens and sequences needs that
 * does nothing twice. */
extern size_t pass_size(Model *model, int tokens, int sequences, int picked,
                        bool keeps_state);
/* The same, for a backward pass, of one that does layers twice. */
extern size_t pass_size_recomputing(Model *model, int tokens, int sequences,
                                    int picked);

/*
 * Lays out a pass over the batch in the model's block, with `extra` bytes
 * after it at *more; uploads ids, positions and offsets.  Its output is the
 * rows wanted[picked], all different, which must outlive the pass; picked 0:
 * all of them.
 */
extern bool pass_begin(Pass *pass, Model *model, const SharedBatch *shared,
                       int picked, const int32_t *wanted, bool keeps_state,
                       size_t extra, void **more, Failure *failure);

/* The same for single tokens of as many sequences, each at its position; the
 * caller fills in the cache. */
extern bool pass_begin_tokens(Pass *pass, Model *model, int count,
                              const int32_t *ids, const int32_t *position,
                              size_t extra, void **more, Failure *failure);

/* --------------------------- what is kept for the way back (states.c) */

/* Whether a pass keeps its states in fewer bits. */
extern bool states_are_short(const Model *model);
/* Places what the states of layers, which are all in the same memory, are kept
 * in: kept[L]. */
extern void states_plan_kept(Plan *plan, const Model *model,
                             const LayerState *states, KeptState *kept);
/* A slice's rows of a layer's input, and of the rest of its state, on their way
 * there; and back. */
extern void state_keep_input(const Pass *slice, int layer);
extern void state_keep(const Pass *slice, int layer);
extern void state_recall_input(Pass *slice, int layer);
/* But for what goes into the activation: gate and up as they are kept, for
 * Device.activation(); NULL: they are not, the state has them. */
extern void state_recall(Pass *slice, int layer);
extern const Fixed *state_activation(const Pass *slice, int layer,
                                     Fixed kept[2]);

/* ---------------------------------------- through the layers (layers.c) */

/* The rows of a slice of what has some for each token of the pass. */
extern Tensor pass_rows(const Pass *pass, Tensor x);
/* What the slice keeps of a layer; qkv and raw are the whole pass's, see
 * split() in attention.c. */
extern LayerState pass_state(const Pass *pass, int layer);

/* Through all layers; gives the wanted rows of the last output, before the
 * final norm (if any). */
extern Tensor pass_forward(Pass *pass);
/* The lowest layer with something to train; none: behind the last. */
extern int pass_lowest(const Pass *pass);
/* Where the gradient of that output belongs. */
extern Tensor pass_gradient(const Pass *pass);
/* From there to all gradients. */
extern void pass_backward(Pass *pass);

/* --------------------------------------------------- the head (head.c) */

/* A pass's output on its way through the LM head. */
typedef struct Head
{
	int rows;
	int chunk;          /* rows whose logits are held at a time */
	Tensor hidden;      /* [rows, C], before the final norm: the output */
	Tensor stat;        /* [rows, 2] */
	Tensor normed;      /* [rows, C] */
	Tensor dnormed;     /* [rows, C], training: the pass's gradient */
	Tensor logits;      /* [chunk, V] */
	Tensor logp;        /* [1, chunk] */
	Tensor lse;         /* [1, chunk] */
	Tensor coefficient; /* [1, chunk], training */
	Tensor value;       /* [rows, 1], where the model has values */
	int32_t *target;    /* device, [rows]: what follows them */
} Head;

/* Computes something of one micro-batch and moves *out behind it. */
typedef bool (*PartFunction)(Model *model, Arena *arena, const Batch *part,
                             float **out, Failure *failure);

/* Runs over the batch in micro-batches of the token budget (score.c). */
extern bool batch_run_parts(Model *model, const Batch *batch, PartFunction run,
                            float *out, Failure *failure);

/* False, described, if one of these logits or log-probabilities (host) is NaN
 * or infinite: the weights are damaged, or trained beyond numbers. */
extern bool outputs_are_finite(const float *outputs, int64_t count,
                               Failure *failure);

/* What a head of the model's kind needs for so many rows. */
extern size_t rows_size(const Model *model, int rows, bool is_training);

/* ----------------------------------------------------------- reserve.c */

/* Fails unless the device has memory for the weights that were found. */
extern bool reserve_weights(Model *model, Failure *failure);

/* Bytes of weights, gradients and moments of what is trained. */
extern uint64_t state_bytes(const Model *model);
/* Bytes that model_make_trainable() needs more than there are now. */
extern uint64_t state_to_come(const Model *model);

extern size_t head_size(const Model *model, int rows, bool is_training);

/* Lays the head out at memory, over the output of a pass, which it norms.
 * target (host) may be NULL. */
extern void head_begin(Head *head, Pass *pass, Tensor output,
                       const int32_t *target, bool is_training, void *memory);

/* Logits of rows [first, first + count), count <= chunk, into
 * head->logits; head_logprobs() also their logp and lse. */
extern void head_logits(Head *head, Model *model, int first, int count);
extern void head_logprobs(Head *head, Model *model, int first, int count);

/* From the gradient of logp (host) of the rows whose logits are held, to
 * dnormed and the head's weights. */
extern void head_backward(Head *head, Model *model, int first, int count,
                          const float *dlogp);
/* From the gradient of normed to the output's. */
extern void head_end_backward(Head *head, Pass *pass);

/*
 * A pass's output, normed into `normed` where the model has a final norm, else
 * as it is; stat is kept for the way back.  There the pass's gradient, which is
 * that of what this gave, becomes the output's.
 */
extern Tensor output_norm(Model *model, Tensor output, Tensor stat,
                          Tensor normed);
extern void output_norm_backward(Pass *pass, Tensor output, Tensor stat);

/* ----------------------------- values of tokens (token_value.c) */

/* Lists the map's parameters behind those that are trained. */
extern void token_values_list(Model *model);
/* Of all rows of the head, into head->value and to the host. */
extern void token_values_forward(Head *head, Model *model, float *value);
/* From their gradient (host): adds to head->dnormed and the map's. */
extern void token_values_backward(Head *head, Model *model,
                                  const float *dvalue);

/* ----------------------------- values of prompts (prompt_value.c) */

/*
 * Those that are wanted, from hidden[T, C] (host) of a pass over the batch;
 * once for equal prompts that follow each other.
 */
extern bool prompt_values_read(Arena *arena, const PromptValues *values,
                               const Batch *batch, const SharedBatch *shared,
                               const float *hidden, Failure *failure);

/* --------------------------------------- what fits into memory (room.c) */

/* Sequences [first, first + count) as a batch; arrays in arena, but for ids
 * and types. */
extern Batch batch_range(Arena *arena, const Batch *batch, int first,
                         int count);

/* Whether these sequences can be trained on in one pass. */
extern bool sequences_fit(Model *model, const Batch *batch, int first,
                          int count);
/* How many of the sequences [first, last) can; fails, with what is needed and
 * what there is, where not even the first one can. */
extern bool sequences_that_fit(Model *model, const Batch *batch, int first,
                               int last, int *count, Failure *failure);

/* ------------------------------ the classifier's head (classifier.c) */

/* A row a sequence on its way through a classifier. */
typedef struct ClassifierHead
{
	int rows;
	Tensor hidden;  /* [rows, C], before the final norm: the output */
	Tensor stat;    /* [rows, 2] */
	Tensor normed;  /* [rows, C] */
	Tensor dense;   /* [rows, C], the first map's output */
	Tensor pooled;  /* [rows, C], after its activation */
	Tensor logits;  /* [rows, labels] */
	Tensor dlogits; /* [rows, labels], training */
	Tensor dpooled; /* [rows, C], training */
	Tensor dnormed; /* [rows, C], training: the pass's gradient */
} ClassifierHead;

/* The token of each sequence that a classifier looks at, row[S] (host). */
extern void classifier_rows(const Model *model, const Batch *batch,
                            int32_t *row);
/* Bytes a head over so many rows needs. */
extern size_t classifier_size(const Model *model, int rows, bool is_training);
/* Lays the head out at memory and computes head->logits from the pass's
 * output. */
extern void classifier_forward(ClassifierHead *head, Pass *pass, Tensor output,
                               bool is_training, void *memory);
/* From head->dlogits to the pass's gradient and all gradients of the head. */
extern void classifier_backward(ClassifierHead *head, Pass *pass);

/* ------------------------- a classifier made of any model (relabel.c) */

/* What model->plan changes of the configuration. */
extern void relabel_config(Model *model);
/* True for a weight of the head that the plan makes anew. */
extern bool relabel_makes(const Model *model, const Parameter *parameter);
/* The first values [first, first + count) of such a weight. */
extern void relabel_initialize(const Model *model, const Parameter *parameter,
                               int64_t first, int64_t count, float *target);
/* Has an adapter train the model's head as a whole, too. */
extern void relabel_train_head(Model *model);
/* What the plan changes of config.json. */
extern void relabel_describe(const Model *model, json_t *config);

/* ------------------------------------- the list of weights (parameters.c) */

/*
 * Lists the parameters of the configuration into model (names, shapes,
 * offsets, and the layers' pointers to them).  prefix is the one in use;
 * a bare encoder may have a pooler.
 */
extern void model_list_parameters(Model *model, const char *prefix,
                                  bool has_pooler);
