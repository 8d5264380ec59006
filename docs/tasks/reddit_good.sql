-- reddit_good.sql: responses that several judges like, learned from good ones.
--
--   psql -v data=DIRECTORY -f docs/tasks/reddit_good.sql
--
-- What stands in for the comments of Reddit, and what judges them: common/reddit.sql.
\set good true
\ir common/reddit.sql
