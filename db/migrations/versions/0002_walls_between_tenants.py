"""Walls between tenants: two roles without any privilege of their own, and forced row-level security.

The application role sees the rows of the tenant that the transaction was bound to, the system role those of all;
neither owns a table or bypasses a policy, so a forgotten `where` shows nothing it should not.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TENANT_TABLES = (
    "agents",
    "artifacts",
    "audit",
    "clips",
    "config_versions",
    "events",
    "job_gauges",
    "job_hours",
    "jobs",
    "logs",
    "processing_steps",
    "queue_states",
    "refresh_tokens",
    "system_events",
    "upload_chunks",
    "uploads",
    "users",
)
APPEND_ONLY = ("audit",)

# nullif: once a transaction has set the tenant, the setting reads as '' in the connection's next one, not NULL.
OURS = "tenant_id = nullif(current_setting('app.tenant', true), '')"

MAKE_ROLE = """
DO $$ BEGIN
    CREATE ROLE {role} NOLOGIN NOBYPASSRLS NOINHERIT;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$
"""


def upgrade() -> None:
    """Make the roles, what they may do, and whose rows they see."""
    for role in ("agentos_app", "agentos_system"):
        op.execute(MAKE_ROLE.format(role=role))
        op.execute(f"GRANT {role} TO CURRENT_USER")
        op.execute(f"GRANT USAGE ON SCHEMA public TO {role}")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
        for table in APPEND_ONLY:
            op.execute(f"REVOKE UPDATE, DELETE ON {table} FROM {role}")
        op.execute(f"REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM {role}")
    op.execute("REVOKE INSERT, UPDATE, DELETE ON tenants FROM agentos_app")
    for table in TENANT_TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY tenant ON {table} TO agentos_app USING ({OURS}) WITH CHECK ({OURS})")
        op.execute(f"CREATE POLICY everybody ON {table} TO agentos_system USING (true) WITH CHECK (true)")


def downgrade() -> None:
    """Take the policies and grants away; the roles belong to the whole cluster and stay."""
    for table in TENANT_TABLES:
        op.execute(f"DROP POLICY everybody ON {table}")
        op.execute(f"DROP POLICY tenant ON {table}")
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    for role in ("agentos_app", "agentos_system"):
        op.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}")
        op.execute(f"REVOKE ALL ON SCHEMA public FROM {role}")
