-- critics.sql: classifiers, the reward models, out of a table.

CREATE FUNCTION @extschema@.alol_train_reward(source text, model text,
		output text, label text DEFAULT 'label', objective text DEFAULT 'auto',
		epochs float8 DEFAULT 1, steps int DEFAULT NULL,
		batch_size int DEFAULT 16, learning_rate float8 DEFAULT NULL,
		lora_rank int DEFAULT NULL, validation text DEFAULT NULL,
		seed bigint DEFAULT 0, options jsonb DEFAULT '{}')
	RETURNS bigint
	AS 'MODULE_PATHNAME', 'alol_train_reward'
	LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.alol_train_reward(text, text, text, text, text,
	float8, int, int, float8, int, text, bigint, jsonb) IS
	'starts a job that makes a classifier of any loaded model: of text with labels (classification), of numbers (regression) or of pairs (pairwise); an adapter is trained with the head and merged into one full model; returns the job''s id';
