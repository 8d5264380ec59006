/*
 * model.h
 *		A transformer: open it, score and classify texts, train it.
 *
 * Order of life: model_open(), any number of model_logprobs(),
 * model_hidden(), model_classify() or generate() (generate.h); for training
 * model_make_trainable(), then per step model_zero_gradients(),
 * model_accumulate() for each micro-batch, model_update().
 *
 * One transformer with switches serves every architecture.  T tokens of a
 * packed batch, S sequences, C hidden size, V vocabulary, L layers.
 */
#pragma once

#include "base/arena.h"
#include "device/device.h"
#include "text/tokenizer.h"

#define MODEL_STOP_MAX 16
#define MODEL_LAYERS_MAX 1000
#define MODEL_LABELS_MAX 100000

/* What a model has on top of its body. */
typedef enum ModelKind
{
	MODEL_UNKNOWN, /* config.json does not say; the weights do */
	MODEL_LANGUAGE,
	MODEL_CLASSIFIER,
	MODEL_ENCODER /* nothing: hidden states are all it gives */
} ModelKind;

typedef enum PositionKind
{
	POSITION_LEARNED,
	POSITION_ROTARY,
	POSITION_NONE /* but for distances, if any */
} PositionKind;

/* When a beam search ends that has as many results as beams: early_stopping
 * of generation_config.json. */
typedef enum BeamEnd
{
	BEAM_END_PATIENT, /* false: no beam is better at its present length */
	BEAM_END_EARLY,   /* true: at once */
	BEAM_END_NEVER    /* "never": no beam could be better at any length */
} BeamEnd;

/* How the frequencies of a rotation are stretched for long texts. */
typedef enum RopeScaling
{
	ROPE_PLAIN,
	ROPE_LINEAR,
	ROPE_LLAMA3,
	ROPE_YARN,
	ROPE_DIVISORS /* a divisor for every frequency */
} RopeScaling;

/* How a file holds the maps to queries, keys and values. */
typedef enum QkvLayout
{
	QKV_APART,
	QKV_FUSED,  /* one map to all queries, then all keys, then all values */
	QKV_BY_HEAD /* one map to query, key and value of each head in turn */
} QkvLayout;

typedef struct ModelConfig
{
	char architecture[32]; /* "gpt2", "llama": model_type of config.json */
	ModelKind kind;
	int vocabulary;
	int hidden;
	int layers;
	int heads;
	int kv_heads;
	int head_dim;
	int feed_forward;
	int context;
	NormKind norm;
	float norm_eps;
	PositionKind position;
	int first_position; /* of a text: RoBERTa's begin behind its padding id */
	int types;          /* rows of the table of token types; 0: none */
	bool embedding_norm;
	bool norm_after;       /* norms behind the residual sums (BERT) */
	bool is_bidirectional; /* an encoder */
	int distances; /* rows of the table of distances (DeBERTa); 0: none */
	int distance_buckets; /* their number to each side, by logarithm beyond
	                        * half of them; 0: a row each */
	int distance_limit;   /* the longest that has a bucket of its own */
	bool distance_norm;   /* the table is normed */
	bool distance_shared; /* by the maps of tokens, not by some of its own */
	bool distance_query;  /* queries look at distances */
	bool distance_key;    /* keys look at distances */
	int rotary;           /* rotated elements of each head */
	double rope_theta;
	RopeScaling rope_scaling;
	double rope_factor;    /* not ROPE_PLAIN */
	double rope_low;       /* llama3: wavelengths; yarn: rotations, the slow */
	double rope_high;      /* and the fast, within */
	double rope_original;  /* the context before */
	double rope_amplitude; /* of the rotation, 1 but for yarn */
	const void *rope_divisors; /* JSON array of numbers, ROPE_DIVISORS */
	bool rope_truncate;        /* yarn: whole numbers bound its ramp */
	int window; /* tokens that attention sees back, itself counted; 0: all */
	uint64_t window_layers[(MODEL_LAYERS_MAX + 63) / 64]; /* bits: where */
	QkvLayout qkv;
	bool head_norm;   /* norms on each head's queries and keys (Qwen3) */
	bool is_parallel; /* attention and MLP read the same input (GPT-NeoX) */
	Activation activation;
	bool gated; /* act(gate) * up */
	bool tied;  /* the LM head is the embedding */
	bool qkv_bias;
	bool out_bias;
	bool mlp_bias;
	int labels;        /* outputs of a classifier */
	Activation pooler; /* between its two maps, where it has two */
	int pad;           /* the padding token of config.json, -1: none */
	float initializer_range;
	int bos; /* of config.json, -1: none */
	int eos; /* the one appended to responses: the tokenizer's, else the
	              * first of config.json; -1: none */
	int stop[MODEL_STOP_MAX]; /* all that end a generation */
	int stops;
	BeamEnd beam_end;
	double length_penalty; /* of beams; 1 where the files say nothing */
} ModelConfig;

typedef struct Model Model;
typedef struct Workspace Workspace;

/*
 * A packed batch, on the host.  Sequence s is ids[offset[s], offset[s + 1]);
 * its targets are ids[target[s], offset[s + 1]), each predicted from the
 * token before it (target[s] > offset[s], or == offset[s + 1]: none).
 */
typedef struct Batch
{
	int sequences;
	const int32_t *offset; /* [sequences + 1] */
	const int32_t *target; /* [sequences], absolute positions */
	const int32_t *ids;    /* [offset[sequences]] */
	const int32_t *types;  /* likewise, of tokens; NULL: all 0 */
} Batch;

/* Tokens to be predicted in sequences [first, first + count). */
extern int batch_targets(const Batch *batch, int first, int count);

/* The classifier that is to be made of a model; borrowed by it. */
typedef struct ClassifierPlan
{
	int labels;          /* outputs, at least 1 */
	char *const *names;  /* [labels] UTF-8, for id2label of config.json */
	const char *problem; /* its problem_type; NULL: none */
	uint64_t seed;       /* of weights that are new */
} ClassifierPlan;

/* Where a model lies. */
typedef struct ModelFiles
{
	const char *directory;      /* of Hugging Face (config.json, safetensors,
	                        * tokenizer.json), or a GGUF file */
	const char *tokenizer;      /* the same, of its tokenizer; NULL: its own */
	const char *forms;          /* a directory to keep files in that are made of
	                        * these (forms.h); NULL: in memory */
	const ClassifierPlan *plan; /* NULL: it is what the files say */
} ModelFiles;

/*
 * Opens a model, which lives in arena.  All of it is checked; weights are
 * mapped, not read.
 *
 * With a plan it is a classifier to be trained: made of a classifier, a bare
 * encoder, or a language model without its LM head.  What its head has in
 * the planned shape is kept; the rest is new, and there once the model is made
 * trainable: normal(0, initializer_range), biases 0.  A decoder that was no
 * classifier reads its last token, whatever that is.
 */
extern bool model_open_files(Arena *arena, Device *device,
                             const ModelFiles *files, Model **model,
                             Failure *failure);

/* The same without forms and plan. */
extern bool model_open(Arena *arena, Device *device, const char *directory,
                       const char *tokenizer, Model **model, Failure *failure);

/* The architectures that can be opened, by index; NULL past the last. */
extern const char *architecture_name(int index);

/* All of them for a message, "gpt2, llama and mistral", in arena. */
extern const char *architecture_list(Arena *arena);

/* MODEL_UNKNOWN no longer. */
extern ModelKind model_kind(const Model *model);
/* "lm", "classifier" or "encoder". */
extern const char *model_kind_name(ModelKind kind);
/* Fails, saying what the model is, unless it is of that kind. */
extern bool model_require(const Model *model, ModelKind kind, Failure *failure);
/* Outputs of a classifier; 0: it is none. */
extern int model_labels(const Model *model);

extern const ModelConfig *model_config(const Model *model);
extern const Tokenizer *model_tokenizer(const Model *model);
extern int64_t model_parameters(const Model *model);
extern DType model_stored_dtype(const Model *model);
extern Device *model_device(const Model *model);

/*
 * How a model's passes multiply, see struct Device: DTYPE_F32, which every
 * model does at first, or DTYPE_BF16.  PRODUCTS_AUTO chooses bf16 where the
 * device has it and the model is wide enough to gain.
 */
#define PRODUCTS_AUTO DTYPE_OTHER

/* "auto", "fp32" or "bf16". */
extern bool products_find(const char *name, DType *products, Failure *failure);
extern DType model_products(const Model *model);
extern void model_set_products(Model *model, DType products);

extern const char *model_directory(const Model *model);

/* True when the files of the directory are those the model was opened from
 * (inode, size and time of each; of shards those of their index). */
extern bool model_is_current(const Model *model);

/* Gives back the memory that passes reuse, unless it is little; the next pass
 * takes it again. */
extern void model_rest(Model *model);

/* The largest micro-batch, in tokens, that is worth its memory and for which
 * there is room: for scoring, or for training with gradients. */
extern int model_token_budget(const Model *model, bool is_training);

/* Bytes that a pass may have now: of all that there are a tenth is for what
 * else a step needs; 0: nothing limits it. */
extern uint64_t model_pass_room(const Model *model);
/* Passes in training get at most so many, 0: any.  A batch that needs more is
 * computed in parts, down to one sequence at a time. */
extern void model_limit_passes(Model *model, uint64_t bytes);

/*
 * Log-probabilities of all targets of the batch, sequence by sequence, into
 * logp (host).  Splits into micro-batches by itself, and computes prompts that
 * sequences share once.
 */
extern bool model_logprobs(Model *model, const Batch *batch, float *logp,
                           Failure *failure);

/* Values that are asked for together with log-probabilities: of a sequence what
 * its prompt, the tokens before its targets, is worth (value_head.h). */
typedef struct ValueHead ValueHead;
typedef struct PromptValues
{
	const ValueHead *head; /* for the model's hidden size */
	const bool *wanted;    /* [S] */
	double *value;         /* [S]; only those that are wanted are written */
} PromptValues;

/* Both in one pass; the same numbers as apart. */
extern bool model_score(Model *model, const Batch *batch,
                        const PromptValues *values, float *logp,
                        Failure *failure);

/* Whether two models are sure to give the same numbers: of the same files,
 * neither trained since, multiplying alike. */
extern bool model_is_alike(const Model *model, const Model *other);

/* The last layer's output after the final norm, hidden[T, C] (host); of
 * models of every kind. */
extern bool model_hidden(Model *model, const Batch *batch, float *hidden,
                         Failure *failure);

/* Logits of the last position of each sequence, [S, V] (host). */
extern bool model_last_logits(Model *model, const Batch *batch, float *logits,
                              Failure *failure);

/*
 * A classifier's raw outputs, logits[S, labels] (host).  An encoder looks at
 * the first token of a sequence, a decoder at the last that is not padding.
 * Targets of the batch do not matter (target may be NULL).
 */
extern bool model_classify(Model *model, const Batch *batch, float *logits,
                           Failure *failure);

/* ---------------------------------------------------------- training */

/*
 * Replaces the weights of all linear maps but the head by quantized copies
 * (DTYPE_Q8_0, DTYPE_NF4 or DTYPE_NF4_DOUBLE): before adapters are trained
 * over them.  Embeddings, norms, biases, and what the file has in blocks
 * already stay.  model_save() still writes the numbers of the file.
 */
extern bool model_quantize(Model *model, DType dtype, Failure *failure);

/*
 * Copies the weights to train into fp32 memory of their own, with gradients
 * and AdamW's moments beside them (four numbers a parameter).  Without lora
 * these are all weights; with it those of a new adapter, or where the model
 * is an adapter its own, and all others stay frozen (lora.h).
 */
typedef struct LoraOptions LoraOptions;

extern bool model_make_trainable(Model *model, const LoraOptions *lora,
                                 Failure *failure);

/*
 * Has model_make_trainable(), which comes later, keep AdamW's moments as bytes:
 * of all but tables of embeddings and parameters of fewer than 4096 numbers.
 */
extern void model_code_moments(Model *model);
extern bool model_codes_moments(const Model *model);

/*
 * Sees to it that there will be memory to train the model, as it is or by a
 * new adapter, with texts of so many tokens: for the job to fail before it
 * begins.  The failure has what is needed and what is free.
 */
extern bool model_plan_training(Model *model, bool makes_adapter, int tokens,
                                Failure *failure);

/* The same for micro-batches of a trainable model. */
extern bool model_reserve_budget(Model *model, int tokens, Failure *failure);

extern bool model_is_trainable(const Model *model);

extern void model_zero_gradients(Model *model);

/*
 * Given the log-probabilities of the targets of sequences
 * [first, first + count), which are whole groups, writes dL/dlogp of each.
 */
typedef bool (*LogprobGradient)(void *argument, int first, int count,
                                const float *logp, float *grad,
                                Failure *failure);

/*
 * Where an adapter's dropout finds its random numbers in a step.  A response
 * and the token it begins from go by their row; earlier tokens of a prompt by
 * what they are and what is before them, so that equal prompts of a step lose
 * the same numbers, whether they are computed once or not.
 */
typedef struct DropoutKeys
{
	uint64_t prompts;
	const uint64_t *row; /* [sequences] of the batch */
} DropoutKeys;

/*
 * Forward and backward of one micro-batch; gradients are added to.  Prompts
 * that sequences share are computed once.
 * group_offset[groups + 1] gives each group's first sequence: a group's
 * log-probabilities are always shown to gradient() together, even where there
 * is room for only some of its sequences at a time.
 * keys: NULL where nothing is dropped.
 */
extern bool model_accumulate(Model *model, const Batch *batch, int groups,
                             const int32_t *group_offset,
                             const DropoutKeys *keys, LogprobGradient gradient,
                             void *argument, Failure *failure);

/*
 * Has model_make_trainable(), which comes later, add a linear map from the
 * last hidden state to a number: the value of the token that follows.  It
 * begins at 0, is trained with the rest, is the last of the trained state, and
 * goes into no file but that.
 */
extern void model_add_values(Model *model);

/* Log-probability and value of every target, side by side into
 * valued[targets, 2] (host). */
extern bool model_valued(Model *model, const Batch *batch, float *valued,
                         Failure *failure);

/* A LogprobGradient that is also given values, and gives dL/dvalue. */
typedef bool (*ValuedGradient)(void *argument, int first, int count,
                               const float *logp, const float *value,
                               float *dlogp, float *dvalue, Failure *failure);

/* model_accumulate() of a model with values. */
extern bool model_accumulate_valued(Model *model, const Batch *batch,
                                    int groups, const int32_t *group_offset,
                                    const DropoutKeys *keys,
                                    ValuedGradient gradient, void *argument,
                                    Failure *failure);

/* Given logits[S, labels] of a whole micro-batch, writes dL/dlogits. */
typedef bool (*LogitGradient)(void *argument, int sequences,
                              const float *logits, float *grad,
                              Failure *failure);

/* The same for a classifier. */
extern bool model_classify_accumulate(Model *model, const Batch *batch,
                                      const DropoutKeys *keys,
                                      LogitGradient gradient, void *argument,
                                      Failure *failure);

/* Total L2 norm of the gradient, after sync. */
extern bool model_gradient_norm(Model *model, double *norm, Failure *failure);

/* One AdamW step; settings' weight_decay touches matrices only. */
extern bool model_update(Model *model, const AdamW *settings, Failure *failure);

/*
 * A trainable model's state as flat arrays in device memory, all parameters in
 * file order; for checkpoints and for keeping the best step.  Weights and
 * gradients are fp32, moments so many 4-byte words, whatever they hold.
 */
typedef enum ModelState
{
	MODEL_WEIGHTS,
	MODEL_GRADIENTS,
	MODEL_FIRST_MOMENT,
	MODEL_SECOND_MOMENT
} ModelState;

extern int64_t model_state_size(const Model *model);  /* elements */
extern int64_t model_moment_size(const Model *model); /* words of each */
/* Where it lies, in device memory. */
extern void *model_state_memory(Model *model, ModelState state);
/* Elements [first, first + count): a part at a time needs no second copy. */
extern void model_state_download(Model *model, ModelState state, int64_t first,
                                 int64_t count, float *target);
extern void model_state_upload(Model *model, ModelState state, int64_t first,
                               int64_t count, const float *source);

/* Parameter by parameter (tests, golden values); NULL past the end. */
typedef struct ParameterView
{
	const char *name; /* as in the file */
	int64_t offset;   /* in the state arrays */
	int64_t count;
	int dimensions;
	int64_t shape[2];
} ParameterView;

extern int model_parameter_count(const Model *model);
extern ParameterView model_parameter(const Model *model, int index);

/* ------------------------------------------------------------ files */

/*
 * Writes a directory that `transformers` opens: config.json, fp32
 * model.safetensors with these weights (laid out as MODEL_WEIGHTS; NULL: those
 * the model has now), and the tokenizer's files.
 */
extern bool model_save(Model *model, const float *weights,
                       const char *directory, Failure *failure);

/* The same with the weights it has now, in F32, F16 or BF16; DTYPE_OTHER: as
 * they are stored where that is one of these, else in F32. */
extern bool model_save_as(Model *model, DType dtype, const char *directory,
                          Failure *failure);

/*
 * Writes path with metadata (name: for people), tokenizer and weights (an adapter merged in) as
 * llama.cpp and its kin read them.  dtype: of matrices, DTYPE_F32, F16, BF16
 * or Q8_0 (rows that are no whole blocks of it stay F16); DTYPE_OTHER: as
 * stored where that is plain floats, else F32.  Norms, biases and positions
 * are F32.  What GGUF cannot say of a model is an error.
 */
extern bool model_save_gguf(Model *model, DType dtype, const char *name,
                            const char *path, Failure *failure);

/*
 * Writes a model with random weights (normal, initializer_range; residual
 * projections scaled by 1/sqrt(2 L); biases 0, norms 1) from the text of a
 * config.json into directory, which holds the tokenizer already.
 */
extern bool model_create(const char *config_json, size_t length, uint64_t seed,
                         const char *directory, Failure *failure);
