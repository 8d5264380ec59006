-- inference.sql: generating and scoring text with a model.

CREATE FUNCTION @extschema@.alol_version() RETURNS text
	AS 'MODULE_PATHNAME', 'alol_version'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION @extschema@.alol_version() IS
	'version of the alol library that this session has loaded';

CREATE FUNCTION @extschema@.alol_devices(
		OUT device text, OUT name text,
		OUT memory_total bigint, OUT memory_free bigint,
		OUT compute_capability text, OUT isa text, OUT memory_limit bigint)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'alol_devices'
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 100000 ROWS 2;
COMMENT ON FUNCTION @extschema@.alol_devices() IS
	'what the engine can compute on here: one row a GPU and one for the CPU, memory in bytes; memory_limit is what one engine may use';

CREATE FUNCTION @extschema@.alol_generate(model text, prompt text,
		max_tokens int DEFAULT 128, temperature float8 DEFAULT 0,
		top_p float8 DEFAULT 1, top_k int DEFAULT 0, num_beams int DEFAULT 1,
		repetition_penalty float8 DEFAULT 1, stop text[] DEFAULT NULL,
		seed bigint DEFAULT NULL)
	RETURNS text
	AS 'MODULE_PATHNAME', 'alol_generate'
	LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 1000000;
COMMENT ON FUNCTION @extschema@.alol_generate(text, text, int, float8, float8,
		int, int, float8, text[], bigint) IS
	'response of a language model to a prompt; temperature 0 is greedy, num_beams above 1 a beam search, seed NULL random';

CREATE FUNCTION @extschema@.alol_chat(model text, messages jsonb,
		max_tokens int DEFAULT 128, temperature float8 DEFAULT 0,
		top_p float8 DEFAULT 1, top_k int DEFAULT 0, num_beams int DEFAULT 1,
		repetition_penalty float8 DEFAULT 1, stop text[] DEFAULT NULL,
		seed bigint DEFAULT NULL)
	RETURNS text
	AS 'MODULE_PATHNAME', 'alol_chat'
	LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 1000000;
COMMENT ON FUNCTION @extschema@.alol_chat(text, jsonb, int, float8, float8,
		int, int, float8, text[], bigint) IS
	'response of a language model to a chat, an array of messages with role and content, through its chat template';

CREATE FUNCTION @extschema@.alol_chat_prompt(model text, messages jsonb,
		add_generation_prompt bool DEFAULT true)
	RETURNS text
	AS 'MODULE_PATHNAME', 'alol_chat_prompt'
	LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION @extschema@.alol_chat_prompt(text, jsonb, bool) IS
	'a chat as the text that a model sees, by its chat template';

CREATE FUNCTION @extschema@.alol_logprob(model text, prompt text, response text)
	RETURNS float8
	AS 'MODULE_PATHNAME', 'alol_logprob'
	LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 100000;
COMMENT ON FUNCTION @extschema@.alol_logprob(text, text, text) IS
	'log-probability (natural logarithm) of a response with its end, given the prompt';

CREATE FUNCTION @extschema@.alol_token_logprobs(model text, prompt text,
		response text, OUT "position" int, OUT token_id int, OUT token text,
		OUT bytes bytea, OUT logprob float8)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'alol_token_logprobs'
	LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED
	COST 100000 ROWS 100;
COMMENT ON FUNCTION @extschema@.alol_token_logprobs(text, text, text) IS
	'log-probability of each token of a response and of its end: one row a token';

CREATE FUNCTION @extschema@.alol_value(model text, prompt text)
	RETURNS float8
	AS 'MODULE_PATHNAME', 'alol_value'
	LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 100000;
COMMENT ON FUNCTION @extschema@.alol_value(text, text) IS
	'what a value model expects of the reference policy''s reward at a prompt';

CREATE FUNCTION @extschema@.alol_reward(model text, prompt text, response text,
		label int DEFAULT NULL)
	RETURNS float8
	AS 'MODULE_PATHNAME', 'alol_reward'
	LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 100000;
COMMENT ON FUNCTION @extschema@.alol_reward(text, text, text, int) IS
	'what a classifier thinks of a response: the sigmoid of its score, or of several labels the probability of one (default: the last); prompt NULL: of the response alone; NULL where that has no token';

CREATE FUNCTION @extschema@.alol_logits(model text, prompt text, response text)
	RETURNS float8[]
	AS 'MODULE_PATHNAME', 'alol_logits'
	LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 100000;
COMMENT ON FUNCTION @extschema@.alol_logits(text, text, text) IS
	'the raw outputs of a classifier, one a label; prompt NULL: of the response alone';

CREATE FUNCTION @extschema@.alol_tokenize(model text, text text,
		add_special bool DEFAULT false)
	RETURNS int[]
	AS 'MODULE_PATHNAME', 'alol_tokenize'
	LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION @extschema@.alol_tokenize(text, text, bool) IS
	'token ids of a text, with the model''s special tokens around it or not';

CREATE FUNCTION @extschema@.alol_detokenize(model text, ids int[])
	RETURNS text
	AS 'MODULE_PATHNAME', 'alol_detokenize'
	LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION @extschema@.alol_detokenize(text, int[]) IS
	'text of token ids; bytes that are no character become U+FFFD';

