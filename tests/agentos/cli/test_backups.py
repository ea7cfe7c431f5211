"""`backup` and `restore` as they are typed."""

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from db import keys
from db.database import Database
from db.redis import Redis
from tests.agentos.commands import environment, run
from tests.agentos.conftest import Ran
from tests.db.backing import fingerprint, furnish


@pytest.fixture
def env(database_url: str, redis_url: str, tmp_path: Path) -> dict[str, str]:
    return environment(tmp_path, database_url=database_url, redis_url=redis_url)


async def test_what_was_backed_up_is_restored(
    ran: Ran, env: dict[str, str], database: Database, redis: Redis, tmp_path: Path
) -> None:
    """Into a file of one's own, and back from it; what was there before is kept, and no dashboard shows it any more."""
    await furnish(database, jobs=10)
    before = await fingerprint(database)
    file = tmp_path / "elsewhere.tar.gz"
    made = await run("backup", "--out", str(file), "--json", env=env)
    async with database.system() as tx:
        await tx.execute(sa.text("UPDATE jobs SET title = 'changed'"))
        await tx.execute(sa.text("UPDATE users SET password_hash = 'changed'"))
    await redis.set(keys.snapshot("default"), "old")

    told = await ran("restore", str(file), "--dry-run", "--json", env=env)
    done = await run("restore", str(file), "--yes", env=env)

    assert (0, 0, 0) == (made.code, told.code, done.code), made.err + told.err + done.err
    assert json.loads(made.out)["records"] == json.loads(told.out)["records"] > 0
    assert before == await fingerprint(database)
    assert not await redis.exists(keys.snapshot("default"))
    [earlier] = [line for line in done.out.splitlines() if line.startswith("what was there before: ")]
    assert Path(earlier.partition(": ")[2]).is_file()


async def test_a_named_backup_lies_in_the_data_directory(
    ran: Ran, env: dict[str, str], database: Database, tmp_path: Path
) -> None:
    made = await ran("backup", "--name", "first", "--no-user-data", env=env)

    assert (0, str(tmp_path / "backups" / "first.tar.gz")) == (made.code, made.out.splitlines()[-1])
    for name in ("first.tar.gz", "first"):
        told = await ran("restore", name, "--dry-run", env=env)
        assert 0 == told.code
        assert "would be restored: " in told.out
    await ran("backup", "--name", "first", "--no-compression", env=env)
    several = await ran("restore", "first", "--dry-run", env=env)
    assert (2, True) == (several.code, "several backups of that name: first.tar.gz, first.tar" in several.err)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["restore", "first.tar.gz"], 2, "what is there now would be replaced"),
        (["restore", "nothing.tar.gz", "--yes"], 2, "there is no backup 'nothing.tar.gz'"),
        (["restore", "../nothing.tar.gz", "--yes"], 2, "there is no backup"),
        (["restore", "README.md", "--yes"], 1, "that is not a backup as it was written"),
        (["backup", "--name", "../first"], 2, "cannot be the name of a backup"),
        (["backup", "--name", "a", "--out", "b"], 2, "two ways to say the same"),
        (["backup", "--out", "/nowhere/at/all.tar.gz"], 2, "there is no folder /nowhere/at"),
        (["backup", "--out", "README.md"], 2, "there is a backup README.md already"),
    ],
)
async def test_what_cannot_be_is_said_and_nothing_changes(
    ran: Ran, env: dict[str, str], database: Database, arguments: list[str], code: int, said: str
) -> None:
    before = await fingerprint(database)

    outcome = await ran(*arguments, env=env)

    assert code == outcome.code, outcome.err
    assert said in outcome.err
    assert "Traceback" not in outcome.err
    assert before == await fingerprint(database)
