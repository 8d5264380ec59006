/*
 * message.h
 *		What the frames between the extension and its engine mean.
 *
 * A conversation is requests and replies.  The extension sends a request with
 * an id of its choice; the engine answers with any number of events and then
 * one WIRE_RESULT or WIRE_ERROR, all with that id.  Requests may nest: while
 * the engine waits for the WIRE_ANSWER to a WIRE_ASK it serves further
 * requests (a reward expression may call the model that is being trained).
 * WIRE_CANCEL names the request to stop; it is answered by that request's
 * WIRE_ERROR (57014), or by its result if it was done already.
 *
 * Every payload starts with a head: a text that holds a JSON object (names
 * and types below; absent and null mean the default).  Bulk data follow as
 * items, "n x (...)" being a u32 count and the items.  All text is UTF-8.
 * A text that is a prompt may also be a chat: a zero byte and behind it a JSON
 * array of messages, {"role", "content"}.  The model's chat template makes the
 * prompt of it, and special tokens are then those of the template alone.
 *
 * A model is named by a ModelRef, a JSON object:
 *		{"name": for messages, "path": directory or GGUF file, "tokenizer":
 *		the same of the model whose tokenizer it uses or null, "forms": an
 *		existing directory or null, "base": ModelRef or null, "dtype": "fp32"
 *		(the default), "bf16" or "auto"}
 * where base is the policy under a value model, or the model under an adapter,
 * dtype how it (with its base) multiplies, auto bf16 where that pays, and forms
 * where engines keep what they make of its weights, for all to map.
 */
#pragma once

#include "wire/frame.h"

#define WIRE_NO_ROOM_NOW "53A01"

typedef enum WireType
{
	/* -------------------------------------------- extension to engine */

	/* {"version", "extension": version text, "parent": pid, "threads": 0 for
	 * all, "memory_limit": bytes or 0, "memory_most": what that could be if
	 * no other job were there, 0 if it is the same, "device": as in
	 * device_spec.h, "claims": directory of lock files or null, "ranks":
	 * bool, several devices are used by as many processes, "devices": bool,
	 * all are looked for} -> {"version",
	 * "methods": [{"name", "rows": "all"|"positive_reward"|
	 * "positive_advantage"|"pairs"|"lists"|"prompts", "reference": bool,
	 * "value": bool}],
	 * "objectives": [{"name", "rows"}] of classifiers, "architectures": [text],
	 * "formats": [text], "pid", "device": what it computes on, "fault":
	 * null or why a GPU that may be there cannot be used} */
	WIRE_HELLO = 1,
	/* {} : stop the request with this frame's id */
	WIRE_CANCEL,
	/* {} as the WIRE_ASK or WIRE_CHECKPOINT wanted */
	WIRE_ANSWER,
	/* {} n x (text): documents for WIRE_MODEL_CREATE, then WIRE_DATA_END {} */
	WIRE_DATA,
	WIRE_DATA_END,

	/* {"device": an error where that is not there, null: none is} ->
	 * {"devices": [{"device", "name", "memory_total", "memory_free",
	 * "compute_capability", "isa"}], as they were at the handshake, "fault"} */
	WIRE_DEVICES = 16,
	/* {"model": ModelRef} -> {"kind": "lm"|"classifier"|"encoder" (a body
	 * without a head)|"adapter"|"value", "architecture", "parameters",
	 * "dtype": "fp32"|"fp16"|"bf16"|..., "bytes", "context", "vocabulary",
	 * "labels": a classifier's outputs, "rank": an adapter's, "files": [names that make up the
	 * model]}.  Opens and checks all of it. */
	WIRE_MODEL_INSPECT,
	/* {"config": object, "seed", "directory": new, empty directory}, then
	 * WIRE_DATA frames and WIRE_DATA_END with the same id -> as INSPECT */
	WIRE_MODEL_CREATE,
	/* {"model", "directory": existing empty directory, "format":
	 * "safetensors" (an adapter is merged)|"peft"|"gguf" (as "model.gguf"),
	 * "dtype": "auto" (as stored where that is plain floats, else f32, and so
	 * where an adapter is merged)|"f32"|"f16"|"bf16"|"q8_0" (GGUF only)} ->
	 * {"files"} */
	WIRE_MODEL_EXPORT,
	/* {"model", "add_special"} n x (text) -> {} n x (m x (u32 id)) */
	WIRE_TOKENIZE,
	/* {"model"} n x (m x (u32 id)) -> {} n x (text) */
	WIRE_DETOKENIZE,
	/* {"model", "max_tokens", "temperature", "top_p", "top_k", "num_beams",
	 * "repetition_penalty", "stop": [text], "seed", "max_prompt_tokens": null
	 * refuses a prompt beyond the context, a number keeps the last so many}
	 * n x (text prompt) -> {} n x (text response, u32 tokens, u8 ended by a
	 * stop token or text).  Events: WIRE_PROGRESS.  Prompt i draws from seed
	 * and i. */
	WIRE_GENERATE,
	/* {"model", "max_prompt_tokens", "max_response_tokens": null refuses what
	 * is beyond the context, "value": ModelRef of a value model over this
	 * model, or null} n x (text prompt, text response) -> {} n x (f64 sum of
	 * log-probabilities, u32 response tokens; 0 tokens and NaN where the prompt
	 * encodes to nothing and the model has no BOS; with a value model also f64
	 * value of the prompt as it was cut, or NaN) */
	WIRE_LOGPROB,
	/* {"model"} (text prompt, text response) -> {} n x (u32 id, text token,
	 * text bytes, f64 logprob), one a response token, EOS included */
	WIRE_TOKEN_LOGPROBS,
	/* {"model": ModelRef of a value model, "max_prompt_tokens"} n x (text
	 * prompt) -> {} n x (f64 value) */
	WIRE_VALUE,
	/* {"model": ModelRef of a classifier} n x (u8 has_prompt, text prompt, text
	 * response) -> {"labels": count} n x (labels x (f64 raw output)).  Without
	 * a prompt the response alone is read; what is beyond the model's limit is
	 * cut, the longest first.  No outputs for a text without any token. */
	WIRE_LOGITS,
	/* {"model", "add_generation_prompt"} n x (text messages, a JSON array of
	 * {"role", "content"}) -> {} n x (text prompt by the model's template) */
	WIRE_CHAT_PROMPT,
	/* {"model": ModelRef of the policy, "directory": where to write the value
	 * model (made if absent), "low", "high", "epochs", "learning_rate",
	 * "seed", "max_prompt_tokens"} n x (text prompt, f64 target) -> {"mse",
	 * "baseline_mse", "r2", "epoch", "prompts", "held_out"}.  Events:
	 * WIRE_PROGRESS, WIRE_METRICS. */
	WIRE_FIT_VALUE,

	/*
	 * A job: JOB_OPEN, JOB_ROWS until a "last" one, JOB_TRAIN.  An engine
	 * holds one job at a time.
	 *
	 * {"settings": all options of SQL.md with their final values, flat,
	 * "method", "batch_size", "epochs", "steps", "learning_rate", "seed" among
	 * them, "directory": the job's, "checkpoint": the last one known (0),
	 * "model": ModelRef, "labels": [text] of a classifier's outputs where they
	 * have names} -> {"rows_ready": bool,
	 * the rows of an interrupted run are there and need not be sent, "rows",
	 * "selected", "step": of the checkpoint to go on from, 0 for none,
	 * "steps": 0 if not known yet, "notice": null or why an old checkpoint is
	 * not used, "refreshed": the step whose policy is the reference, 0 for the
	 * model as it was, and then "reference": the directory of that policy, a
	 * model or adapter, while its rows are not ready, "reference_reward": what
	 * it earned, "start_reward": what the model did}
	 */
	WIRE_JOB_OPEN,
	/* {"last": bool, "value": ModelRef of the value model or null} n x (i64
	 * row number, text prompt, text response, u8 WIRE_ROW_ flags, f64 reward,
	 * f64 value, f64 advantage) -> {"rows", "selected", "steps": after the
	 * last} n x (u8 WireRowStatus, f64 reward, f64 value, f64 advantage, f64
	 * ref_logprob, u32 tokens, u8 selected); NaN where there is none.
	 * Methods of pairs and lists group rows by equal prompts once all are
	 * there, and select none before: after the last the head has "groups",
	 * "prompts", "lone": prompts with one response, "equal": prompts whose
	 * rewards are all equal, "equal_pairs": further pairs of equal rewards,
	 * and m x (i64 row number of a selected row) follows.  A pair that the
	 * source gives is two rows of one number, the chosen and then the
	 * rejected one, without rewards: both are used or neither.  Rows that are
	 * held are measured in training, metrics "eval_...", and count nowhere.
	 * Events: WIRE_PROGRESS.
	 * A classifier's rows have their label (an index of "labels", or a number)
	 * as reward, single or pairs as above; {"rows", "selected", "held",
	 * "empty": without any token, "groups" and so on, "steps"} is all of the
	 * reply.
	 * Where a method trains on prompts, responses are not looked at. */
	WIRE_JOB_ROWS,
	/* {"evaluate": bool, "samples": how many prompts give samples} n x (text
	 * prompt, evaluation prompts) -> {"directory": of the trained model or
	 * adapter, "step": whose weights they are, "steps", "best_reward" and
	 * "start_reward": null without evaluation}.  Events: PROGRESS,
	 * METRICS, CHECKPOINT, NOTICE, SAMPLES, ASK.  Where a new reference is
	 * due (setting "refresh_reference") it is {"is_refreshed": true}: the job
	 * is to be opened again and, when its rows have come, goes on. */
	WIRE_JOB_TRAIN,

	/* -------------------------------------------- engine to extension */
	WIRE_RESULT = 128,
	/* {"sqlstate", "message", "detail", "hint", "context"} (empty: none).
	 * SQLSTATE WIRE_NO_ROOM_NOW, of a job's engine while it starts: other jobs
	 * have the memory that it needs, so it is to be started again later. */
	WIRE_ERROR,
	/* {"phase", "done", "total", "tokens_per_second", "loss", "memory"}; at
	 * most about ten a second */
	WIRE_PROGRESS,
	/* {"step"} n x (text name, f64 value) */
	WIRE_METRICS,
	/* {"step"} : the job can go on from here after a crash; wants WIRE_ANSWER {}
	 * with the same id when that, and all that was told of the steps so far, is
	 * recorded.  The next step waits for it, so that of the checkpoints that
	 * are kept one is always known, with its metrics. */
	WIRE_CHECKPOINT,
	/* {"severity": "notice"|"warning"|"log" (for the server's log; of any
	 * request), "message"} */
	WIRE_NOTICE,
	/* {"step"} n x (u32 evaluation prompt, text response) */
	WIRE_SAMPLES,
	/* {"kind": "reward" or "rollout", "step"} n x (u32 evaluation prompt, or of
	 * a rollout the number of the prompt's row less 1, text response); wants
	 * WIRE_ANSWER {} n x (f64 reward, NaN for NULL) with the same id */
	WIRE_ASK
} WireType;

/* What a row of WIRE_JOB_ROWS brings with it. */
#define WIRE_ROW_HAS_REWARD 1
#define WIRE_ROW_HAS_VALUE 2
#define WIRE_ROW_HAS_ADVANTAGE 4

/* It is half of a pair. */
#define WIRE_ROW_IS_CHOSEN 8
#define WIRE_ROW_IS_REJECTED 16

/* Rows of a classifier or a method that ranks: not trained on but measured; and
 * texts without a prompt. */
#define WIRE_ROW_IS_HELD 32
#define WIRE_ROW_IS_SINGLE 64

typedef enum WireRowStatus
{
	WIRE_ROW_USED,
	WIRE_ROW_EMPTY_PROMPT,  /* no token, and the model has no BOS */
	WIRE_ROW_EMPTY_RESPONSE /* no token */
} WireRowStatus;

typedef struct WireRow
{
	int64_t row_number;
	const char *prompt;
	size_t prompt_length;
	const char *response;
	size_t response_length;
	uint8_t flags;
	double reward;
	double value;
	double advantage;
} WireRow;

typedef struct WireRowResult
{
	uint8_t status; /* WireRowStatus */
	double reward;
	double value;
	double advantage;
	double ref_logprob;
	uint32_t tokens;
	uint8_t selected;
} WireRowResult;

#define WIRE_ROW_SIZE_MIN (8 + 4 + 4 + 1 + 3 * 8)
#define WIRE_ROW_RESULT_SIZE (1 + 4 * 8 + 4 + 1)

extern void wire_put_row(WireBuffer *buffer, const WireRow *row);
extern void wire_get_row(WireReader *reader, WireRow *row);
extern void wire_put_row_result(WireBuffer *buffer,
                                const WireRowResult *result);
extern void wire_get_row_result(WireReader *reader, WireRowResult *result);

/* A name for messages ("job_rows"), or "unknown". */
extern const char *wire_type_name(uint16_t type);
