"""Backups: made, listed, verified and restored; each is of the whole house, with all of its tenants."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any, Final

from msgspec import Meta

from db import backups, restores
from db.archives import Damaged, Includes
from db.backups import Backup, Backups, NoBackup, Taken
from db.database import DatabaseUnavailable
from db.files import DiskFull
from db.halts import Held
from db.restores import Plan, Unfit
from db.rows import Row
from guards.breakers import Dependency
from guards.errors import BadInput, Conflict, Mismatch, NotFound, Unavailable
from resolvers import snapshots
from resolvers.actions.contract import KEPT, Action, Big, Call, Payload, View, Work, action, operation
from resolvers.context import Context, Services

Filename = Annotated[str, Meta(min_length=1, max_length=120, extra=KEPT)]
TableName = Annotated[str, Meta(pattern=r"^[a-z_]{1,63}$", extra=KEPT)]

ALIASES: Final = {"name": "backup_name"}
NAMED: Final = {"backup": "filename", "backup_name": "filename", "name": "filename"}


class BackupInput(Payload, frozen=True, kw_only=True):
    """What a backup shall have."""

    include_logs: bool = True
    """Log lines and system events."""

    include_job_data: bool = True
    """Uploads, jobs, their steps and clips, and what was counted of them; never the files themselves."""

    include_user_data: bool = False
    """Names, email addresses, password hashes and preferences; users as such are always there, sign-ins never."""

    compression: bool = True
    backup_name: Annotated[str, Meta(pattern=backups.NAME, max_length=100, extra=KEPT)] | None = None
    """What the file is called, without `.tar` or `.tar.gz`; left out, it is named by the time."""


class BackedUp(Row, frozen=True, kw_only=True):
    """A backup that is on the disk."""

    filename: str
    path: str
    """In the data directory."""

    size: Big
    created_at: datetime
    """The moment that it shows."""

    records_count: Big
    tables: list[str]
    sha256: str
    """Of the file."""

    files_referred: Big
    """How many files its rows name; they are not in it."""


async def _require_free(context: Context, asked: BackupInput) -> None:
    """Make sure that the name is not taken."""
    if asked.backup_name is not None:
        file = backups.filename(asked.backup_name, compressed=asked.compression)
        try:
            folder_of(context.services).place(file)
        except NoBackup:
            return
        raise Conflict(f"there is a backup {file} already: choose another name")


@operation(
    "database.create_backup",
    View.SYSTEM_CONTROLS,
    per_minute=5,
    depends_on=Dependency.FILES,
    prepare=_require_free,
    aliases=ALIASES,
)
async def database_create_backup(work: Work, asked: BackupInput) -> BackedUp:
    """Write all tenants as they are at one moment into a file that can be verified and restored.

    The files of uploads and clips are not in it, nor are the audit trail, sign-ins and what is of the moment only.

    Raises:
        Conflict: there is a backup of that name.
        Unavailable: the disk is full.
    """
    return await _backed_up(work, asked)


@operation(
    "system.backup",
    View.EXTRA,
    per_minute=5,
    depends_on=Dependency.FILES,
    prepare=_require_free,
    aliases=ALIASES,
)
async def system_backup(work: Work, asked: BackupInput) -> BackedUp:
    """Do the same as `database.create_backup`, under the name that the permission has in the specification.

    Raises:
        Conflict: there is a backup of that name.
        Unavailable: the disk is full.
    """
    return await _backed_up(work, asked)


async def _backed_up(work: Work, asked: BackupInput) -> BackedUp:
    includes = Includes(logs=asked.include_logs, job_data=asked.include_job_data, user_data=asked.include_user_data)
    name = asked.backup_name or backups.new_name()
    with refusing():
        made = await folder_of(work.services).create(
            work.services.database, name, includes, compressed=asked.compression, progress=work.report
        )
    files = made.manifest.files
    return BackedUp(
        filename=made.filename,
        path=path_of(made),
        size=made.size_bytes,
        created_at=made.created_at,
        records_count=made.manifest.rows,
        tables=[table.name for table in made.manifest.tables],
        sha256=made.sha256,
        files_referred=files.uploads + files.clips + files.artifacts,
    )


class DatabaseListBackupsInput(Payload, frozen=True, kw_only=True):
    """How many."""

    limit: Annotated[int, Meta(ge=1, le=200)] = 50


class BackupOnDisk(Row, frozen=True, kw_only=True):
    """One backup."""

    filename: str
    size: Big
    created_at: datetime
    path: str
    """In the data directory."""

    sha256: str
    verified: bool | None
    """How it was found when it was last verified; null when it never was."""

    records_count: Big


class BackupsListed(Row, frozen=True, kw_only=True):
    """What is there, the newest first."""

    backups: list[BackupOnDisk]


async def _newest(context: Context, asked: DatabaseListBackupsInput) -> list[Backup]:
    return await folder_of(context.services).listed(most=asked.limit)


@action("database.list_backups", View.SYSTEM_CONTROLS, natural=True, depends_on=Dependency.FILES, prepare=_newest)
async def database_list_backups(call: Call[BackupsListed], asked: DatabaseListBackupsInput) -> BackupsListed:
    """Show the backups that are on the disk, the newest first."""
    found: list[Backup] = call.prepared
    return BackupsListed(
        backups=[
            BackupOnDisk(
                filename=backup.filename,
                size=backup.size_bytes,
                created_at=backup.created_at,
                path=path_of(backup),
                sha256=backup.sha256,
                verified=backup.verified,
                records_count=backup.manifest.rows,
            )
            for backup in found
        ]
    )


class DatabaseVerifyBackupInput(Payload, frozen=True, kw_only=True):
    """Which backup."""

    filename: Filename


class BackupVerified(Row, frozen=True, kw_only=True):
    """How a backup was found."""

    filename: str
    ok: bool
    """Whether it is as it was written, byte for byte, and could be restored."""

    sha256_match: bool
    records_count: Big
    """0 when it cannot be read."""

    tables: list[str]
    problems: list[str]


async def _require_there(context: Context, asked: DatabaseVerifyBackupInput) -> None:
    with refusing():
        folder_of(context.services).place(asked.filename)


@operation(
    "database.verify_backup",
    View.SYSTEM_CONTROLS,
    per_minute=10,
    depends_on=Dependency.FILES,
    target="filename",
    prepare=_require_there,
    aliases=NAMED,
)
async def database_verify_backup(work: Work, asked: DatabaseVerifyBackupInput) -> BackupVerified:
    """Read a backup to its end: hash it again, count its rows, and hold both against what was written.

    Raises:
        NotFound: there is no such backup.
    """
    with refusing():
        verified = await backups.verify(folder_of(work.services).place(asked.filename))
    manifest = verified.manifest
    return BackupVerified(
        filename=asked.filename,
        ok=not verified.problems,
        sha256_match=verified.sha256_match,
        records_count=manifest.rows if manifest else 0,
        tables=[table.name for table in manifest.tables] if manifest else [],
        problems=verified.problems,
    )


class DatabaseRestoreBackupInput(Payload, frozen=True, kw_only=True):
    """Which backup, and whether it is meant."""

    filename: Filename
    tables: list[TableName] | None = None
    """Only these of its tables; all that refer to one of them must be among them."""

    dry_run: bool = True
    """Verify it and say what would be restored, without changing anything."""

    confirm: str | None = None
    """The name of the file once more, unless it is a dry run."""


class BackupRestored(Row, frozen=True, kw_only=True):
    """What was restored, or would be."""

    dry_run: bool
    restored_tables: list[str]
    records_restored: Big
    """In a dry run, how many would be."""

    pre_backup: str | None
    """The backup of what was there before; null in a dry run."""

    backup_created_at: datetime
    """The moment that the house is back at."""


async def _require_meant(context: Context, asked: DatabaseRestoreBackupInput) -> None:
    with refusing():
        folder_of(context.services).place(asked.filename)
    if not asked.dry_run and asked.confirm != asked.filename:
        raise BadInput("confirm: repeat the name of the file, for what is there now will be replaced")


@operation(
    "database.restore_backup",
    View.SYSTEM_CONTROLS,
    per_minute=5,
    destructive=True,
    depends_on=Dependency.FILES,
    target="filename",
    prepare=_require_meant,
    aliases=NAMED,
)
async def database_restore_backup(work: Work, asked: DatabaseRestoreBackupInput) -> BackupRestored:
    """Bring all tenants back to the moment of a backup, in one transaction, after backing up what is there.

    The queues stand still meanwhile. Jobs that ran when the backup was made wait to be begun again; who holds one now
    holds it no longer. The audit trail, sign-ins, pauses and processes stay as they are.

    Raises:
        NotFound: there is no such backup.
        BadInput: it was not confirmed.
        Mismatch: the backup is not as it was written.
        Conflict: it does not fit the database as it is.
        Unavailable: the disk is full, or the database went away; nothing was changed.
    """
    database, folder = work.services.database, folder_of(work.services)
    with refusing():
        place = folder.place(asked.filename)
        planned = await restores.plan(database, place, only=asked.tables)
        if asked.dry_run:
            return _restored(planned, None)
        before = await restores.carry_out(database, folder, place, planned, progress=work.report)
    await snapshots.collected_anew(work.services, work.caller.tenant)
    return _restored(planned, before)


def _restored(planned: Plan, before: Backup | None) -> BackupRestored:
    return BackupRestored(
        dry_run=before is None,
        restored_tables=planned.tables,
        records_restored=planned.rows,
        pre_backup=before.filename if before else None,
        backup_created_at=planned.manifest.created_at,
    )


def folder_of(services: Services) -> Backups:
    """The backups of this installation."""
    return Backups.beside(services.files.root)


@contextmanager
def refusing() -> Iterator[None]:
    """Say in the words of refusals what went wrong with a backup."""
    try:
        yield
    except NoBackup as error:
        raise NotFound(str(error)) from error
    except (Taken, Unfit, Held) as error:
        raise Conflict(str(error)) from error
    except Damaged as error:
        raise Mismatch(f"the backup is not as it was written: {error}") from error
    except DiskFull as error:
        raise Unavailable("the disk is full: nothing was changed") from error
    except DatabaseUnavailable as error:
        raise Unavailable("the database does not answer: nothing was changed", retry_after=5) from error


def path_of(backup: Backup) -> str:
    """Where a backup lies, in the data directory."""
    return f"backups/{backup.filename}"


ACTIONS: Final[tuple[Action[Any, Any], ...]] = (
    database_create_backup,
    database_list_backups,
    database_verify_backup,
    database_restore_backup,
    system_backup,
)
