-- policy.sql: the reference policy, model supervised: a model that was trained
-- on the responses of training as they are.
\if :{?model}
SELECT alol_model_load('blank', :'model') \gset
\else
SELECT alol_model_create('blank', :'policy', seed => 1,
	corpus => 'SELECT prompt || response FROM training') \gset
\endif
SELECT alol_sft('training', 'blank', 'supervised', epochs => :supervised_epochs,
	learning_rate => 3 * :rate, validation => 'validation', seed => 1,
	options => :'options'::jsonb || '{"keep_best": false}') AS supervised \gset
CALL alol_follow(:supervised);
SELECT steps AS supervised_steps FROM alol_jobs WHERE job = :supervised \gset
