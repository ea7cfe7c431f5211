"""What one process has for all of its calls, made from the settings and given back at the end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from uuid import uuid4

from agentos import VERSION
from agentos.keys import key_ring, link_secret, seals_of
from agentos.settings import Settings
from dataloaders.snapshot import About, Snapshots
from db import bells
from db.database import Database
from db.files import MB, Files
from db.redis import REDIS_AWAY, connect
from guards.anchors import Anchors
from guards.audit import Audit
from guards.breakers import Breakers
from guards.chain import Chain
from guards.links import Links
from guards.lockouts import Lockouts
from guards.rates import Rates
from guards.replays import Replays
from guards.sessions import Sessions
from guards.tokens import Tokens
from resolvers.context import Services
from resolvers.live import Hub
from resolvers.operations import Operations
from resolvers.traffic import Recorder
from resolvers.uploads import LARGEST_FILE
from workers.doorbell import Doorbell


class NoStores(ValueError):
    """A process of AgentOS was started without being told where its stores are."""


@asynccontextmanager
async def opened(settings: Settings, *, pool_size: int = 10, application: str = "agentos") -> AsyncIterator[Services]:
    """The services of a process; no connection is made before the first call.

    Args:
        pool_size: most connections to PostgreSQL at once.
        application: how they are named in `pg_stat_activity`.

    Raises:
        NoStores: the settings name no database or no Redis.
        ValueError: the signing keys cannot be read.
    """
    if settings.database_url is None or settings.redis_url is None:
        raise NoStores("AGENTOS_DATABASE_URL and AGENTOS_REDIS_URL are needed; `agentos up` brings stores of its own")
    ring = key_ring(settings)
    tokens = Tokens(ring, issuer=settings.jwt_issuer)
    database = Database.connect(settings.database_url, size=pool_size, application=application)
    redis = connect(settings.redis_url)
    database.bell = bells.of_events(redis)
    rates = Rates(redis, database, replicas=settings.replicas)
    snapshots = Snapshots(database, redis, about(settings))
    breakers = Breakers(database)
    audit = Audit(database, seals_of(settings))
    try:
        yield Services(
            database=database,
            redis=redis,
            tokens=tokens,
            sessions=Sessions(database, tokens, audit),
            snapshots=snapshots,
            files=Files(settings.files_dir, quota_bytes=settings.upload_quota_mb * MB),
            links=Links(link_secret(ring), settings.base_url),
            hub=Hub(database, redis),
            doorbell=Doorbell(redis),
            breakers=breakers,
            chain=Chain(database, Replays(), audit, breakers),
            operations=Operations(database, audit),
            rates=rates,
            lockouts=Lockouts(database),
            traffic=Recorder(database, uuid4()),
            media_root=settings.media_root,
            admin_allow=settings.admin_allow,
            action_allow=settings.action_allow,
        )
    finally:
        await snapshots.close()
        await rates.close()
        # On a machine that is busy, hanging up takes longer than a client waits for it; the process goes all the same.
        with suppress(*REDIS_AWAY):
            await redis.aclose()
        await database.close()


def anchors_of(settings: Settings, database: Database) -> Anchors:
    """Where the audit trail is anchored outside of the database.

    Raises:
        ValueError: the keys cannot be read.
    """
    return Anchors(database, seals_of(settings), settings.audit_dir / "anchors.ndjson")


def about(settings: Settings) -> About:
    """What the snapshot shows of this installation."""
    return About(
        version=VERSION,
        started_at=settings.started_at or datetime.now(UTC),
        data_dir=settings.data_dir.resolve(),
        host=settings.host,
        port=settings.port,
        ws_port=settings.ws_port,
        workers=settings.workers,
        worker_concurrency=settings.worker_concurrency,
        log_level=settings.log_level,
        log_format=settings.log_format,
        largest_file_mb=LARGEST_FILE // MB,
        cors_enabled=bool(settings.cors_origins),
    )
