"""Where the events on record begin: the newest one of each tenant that was removed, so that none is missed unnoticed.

A trigger writes it down, in the transaction of whoever deletes events: retention, clearing a history, or a person at
the console of the database (not who truncates the table; a restore says so itself). Who goes on from before it is told
so, instead of being given only what is left.
"""

import sqlalchemy as sa
from alembic import op

from db.models.columns import Xid8

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

OURS = "tenant_id = nullif(current_setting('app.tenant', true), '')"

# Joined with tenants: the events of a tenant that is being removed leave no floor behind.
NOTED = """
CREATE FUNCTION note_removed_events() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
    INSERT INTO event_floors (tenant_id, xid, id)
    SELECT DISTINCT ON (gone.tenant_id) gone.tenant_id, gone.xid, gone.id
    FROM gone JOIN tenants ON tenants.id = gone.tenant_id
    ORDER BY gone.tenant_id, gone.xid DESC, gone.id DESC
    ON CONFLICT (tenant_id) DO UPDATE SET xid = EXCLUDED.xid, id = EXCLUDED.id
    WHERE (event_floors.xid, event_floors.id) < (EXCLUDED.xid, EXCLUDED.id);
    RETURN NULL;
END $$
"""

# What was removed before this cannot be told: right before the oldest event there is, or, where there is none, now.
BEGUN = """
INSERT INTO event_floors (tenant_id, xid, id)
SELECT tenants.id,
    coalesce(oldest.xid, (pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1)::text::xid8),
    coalesce(oldest.id - 1, 9223372036854775807)
FROM tenants LEFT JOIN LATERAL (
    SELECT xid, id FROM events WHERE events.tenant_id = tenants.id ORDER BY xid, id LIMIT 1
) AS oldest ON true
WHERE tenants.created_at < now() - interval '2 days'
"""


def upgrade() -> None:
    """Make the table, behind the walls; tenants older than what is kept begin with what they have."""
    op.create_table(
        "event_floors",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("xid", Xid8(), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="event_floors_tenant_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", name="event_floors_pkey"),
    )
    op.execute("ALTER TABLE event_floors ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE event_floors FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY tenant ON event_floors TO agentos_app USING ({OURS}) WITH CHECK ({OURS})")
    op.execute("CREATE POLICY everybody ON event_floors TO agentos_system USING (true) WITH CHECK (true)")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON event_floors TO agentos_app, agentos_system")
    # Nobody may remove events between what is seen here and the trigger.
    op.execute("LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE")
    op.execute(NOTED)
    op.execute(
        "CREATE TRIGGER note_removed AFTER DELETE ON events REFERENCING OLD TABLE AS gone "
        "FOR EACH STATEMENT EXECUTE FUNCTION note_removed_events()"
    )
    # The owner of the tables is behind the walls as well; the system role sees every tenant.
    op.execute("SET LOCAL ROLE agentos_system")
    op.execute(BEGUN)
    op.execute("RESET ROLE")


def downgrade() -> None:
    """Forget where the events begin."""
    op.execute("DROP TRIGGER note_removed ON events")
    op.execute("DROP FUNCTION note_removed_events()")
    op.drop_table("event_floors")
