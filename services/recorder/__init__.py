"""The recorder: every topic into SQL, each event once; the only writer of the database."""
