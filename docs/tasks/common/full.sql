-- full.sql: the sizes at which the tables of results are made, some ten minutes
-- a task on two processors.

-- The policy; a loaded model needs none of this.
\set policy '{"model_type": "llama", "vocab_size": 2048, "hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 192, "tie_word_embeddings": true}'
-- Rows to train on at most; prompts for validation, and for the results.
\set rows 4000
\set held_out 200
\set tested 500
-- Tokens of a prompt (the last ones) and of a response (the first).
\set prompt_tokens 64
\set response_tokens 32
-- Supervised training before, of the policy and of the models that judge.
\set supervised_epochs 4
\set judge_epochs 2
-- Then every method: this many steps of 16 responses, with these seeds.
\set steps 120
\set ppo_steps 30
-- The rate of all methods; supervised training takes three times as much.  For
-- a model of a hundred million parameters that was trained before, 2e-5.
\set rate 3e-4
\set seeds '{1,2,3}'
-- The curves go on for longer, with these seeds.
\set curve_steps 300
\set curve_seeds '{1,2}'
