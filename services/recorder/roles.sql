-- The roles of a Learnback database on Postgres: learnback_recorder owns the tables and alone writes, learnback_reader
-- reads them (trainer, evaluator, board, command line). Run by an administrator on the database itself, before the
-- recorder's first start; again to change the passwords, or after a restore:
--
--   psql -v ON_ERROR_STOP=1 -v recorder_password=… -v reader_password=… -d learnback -f roles.sql

SELECT format('CREATE ROLE %I LOGIN', name)
FROM (VALUES ('learnback_recorder'), ('learnback_reader')) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec

ALTER ROLE learnback_recorder PASSWORD :'recorder_password';
ALTER ROLE learnback_reader PASSWORD :'reader_password';

REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT CONNECT ON DATABASE :"DBNAME" TO learnback_recorder, learnback_reader;
GRANT USAGE, CREATE ON SCHEMA public TO learnback_recorder;
GRANT USAGE ON SCHEMA public TO learnback_reader;

-- Tables that somebody else made: an administrator who restored a backup, or a recorder before there were roles.
SELECT format('ALTER TABLE public.%I OWNER TO learnback_recorder', tablename)
FROM pg_tables
WHERE schemaname = 'public' AND tableowner <> 'learnback_recorder' \gexec

GRANT SELECT ON ALL TABLES IN SCHEMA public TO learnback_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE learnback_recorder IN SCHEMA public GRANT SELECT ON TABLES TO learnback_reader;
