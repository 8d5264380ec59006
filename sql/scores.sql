-- scores.sql: scores of texts without a model, and of whole tables with one.

CREATE FUNCTION @extschema@.alol_ngrams(text text, n int) RETURNS text[]
	AS 'MODULE_PATHNAME', 'alol_ngrams'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 100;
COMMENT ON FUNCTION @extschema@.alol_ngrams(text, int) IS
	'n-grams of a text in order: its lower-cased words, n joined by one space';

CREATE FUNCTION @extschema@.alol_distinct(text text, n int) RETURNS float8
	AS 'MODULE_PATHNAME', 'alol_distinct'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 100;
COMMENT ON FUNCTION @extschema@.alol_distinct(text, int) IS
	'distinct n-grams / n-grams of a text; NULL when it has none';

CREATE FUNCTION @extschema@.alol_word_count(text text) RETURNS int
	AS 'MODULE_PATHNAME', 'alol_word_count'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 50;
COMMENT ON FUNCTION @extschema@.alol_word_count(text) IS
	'number of words of a text, split at white space';

CREATE FUNCTION @extschema@.alol_repetition(text text, n int) RETURNS float8
	AS 'MODULE_PATHNAME', 'alol_repetition'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 100;
COMMENT ON FUNCTION @extschema@.alol_repetition(text, int) IS
	'1 - distinct n-grams / n-grams of a text; 0 when it has none';

CREATE FUNCTION @extschema@.alol_corpus_distinct_add(internal, text, int)
	RETURNS internal
	AS 'MODULE_PATHNAME', 'alol_corpus_distinct_add'
	LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100;
COMMENT ON FUNCTION @extschema@.alol_corpus_distinct_add(internal, text, int) IS
	'a step of the aggregate alol_corpus_distinct';

CREATE FUNCTION @extschema@.alol_corpus_distinct_end(internal) RETURNS float8
	AS 'MODULE_PATHNAME', 'alol_corpus_distinct_end'
	LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE;
COMMENT ON FUNCTION @extschema@.alol_corpus_distinct_end(internal) IS
	'the end of the aggregate alol_corpus_distinct';

CREATE AGGREGATE @extschema@.alol_corpus_distinct(text text, n int) (
	SFUNC = @extschema@.alol_corpus_distinct_add,
	STYPE = internal,
	SSPACE = 65536,
	FINALFUNC = @extschema@.alol_corpus_distinct_end,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE @extschema@.alol_corpus_distinct(text, int) IS
	'Distinct-n: distinct n-grams / n-grams of all texts together; NULL when there are none';

-- A set-returning C function in FROM is run to its end before the first row
-- is seen.  This function is inlined, so that a LIMIT stops it in time.
CREATE FUNCTION @extschema@.alol_score_rows(source text, policy text,
		reward text, value text, options jsonb,
		OUT row_number bigint, OUT row_key text, OUT prompt text,
		OUT response text, OUT reward float8, OUT value float8,
		OUT advantage float8, OUT logprob float8)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'alol_score_rows'
	LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED
	COST 100000 ROWS 10000;
COMMENT ON FUNCTION @extschema@.alol_score_rows(text, text, text, text, jsonb) IS
	'what alol_score runs';

CREATE FUNCTION @extschema@.alol_score(source text, policy text DEFAULT NULL,
		reward text DEFAULT NULL, value text DEFAULT NULL,
		options jsonb DEFAULT '{}')
	RETURNS TABLE (row_number bigint, row_key text, prompt text, response text,
		reward float8, value float8, advantage float8, logprob float8)
	LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED
	COST 100000 ROWS 10000
AS $$
	SELECT (s.r).row_number, (s.r).row_key, (s.r).prompt, (s.r).response,
		(s.r).reward, (s.r).value, (s.r).advantage, (s.r).logprob
	FROM (SELECT @extschema@.alol_score_rows($1, $2, $3, $4, $5) AS r
		OFFSET 0) s
$$;
COMMENT ON FUNCTION @extschema@.alol_score(text, text, text, text, jsonb) IS
	'reward, value, advantage and log-probability of each row of a table or SELECT, in its order; NULL for what was not asked for';

-- Written by alol_tfidf_fit() only, as the extension's owner.
CREATE SEQUENCE @extschema@.alol_tfidf_model_id;

CREATE TABLE @extschema@.alol_tfidf_model (
	id bigint PRIMARY KEY DEFAULT nextval('@extschema@.alol_tfidf_model_id'),
	name text NOT NULL UNIQUE
		CHECK (name <> '' AND octet_length(name) <= 63),
	owner regrole NOT NULL,
	documents bigint NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE @extschema@.alol_tfidf_model IS
	'document frequencies by name; read the view alol_tfidf_models instead';

CREATE TABLE @extschema@.alol_tfidf_term (
	model bigint NOT NULL,
	term text COLLATE "C" NOT NULL,
	documents bigint NOT NULL,       -- that have the term
	PRIMARY KEY (model, term)
);
COMMENT ON TABLE @extschema@.alol_tfidf_term IS
	'in how many documents of a TF-IDF model each term is';

ALTER TABLE @extschema@.alol_tfidf_model ENABLE ROW LEVEL SECURITY;
ALTER TABLE @extschema@.alol_tfidf_term ENABLE ROW LEVEL SECURITY;

SELECT pg_catalog.pg_extension_config_dump('@extschema@.alol_tfidf_model_id', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.alol_tfidf_model', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.alol_tfidf_term', '');

CREATE VIEW @extschema@.alol_tfidf_models WITH (security_barrier) AS
SELECT m.name, m.owner, m.documents,
	(SELECT count(*) FROM @extschema@.alol_tfidf_term t
		WHERE t.model = m.id) AS terms,
	m.created_at
FROM @extschema@.alol_tfidf_model m
WHERE pg_catalog.pg_has_role(m.owner, 'MEMBER');
COMMENT ON VIEW @extschema@.alol_tfidf_models IS
	'the TF-IDF models that you own';
GRANT SELECT ON @extschema@.alol_tfidf_models TO PUBLIC;

CREATE FUNCTION @extschema@.alol_tfidf_fit(name text, source text)
	RETURNS bigint
	AS 'MODULE_PATHNAME', 'alol_tfidf_fit'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.alol_tfidf_fit(text, text) IS
	'learns document frequencies from the first column of a table or SELECT, anew where you own the name; returns the number of documents';

CREATE FUNCTION @extschema@.alol_tfidf_drop(name text) RETURNS void
	AS 'MODULE_PATHNAME', 'alol_tfidf_drop'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.alol_tfidf_drop(text) IS
	'forgets a TF-IDF model that you own';

CREATE FUNCTION @extschema@.alol_tfidf(name text, response text)
	RETURNS float8
	AS 'MODULE_PATHNAME', 'alol_tfidf'
	LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION @extschema@.alol_tfidf(text, text) IS
	'informativeness of a text: mean TF-IDF weight of its terms that the model knows';
