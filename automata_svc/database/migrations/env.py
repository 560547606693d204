"""Run by Alembic: our migrations, on the connection and in the transaction that upgrade.py has."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    transactional_ddl=True,  # also SQLite's, once BEGIN was said
)
context.run_migrations()
