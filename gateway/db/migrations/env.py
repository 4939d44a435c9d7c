"""Alembic's entry: runs the migrations on the connection it is handed by `gateway/db/database.py`."""

from alembic import context

from gateway.db.models import Table

context.configure(connection=context.config.attributes["connection"], target_metadata=Table.metadata, render_as_batch=True)
context.run_migrations()
