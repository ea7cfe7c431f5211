"""Commands about the audit trail: whether it is still what it was, taking it along, forgetting whom it is about."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cyclopts import App

from agentos.cli.places import database_of, require_tenant, settings_with, user_of
from agentos.cli.printing import AsJson, Failed, say, show_json, shown

if TYPE_CHECKING:
    from db.database import Database
    from guards.exports import Manifest
    from guards.seals import Seals

KEYS: Final = "Is AGENTOS_DATA_DIR the data directory of the server that wrote it, or AGENTOS_AUDIT_KEYS its keys?"
COLUMNS: Final = ("tenant", "entries", "anchors", "seq", "damage", "message")


async def verify(*, tenant: str | None = None, as_json: AsJson = False) -> int:
    """Take every hash of the audit trail anew, hold every anchor against it, and say where it is damaged first.

    Args:
        tenant: Whose; default everybody's.
        as_json: Print JSON.
    """
    from agentos.keys import seals_of
    from agentos.services import anchors_of
    from guards import anchors, trail

    settings = settings_with()
    seals = seals_of(settings)
    async with database_of(settings) as database:
        file = anchors_of(settings, database).file
        try:
            outside = anchors.read(file)
        except ValueError as error:
            raise Failed(str(error), f"What was anchored is in {file}.") from None
        known = {*await _tenants(database), *(each.tenant_id for each in outside)}
        names = [tenant] if tenant else sorted(known)
        verdicts = [await trail.verify(database, seals, name, outside) for name in names]
    rows = [
        (each.tenant, each.entries, each.anchors, *((found.seq, found.damage, found.message) if found else [None] * 3))
        for each in verdicts
        for found in (each.finding,)
    ]
    damaged = sum(each.finding is not None for each in verdicts)
    shown([dict(zip(COLUMNS, row, strict=True)) for row in rows], as_json, COLUMNS, rows)
    if not as_json:
        say(f"{damaged} of {len(rows)} trails are damaged" if damaged else "the audit trail is what it was")
    return int(damaged > 0)


async def export(
    *,
    tenant: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    out: Path | None = None,
    check: Path | None = None,
    as_json: AsJson = False,
) -> None:
    """Write the audit trail as lines of JSON, the last of which says what the others are and is signed.

    Args:
        tenant: Whose; default everybody's.
        since: The first moment, ISO 8601.
        until: The moment before which it ends, ISO 8601.
        out: Where to; default the standard output.
        check: Write nothing; make sure that this file is an export, whole and unchanged.
        as_json: Print what was written or checked as JSON.
    """
    from agentos.keys import seals_of

    settings = settings_with()
    seals = seals_of(settings)
    if check is not None:
        _told(_checked(seals, check), f"{check} is whole and unchanged", as_json)
        return
    async with database_of(settings) as database:
        if tenant is not None:
            async with database.system() as tx:
                await require_tenant(tx, tenant)
        names = [tenant] if tenant else await _tenants(database)
        lines = _exported(database, seals, names, since, until)
        if out is None:
            async for line in lines:
                say(line.decode().rstrip("\n"))
            return
        with out.open("wb") as file:
            async for line in lines:
                file.write(line)
    _told(_checked(seals, out), f"wrote {out}", as_json)


async def erase(
    *, user: str | None = None, address: str | None = None, tenant: str = "default", as_json: AsJson = False
) -> None:
    """Destroy what tells from where a user, or whoever was at an address, called; the trail itself stays whole.

    Args:
        user: Id or email address of a user.
        address: An IP address.
        tenant: Where they belong.
        as_json: Print JSON.
    """
    from uuid import UUID, uuid4

    from agentos.keys import seals_of
    from guards.audit import Audit

    if (user is None) == (address is None):
        raise Failed("say whom: --user or --address", wrong_usage=True)
    settings = settings_with()
    async with database_of(settings) as database:
        async with database.system() as tx:
            await require_tenant(tx, tenant)
        actor: UUID | None = None
        if user is not None:
            # Whoever is no user any more is known by their id alone.
            actor = _id(user) or (await user_of(database, user, tenant)).id
        erased = await Audit(database, seals_of(settings)).erase(
            tenant, actor=actor, address=address, trace_id=uuid4().hex
        )
    if as_json:
        show_json({"erased": erased})
    else:
        say(f"erased {erased} of those the audit trail is about")


async def _tenants(database: "Database") -> list[str]:
    from db import audit

    async with database.system() as tx:
        return await audit.tenants(tx)


async def _exported(
    database: "Database", seals: "Seals", tenants: list[str], since: datetime | None, until: datetime | None
) -> AsyncIterator[bytes]:
    from guards import exports

    times = {"since": _utc(since), "until": _utc(until)}
    async for line in exports.export(database, seals, tenants, **times):
        yield line


def _checked(seals: "Seals", file: Path) -> "Manifest":
    from guards import exports

    try:
        with file.open("rb") as lines:
            return exports.check(seals, lines)
    except exports.Broken as error:
        raise Failed(f"{file}: {error}", KEYS) from None
    except FileNotFoundError:
        raise Failed(f"there is no file {file}", wrong_usage=True) from None


def _told(manifest: "Manifest", line: str, as_json: bool) -> None:
    import msgspec

    if as_json:
        show_json(msgspec.to_builtins(manifest))
        return
    parts = ", ".join(f"{part.tenant} {part.first} to {part.last}" for part in manifest.parts)
    say(f"{line}: {manifest.entries} entries ({parts or 'nobody has any'})")


def _id(text: str) -> Any:
    from uuid import UUID

    try:
        return UUID(text)
    except ValueError:
        return None


def _utc(moment: datetime | None) -> datetime | None:
    if moment is None or moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=UTC)


audit = App(name="audit", help="The trail of what was done and refused.")
audit.command(verify, name="verify")
audit.command(export, name="export")
audit.command(erase, name="erase")

commands: Final[dict[str, Callable[..., Any]]] = {"audit": audit}
