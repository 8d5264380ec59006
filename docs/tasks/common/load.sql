-- load.sql: reads file :file of directory :data, a JSON object a line, into
-- table raw in place of what was there.
TRUNCATE raw;
\if :made_up
INSERT INTO raw SELECT content FROM made_up WHERE file = :'file';
\else
\set load '\\copy raw FROM PROGRAM ''gzip -dc "' :data '/' :file '"'' WITH (FORMAT csv, QUOTE E''\\x01'', DELIMITER E''\\x02'')'
:load
\endif
