"""Configuration: versions of how a tenant's system is set, and its agents."""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import Meta

from db import artifacts, configuration
from db.agents import Agent
from db.artifacts import Artifact, NewArtifact
from db.models.work import AgentCategory, AgentPriority
from db.rows import Row
from guards.breakers import Dependency
from guards.errors import BadInput
from resolvers import agents, own_agents, reports, settings
from resolvers.actions.contract import KEPT, Action, AgentId, Big, Call, Payload, View, action
from resolvers.context import Context
from resolvers.settings import Backup, SettingChange

RESET: Final = "RESET CONFIGURATION"


class ConfigSaveInput(Payload, frozen=True, kw_only=True):
    """What to set."""

    values: Annotated[dict[str, Any], Meta(min_length=1, max_length=100)]
    """Settings by their names; null puts the default back."""

    expected_version: Annotated[int, Meta(ge=0)] | None = None
    """The version that was read before, 0 for none at all; refused when another is in force."""

    reason: Annotated[str, Meta(max_length=500)] = ""


class ConfigSaved(Row, frozen=True, kw_only=True):
    """What was changed."""

    version: int
    """In force now; the one of before when nothing was to be changed."""

    changed: list[SettingChange]
    requires_restart: list[str]
    """Settings of these that are obeyed only by processes started from now on."""


@action("config.save", View.CONFIGURATION, aliases={"config": "values", "settings": "values"})
async def config_save(call: Call[ConfigSaved], asked: ConfigSaveInput) -> ConfigSaved:
    """Put settings in force, all of them or none, as the next version; running processes obey within seconds.

    Raises:
        BadInput: a setting there is not, or one that cannot have its value.
        Conflict: another version is in force than was expected.
        Forbidden: a setting concerns the whole installation.
    """
    saved = await settings.saved(
        call.context, call.tx, asked.values, reason=_plain(asked.reason), expected=asked.expected_version
    )
    return ConfigSaved(
        version=saved.version, changed=saved.changes, requires_restart=settings.restart_needed(saved.changes)
    )


class ConfigResetDefaultsInput(Payload, frozen=True, kw_only=True):
    """Which settings to put back."""

    keys: Annotated[list[Annotated[str, Meta(max_length=60)]], Meta(min_length=1, max_length=100)] | None = None
    """Left out, all that are set."""

    confirm: Annotated[str, Meta(pattern=f"^{RESET}$")]
    """`RESET CONFIGURATION`"""


class ConfigReset(Row, frozen=True, kw_only=True):
    """What was put back."""

    version: int
    reset: list[str]
    requires_restart: list[str]


@action("config.reset_defaults", View.CONFIGURATION, per_minute=10, destructive=True)
async def config_reset_defaults(call: Call[ConfigReset], asked: ConfigResetDefaultsInput) -> ConfigReset:
    """Put settings back to their defaults, as the next version; the versions of before stay on record.

    Raises:
        BadInput: one of the keys is no setting.
        Forbidden: a setting concerns the whole installation.
    """
    present = await configuration.held(call.tx)
    wanted = settings.resettable(call.context, present, asked.keys)
    saved = await settings.put(call.context, call.tx, wanted, reason="back to the defaults")
    return ConfigReset(
        version=saved.version,
        reset=[change.name for change in saved.changes],
        requires_restart=settings.restart_needed(saved.changes),
    )


class ConfigBackupInput(Payload, frozen=True, kw_only=True):
    """What to call it."""

    name: Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,59}$")] | None = None


class ConfigBackedUp(Row, frozen=True, kw_only=True):
    """The backup."""

    backup_id: UUID
    filename: str
    version: int
    """Of the configuration that is in it; 0 when nothing was ever set."""

    size: Big
    sha256: str


class _Packed(Row, frozen=True, kw_only=True):
    put: NewArtifact
    version: int


async def _packed(context: Context, asked: ConfigBackupInput) -> _Packed:
    async with context.services.database.transaction(context.caller.tenant) as tx:
        present = await configuration.in_force(tx)
    version = present.version if present else 0
    name = f"configuration-{version}{f'-{asked.name}' if asked.name else ''}.json"
    return _Packed(put=await reports.put(context, name, settings.BACKUP, settings.packed(present)), version=version)


@action("config.backup", View.CONFIGURATION, depends_on=Dependency.FILES, prepare=_packed)
async def config_backup(call: Call[ConfigBackedUp], asked: ConfigBackupInput) -> ConfigBackedUp:
    """Keep the settings that are in force in a file, from which config.restore brings them back.

    Raises:
        Unavailable: the disk is full.
    """
    packed: _Packed = call.prepared
    made = await artifacts.keep(call.tx, packed.put)
    return ConfigBackedUp(
        backup_id=made.id,
        filename=made.name,
        version=packed.version,
        size=made.size_bytes,
        sha256=made.sha256,
    )


class ConfigRestoreInput(Payload, frozen=True, kw_only=True):
    """Which backup to go back to."""

    backup_id: UUID
    dry_run: bool = False
    """Only say what would be changed."""


class ConfigRestored(Row, frozen=True, kw_only=True):
    """What was changed."""

    version: int
    """In force now; a version of its own when anything was changed."""

    diff: list[SettingChange]
    dry_run: bool
    requires_restart: list[str]


async def _backup(context: Context, asked: ConfigRestoreInput) -> Backup:
    return (await settings.backup_of(context, asked.backup_id))[1]


@action("config.restore", View.CONFIGURATION, per_minute=10, destructive=True, target="backup_id", prepare=_backup)
async def config_restore(call: Call[ConfigRestored], asked: ConfigRestoreInput) -> ConfigRestored:
    """Put the settings of a backup in force, as the next version; what was not set in it has its default again.

    Raises:
        NotFound: there is no such backup.
        Unavailable: its file cannot be read.
    """
    backup: Backup = call.prepared
    present = await configuration.held(call.tx)
    wanted = settings.restorable(call.context, present, backup)
    if asked.dry_run:
        changes, version = settings.differences(present, wanted), present.version if present else 0
    else:
        reason = f"back to version {backup.version}"
        saved = await settings.put(call.context, call.tx, wanted, reason=reason)
        changes, version = saved.changes, saved.version
    return ConfigRestored(
        version=version, diff=changes, dry_run=asked.dry_run, requires_restart=settings.restart_needed(changes)
    )


class ConfigDownloadBackupInput(Payload, frozen=True, kw_only=True):
    """Which backup."""

    backup_id: UUID | None = None
    """Left out, the newest."""


class ConfigBackupDownload(Row, frozen=True, kw_only=True):
    """A backup as it may leave the house."""

    backup_id: UUID
    filename: str
    content: str
    """JSON; what is named like a secret is hidden."""

    sha256: str
    """Of the content."""

    made_at: datetime


async def _found(context: Context, asked: ConfigDownloadBackupInput) -> tuple[Artifact, Backup]:
    return await settings.backup_of(context, asked.backup_id)


@action("config.download_backup", View.CONFIGURATION, natural=True, target="backup_id", prepare=_found)
async def config_download_backup(
    call: Call[ConfigBackupDownload], asked: ConfigDownloadBackupInput
) -> ConfigBackupDownload:
    """A backup of the configuration, with secrets hidden.

    Raises:
        NotFound: there is no such backup, or none at all.
        Unavailable: its file cannot be read.
    """
    artifact: Artifact
    backup: Backup
    artifact, backup = call.prepared
    content = settings.masked(backup)
    return ConfigBackupDownload(
        backup_id=artifact.id,
        filename=artifact.name,
        content=content.decode(),
        sha256=reports.sha256(content),
        made_at=backup.made_at,
    )


class ConfigAddAgentInput(Payload, frozen=True, kw_only=True):
    """What the agent is to be."""

    id: Annotated[str, Meta(pattern="^[a-z][a-z0-9-]{1,49}$", extra=KEPT)]
    display_name: Annotated[str, Meta(min_length=1, max_length=80)]
    """Plain text."""

    base_agent: AgentId
    """The built-in agent that does the work."""

    category: AgentCategory | None = None
    """Left out, that of the built-in agent."""

    config: dict[str, Any] | None = None
    """Its own options."""


class ConfigAgentAdded(Row, frozen=True, kw_only=True):
    """The agent, ready for the chains of new jobs."""

    agent: Agent
    total_agents: int


@action("config.add_agent", View.CONFIGURATION, target="id", aliases={"agent_id": "id", "name": "display_name"})
async def config_add_agent(call: Call[ConfigAgentAdded], asked: ConfigAddAgentInput) -> ConfigAgentAdded:
    """Have a built-in agent under another name, with options of its own.

    Raises:
        BadInput: the base is no built-in agent, the name is not plain text, or the options are too large.
        Conflict: the id is taken, or there are too many agents.
    """
    agent, total = await own_agents.added(
        call.context,
        call.tx,
        asked.id,
        base=asked.base_agent,
        name=asked.display_name,
        category=asked.category,
        options=asked.config or {},
    )
    return ConfigAgentAdded(agent=agent, total_agents=total)


class ConfigRemoveAgentInput(Payload, frozen=True, kw_only=True):
    """Which agent to remove."""

    agent_id: AgentId


class ConfigAgentRemoved(Row, frozen=True, kw_only=True):
    """The agent that is no more."""

    agent_id: str
    removed: bool


@action("config.remove_agent", View.CONFIGURATION, per_minute=10, destructive=True, target="agent_id")
async def config_remove_agent(call: Call[ConfigAgentRemoved], asked: ConfigRemoveAgentInput) -> ConfigAgentRemoved:
    """Remove an agent that was added; built-in ones can only be switched off.

    Raises:
        NotFound: there is no such agent.
        Conflict: it is built in, or jobs that are not over need it.
    """
    await own_agents.removed(call.context, call.tx, asked.agent_id)
    return ConfigAgentRemoved(agent_id=asked.agent_id, removed=True)


class ResourceLimitsInput(Payload, frozen=True, kw_only=True):
    """What a step of an agent may take."""

    memory_mb: Annotated[int, Meta(ge=64, le=1_048_576)] | None = None
    cpu_cores: Annotated[int, Meta(ge=1, le=256)] | None = None
    disk_mb: Annotated[int, Meta(ge=64, le=104_857_600)] | None = None


class ConfigConfigureAgentInput(Payload, frozen=True, kw_only=True):
    """What to change of an agent; what is left out stays as it is."""

    agent_id: AgentId
    enabled: bool | None = None
    max_concurrent: Annotated[int, Meta(ge=1, le=50)] | None = None
    timeout: Annotated[int, Meta(ge=1, le=3600)] | None = None
    """Seconds that a step may take."""

    retry_attempts: Annotated[int, Meta(ge=0, le=10)] | None = None
    priority: AgentPriority | None = None
    resource_limits: ResourceLimitsInput | None = None


class ConfigAgentConfigured(Row, frozen=True, kw_only=True):
    """The agent as it is configured now."""

    agent: Agent
    version: int
    """Raised by every change of the agent."""


@action("config.configure_agent", View.CONFIGURATION, target="agent_id", aliases={"timeout_s": "timeout"})
async def config_configure_agent(
    call: Call[ConfigAgentConfigured], asked: ConfigConfigureAgentInput
) -> ConfigAgentConfigured:
    """Switch an agent on or off and change how it works, from its next step on.

    Raises:
        NotFound: there is no such agent.
        BadInput: nothing is to be changed.
    """
    limits = msgspec.structs.asdict(asked.resource_limits or ResourceLimitsInput())
    changes = agents.Changes(
        max_concurrent=asked.max_concurrent,
        timeout_s=asked.timeout,
        retry_attempts=asked.retry_attempts,
        priority=asked.priority,
        **limits,
    )
    agent: Agent | None = None
    if asked.enabled is not None:
        agent = await agents.switched(call.context, call.tx, asked.agent_id, enabled=asked.enabled)
    if agent is None or changes != agents.Changes():
        agent = await agents.configure(call.context, call.tx, asked.agent_id, changes)
    return ConfigAgentConfigured(agent=agent, version=agent.revision)


def _plain(text: str) -> str:
    """A text for people, such as the database can take.

    Raises:
        BadInput: it has a character that no stored text has.
    """
    if "\0" in text or text.encode("utf-8", "replace").decode() != text:
        raise BadInput("reason: plain text is taken")
    return text


ACTIONS: Final[tuple[Action[Any, Any], ...]] = (
    config_save,
    config_reset_defaults,
    config_backup,
    config_restore,
    config_download_backup,
    config_add_agent,
    config_remove_agent,
    config_configure_agent,
)
