"""Bringing a database to the present: Alembic migrations, one runner at a time."""
