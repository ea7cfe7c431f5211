"""Files given to the workers: versions of templates, word lists and models, none of which is ever run as a program.

An asset is the file of a completed upload, which it keeps alive; a new version never replaces the bytes of an old one.
"""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from db.database import Transaction
from db.models.control import AssetTarget, worker_assets
from db.rows import Row, Shape
from db.uploads import Upload


class Asset(Row, frozen=True):
    """One version of a file for the workers."""

    id: UUID
    target: AssetTarget
    name: str
    version: int
    """From 1, by target and name."""

    path: str
    """Relative to the folder of all files."""

    sha256: str
    size_bytes: int
    created_at: datetime


ASSET = Shape(Asset, worker_assets)


async def newest(tx: Transaction, target: AssetTarget, name: str) -> Asset | None:
    """The newest version of a file, or None; nobody else adds one until this transaction ends."""
    await tx.hold(f"asset/{target}/{name}")
    c = worker_assets.c
    found = ASSET.select().where(c.target == target, c.name == name).order_by(c.version.desc()).limit(1)
    return await ASSET.first(tx, found)


async def add(tx: Transaction, target: AssetTarget, upload: Upload, *, version: int) -> Asset:
    """Keep a completed upload as a version of a file."""
    statement = sa.insert(worker_assets).values(
        target=target,
        name=upload.filename,
        version=version,
        path=upload.path,
        sha256=upload.sha256,
        size_bytes=upload.size_bytes,
    )
    made = await ASSET.first(tx, statement.returning(*ASSET.columns))
    assert made is not None
    return made
