"""Alembic's entry: migrates over the connection that the store hands in."""

from alembic import context

from studies.schema import Row

context.configure(connection=context.config.attributes["connection"], target_metadata=Row.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
