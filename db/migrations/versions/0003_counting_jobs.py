"""Counting jobs as they change, so that no dashboard ever scans them.

Triggers append deltas, a statement at a time: never an update, so writers do not wait for each other. A manager folds
them (`db.tallies.fold`); a reader adds up what there is and gets the exact number at any moment.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COUNT_INSERTED = """
CREATE FUNCTION count_inserted_jobs() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
    INSERT INTO job_gauges (tenant_id, status, jobs)
    SELECT tenant_id, status, count(*) FROM fresh GROUP BY 1, 2;
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

COUNT_UPDATED = """
CREATE FUNCTION count_updated_jobs() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
    INSERT INTO job_gauges (tenant_id, status, jobs)
    SELECT tenant_id, status, sum(jobs) FROM (
        SELECT present.tenant_id, present.status, 1 AS jobs
        FROM fresh AS present JOIN stale AS past USING (id) WHERE present.status <> past.status
        UNION ALL
        SELECT past.tenant_id, past.status, -1
        FROM fresh AS present JOIN stale AS past USING (id) WHERE present.status <> past.status
    ) AS changes GROUP BY 1, 2 HAVING sum(jobs) <> 0;
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

COUNT_DELETED = """
CREATE FUNCTION count_deleted_jobs() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
    INSERT INTO job_gauges (tenant_id, status, jobs)
    SELECT stale.tenant_id, stale.status, -count(*) FROM stale
    -- A tenant that goes away takes its counters along; there is nothing left to count for.
    JOIN tenants ON tenants.id = stale.tenant_id GROUP BY 1, 2;
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    """Count every insert, update and delete of jobs."""
    op.execute(COUNT_INSERTED)
    op.execute(COUNT_UPDATED)
    op.execute(COUNT_DELETED)
    op.execute(
        "CREATE TRIGGER count_inserted AFTER INSERT ON jobs REFERENCING NEW TABLE AS fresh "
        "FOR EACH STATEMENT EXECUTE FUNCTION count_inserted_jobs()"
    )
    op.execute(
        "CREATE TRIGGER count_updated AFTER UPDATE ON jobs REFERENCING NEW TABLE AS fresh OLD TABLE AS stale "
        "FOR EACH STATEMENT EXECUTE FUNCTION count_updated_jobs()"
    )
    op.execute(
        "CREATE TRIGGER count_deleted AFTER DELETE ON jobs REFERENCING OLD TABLE AS stale "
        "FOR EACH STATEMENT EXECUTE FUNCTION count_deleted_jobs()"
    )


def downgrade() -> None:
    """Stop counting; what was counted stays."""
    for name in ("inserted", "updated", "deleted"):
        op.execute(f"DROP TRIGGER count_{name} ON jobs")
        op.execute(f"DROP FUNCTION count_{name}_jobs()")
