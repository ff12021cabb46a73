"""Alembic's migrations of the store, oldest first; the file name begins with `v` and the revision."""
