"""The audit trail: chained, anchored, owned by nobody who writes it.

A role that nobody signs in as owns the trail and the function that chains it; the roles that act may add entries and
read them. Each entry's hash is over all of it and the hash before it, under a lock on the tenant's head, so that there
is one line without a gap or a fork. The table of before was never written to and is made anew.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

OWNER = "agentos_audit"
ACTING = "agentos_app, agentos_system"
OURS = "tenant_id = nullif(current_setting('app.tenant', true), '')"
MONTHS_AHEAD = 12

MAKE_ROLE = f"""
DO $$ BEGIN
    CREATE ROLE {OWNER} NOLOGIN NOBYPASSRLS NOINHERIT;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$
"""

# For the length of the migration only: who signs in is not a member of the owner, and cannot change the trail as it is.
JOIN = f"""
DO $$ BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = CURRENT_USER) THEN GRANT {OWNER} TO CURRENT_USER; END IF;
END $$
"""
LEAVE = f"""
DO $$ BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = CURRENT_USER) THEN REVOKE {OWNER} FROM CURRENT_USER; END IF;
END $$
"""

# Each part is written as the length of its UTF-8 bytes and the bytes; what is absent, as the length -1. So no two
# different entries are ever written alike.
FRAMED = """
CREATE FUNCTION audit_trail.framed(parts text[]) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
    SELECT string_agg(
        CASE WHEN part IS NULL THEN int4send(-1)
        ELSE int4send(octet_length(convert_to(part, 'UTF8'))) || convert_to(part, 'UTF8') END,
        ''::bytea ORDER BY place)
    FROM unnest(parts) WITH ORDINALITY AS framed (part, place)
$$
"""

# Whatever the caller sent as number, time or hash is overwritten; the time is the transaction's, by which the row was
# sent to its month already.
CHAIN = """
CREATE FUNCTION audit_trail.chain() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    head audit_trail.heads;
BEGIN
    IF NEW.tenant_id IS DISTINCT FROM nullif(current_setting('app.tenant', true), '') THEN
        RAISE EXCEPTION 'an audit entry belongs to the tenant of its transaction' USING ERRCODE = '42501';
    END IF;
    SELECT * INTO head FROM audit_trail.heads WHERE tenant_id = NEW.tenant_id FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO audit_trail.heads (tenant_id, seq, hash) VALUES (NEW.tenant_id, 0, decode(repeat('00', 32), 'hex'))
        ON CONFLICT DO NOTHING;
        SELECT * INTO head FROM audit_trail.heads WHERE tenant_id = NEW.tenant_id FOR UPDATE;
    END IF;
    NEW.at := now();
    NEW.seq := head.seq + 1;
    NEW.previous := head.hash;
    NEW.hash := sha256(audit_trail.framed(ARRAY[
        'agentos audit 1', NEW.tenant_id, NEW.seq::text,
        to_char(NEW.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        NEW.actor_id::text, NEW.role, NEW.action, NEW.target, NEW.outcome, NEW.code, NEW.trace_id,
        encode(NEW.key_hash, 'hex'), NEW.details::text, NEW.result::text, encode(NEW.commitment, 'hex'),
        encode(NEW.previous, 'hex')
    ]));
    UPDATE audit_trail.heads SET seq = NEW.seq, hash = NEW.hash WHERE tenant_id = NEW.tenant_id;
    RETURN NEW;
END $$
"""

REFUSE = """
CREATE FUNCTION audit_trail.refuse() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is neither changed nor emptied' USING ERRCODE = '42501';
END $$
"""

# Made beside the trail and attached, which unlike CREATE … PARTITION OF stops nobody who writes.
PREPARE = """
CREATE FUNCTION audit_trail.prepare(ahead integer) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    first timestamp;
    part text;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('audit_trail.prepare', 0));
    FOR step IN 0..ahead LOOP
        first := date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => step);
        part := 'audit_' || to_char(first, 'YYYY_MM');
        CONTINUE WHEN to_regclass('audit_trail.' || part) IS NOT NULL;
        EXECUTE format('CREATE TABLE audit_trail.%I (LIKE public.audit INCLUDING DEFAULTS)', part);
        EXECUTE format('ALTER TABLE audit_trail.%I ENABLE ROW LEVEL SECURITY', part);
        EXECUTE format(
            'CREATE TRIGGER refuse BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_trail.%I '
            'FOR EACH STATEMENT EXECUTE FUNCTION audit_trail.refuse()', part);
        EXECUTE format(
            'ALTER TABLE public.audit ATTACH PARTITION audit_trail.%I FOR VALUES FROM (%L) TO (%L)',
            part, first AT TIME ZONE 'UTC', (first + interval '1 month') AT TIME ZONE 'UTC');
        made := made + 1;
    END LOOP;
    RETURN made;
END $$
"""

# Only a whole month, only seven years after its end, and only when a checkpoint says how it ended for each tenant.
RETIRE = """
CREATE FUNCTION audit_trail.retire(month date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part text := 'audit_' || to_char(month, 'YYYY_MM');
    unmarked integer;
BEGIN
    IF date_trunc('month', month::timestamp) + interval '7 years 1 month' > now() AT TIME ZONE 'UTC' THEN
        RAISE EXCEPTION 'audit entries are kept for seven years' USING ERRCODE = '42501';
    END IF;
    EXECUTE format(
        'SELECT count(*) FROM (SELECT DISTINCT ON (tenant_id) tenant_id, seq, hash FROM audit_trail.%I '
        'ORDER BY tenant_id, seq DESC) AS last WHERE NOT EXISTS (SELECT FROM audit_trail.anchors AS c '
        'WHERE c.kind = ''checkpoint'' AND c.tenant_id = last.tenant_id AND c.seq = last.seq AND c.hash = last.hash)',
        part) INTO unmarked;
    IF unmarked > 0 THEN
        RAISE EXCEPTION 'a month of the audit trail goes only after a checkpoint' USING ERRCODE = '42501';
    END IF;
    EXECUTE format('ALTER TABLE public.audit DETACH PARTITION audit_trail.%I', part);
    EXECUTE format('DROP TABLE audit_trail.%I', part);
END $$
"""

FUNCTIONS = {
    "framed(text[])": FRAMED,
    "chain()": CHAIN,
    "refuse()": REFUSE,
    "prepare(integer)": PREPARE,
    "retire(date)": RETIRE,
}


def upgrade() -> None:
    """Make the trail and what it keeps of itself, and hand both to their owner."""
    op.drop_table("audit")
    op.execute(MAKE_ROLE)
    op.execute(JOIN)
    _make_trail()
    _make_subjects()
    op.execute("CREATE SCHEMA audit_trail")
    op.execute(f"GRANT USAGE ON SCHEMA audit_trail TO {ACTING}")
    op.execute(
        "CREATE TABLE audit_trail.heads (tenant_id text PRIMARY KEY, seq bigint NOT NULL, hash bytea NOT NULL) "
        "WITH (fillfactor = 50)"
    )
    op.execute(
        "CREATE TABLE audit_trail.anchors (tenant_id text NOT NULL, seq bigint NOT NULL, hash bytea NOT NULL, "
        "at timestamptz NOT NULL, kind text NOT NULL CHECK (kind IN ('anchor', 'checkpoint')), key_id text NOT NULL, "
        "signature bytea NOT NULL, PRIMARY KEY (tenant_id, seq, kind))"
    )
    op.execute("GRANT SELECT ON audit_trail.heads, audit_trail.anchors TO agentos_system")
    op.execute("GRANT INSERT ON audit_trail.anchors TO agentos_system")
    for signature, text in FUNCTIONS.items():
        op.execute(text)
        op.execute(f"REVOKE EXECUTE ON FUNCTION audit_trail.{signature} FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION audit_trail.prepare(integer), audit_trail.retire(date) TO agentos_system")
    op.execute("CREATE TRIGGER chain BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION audit_trail.chain()")
    for table in ("audit", "audit_trail.anchors"):
        op.execute(
            f"CREATE TRIGGER refuse BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION audit_trail.refuse()"
        )
    _hand_over()
    op.execute(f"SELECT audit_trail.prepare({MONTHS_AHEAD})")
    op.execute(LEAVE)


def downgrade() -> None:
    """Take it back, with every entry in it; the role belongs to the whole cluster and stays."""
    op.execute(JOIN)
    op.execute("DROP TABLE audit")
    op.execute("DROP SCHEMA audit_trail CASCADE")
    op.drop_table("pii_subjects")
    op.execute(LEAVE)
    op.create_table(
        "audit",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=True),
        sa.Column("details", pg.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="audit_tenant_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="audit_pkey"),
    )
    op.create_index("audit_tenant_id_created_at_idx", "audit", ["tenant_id", "created_at", "id"])
    _wall("audit", "SELECT, INSERT", "SELECT, INSERT")


def _make_trail() -> None:
    op.create_table(
        "audit",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("role", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("trace_id", sa.Text(), nullable=True),
        sa.Column("key_hash", sa.LargeBinary(), nullable=True),
        sa.Column("details", pg.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("result", pg.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("commitment", sa.LargeBinary(), nullable=True),
        sa.Column("previous", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "seq", "at", name="audit_pkey"),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_index("audit_tenant_id_at_idx", "audit", ["tenant_id", "at", "seq"])
    for column in ("actor_id", "action", "target", "trace_id"):
        op.create_index(f"audit_tenant_id_{column}_idx", "audit", ["tenant_id", column, "seq"])
    _wall("audit", "SELECT, INSERT", "SELECT, INSERT")


def _make_subjects() -> None:
    op.create_table(
        "pii_subjects",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("commitment", sa.LargeBinary(), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("handle", sa.LargeBinary(), nullable=True),
        sa.Column("place", sa.LargeBinary(), nullable=True),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("wrapped", sa.LargeBinary(), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="pii_subjects_tenant_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "commitment", name="pii_subjects_pkey"),
        sa.UniqueConstraint("tenant_id", "handle", name="pii_subjects_tenant_id_handle_key"),
    )
    op.create_index("pii_subjects_tenant_id_actor_id_idx", "pii_subjects", ["tenant_id", "actor_id"])
    op.create_index("pii_subjects_tenant_id_place_idx", "pii_subjects", ["tenant_id", "place"])
    _wall("pii_subjects", "SELECT, INSERT", "SELECT, INSERT, UPDATE")


def _wall(table: str, app: str, system: str) -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY tenant ON {table} TO agentos_app USING ({OURS}) WITH CHECK ({OURS})")
    op.execute(f"CREATE POLICY everybody ON {table} TO agentos_system USING (true) WITH CHECK (true)")
    op.execute(f"GRANT {app} ON {table} TO agentos_app")
    op.execute(f"GRANT {system} ON {table} TO agentos_system")


def _hand_over() -> None:
    # To take a table over, the new owner must be able to make one in its schema at that moment.
    op.execute(f"GRANT CREATE ON SCHEMA public TO {OWNER}")
    op.execute(f"GRANT USAGE ON SCHEMA public TO {OWNER}")
    op.execute(f"ALTER TABLE audit OWNER TO {OWNER}")
    op.execute(f"REVOKE CREATE ON SCHEMA public FROM {OWNER}")
    op.execute(f"ALTER SCHEMA audit_trail OWNER TO {OWNER}")
    for table in ("heads", "anchors"):
        op.execute(f"ALTER TABLE audit_trail.{table} OWNER TO {OWNER}")
    for signature in FUNCTIONS:
        op.execute(f"ALTER FUNCTION audit_trail.{signature} OWNER TO {OWNER}")
