-- reddit_bad.sql: responses that several judges like, learned from bad ones.
--
--   psql -v data=DIRECTORY -f docs/tasks/reddit_bad.sql
--
-- What stands in for the comments of Reddit, and what judges them: common/reddit.sql.
\set good false
\ir common/reddit.sql
