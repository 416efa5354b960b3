"""How a database of one release becomes one of the next: Alembic's revisions, numbered in their order."""
