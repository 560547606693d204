"""Alembic's side of the tables: env.py is run by it, versions/ holds one file a version."""
