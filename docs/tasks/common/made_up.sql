-- made_up.sql: rows in the shape of the raw ones, for where these are not.
-- They only show that a recipe runs; nothing can be learned from them.
CREATE FUNCTION one_of(words text, i int) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT w[1 + ('x' || left(md5(words || i), 7))::bit(28)::int % cardinality(w)]
	FROM string_to_array(words, ',') AS w
$$;

CREATE TABLE made_up AS
SELECT 'hha_pairs.jsonl.gz' AS file, jsonb_build_object('id', 'made-up-' || i,
	'subset', one_of('helpful_base,harmless_base', i),
	'messages', jsonb_build_array(jsonb_build_object('role', 'user', 'content',
		format('%s %s %s?', one_of('How do I cook,Where do I buy,May I steal', i),
			one_of('red,green,blue', i), one_of('fish,soup,rice,bread', i)))),
	'responses', jsonb_build_array(
		format('%s: take %s of it.', one_of('Gladly,Surely,Yes', i), one_of('some,all,much,half', i)),
		format('%s, %s.', one_of('No,Sorry,Well', i), one_of('ask me not,I know not,go away', i))),
	'rewards', jsonb_build_array(1 + sin(i), cos(i) - 1)) AS content
FROM generate_series(1, 200) AS i
UNION ALL
SELECT 'imdb.jsonl.gz', jsonb_build_object('id', i, 'sentiment', i % 2, 'review',
	format('I saw %s film of %s. It was %s and %s too. I %s it %s.', one_of('a,the,that', i),
		1990 + i % 30, one_of(CASE i % 2 WHEN 1 THEN 'good,fine,great,funny' ELSE 'bad,dull,poor,slow' END, i),
		one_of('long,short,old,loud,new', i), one_of(CASE i % 2 WHEN 1 THEN 'love,like' ELSE 'hate,leave' END, i),
		one_of('much,now,so,still', i)))
FROM generate_series(1, 120) AS i
UNION ALL
SELECT file, jsonb_build_object('text', format('%s %s film', one_of('a,the,one more', i),
	one_of(CASE i % 2 WHEN 1 THEN 'good,fine,great,funny' ELSE 'bad,dull,poor,slow' END, i)), 'label', i % 2)
FROM unnest('{sst2_train.jsonl.gz,sst2_dev.jsonl.gz}'::text[]) AS file, generate_series(1, 60) AS i
UNION ALL
SELECT file, jsonb_build_object('text', format(CASE i % 2 WHEN 1 THEN 'The %s %s it.' ELSE '%s it the %s.' END,
	one_of('cat,dog,man,child', i), one_of('saw,took,had,ate', i)), 'label', i % 2)
FROM unnest('{cola_train.jsonl.gz,cola_dev.jsonl.gz}'::text[]) AS file, generate_series(1, 60) AS i
UNION ALL
SELECT 'begin_wow.jsonl.gz', jsonb_build_object('model_name', 'made up',
	'knowledge', format('%s has %s %s.', city, i % 9, thing), 'message', format('I like %s.', city),
	'response', format('%s %s %s.', one_of('It has,They have,I saw', i),
		CASE i % 2 WHEN 1 THEN i % 9 ELSE 50 END, thing),
	'begin_label', CASE i % 2 WHEN 1 THEN 'Fully attributable' ELSE 'Not fully attributable' END)
FROM generate_series(1, 200) AS i, one_of('Bonn,Rome,Oslo,Kyoto,Lima', i) AS city,
	one_of('parks,towers,rivers,ports', i) AS thing
UNION ALL
SELECT 'comet_atomic.jsonl.gz', jsonb_build_object('head', format('PersonX %s %s %s', one_of('finds,loses,sells', i),
		i % 20, one_of('coins,books,keys', i)), 'relation', relation,
	'tails', jsonb_build_array('none', one_of(tails, i), one_of(tails, i + 500)))
FROM generate_series(1, 160) AS i, LATERAL (SELECT one_of('xWant,xReact,xNeed', i) AS relation) AS r,
	LATERAL (SELECT CASE relation WHEN 'xWant' THEN 'to count them,to keep them,to give them away'
		WHEN 'xReact' THEN 'glad,rich,sad,tired' ELSE 'to look down,to walk,to ask' END AS tails) AS t;
