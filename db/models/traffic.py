"""Traffic: how the endpoints were used, by the minute, the hour and the day, and what was already written down."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from db.models.columns import count, metadata, moment

traffic = sa.Table(
    "traffic",
    metadata,
    sa.Column("began", sa.DateTime(timezone=True), primary_key=True),
    sa.Column("minutes", sa.SmallInteger(), primary_key=True, autoincrement=False),
    sa.Column("method", sa.Text(), primary_key=True),
    sa.Column("path", sa.Text(), primary_key=True),
    count("succeeded", wide=True),
    count("redirected", wide=True),
    count("refused", wide=True),
    count("failed", wide=True),
    count("legacy", wide=True),
    count("hits", wide=True),
    count("misses", wide=True),
    count("took_us", wide=True),
    sa.Column("buckets", pg.ARRAY(sa.SmallInteger()), nullable=False),
    sa.Column("counts", pg.ARRAY(sa.BigInteger()), nullable=False),
    sa.CheckConstraint("cardinality(buckets) = cardinality(counts)", name="spread"),
)

traffic_marks = sa.Table(
    "traffic_marks",
    metadata,
    sa.Column("method", sa.Text(), primary_key=True),
    sa.Column("path", sa.Text(), primary_key=True),
    moment("first_at", now=True),
    moment("last_at", now=True),
)

traffic_sources = sa.Table(
    "traffic_sources",
    metadata,
    sa.Column("id", sa.Uuid(), primary_key=True),
    count("batch", wide=True),
    moment("changed_at", now=True),
    sa.Index("traffic_sources_changed_at_idx", "changed_at"),
)
