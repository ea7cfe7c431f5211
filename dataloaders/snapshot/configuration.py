"""How the system is set. Addresses without users and passwords; no key and no token is ever in it."""

from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from dataloaders.snapshot.about import About
from dataloaders.snapshot.agents_workers import AgentSettings, shown
from dataloaders.snapshot.sources import Frame, Sources
from dataloaders.snapshot.work import QUEUES
from db import agents, configuration, health, house, queues, tunables
from db.agents import Agent
from db.configuration import Configuration as Version
from db.health import Address, Pool
from db.models.identity import DEFAULT_TENANT
from db.queues import QueueState


class DatabaseSetting(msgspec.Struct, frozen=True, kw_only=True):
    """PostgreSQL."""

    type: str = "postgresql"
    host: str | None
    """None for a socket in the file system."""

    port: int | None
    name: str | None
    connection_pool_size: int
    max_overflow: int


class ApiSetting(msgspec.Struct, frozen=True, kw_only=True):
    """The API."""

    host: str
    port: int
    workers: int | None
    timeout: int | None
    keepalive: int | None


class QueueingSetting(msgspec.Struct, frozen=True, kw_only=True):
    """What older clients know as Celery; arq carries doorbells here and no results."""

    broker_url: str | None
    """`redis` or `unix`, the kind of address; the rest is not shown."""

    result_backend: str | None = None
    task_serializer: str = "msgpack"
    result_serializer: str = "msgpack"
    timezone: str = "UTC"


class RedisSetting(msgspec.Struct, frozen=True, kw_only=True):
    """Redis or Valkey."""

    host: str | None
    port: int | None
    db: int | None
    decode_responses: bool = False


class WebSocketSetting(msgspec.Struct, frozen=True, kw_only=True):
    """The legacy WebSocket."""

    host: str
    port: int
    max_connections: int | None = None
    ping_interval: int | None = None
    ping_timeout: int | None = None


class LoggingSetting(msgspec.Struct, frozen=True, kw_only=True):
    """Logs of the processes; they go to standard error and are not rotated here."""

    level: str | None
    format: str | None
    file_rotation: bool = False
    max_file_size: str | None = None
    backup_count: int | None = None


class StorageSetting(msgspec.Struct, frozen=True, kw_only=True):
    """Where files lie."""

    input_directory: str
    output_directory: str
    temp_directory: str
    max_file_size_mb: int | None
    """MB one uploaded file may have."""

    allowed_extensions: list[str] | None = None


class AiSetting(msgspec.Struct, frozen=True, kw_only=True):
    """No outside service is called, so there are no keys."""

    use_mock_ai: bool = False
    openai_api_key: str | None = None
    anthropic_api_key: str | None = None
    google_api_key: str | None = None


class SystemSetting(msgspec.Struct, frozen=True, kw_only=True):
    """The system as a whole."""

    version: str
    environment: str | None
    debug_mode: bool
    maintenance_mode: bool
    max_concurrent_jobs: int | None
    job_timeout_seconds: int | None


class SystemConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """How every part is set."""

    database: DatabaseSetting
    api: ApiSetting
    celery: QueueingSetting
    redis: RedisSetting
    websocket: WebSocketSetting
    logging: LoggingSetting
    storage: StorageSetting
    ai: AiSetting
    system: SystemSetting
    generated_at: datetime


class QueueConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """The queue."""

    status: str
    """`running`, `paused` or `refusing`."""

    queues: tuple[str, ...] = QUEUES


class FlatConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """The same where an older view looks for it; null where nothing is set."""

    system_name: str
    environment: str | None
    debug_mode: bool
    max_concurrent_jobs: int | None
    job_timeout: int | None
    memory_limit: int | None
    input_path: str
    output_path: str
    temp_path: str
    max_file_size: int | None
    disk_warning: int | None
    auto_cleanup: bool
    api_port: int
    admin_port: int | None = None
    """There is none: the console is served what it shows from the API's own port."""

    cors_enabled: bool | None
    api_key_required: bool
    rate_limit: int | None
    ssl_enabled: bool | None


class AgentSwitch(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an agent is on."""

    id: str
    name: str
    enabled: bool


class AgentSwitches(msgspec.Struct, frozen=True, kw_only=True):
    """Which agents are on."""

    agents: list[AgentSwitch]


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """How the system is set."""

    timestamp: datetime
    system_configuration: SystemConfiguration
    agent_configuration: AgentSettings
    queue_configuration: QueueConfiguration
    system_config: FlatConfiguration
    agent_config: AgentSwitches
    version: int
    """Of the settings people have made; 0 when they never made any."""

    settings: dict[str, Any]
    """Those settings; what is named like a secret is hidden."""

    status: str = "success"


async def collect(sources: Sources, frame: Frame) -> Configuration:
    """The configuration, from one transaction."""
    async with sources.database.transaction(frame.tenant) as tx:
        known = await agents.everyone(tx)
        version = await configuration.in_force(tx)
        state = await queues.state(tx)
        maintenance = await house.in_maintenance(tx)
    of_the_house = version if frame.tenant == DEFAULT_TENANT else None
    system = _system(sources, frame.now, version, of_the_house, maintenance=maintenance)
    return Configuration(
        timestamp=frame.now,
        system_configuration=system,
        agent_configuration=AgentSettings.of(known, frame.now),
        queue_configuration=QueueConfiguration(status=_status(state)),
        system_config=_flat(sources.about, system),
        agent_config=_switches(known),
        version=version.version if version else 0,
        settings=shown(version.settings) if version else {},
    )


def _system(
    sources: Sources, now: datetime, version: Version | None, of_the_house: Version | None, *, maintenance: bool
) -> SystemConfiguration:
    about = sources.about
    redis = health.redis_address(sources.redis)
    return SystemConfiguration(
        database=_database(health.database_address(sources.database), sources.pool.figures()),
        api=ApiSetting(host=about.host, port=about.port, workers=about.workers, timeout=None, keepalive=None),
        celery=QueueingSetting(broker_url="redis://" if redis.host else "unix://"),
        redis=RedisSetting(host=redis.host, port=redis.port, db=int(redis.name) if redis.name else None),
        websocket=WebSocketSetting(host=about.host, port=about.ws_port),
        logging=LoggingSetting(level=_log_level(about, of_the_house), format=about.log_format),
        storage=_storage(about, version),
        ai=AiSetting(),
        system=SystemSetting(
            version=about.version,
            environment=about.environment,
            debug_mode=_log_level(about, of_the_house) == "debug",
            maintenance_mode=maintenance,
            max_concurrent_jobs=_places(about),
            job_timeout_seconds=None,
        ),
        generated_at=now,
    )


def _database(address: Address, pool: Pool) -> DatabaseSetting:
    return DatabaseSetting(
        host=address.host,
        port=address.port,
        name=address.name,
        connection_pool_size=pool.size,
        max_overflow=pool.max_overflow,
    )


def _log_level(about: About, house: Version | None) -> str | None:
    found: str | None = tunables.value(house, tunables.LOG_LEVEL)
    return found or about.log_level


def _storage(about: About, version: Version | None) -> StorageSetting:
    # As it was configured: where that is on the disk of a server is nobody's business.
    files = about.data_dir.name / Path("files")
    return StorageSetting(
        input_directory=str(files / "uploads"),
        output_directory=str(files / "clips"),
        temp_directory=str(files / ".work"),
        max_file_size_mb=tunables.value(version, tunables.MAX_UPLOAD_SIZE_MB),
    )


def _flat(about: About, system: SystemConfiguration) -> FlatConfiguration:
    return FlatConfiguration(
        system_name="AgentOS",
        environment=about.environment,
        debug_mode=system.system.debug_mode,
        max_concurrent_jobs=system.system.max_concurrent_jobs,
        job_timeout=None,
        memory_limit=None,
        input_path=system.storage.input_directory,
        output_path=system.storage.output_directory,
        temp_path=system.storage.temp_directory,
        max_file_size=system.storage.max_file_size_mb,
        disk_warning=None,
        auto_cleanup=True,
        api_port=about.port,
        cors_enabled=about.cors_enabled,
        api_key_required=True,
        rate_limit=None,
        ssl_enabled=None,
    )


def _places(about: About) -> int | None:
    if about.workers is None or about.worker_concurrency is None:
        return None
    return about.workers * about.worker_concurrency


def _status(state: QueueState | None) -> str:
    if state is None:
        return "running"
    return "paused" if state.paused else "refusing" if state.refusing else "running"


def _switches(known: list[Agent]) -> AgentSwitches:
    return AgentSwitches(agents=[AgentSwitch(id=agent.id, name=agent.name, enabled=agent.enabled) for agent in known])
