"""Measuring endpoints, and counting the steps of agents by the hour.

What a process has counted of its endpoints is added to rows of a minute, which a manager folds into hours and days.
Steps are counted as jobs are (`0003`): triggers append deltas, never an update; only what a worker began and is over
counts, so that a step which reports its progress costs nothing more.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

COUNTS = ("succeeded", "redirected", "refused", "failed", "legacy", "hits", "misses", "took_us")
NOW = sa.text("now()")
OURS = "tenant_id = nullif(current_setting('app.tenant', true), '')"
STATUS = pg.ENUM(name="step_status", create_type=False)
KEPT = "31 days"

COUNTED = """
SELECT tenant_id, date_trunc('hour', finished_at), agent_id, status, count(*),
       sum(greatest(extract(epoch FROM finished_at - started_at), 0))
FROM {source} WHERE finished_at IS NOT NULL AND started_at IS NOT NULL {more} GROUP BY 1, 2, 3, 4
"""
INSERTED = f"""
CREATE FUNCTION count_inserted_steps() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
    INSERT INTO step_hours (tenant_id, hour, agent_id, status, steps, run_s)
    {COUNTED.format(source="fresh", more="")};
    RETURN NULL;
END $$
"""
UPDATED = """
CREATE FUNCTION count_updated_step() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
    INSERT INTO step_hours (tenant_id, hour, agent_id, status, steps, run_s)
    VALUES (NEW.tenant_id, date_trunc('hour', NEW.finished_at), NEW.agent_id, NEW.status, 1,
            greatest(extract(epoch FROM NEW.finished_at - NEW.started_at), 0));
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    """Make the tables; those of endpoints belong to no tenant. Steps are counted from a month ago on."""
    _make_traffic()
    op.create_table(
        "step_hours",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("status", STATUS, nullable=False),
        sa.Column("steps", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("run_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="step_hours_tenant_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="step_hours_pkey"),
    )
    op.create_index("step_hours_tenant_id_hour_idx", "step_hours", ["tenant_id", "hour", "agent_id"])
    op.execute("ALTER TABLE step_hours ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE step_hours FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY tenant ON step_hours TO agentos_app USING ({OURS}) WITH CHECK ({OURS})")
    op.execute("CREATE POLICY everybody ON step_hours TO agentos_system USING (true) WITH CHECK (true)")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON step_hours TO agentos_app, agentos_system")
    # Nobody may write between the count and the triggers, or a step would be counted twice or never.
    op.execute("LOCK TABLE processing_steps IN SHARE ROW EXCLUSIVE MODE")
    op.execute(INSERTED)
    op.execute(UPDATED)
    op.execute(
        "CREATE TRIGGER count_inserted AFTER INSERT ON processing_steps REFERENCING NEW TABLE AS fresh "
        "FOR EACH STATEMENT EXECUTE FUNCTION count_inserted_steps()"
    )
    op.execute(
        "CREATE TRIGGER count_updated AFTER UPDATE ON processing_steps FOR EACH ROW WHEN ("
        "NEW.finished_at IS NOT NULL AND NEW.started_at IS NOT NULL AND NEW.status IS DISTINCT FROM OLD.status) "
        "EXECUTE FUNCTION count_updated_step()"
    )
    # The owner of the tables is behind the walls as well; the system role sees every tenant.
    op.execute("SET LOCAL ROLE agentos_system")
    op.execute(
        "INSERT INTO step_hours (tenant_id, hour, agent_id, status, steps, run_s) "
        + COUNTED.format(source="processing_steps", more=f"AND finished_at > now() - interval '{KEPT}'")
    )
    op.execute("RESET ROLE")


def downgrade() -> None:
    """Forget what was measured."""
    op.execute("DROP TRIGGER count_inserted ON processing_steps")
    op.execute("DROP TRIGGER count_updated ON processing_steps")
    op.execute("DROP FUNCTION count_inserted_steps()")
    op.execute("DROP FUNCTION count_updated_step()")
    for table in ("step_hours", "traffic_sources", "traffic_marks", "traffic"):
        op.drop_table(table)


def _make_traffic() -> None:
    op.create_table(
        "traffic",
        sa.Column("began", sa.DateTime(timezone=True), nullable=False),
        sa.Column("minutes", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False) for name in COUNTS),
        sa.Column("buckets", pg.ARRAY(sa.SmallInteger()), nullable=False),
        sa.Column("counts", pg.ARRAY(sa.BigInteger()), nullable=False),
        sa.CheckConstraint("cardinality(buckets) = cardinality(counts)", name=op.f("traffic_spread_check")),
        sa.PrimaryKeyConstraint("began", "minutes", "method", "path", name="traffic_pkey"),
    )
    op.create_table(
        "traffic_marks",
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("method", "path", name="traffic_marks_pkey"),
    )
    op.create_table(
        "traffic_sources",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("batch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name="traffic_sources_pkey"),
    )
    op.create_index("traffic_sources_changed_at_idx", "traffic_sources", ["changed_at"])
    for table in ("traffic", "traffic_marks", "traffic_sources"):
        op.execute(f"GRANT SELECT ON {table} TO agentos_app, agentos_system")
        op.execute(f"GRANT INSERT, UPDATE, DELETE ON {table} TO agentos_system")
