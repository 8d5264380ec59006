-- split.sql: from table rows (key, prompt, response and what a reward needs)
-- to training, validation (value, best step) and unseen (results), none of
-- which shares a prompt with another.  The hash of a prompt decides, so the
-- parts are the same everywhere.
CREATE TABLE place AS
SELECT prompt, row_number() OVER (ORDER BY md5(prompt), prompt) AS n
FROM (SELECT DISTINCT prompt FROM rows) AS p;

-- One row a prompt where models are judged.
CREATE TABLE unseen AS
SELECT DISTINCT ON (n) r.* FROM rows r JOIN place USING (prompt)
WHERE n <= :tested ORDER BY n, key;
CREATE TABLE validation AS
SELECT DISTINCT ON (n) r.* FROM rows r JOIN place USING (prompt)
WHERE n > :tested AND n <= :tested + :held_out ORDER BY n, key;
CREATE TABLE training AS
SELECT r.* FROM rows r JOIN place USING (prompt)
WHERE n > :tested + :held_out ORDER BY n, key LIMIT :rows;
