"""Settings of a tenant: changed as a whole or not at all, in versions that can be gone back to."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from dataloaders.snapshot.agents_workers import shown
from db import agents, artifacts, configuration, tunables
from db.artifacts import Artifact
from db.configuration import Configuration
from db.database import Transaction
from db.rows import Row
from db.tunables import BadSetting, Tunable
from guards.errors import BadInput, Conflict, Forbidden, NotFound, Unavailable
from guards.permissions import HOUSE_TENANT
from resolvers import snapshots
from resolvers.context import Context
from resolvers.reports import sha256

BACKUP: Final = "application/vnd.agentos.configuration+json"
"""What a backup of the configuration is, among the files that are kept."""

FORMAT: Final = 1


class SettingChange(Row, frozen=True, kw_only=True):
    """One setting, before and after."""

    name: str
    before: Any
    """As JSON; null when its default stood."""

    after: Any
    """As JSON; null when its default stands from now on."""


class Saved(Row, frozen=True, kw_only=True):
    """What a change came to."""

    version: int
    changes: list[SettingChange]


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a backup file."""

    format: int
    version: int
    """Of the configuration that was in force; 0 when nothing was ever set."""

    settings: dict[str, Any]
    made_at: datetime


async def saved(
    context: Context, tx: Transaction, values: Mapping[str, Any], *, reason: str, expected: int | None
) -> Saved:
    """Put values in force; a null puts the default back. Nothing is changed when one of them will not do.

    Raises:
        BadInput: a setting there is not, or one that cannot have its value.
        Conflict: another version is in force than was expected.
        Forbidden: a setting concerns all tenants, and the caller's is not the one of the house.
    """
    present = await configuration.held(tx)
    wanted = _checked(context, values)
    await _require_sense(tx, {**(present.settings if present else {}), **wanted})
    return await put(context, tx, wanted, reason=reason, expected=expected)


async def put(
    context: Context, tx: Transaction, wanted: Mapping[str, Any], *, reason: str, expected: int | None = None
) -> Saved:
    """Put checked values in force; what is so already makes no version.

    Raises:
        Conflict: another version is in force than was expected.
    """
    present = await configuration.held(tx)
    version = present.version if present else 0
    if expected is not None and expected != version:
        raise Conflict(f"version {version} is in force: read it, and save with expected_version {version}")
    changes = differences(present, wanted)
    if changes:
        settings = {change.name: change.after for change in changes}
        changed = await configuration.change(tx, settings, reason=reason, changed_by=context.caller.user_id)
        version = changed.version
        snapshots.changed(context, tx)
    return Saved(version=version, changes=changes)


def differences(present: Configuration | None, wanted: Mapping[str, Any]) -> list[SettingChange]:
    """What would be another value than now."""
    settings = present.settings if present else {}
    return [
        SettingChange(name=name, before=settings.get(name), after=value)
        for name, value in sorted(wanted.items())
        if settings.get(name) != value
    ]


def resettable(context: Context, present: Configuration | None, names: list[str] | None) -> dict[str, None]:
    """The settings that a reset to the defaults takes away: those that are named, or all that the caller may set.

    Raises:
        BadInput: one of the names is none.
        Forbidden: one that is named concerns all tenants, and the caller's is not the one of the house.
    """
    if names is not None:
        return dict.fromkeys(_checked(context, dict.fromkeys(names)))
    settings = present.settings if present else {}
    return {each.name: None for each in tunables.TUNABLES if each.name in settings and _may(context, each)}


def restart_needed(changes: list[SettingChange]) -> list[str]:
    """Which of the changes are obeyed only by processes that are started from now on."""
    return [change.name for change in changes if not tunables.named(change.name).reloads]


def packed(present: Configuration | None) -> bytes:
    """The settings that can be set here, as a backup keeps them."""
    settings = present.settings if present else {}
    backup = Backup(
        format=FORMAT,
        version=present.version if present else 0,
        settings={each.name: settings[each.name] for each in tunables.TUNABLES if each.name in settings},
        made_at=datetime.now(UTC),
    )
    return msgspec.json.format(msgspec.json.encode(backup, order="deterministic"), indent=2) + b"\n"


def masked(backup: Backup) -> bytes:
    """A backup as it may leave the house: whatever is named like a secret is hidden."""
    hidden = msgspec.structs.replace(backup, settings=shown(backup.settings))
    return msgspec.json.format(msgspec.json.encode(hidden, order="deterministic"), indent=2) + b"\n"


async def backup_of(context: Context, backup_id: UUID | None) -> tuple[Artifact, Backup]:
    """A backup and what is in it; the newest when none is named.

    Raises:
        NotFound: there is no such backup, or none at all.
        Unavailable: its file is not there, or not as it was written.
    """
    async with context.services.database.transaction(context.caller.tenant) as tx:
        found = await artifacts.newest_of(tx, BACKUP, artifact_id=backup_id)
    if found is None:
        raise NotFound("there is no backup yet" if backup_id is None else f"there is no backup {backup_id}")
    try:
        content = await asyncio.to_thread(context.services.files.resolve(found.path).read_bytes)
    except OSError as error:
        raise Unavailable(f"the file of backup {found.id} cannot be read: make another one") from error
    if sha256(content) != found.sha256:
        raise Unavailable(f"the file of backup {found.id} is not as it was written: make another one")
    return found, msgspec.json.decode(content, type=Backup)


def restorable(context: Context, present: Configuration | None, backup: Backup) -> dict[str, Any]:
    """What going back to a backup sets and takes away; what cannot be set any more is passed over."""
    settings = present.settings if present else {}
    back: dict[str, Any] = {}
    for tunable in tunables.TUNABLES:
        if not _may(context, tunable):
            continue
        if tunable.name in backup.settings:
            try:
                back[tunable.name] = tunables.checked(tunable, backup.settings[tunable.name])
            except BadSetting:
                continue
        elif tunable.name in settings:
            back[tunable.name] = None
    return back


def _checked(context: Context, values: Mapping[str, Any]) -> dict[str, Any]:
    wanted: dict[str, Any] = {}
    for name, value in values.items():
        try:
            tunable = tunables.named(name)
            taken = None if value is None else tunables.checked(tunable, value)
        except BadSetting as error:
            raise BadInput(str(error)) from error
        if not _may(context, tunable):
            raise Forbidden(
                f"{tunable.name} concerns the whole installation: only the tenant {HOUSE_TENANT} may set it"
            )
        if tunable.name in wanted:
            raise BadInput(f"{tunable.name}: is named twice, once as {name}")
        wanted[tunable.name] = taken
    return wanted


def _may(context: Context, tunable: Tunable) -> bool:
    return not tunable.of_the_house or context.caller.tenant == HOUSE_TENANT


async def _require_sense(tx: Transaction, settings: Mapping[str, Any]) -> None:
    """Make sure that the settings go together, and name what there is."""
    least, most = (settings.get(each.name) for each in (tunables.DEFAULT_MIN_SECONDS, tunables.DEFAULT_MAX_SECONDS))
    if least is not None and most is not None and least > most:
        raise BadInput(f"default_min_seconds: {least:g} is more than default_max_seconds, {most:g}")
    chain = settings.get(tunables.DEFAULT_CHAIN.name) or []
    known = {agent.id for agent in await agents.by_ids(tx, chain)}
    if unknown := [agent_id for agent_id in chain if agent_id not in known]:
        raise BadInput(f"default_chain: there is no agent {', '.join(unknown)}")
