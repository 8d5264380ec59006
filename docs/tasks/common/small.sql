-- small.sql: everything as small as it can be, only to see that it runs.
\set policy '{"model_type": "llama", "vocab_size": 384, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "max_position_embeddings": 96, "tie_word_embeddings": true}'
\set rows 96
\set held_out 16
\set tested 16
\set prompt_tokens 48
\set response_tokens 16
\set supervised_epochs 40
\set judge_epochs 12
\set steps 3
\set ppo_steps 2
\set curve_steps 2
\set curve_seeds {1}
\set rate 1e-3
\set seeds '{1}'
