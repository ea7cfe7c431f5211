"""Backups are whole or not there, show one moment, and are found out when they are not as they were written."""

import asyncio
import os
import signal
import sys
import tarfile
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from db import apart, backups, layout
from db.archives import Includes
from db.backups import Backups, NoBackup, Taken
from db.database import Database, DatabaseUnavailable
from db.files import DiskFull, room
from tests.agentos.commands import ROOT
from tests.conftest import People
from tests.db.backing import EVERYTHING, furnish, nowhere

JOBS = "SELECT count(*) FROM jobs"


@pytest.fixture
def folder(tmp_path: Path) -> Backups:
    return Backups(tmp_path / "backups")


async def _rows(database: Database, statement: str) -> int:
    async with database.system() as tx:
        return int(await tx.scalar(sa.text(statement)))


def _left(folder: Backups) -> list[str]:
    return sorted(place.name for place in folder.folder.iterdir())


async def test_a_backup_has_every_row_and_verifies(database: Database, folder: Backups) -> None:
    await furnish(database)

    made = await folder.create(database, "first", EVERYTHING, compressed=True, progress=nowhere)

    async with database.system() as tx:
        names = {table.name for table in layout.restorable(await layout.tables(tx))}
        rows = {name: await tx.scalar(sa.text(f'SELECT count(*) FROM "{name}"')) for name in names}
    assert rows == {table.name: table.rows for table in made.manifest.tables}
    examined = await backups.verify(folder.place("first.tar.gz"))
    assert ([], made.sha256, True) == (examined.problems, examined.sha256, examined.sha256_match)
    [listed] = await folder.listed(most=10)
    assert msgspec.structs.replace(made, verified=True) == listed
    assert ["first.tar.gz", "first.tar.gz.json"] == _left(folder)
    assert 0o600 == folder.place("first.tar.gz").stat().st_mode & 0o777


@pytest.mark.parametrize("compressed", [True, False])
async def test_any_tar_reads_a_backup(database: Database, folder: Backups, compressed: bool) -> None:
    made = await folder.create(database, "first", EVERYTHING, compressed=compressed, progress=nowhere)

    with tarfile.open(made.path) as tar:
        names = tar.getnames()
    assert "manifest.json" == names[-1]
    assert "tables/tenants/000000.copy" in names
    assert made.filename == f"first.tar{'.gz' if compressed else ''}"


async def test_files_are_counted_and_said_not_to_be_there(database: Database, folder: Backups) -> None:
    await furnish(database)

    made = await folder.create(database, "first", EVERYTHING, compressed=True, progress=nowhere)

    assert await _rows(database, "SELECT count(*) FROM clips") == made.manifest.files.clips > 0
    assert await _rows(database, "SELECT count(*) FROM uploads WHERE path IS NOT NULL") == made.manifest.files.uploads
    assert "the files of uploads, clips and artifacts" in made.manifest.not_included[0]


async def _written_to_meanwhile(database: Database, folder: Backups) -> dict[str, int]:
    """The rows of each table in a backup during which somebody writes between any two tables."""

    async def write(share: float, where: str) -> None:
        async with database.system() as tx:
            await tx.execute(sa.text("DELETE FROM jobs WHERE id = (SELECT id FROM jobs LIMIT 1)"))
            await tx.execute(
                sa.text(
                    "INSERT INTO logs (id, tenant_id, level, source, message) "
                    "VALUES (gen_random_uuid(), 'default', 'info', 'meanwhile', 'x')"
                )
            )

    made = await folder.create(database, "first", EVERYTHING, compressed=True, progress=write)
    return {table.name: table.rows for table in made.manifest.tables}


async def test_what_is_written_meanwhile_stays_out(database: Database, folder: Backups) -> None:
    """Every table shows the moment at which the backup began."""
    await furnish(database)
    before = await _rows(database, JOBS)

    rows = await _written_to_meanwhile(database, folder)

    assert await _rows(database, JOBS) < before == rows["jobs"]
    assert await _rows(database, "SELECT count(*) FROM logs WHERE source <> 'meanwhile'") == rows["logs"]


async def test_without_one_moment_for_all_of_it_a_backup_would_be_of_none(
    database: Database, folder: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weakened twin: in an ordinary transaction each table shows another moment."""
    monkeypatch.setattr(apart, "moment", apart.change)
    await furnish(database)
    before = await _rows(database, JOBS)

    rows = await _written_to_meanwhile(database, folder)

    assert rows["jobs"] < before


async def test_how_far_it_is_only_ever_grows(database: Database, folder: Backups) -> None:
    await furnish(database)
    async with apart.bare(database) as connection:
        await connection.execute(sa.text("ANALYZE"))
    told: list[float] = []

    async def note(share: float, where: str) -> None:
        told.append(share)

    await folder.create(database, "first", EVERYTHING, compressed=True, progress=note)

    assert sorted(told) == told
    assert 0 == told[0]
    assert 5 < len(set(told))
    assert told[-1] < 1


@pytest.mark.parametrize(
    ("includes", "missing"),
    [
        (Includes(logs=False), layout.LOGS),
        (Includes(job_data=False), layout.JOB_DATA),
        (Includes(), frozenset[str]()),
    ],
)
async def test_what_is_not_wanted_is_left_out(
    database: Database, folder: Backups, includes: Includes, missing: frozenset[str]
) -> None:
    made = await folder.create(database, "first", includes, compressed=True, progress=nowhere)

    there = {table.name for table in made.manifest.tables}
    async with database.system() as tx:
        every = {table.name for table in layout.restorable(await layout.tables(tx))}
    assert missing == every - there


async def test_without_user_data_nothing_in_the_file_names_anybody(
    database: Database, folder: Backups, people: People
) -> None:
    async with database.system() as tx:
        await tx.execute(sa.text("UPDATE users SET password_hash = 'scrypt$secret', name = 'Ada Canary'"))

    content = {}
    for user_data in (False, True):
        includes = Includes(user_data=user_data)
        made = await folder.create(database, f"with-{user_data}", includes, compressed=False, progress=nowhere)
        content[user_data] = Path(made.path).read_bytes()

    for canary in (b"scrypt$secret", b"Ada Canary", b"admin@default.test"):
        assert canary not in content[False]
        assert canary in content[True]
    assert all(str(user.id).encode() in content[False] for user in people.values())


async def test_a_corrupted_byte_is_found_and_remembered(database: Database, folder: Backups) -> None:
    """Also where the archive can be read to its end, as in one that is not compressed."""
    await furnish(database, jobs=5)
    made = await folder.create(database, "first", EVERYTHING, compressed=False, progress=nowhere)
    place = Path(made.path)
    content = bytearray(place.read_bytes())
    content[content.index(b"default")] ^= 1
    place.write_bytes(content)

    examined = await backups.verify(place)

    assert 2 == len(examined.problems)
    assert [False] == [backup.verified for backup in await folder.listed(most=10)]


async def test_a_backup_without_its_note_is_known_all_the_same(database: Database, folder: Backups) -> None:
    made = await folder.create(database, "first", EVERYTHING, compressed=True, progress=nowhere)
    folder.folder.joinpath("first.tar.gz.json").unlink()

    assert [made] == await folder.listed(most=10)


async def test_a_name_is_given_once(database: Database, folder: Backups) -> None:
    await folder.create(database, "first", EVERYTHING, compressed=True, progress=nowhere)
    before = folder.place("first.tar.gz").read_bytes()

    with pytest.raises(Taken):
        await folder.create(database, "first", EVERYTHING, compressed=True, progress=nowhere)

    assert before == folder.place("first.tar.gz").read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        "../first.tar.gz",
        "/etc/passwd",
        "..",
        ".first.tar.gz",
        "first.tar.gz/x",
        "first.tar.gz\0",
        "first.tar.gz.json",
        "",
    ],
)
async def test_no_name_leads_outside(database: Database, folder: Backups, name: str) -> None:
    await folder.create(database, "first", EVERYTHING, compressed=True, progress=nowhere)

    with pytest.raises(NoBackup):
        folder.place(name)


async def test_a_link_is_no_backup(database: Database, folder: Backups, tmp_path: Path) -> None:
    made = await folder.create(database, "first", EVERYTHING, compressed=True, progress=nowhere)
    os.rename(made.path, tmp_path / "elsewhere.tar.gz")
    os.symlink(tmp_path / "elsewhere.tar.gz", made.path)

    with pytest.raises(NoBackup):
        folder.place(made.filename)
    assert [] == await folder.listed(most=10)


async def test_a_cancelled_backup_leaves_nothing(database: Database, folder: Backups) -> None:
    await furnish(database)
    begun = asyncio.Event()

    async def linger(share: float, where: str) -> None:
        if where == "writing jobs":
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(folder.create(database, "first", EVERYTHING, compressed=True, progress=linger))
    await begun.wait()
    assert [True] == [name.endswith(".part") for name in _left(folder)]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert [] == _left(folder)
    assert [] == await folder.listed(most=10)


async def test_a_database_that_goes_away_leaves_nothing(database: Database, folder: Backups) -> None:
    async def cut(share: float, where: str) -> None:
        if where == "writing jobs":
            async with database.system() as tx:
                await tx.execute(sa.text("SET LOCAL ROLE NONE"))
                await tx.execute(
                    sa.text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE application_name = 'agentos upkeep' AND datname = current_database()"
                    )
                )

    with pytest.raises(DatabaseUnavailable):
        await folder.create(database, "first", EVERYTHING, compressed=True, progress=cut)

    assert [] == _left(folder)


_KILLED = """
import asyncio, sys
from pathlib import Path
from db.backups import Backups
from db.archives import Includes
from db.database import Database

async def main():
    async def linger(share, where):
        if where == "writing jobs":
            print("there", flush=True)
            await asyncio.Event().wait()
    database = Database.connect(sys.argv[1])
    await Backups(Path(sys.argv[2])).create(database, "first", Includes(), compressed=True, progress=linger)

asyncio.run(main())
"""


async def test_a_killed_backup_is_never_taken_for_one(database_url: str, database: Database, folder: Backups) -> None:
    """What it leaves has no name that is listed, and is swept away by a backup that is made later."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _KILLED, database_url, str(folder.folder), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert b"there\n" == await process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    await process.wait()

    [half] = _left(folder)
    assert [] == await folder.listed(most=10)
    os.utime(folder.folder / half, (0, 0))
    await folder.create(database, "first", EVERYTHING, compressed=True, progress=nowhere)

    assert ["first.tar.gz", "first.tar.gz.json"] == _left(folder)


async def test_a_full_disk_leaves_nothing(database: Database) -> None:
    """Nothing more fits on the device that is always full."""
    file = os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb", buffering=0)
    with pytest.raises(DiskFull), file, room():
        await backups._filled(database, file, EVERYTHING, compressed=False, progress=nowhere)


async def test_a_big_table_does_not_fill_the_memory(database: Database, folder: Backups) -> None:
    """Parts of a table leave the memory as they come: the largest is not much more than 4 MB."""
    async with database.system() as tx:
        await tx.execute(
            sa.text(
                "INSERT INTO logs (id, tenant_id, level, source, message) SELECT gen_random_uuid(), 'default', 'info', "
                "'big', repeat(md5(n::text), 30) FROM generate_series(1, 15000) AS n"
            )
        )

    made = await folder.create(database, "big", EVERYTHING, compressed=False, progress=nowhere)

    with tarfile.open(made.path) as tar:
        sizes = [member.size for member in tar.getmembers() if member.name.startswith("tables/logs/")]
    assert 4 <= len(sizes)
    assert max(sizes) < 5_000_000
    assert [] == (await backups.verify(Path(made.path))).problems
