"""Counting waiting and running jobs by the agent whose turn it is, and finding failures without passing successes.

The queue's depth per agent is on every dashboard; counting it from the jobs would cost as much as there are waiting.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0003"
branch_labels = None
depends_on = None

INSERTED = """
CREATE OR REPLACE FUNCTION count_inserted_jobs() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
    INSERT INTO job_gauges (tenant_id, status{column}, jobs)
    SELECT tenant_id, status{agent}, count(*) FROM fresh GROUP BY 1, 2{third};
    INSERT INTO job_hours (tenant_id, hour, status, jobs, wait_s, run_s)
    SELECT tenant_id, date_trunc('hour', created_at), 'queued'::job_status, count(*), 0, 0
    FROM fresh GROUP BY 1, 2
    UNION ALL
    SELECT tenant_id, date_trunc('hour', started_at), 'processing'::job_status, count(*),
           sum(greatest(extract(epoch FROM started_at - run_at), 0)), 0
    FROM fresh WHERE started_at IS NOT NULL GROUP BY 1, 2
    UNION ALL
    SELECT tenant_id, date_trunc('hour', completed_at), status, count(*), 0,
           coalesce(sum(extract(epoch FROM completed_at - started_at)), 0)
    FROM fresh WHERE completed_at IS NOT NULL GROUP BY 1, 2, 3;
    RETURN NULL;
END $$
"""

UPDATED = """
CREATE OR REPLACE FUNCTION count_updated_jobs() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
    INSERT INTO job_gauges (tenant_id, status{column}, jobs)
    SELECT tenant_id, status{column}, sum(jobs) FROM (
        SELECT tenant_id, status{agent}, 1 AS jobs FROM fresh UNION ALL SELECT tenant_id, status{agent}, -1 FROM stale
    ) AS changes GROUP BY 1, 2{third} HAVING sum(jobs) <> 0;
    INSERT INTO job_hours (tenant_id, hour, status, jobs, wait_s, run_s)
    SELECT present.tenant_id, date_trunc('hour', now()), present.status, count(*),
           sum(CASE WHEN present.status = 'processing'
               THEN greatest(extract(epoch FROM now() - present.run_at), 0) ELSE 0 END),
           coalesce(sum(extract(epoch FROM present.completed_at - present.started_at)), 0)
    FROM fresh AS present JOIN stale AS past USING (id)
    WHERE present.status <> past.status AND present.status <> 'queued' GROUP BY 1, 2, 3;
    RETURN NULL;
END $$
"""

DELETED = """
CREATE OR REPLACE FUNCTION count_deleted_jobs() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
    INSERT INTO job_gauges (tenant_id, status{column}, jobs)
    SELECT tenant_id, status{agent}, -count(*) FROM stale
    -- A tenant that goes away takes its counters along; there is nothing left to count for.
    WHERE tenant_id IN (SELECT id FROM tenants) GROUP BY 1, 2{third};
    RETURN NULL;
END $$
"""


# Only what waits or runs has an agent whose turn it is.
BY_AGENT = {
    "column": ", agent_id",
    "agent": ", CASE WHEN completed_at IS NULL THEN current_step END AS agent_id",
    "third": ", 3",
}
BY_STATUS = {"column": "", "agent": "", "third": ""}


def upgrade() -> None:
    """Count by agent from now on, beginning with what there is."""
    op.add_column("job_gauges", sa.Column("agent_id", sa.Text(), nullable=True))
    op.create_index(
        "jobs_failed_idx", "jobs", ["tenant_id", "completed_at"], postgresql_where=sa.text("status = 'failed'")
    )
    # Nobody may write between the count and the new triggers, or the job would be counted twice or never.
    op.execute("LOCK TABLE jobs IN SHARE ROW EXCLUSIVE MODE")
    for function in (INSERTED, UPDATED, DELETED):
        op.execute(function.format(**BY_AGENT))
    # The owner of the tables is behind the walls as well; the system role sees every tenant.
    op.execute("SET LOCAL ROLE agentos_system")
    op.execute("DELETE FROM job_gauges")
    op.execute(
        "INSERT INTO job_gauges (tenant_id, status, agent_id, jobs) "
        "SELECT tenant_id, status, CASE WHEN completed_at IS NULL THEN current_step END, count(*) "
        "FROM jobs GROUP BY 1, 2, 3"
    )
    op.execute("RESET ROLE")


def downgrade() -> None:
    """Keep the numbers, forget the agents."""
    op.drop_index("jobs_failed_idx", table_name="jobs")
    op.execute("LOCK TABLE jobs IN SHARE ROW EXCLUSIVE MODE")
    for function in (INSERTED, UPDATED, DELETED):
        op.execute(function.format(**BY_STATUS))
    op.drop_column("job_gauges", "agent_id")
