-- Reports: charts for the terminal, pages for the browser.
\unset ECHO
\set QUIET 1
SET client_min_messages = error;
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_STOP true

CREATE EXTENSION IF NOT EXISTS alol;
CREATE SCHEMA reports_test;
SET search_path = reports_test, public;

CREATE TABLE pairs AS SELECT 'say ' || i || ': ' AS prompt,
	repeat(chr(97 + i % 26), 2 + i % 5) || ' <b>&"' AS response
FROM generate_series(1, 100) i;
SELECT alol_model_create('reports_<i>', '{"model_type": "llama",
	"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64,
	"num_hidden_layers": 1, "num_attention_heads": 4,
	"max_position_embeddings": 64}', seed => 1) \gset
SELECT alol_train('pairs', 'reports_<i>', 'reports_<script>alert("1")</script>',
	reward => '1.0 / (1 + length(response))', steps => 8, batch_size => 4,
	options => '{"max_response_tokens": 8, "evaluation_prompts": 4,
		"sample_prompts": 4}') AS job \gset
SELECT alol_wait(:job) \gset

SELECT plan(39);

-- Charts for the terminal. Hand-made values are metrics of their own.
CREATE FUNCTION put(job bigint, metric text, steps bigint[], vals float8[])
RETURNS void LANGUAGE sql AS $$
	INSERT INTO alol_metric SELECT $1, current_user::regrole, s, $2, v, now()
	FROM unnest($3, $4) AS u (s, v)
$$;
CREATE FUNCTION line(chart text, number int) RETURNS text LANGUAGE sql AS
$$ SELECT (string_to_array($1, E'\n'))[$2] $$;

SELECT put(:job, 'logps/odd', '{0,1200}', '{0,-0.00123456}') \gset
SELECT is(line(alol_plot(:job, 'logps/odd'), 1), format('logps/odd of job %s '
	'in nats, last -0.001235 at step 1200', :job), 'a chart says what it shows');
SELECT is(array_length(string_to_array(alol_plot(:job, 'kl'), E'\n'), 1), 16,
	'and has 16 lines');
SELECT cmp_ok(max(length(line)), '<=', 78, 'that fit a terminal')
FROM string_to_table(alol_plot(:job, 'learning_rate'), E'\n') line;
SELECT put(:job, 'line', '{0,100}', '{0,1}') \gset
SELECT is(alol_plot(:job, 'line'), format($$line of job %s, last 1 at step 100
1.0 ┤                                                              ⣀⡠⠤⠒⠉
    │                                                         ⣀⡠⠔⠒⠉
0.8 ┤                                                    ⣀⠤⠔⠊⠉
    │                                              ⢀⣀⠤⠒⠊⠉
    │                                         ⢀⡠⠤⠒⠉⠁
0.6 ┤                                    ⣀⡠⠔⠒⠉⠁
    │                               ⣀⠤⠔⠒⠉
0.4 ┤                         ⢀⣀⠤⠔⠊⠉
    │                    ⢀⣀⠤⠒⠊⠁
    │               ⣀⡠⠤⠒⠉⠁
0.2 ┤          ⣀⡠⠔⠒⠉
    │     ⣀⠤⠔⠊⠉
  0 ┤⣀⠤⠒⠊⠉
    └┬────────────┬────────────┬─────────────┬────────────┬────────────┬
     0           20           40            60           80           100  step$$, :job), 'a line is a line');
SELECT put(:job, 'constant', '{1,2,3}', '{5,5,5}') \gset
SELECT ok(alol_plot(:job, 'constant') ~ E'5.0 ┤[⠤⠒⠉⣀⠄⠂⠁⡀⠈⠐⠠⢀]+\n',
	'a constant has a line in the middle');
SELECT put(:job, 'one', '{7}', '{3}') \gset
SELECT ok(alol_plot(:job, 'one') ~ '7' AND alol_plot(:job, 'one') ~ '[⠀-⣿]',
	'one point is a point');
SELECT put(:job, 'holes', '{1,2,3,4}', '{1,NaN,Infinity,2}') \gset
SELECT matches(alol_plot(:job, 'holes'), E'\n2 of 4 values are not finite, and '
	'left out$', 'what is not finite is left out and counted');
SELECT put(:job, 'nothing', '{1,2}', '{NaN,-Infinity}') \gset
SELECT is(alol_plot(:job, 'nothing'), format('nothing of job %s, last '
	'-Infinity at step 2%sthere is nothing to draw%2$s2 of 2 values are not '
	'finite, and left out', :job, E'\n'), 'even when nothing else is there');
SELECT put(:job, 'many', array_agg(i), array_agg(sin(i / 500.0)))
FROM generate_series(1, 10000) i \gset
SELECT matches(alol_plot(:job, 'many'),
	E'\n10000 values, each point the mean of up to 76$',
	'thousands of steps are binned');
SELECT put(:job, 'extreme', '{1,9000000000000000000}', '{-1e308,1e308}') \gset
SELECT ok(alol_plot(:job, 'extreme') ~ 'e300', 'extremes are drawn as well');
SELECT put(:job, E'odd\nname\x1b', '{1}', '{1}') \gset
SELECT is(line(alol_plot(:job, E'odd\nname\x1b'), 1), format('odd?name? of job '
	'%s, last 1 at step 1', :job), 'no name breaks the terminal');
SELECT throws_ok('SELECT alol_plot(' || :job || $$, 'los')$$, '42704',
	'job ' || :job || ' has no metric "los"', 'a metric must be there');
SELECT throws_ok('SELECT alol_plot(0)', '42704', 'job 0 does not exist');
SELECT is(alol_plot(NULL), NULL, 'NULL gives NULL');
SELECT is(provolatile::text, 's', 'alol_plot is STABLE')
FROM pg_proc WHERE proname = 'alol_plot';

-- Pages. One that is well-formed has no text that became a tag.
SELECT alol_evaluate('pairs', 'reports_<i>', '1.0 / (1 + length(response))',
	options => '{"max_response_tokens": 8}') AS evaluated \gset
SELECT alol_sft('pairs', 'reports_<i>', 'reports_second', steps => 4,
	batch_size => 4, learning_rate => 1e-2) AS second \gset
SELECT alol_wait(:evaluated), alol_wait(:second) \gset
UPDATE alol_sample SET reward = 2, prompt = '</p><script>alert(2)</script>'
	|| chr(7) || chr(155) || chr(252) || chr(8364),
	response = '<img src=x onerror="1">'' & &amp;'
WHERE job = :evaluated AND number = 1;
UPDATE alol_sample SET response = repeat('long ', 1000), reward = 1
WHERE job = :evaluated AND number = 2;
UPDATE alol_job SET notices = notices ||
	'[{"severity": "\"><script>", "message": "<script>alert(3)</script>"}]'
WHERE id = :job;
CREATE TABLE page AS SELECT alol_report(:job) AS one,
	alol_report(:job, :second, :evaluated) AS three;
SELECT ok(xml_is_well_formed_document(one), 'a page is well-formed') FROM page;
SELECT ok(xml_is_well_formed_document(three), 'so is that of several jobs')
FROM page;
SELECT is(xpath('count(//script | //img | //link | //iframe | //@src | //@href |
	//@onerror)', three::xml)::text, '{0}', 'without script, or links elsewhere')
FROM page;
SELECT is((xpath('string(//title)', one::xml))[1]::text,
	'reports_&lt;script&gt;alert("1")&lt;/script&gt;', 'names are text')
FROM page;
SELECT ok(one ~ '<b>notice</b> &lt;script&gt;alert\(3\)&lt;/script&gt;</li>',
	'so are notices') FROM page;
SELECT ok(strpos(three, '&lt;/p&gt;&lt;script&gt;alert(2)&lt;/script&gt;'
	|| repeat('&#65533;', 2) || chr(252) || chr(8364) || '</p>') > 0,
	'and prompts, without control characters') FROM page;
SELECT ok(strpos(three, '&lt;img src=x onerror=&quot;1&quot;&gt;&#39; &amp; '
	'&amp;amp;</p>') > 0, 'and responses') FROM page;
SELECT matches(three, 'long long.*\[3800 characters left out\].*long long',
	'long texts are cut') FROM page;
SELECT is((xpath('count(//figure)', one::xml))[1]::text, (count(*) + 1)::text,
	'there is a chart for each metric, and the histogram')
FROM page, alol_metrics WHERE job = :job AND step = 8 AND metric IN ('loss',
	'evaluation/reward', 'kl', 'ratio/mean', 'clip_ratio', 'grad_norm')
GROUP BY one;
SELECT is(xpath('count(//svg[@role="img" and title/@id and desc/@id])',
	one::xml)::text, xpath('count(//svg)', one::xml)::text,
	'each with a title and a description') FROM page;
SELECT matches(one, format('>%s&#8201;%% thrown away<', round(100 -
	100 * positive_fraction::numeric, 1)),
	'the share that is thrown away is stated')
FROM page, alol_advantage_stats(:job);
SELECT is((SELECT sum(split_part(t::text, ' ', 1)::int) FROM page,
		unnest(xpath('//rect[@class="waste"]/title/text()', one::xml)) t),
	rows - positive, 'and its bars are shaded') FROM alol_advantage_stats(:job);
SELECT ok(one ~ format('best step %s of job %s<', step, :job),
	'the best step is marked') FROM page, alol_metrics WHERE job = :job
	AND metric = 'evaluation/reward' ORDER BY value DESC, step LIMIT 1;
SELECT is(xpath('//tr[@class="differs"]/th[contains("kind method output model
	learning_rate seed batch_size", normalize-space(text()[1]))]/text()[1]',
	three::xml)::text, '{"kind ","method ","output ","batch_size ","learning_rate "}',
	'what differs between jobs is marked') FROM page;
SELECT is(round((xpath('string((//table//tr[th="reward"]/td[3])[1])',
	three::xml))[1]::text::numeric, 3), round(value::numeric, 3),
	'evaluations stand beside training') FROM page, alol_metrics
	WHERE job = :evaluated AND metric = 'reward';
SELECT is((xpath('count(//figure//title[contains(., "Mean rewards")])',
	three::xml))[1]::text, '1', 'an evaluation has its reward drawn') FROM page;
SELECT alol_evaluate('pairs', 'reports_<i>', '{"b": "0.5", "<a>":
	"1.0 / (1 + length(response))"}', options => '{"max_response_tokens": 4}')
	AS named \gset
SELECT alol_wait(:named) \gset
SELECT is(xpath('//figure[contains(.//title, "Mean rewards")]/figcaption/text()',
	alol_report(:named)::xml)::text, '{" in all"," &lt;a&gt;"," b"}',
	'and each of its components');
SELECT is((xpath('string(//table[contains(caption, "Differences from")]
	//tr[th="words"]/td/span[2])', alol_report(:evaluated, :named)::xml))[1]::text,
	format('longer %s, equal %s, shorter %s', wins, ties, losses),
	'evaluations are compared') FROM alol_compare(:named, :evaluated)
	WHERE metric = 'words';
SELECT throws_ok('SELECT alol_report(0)', '42704', 'job 0 does not exist');
SELECT throws_ok('SELECT alol_report(' || :job || ', NULL)', '22004',
	'job must not be null');
SELECT throws_ok('SELECT alol_report(VARIADIC ''{}'')', '22023',
	'jobs must be from 1 to 20, not 0');
SELECT is(provolatile::text, 's', 'alol_report is STABLE')
FROM pg_proc WHERE proname = 'alol_report';

CREATE ROLE reports_stranger;
SELECT alol_allow('reports_stranger') \gset
SET ROLE reports_stranger;
SELECT throws_ok('SELECT public.alol_plot(' || :job || ')', '42704',
	'job ' || :job || ' does not exist', 'another''s job is not drawn');
SELECT throws_ok('SELECT public.alol_report(' || :job || ')', '42704',
	'job ' || :job || ' does not exist', 'nor reported');
RESET ROLE;
SELECT alol_disallow('reports_stranger') \gset
DROP ROLE reports_stranger;

SELECT * FROM finish();

SELECT count(alol_job_drop(job)) FROM alol_jobs \gset
SELECT count(alol_model_drop(name)) FROM alol_models
	WHERE name LIKE 'reports%' \gset
DROP SCHEMA reports_test CASCADE;
