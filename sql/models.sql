-- models.sql: models, their files, and who may use them.

\echo Use "CREATE EXTENSION alol" to load this file. \quit
