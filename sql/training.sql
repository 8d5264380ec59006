-- training.sql: calls that start a job. Each returns its id at once.

CREATE FUNCTION @extschema@.alol_train(source text, model text, output text,
		method text DEFAULT 'a_lol', reward text DEFAULT NULL,
		value text DEFAULT NULL, epochs float8 DEFAULT 1,
		steps int DEFAULT NULL, batch_size int DEFAULT 16,
		learning_rate float8 DEFAULT NULL, lora_rank int DEFAULT NULL,
		validation text DEFAULT NULL, seed bigint DEFAULT 0,
		options jsonb DEFAULT '{}')
	RETURNS bigint
	AS 'MODULE_PATHNAME', 'alol_train'
	LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.alol_train(text, text, text, text, text, text,
	float8, int, int, float8, int, text, bigint, jsonb) IS
	'starts a job that trains a model (all weights, or with lora_rank an adapter over it) on the rows or pairs of a table or SELECT, or with method ppo on its own responses to their prompts, into model output; returns the job''s id';

CREATE FUNCTION @extschema@.alol_sft(source text, model text, output text,
		reward text DEFAULT NULL, epochs float8 DEFAULT 1,
		steps int DEFAULT NULL, batch_size int DEFAULT 16,
		learning_rate float8 DEFAULT NULL, lora_rank int DEFAULT NULL,
		validation text DEFAULT NULL, seed bigint DEFAULT 0,
		options jsonb DEFAULT '{}')
	RETURNS bigint
	AS 'MODULE_PATHNAME', 'alol_sft'
	LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.alol_sft(text, text, text, text, float8, int,
	int, float8, int, text, bigint, jsonb) IS
	'alol_train with method nll: supervised training on every row';

CREATE FUNCTION @extschema@.alol_train_value(source text, model text,
		output text, reward text DEFAULT NULL, seed bigint DEFAULT 0,
		options jsonb DEFAULT '{}')
	RETURNS bigint
	AS 'MODULE_PATHNAME', 'alol_train_value'
	LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.alol_train_value(text, text, text, text, bigint,
	jsonb) IS
	'starts a job that fits what reward a policy earns at the prompts of source into value model output; returns the job''s id';
