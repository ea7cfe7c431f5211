"""The audit trail from the command line: exit codes, lines for auditors, and being forgotten."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import pytest

from agentos.cli.app import main
from agentos.keys import seals_of
from agentos.services import anchors_of
from agentos.settings import Settings
from db.database import Database
from db.models.identity import Role
from guards.anchors import Anchors
from guards.seals import Seals
from tests.agentos.commands import Outcome
from tests.conftest import People
from tests.trails import recorded, ruling

Run = Callable[..., Awaitable[Outcome]]


@pytest.fixture
def settings(tmp_path: Path, database_url: str, redis_url: str) -> Settings:
    """Settings for the test's stores."""
    return Settings.model_validate({"data_dir": tmp_path, "database_url": database_url, "redis_url": redis_url})


@pytest.fixture
def keys(settings: Settings) -> Seals:
    """The keys of the trail in the data directory."""
    return seals_of(settings)


@pytest.fixture
def anchors(settings: Settings, database: Database) -> Anchors:
    """Where the data directory anchors the trail."""
    return anchors_of(settings, database)


@pytest.fixture
def run(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Awaitable[Outcome]]:
    """Run a command in a thread of this process: its exit code and what it wrote."""
    for name in ("data_dir", "database_url", "redis_url"):
        monkeypatch.setenv(f"AGENTOS_{name.upper()}", str(getattr(settings, name)))
    monkeypatch.setenv("NO_COLOR", "1")

    async def ran(*arguments: str) -> Outcome:
        capfd.readouterr()
        code = await asyncio.to_thread(main, arguments)
        return Outcome(code, *capfd.readouterr())

    return ran


async def test_a_sound_trail_ends_with_zero(run: Run, database: Database, keys: Seals, anchors: Anchors) -> None:
    await recorded(database, keys, 3)
    await anchors.settle()

    said = await run("audit", "verify")
    machine = await run("audit", "verify", "--tenant", "default", "--json")

    assert (0, "the audit trail is what it was") == (said.code, said.out.strip().splitlines()[-1])
    found = {"tenant": "default", "entries": 3, "anchors": 1, "seq": None, "damage": None, "message": None}
    assert (0, [found]) == (machine.code, json.loads(machine.out))


async def test_a_damaged_trail_ends_with_one_and_names_the_place(
    run: Run, database: Database, database_url: str, keys: Seals, anchors: Anchors
) -> None:
    await recorded(database, keys, 5)
    await recorded(database, keys, 1, tenant="other")
    await anchors.settle()
    async with ruling(database_url) as connection:
        await connection.execute("UPDATE audit SET outcome = 'denied' WHERE tenant_id = 'default' AND seq = 2")
        for table in ("audit", "audit_trail.heads", "audit_trail.anchors"):
            await connection.execute(f"DELETE FROM {table} WHERE tenant_id = 'other'")

    said = await run("audit", "verify")
    machine = await run("audit", "verify", "--json")

    assert (1, "2 of 2 trails are damaged") == (said.code, said.out.strip().splitlines()[-1])
    assert "entry 2 was edited" in said.out
    assert [("default", 2, "edited"), ("other", 1, "cut off")] == [
        (each["tenant"], each["seq"], each["damage"]) for each in json.loads(machine.out)
    ]


async def test_an_export_is_written_and_checked(run: Run, database: Database, keys: Seals, tmp_path: Path) -> None:
    await recorded(database, keys, 3)
    file = tmp_path / "trail.ndjson"

    wrote = await run("audit", "export", "--out", str(file))
    checked = await run("audit", "export", "--check", str(file), "--json")
    streamed = await run("audit", "export", "--since", "2020-01-01T00:00:00")
    file.write_text(file.read_text().replace("job.cancel", "job.delete"))
    damaged = await run("audit", "export", "--check", str(file))

    assert (0, f"wrote {file}: 3 entries (default 1 to 3)") == (wrote.code, wrote.out.strip())
    assert (0, 3) == (checked.code, json.loads(checked.out)["entries"])
    assert [1, 2, 3] == [json.loads(line)["seq"] for line in streamed.out.splitlines()[:-1]]
    assert (1, True) == (damaged.code, "entry 1 was edited" in damaged.err)


async def test_somebody_is_erased(run: Run, database: Database, keys: Seals, people: People) -> None:
    somebody = people[Role.USER]
    await recorded(database, keys, 2, actor=somebody.id)
    await recorded(database, keys, 1, address="192.0.2.9")

    erased = await run("audit", "erase", "--user", somebody.email)
    placed = await run("audit", "erase", "--address", "192.0.2.9", "--json")
    gone = await run("audit", "erase", "--user", str(uuid4()), "--json")
    nobody = await run("audit", "erase")
    verified = await run("audit", "verify")

    assert (0, "erased 1 of those the audit trail is about") == (erased.code, erased.out.strip())
    assert [{"erased": 1}, {"erased": 0}] == [json.loads(placed.out), json.loads(gone.out)]
    assert (2, 0) == (nobody.code, verified.code)


async def test_a_tenant_that_there_is_not_is_named(run: Run) -> None:
    outcome = await run("audit", "export", "--tenant", "nobody")

    assert (1, True) == (outcome.code, "there is no tenant nobody" in outcome.err)
