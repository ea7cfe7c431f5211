"""Commands that write the house into a file, and bring it back from one."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from agentos.cli.places import reachable, settings_with
from agentos.cli.printing import AsJson, Failed, say, show_json, warn

if TYPE_CHECKING:
    from agentos.embedded import Addresses
    from agentos.settings import Settings
    from db.backups import Backups, Progress
    from db.database import Database

WHERE: Final = "`python -m agentos backup` writes one; those that are there lie in `backups` in the data directory."


async def backup(
    *,
    out: Path | None = None,
    name: str | None = None,
    logs: bool = True,
    job_data: bool = True,
    user_data: bool = True,
    compression: bool = True,
    as_json: AsJson = False,
) -> None:
    """Write all tenants as they are at one moment into one file, which `restore` brings back.

    The files of uploads and clips are not in it: copy the folder `files` of the data directory beside it. The audit
    trail, sign-ins and what is of the moment only are not in it, either.

    Args:
        out: The file to write; it must not be there. Left out: one in the folder `backups` of the data directory.
        name: What that one is called, without `.tar.gz`; default the time.
        logs: With log lines and system events.
        job_data: With uploads, jobs, their steps and clips.
        user_data: With names, addresses and password hashes of users.
        compression: Compressed.
        as_json: Print JSON.
    """
    import re

    from db import backups
    from db.archives import Includes

    if out is not None and name is not None:
        raise Failed("--out and --name are two ways to say the same", wrong_usage=True)
    if name is not None and not re.fullmatch(backups.NAME, name):
        raise Failed(
            f"{name} cannot be the name of a backup", "Letters, digits, `_`, `.` and `-` are taken.", wrong_usage=True
        )
    if out is not None and not out.absolute().parent.is_dir():
        raise Failed(f"there is no folder {out.absolute().parent}", wrong_usage=True)
    settings = settings_with()
    includes = Includes(logs=logs, job_data=job_data, user_data=user_data)
    async with reachable(settings) as addresses, _pool(addresses) as database:
        with _explained():
            if out is None:
                made = await _folder(settings).create(
                    database,
                    name or backups.new_name(),
                    includes,
                    compressed=compression,
                    progress=_progress(as_json),
                )
            else:
                made = await backups.create(
                    database, out.absolute(), includes, compressed=compression, progress=_progress(as_json)
                )
    manifest = made.manifest
    if as_json:
        show_json(
            {
                "path": made.path,
                "size_bytes": made.size_bytes,
                "sha256": made.sha256,
                "created_at": made.created_at.isoformat(),
                "revision": manifest.revision,
                "records": manifest.rows,
                "tables": {table.name: table.rows for table in manifest.tables},
                "not_included": manifest.not_included,
            }
        )
        return
    say(f"{manifest.rows} rows of {len(manifest.tables)} tables, {made.size_bytes} bytes, SHA-256 {made.sha256}")
    for line in manifest.not_included:
        say(f"not in it: {line}")
    say(made.path)


async def restore(
    file: Path,
    /,
    *,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    yes: Annotated[bool, Parameter(negative="")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring all tenants back to the moment of a backup; what is there now is backed up first, and then replaced.

    It may be done while AgentOS runs: its queues stand still meanwhile. The audit trail, sign-ins, pauses and processes
    stay as they are.

    Args:
        file: A backup: a path, or the name of one in the folder `backups` of the data directory, with its ending or
            without.
        dry_run: Verify it and say what would be restored, without changing anything.
        yes: It is meant; without it nothing is changed.
        as_json: Print JSON.
    """
    from db import restores

    if not (dry_run or yes):
        raise Failed(
            "what is there now would be replaced",
            "Say --yes if that is meant, or --dry-run to see what would be restored.",
            wrong_usage=True,
        )
    settings = settings_with()
    with _explained():
        place = file.absolute() if file.is_file() else _folder(settings).called(str(file))
    async with reachable(settings) as addresses, _pool(addresses) as database:
        with _explained():
            planned = await restores.plan(database, place)
            before = None
            if not dry_run:
                before = await restores.carry_out(
                    database, _folder(settings), place, planned, progress=_progress(as_json)
                )
        if before is not None:
            await _forget_snapshots(addresses)
    manifest = planned.manifest
    if as_json:
        show_json(
            {
                "dry_run": dry_run,
                "created_at": manifest.created_at.isoformat(),
                "revision": manifest.revision,
                "records": planned.rows,
                "tables": planned.tables,
                "pre_backup": before.path if before else None,
            }
        )
        return
    done = "would be restored" if dry_run else "restored"
    say(f"{done}: {planned.rows} rows of {len(planned.tables)} tables, as they were at {manifest.created_at:%FT%TZ}")
    if before is not None:
        say(f"what was there before: {before.path}")


def _folder(settings: "Settings") -> "Backups":
    from db.backups import Backups

    return Backups.beside(settings.files_dir)


@contextmanager
def _explained() -> Iterator[None]:
    from db.archives import Damaged
    from db.backups import NoBackup, Taken
    from db.halts import Held
    from db.restores import Unfit

    try:
        yield
    except NoBackup as error:
        raise Failed(str(error), WHERE, wrong_usage=True) from error
    except Taken as error:
        raise Failed(str(error), "Choose another name.", wrong_usage=True) from error
    except Damaged as error:
        raise Failed(f"that is not a backup as it was written: {error}", "Nothing was changed.") from error
    except (Unfit, Held) as error:
        raise Failed(str(error), "Nothing was changed.") from error


@asynccontextmanager
async def _pool(addresses: "Addresses") -> AsyncIterator["Database"]:
    """A pool over the database, at whatever revision it is."""
    from db.database import Database

    database = Database.connect(addresses.database_url, size=4, application="agentos command")
    try:
        yield database
    finally:
        await database.close()


def _progress(as_json: bool) -> "Progress":
    said = ""

    async def told(share: float, where: str) -> None:
        nonlocal said
        if not as_json and where != said:
            said = where
            say(f"{share:4.0%} {where}")

    return told


async def _forget_snapshots(addresses: "Addresses") -> None:
    """Have every process collect its snapshots again."""
    from db import caches
    from db.redis import REDIS_AWAY, connect

    try:
        async with connect(addresses.redis_url, answer_timeout_s=2) as redis:
            await caches.clear(redis, [caches.Scope.SNAPSHOT])
    except REDIS_AWAY:
        warn("redis does not answer: dashboards may show what was before for up to 15 s")


commands: Final[dict[str, Callable[..., Any]]] = {"backup": backup, "restore": restore}
