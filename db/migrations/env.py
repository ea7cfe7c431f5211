"""What Alembic runs around the migrations; the connection comes from `db.migrations.runner`."""

from alembic import context

from db.models import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
    compare_server_default=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
