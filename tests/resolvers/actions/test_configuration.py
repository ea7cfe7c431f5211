"""What the actions of Configuration put in force, and that the running system obeys it."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import sqlalchemy as sa

from dataloaders.snapshot.agents_workers import AgentSettings
from db import agents, configuration, jobs, logs, retention
from db.agents import Known
from db.database import Database
from db.events import START, Kind, after
from db.files import MB, Files
from db.logs import NewLine
from db.models.identity import Role
from db.models.records import Severity
from db.models.records import logs as log_table
from db.models.work import AgentCategory, JobStatus, artifacts
from guards.errors import BadInput, Conflict, Forbidden, NotFound, QuotaExceeded, RateLimited, TooLarge, Unavailable
from resolvers.actions.catalogue import CATALOGUE
from resolvers.actions.performing import perform
from resolvers.context import Context
from tests.acting import act
from tests.conftest import People
from tests.uploading import context_of
from tests.workers.conftest import Bench, Noted
from workers.agents.contract import Agent, Output, Step, Tools
from workers.turn import Turns

SOURCE = {"url": "https://example.org/v.mp4"}


@pytest.fixture
def foreign(admin: Context, other_people: People) -> Context:
    return context_of(admin.services, other_people[Role.ADMIN])


async def in_force(database: Database, tenant: str = "default") -> tuple[int, dict[str, Any]]:
    async with database.transaction(tenant) as tx:
        found = await configuration.in_force(tx)
    return (found.version, found.settings) if found else (0, {})


async def made(context: Context, **given: Any) -> jobs.Job:
    job: jobs.Job = (await act(context, "job.create", source=SOURCE, **given)).job
    return job


async def test_a_change_is_put_in_force_and_told(admin: Context, database: Database) -> None:
    saved = await act(
        admin, "config.save", values={"max_queued_jobs": 5, "log_format": "json"}, expected_version=0, reason="less"
    )

    assert (1, ["log_format"]) == (saved.version, saved.requires_restart)
    assert [("log_format", None, "json"), ("max_queued_jobs", None, 5)] == [
        (change.name, change.before, change.after) for change in saved.changed
    ]
    assert (1, {"max_queued_jobs": 5, "log_format": "json"}) == await in_force(database)
    async with database.transaction("default") as tx:
        [told] = [event for event in await after(tx, START) if event.kind is Kind.CONFIG_CHANGED]
    assert {"version": 1, "changed": ["log_format", "max_queued_jobs"]} == told.payload


async def test_the_same_again_makes_no_version(admin: Context, database: Database) -> None:
    await act(admin, "config.save", values={"max_queued_jobs": 5})

    again = await act(admin, "config.save", values={"max_queued_jobs": 5.0})

    assert (1, []) == (again.version, again.changed)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"max_queued_jobs": 5, "theme": "dark"}, "theme: there is no such setting"),
        ({"max_queued_jobs": 0}, "max_queued_jobs: a whole number from 1 to 1000000 is taken"),
        ({"max_queued_jobs": "5"}, "max_queued_jobs"),
        ({"max_queued_jobs": True}, "max_queued_jobs"),
        ({"max_queued_jobs": 1.5}, "max_queued_jobs"),
        ({"max_concurrent_jobs": 10}, "max_concurrent_jobs: is not set here: worker.scale"),
        ({"maintenance_mode": True}, "maintenance_mode: is not set here"),
        ({"default_aspect": "9:16\n"}, "default_aspect"),
        ({"default_platforms": ["tiktok", "tiktok"]}, "default_platforms"),
        ({"default_chain": ["nobody"]}, "default_chain: there is no agent nobody"),
        ({"default_min_seconds": 60, "default_max_seconds": 20}, "default_min_seconds: 60 is more than"),
        ({"log_retention_days": 5, "cleanup_retention_days": 6}, "log_retention_days: is named twice"),
        ({}, "values"),
    ],
)
async def test_one_setting_that_will_not_do_changes_none(
    admin: Context, database: Database, values: dict[str, Any], told: str
) -> None:
    with pytest.raises(BadInput, match=told):
        await act(admin, "config.save", values=values)

    assert (0, {}) == await in_force(database)


async def test_of_two_who_save_upon_one_version_one_is_refused(admin: Context, database: Database) -> None:
    async def save(number: int) -> object:
        return await act(context_of_same(admin), "config.save", values={"max_queued_jobs": number}, expected_version=0)

    ended = await asyncio.gather(save(1), save(2), return_exceptions=True)

    [refused] = [each for each in ended if isinstance(each, BaseException)]
    assert isinstance(refused, Conflict)
    assert "version 1 is in force" in str(refused)
    assert 1 == (await in_force(database))[0]


async def test_without_an_expected_version_both_stand(admin: Context, database: Database) -> None:
    """The control: nobody is refused who did not say what they had read."""
    await asyncio.gather(
        *(
            act(context_of_same(admin), "config.save", values={name: 1})
            for name in ("max_queued_jobs", "log_retention_days")
        )
    )

    assert (2, {"max_queued_jobs": 1, "log_retention_days": 1}) == await in_force(database)


def context_of_same(context: Context) -> Context:
    """Another call of the same person."""
    return Context.made(context.services, context.viewer, trace_id=uuid4().hex, address=context.address)


async def test_settings_are_one_tenant_s(admin: Context, foreign: Context, database: Database) -> None:
    await act(admin, "config.save", values={"max_queued_jobs": 1})
    await made(admin)

    await made(foreign)
    await made(foreign)

    assert (0, {}) == await in_force(database, "other")
    with pytest.raises(RateLimited, match="1 jobs are waiting"):
        await made(admin)


async def test_what_concerns_the_house_is_set_by_the_house(
    admin: Context, foreign: Context, database: Database
) -> None:
    with pytest.raises(Forbidden, match="log_level concerns the whole installation"):
        await act(foreign, "config.save", values={"log_level": "debug"})
    await act(admin, "config.save", values={"log_level": "debug"})

    assert (0, {}) == await in_force(database, "other")
    assert (1, {"log_level": "debug"}) == await in_force(database)


async def test_new_jobs_go_the_way_that_is_set(admin: Context) -> None:
    await act(
        admin,
        "config.save",
        values={
            "default_chain": ["video-downloader", "clipper"],
            "default_aspect": "1:1",
            "default_min_seconds": 20,
            "default_max_clips": 2,
            "job_max_attempts": 7,
        },
    )

    usual, own = await made(admin), await made(admin, chain=["clipper"], options={"aspect": "4:5", "max_seconds": 10})

    assert (["video-downloader", "clipper"], 7) == (list(usual.chain), usual.max_attempts)
    assert {"aspect": "1:1", "min_s": 20.0, "max_clips": 2} == usual.options
    assert (["clipper"], {"aspect": "4:5", "max_s": 10.0, "max_clips": 2}) == (list(own.chain), own.options)


async def test_uploads_are_as_large_as_is_set(admin: Context) -> None:
    await act(admin, "upload.init", filename="a.mp4", size_bytes=2 * MB)
    await act(admin, "config.save", values={"max_upload_size_mb": 1, "upload_quota_mb": 3})

    with pytest.raises(TooLarge):
        await act(admin, "upload.init", filename="b.mp4", size_bytes=1 * MB + 1)
    await act(admin, "upload.init", filename="c.mp4", size_bytes=1 * MB)
    with pytest.raises(QuotaExceeded):
        await act(admin, "upload.init", filename="d.mp4", size_bytes=1)


async def test_lines_are_kept_as_long_as_is_set(admin: Context, database: Database) -> None:
    for tenant in ("default", "other"):
        async with database.transaction(tenant) as tx:
            await logs.write(tx, [NewLine(level=Severity.INFO, source="api", message="a week old")])
    async with database.system() as tx:
        await tx.execute(sa.update(log_table).values(created_at=sa.text("now() - interval '7 days'")))
    assert 0 == (await retention.drop_old_rows(database))["logs"]
    await act(admin, "config.save", values={"cleanup_retention_days": 3})

    dropped = await retention.drop_old_rows(database)

    async with database.system() as tx:
        left = await tx.rows(sa.select(log_table.c.tenant_id))
    assert (1, [("other",)]) == (dropped["logs"], left)


async def test_reports_are_kept_as_long_as_is_set(admin: Context, database: Database) -> None:
    await act(admin, "config.save", values={"report_retention_days": 2})

    await act(admin, "logs.export")

    async with database.transaction("default") as tx:
        days = await tx.scalar(sa.select(sa.func.extract("day", artifacts.c.expires_at - artifacts.c.created_at)))
    assert 2 == days


async def test_defaults_come_back(admin: Context, database: Database) -> None:
    async with database.transaction("default") as tx:
        await configuration.change(tx, {"maintenance_mode": True})
    await act(admin, "config.save", values={"max_queued_jobs": 5, "log_retention_days": 9, "upload_quota_mb": 7})

    some = await act(admin, "config.reset_defaults", keys=["max_queued_jobs"], confirm="RESET CONFIGURATION")
    rest = await act(admin, "config.reset_defaults", confirm="RESET CONFIGURATION")

    assert (["max_queued_jobs"], ["log_retention_days", "upload_quota_mb"]) == (some.reset, rest.reset)
    assert (4, {"maintenance_mode": True}) == await in_force(database)
    with pytest.raises(BadInput, match="confirm"):
        await act(admin, "config.reset_defaults", confirm="yes")


async def test_a_restored_backup_is_what_was_backed_up(admin: Context, database: Database) -> None:
    await act(admin, "config.save", values={"max_queued_jobs": 5, "default_chain": ["clipper"]})
    admin.admitted = {"it": None}
    backup = (await perform(admin, CATALOGUE["config.backup"], {"name": "before"}, place="it")).result
    assert backup is not None
    assert "configuration-1-before.json" == backup.filename
    before = (await in_force(database))[1]
    await act(admin, "config.save", values={"max_queued_jobs": 6, "default_chain": None, "log_retention_days": 3})

    tried = await act(admin, "config.restore", backup_id=str(backup.backup_id), dry_run=True)
    assert 2 == tried.version == (await in_force(database))[0]
    done = await act(admin, "config.restore", backup_id=str(backup.backup_id))

    assert (3, before) == await in_force(database)
    assert tried.diff == done.diff
    assert {"default_chain": (None, ["clipper"]), "log_retention_days": (3, None), "max_queued_jobs": (6, 5)} == {
        change.name: (change.before, change.after) for change in done.diff
    }


async def test_a_backup_can_be_taken_along(admin: Context, foreign: Context) -> None:
    await act(admin, "config.save", values={"max_queued_jobs": 5})
    backup = await act(admin, "config.backup")

    taken = await act(admin, "config.download_backup")

    assert (backup.backup_id, "configuration-1.json") == (taken.backup_id, taken.filename)
    assert {"max_queued_jobs": 5} == msgspec.json.decode(taken.content)["settings"]
    assert hashlib.sha256(taken.content.encode()).hexdigest() == taken.sha256
    for given in ({}, {"backup_id": str(backup.backup_id)}):
        with pytest.raises(NotFound):
            await act(foreign, "config.download_backup", **given)  # type: ignore[arg-type]  # a payload's field


async def test_a_damaged_backup_changes_nothing(admin: Context, database: Database) -> None:
    await act(admin, "config.save", values={"max_queued_jobs": 5})
    backup = await act(admin, "config.backup")
    async with database.transaction("default") as tx:
        path = await tx.scalar(sa.select(artifacts.c.path).where(artifacts.c.id == backup.backup_id))
    place = admin.services.files.resolve(path)
    place.write_bytes(place.read_bytes().replace(b"5", b"7"))

    with pytest.raises(Unavailable):
        await act(admin, "config.restore", backup_id=str(backup.backup_id))

    assert (1, {"max_queued_jobs": 5}) == await in_force(database)


async def test_an_agent_of_one_s_own_does_the_work_of_the_built_in_one(
    admin: Context, database: Database, tmp_path: Path
) -> None:
    """It runs with its own options, and the agents after it find what it found under the name they know."""
    told: list[tuple[str, Any, str | None]] = []
    bench = Bench(database, Files(tmp_path / "bench"))

    class Analysis(Noted, frozen=True):
        agent = "video-analyzer"

    def played(agent_id: str) -> Agent:
        async def run(step: Step, tools: Tools) -> Output:
            earlier = step.earlier(Analysis)
            told.append((agent_id, tools.config.get("threshold"), earlier.note if earlier else None))
            return Noted(note=f"{agent_id} was here")

        return Agent(known=Known(agent_id, agent_id, AgentCategory.EDITING, "", "1", 60), output=Noted, run=run)

    added = await act(
        admin,
        "config.add_agent",
        id="our-analyzer",
        display_name="Our  analyzer",
        base_agent="video-analyzer",
        config={"threshold": 7},
    )
    job = await made(admin, chain=["our-analyzer", "clipper"])
    turns = Turns(database, bench.files, {name: played(name) for name in ("video-analyzer", "clipper")})

    engine = bench.engine(turns=turns)
    async with asyncio.TaskGroup() as group:
        group.create_task(engine.run())
        ended = await bench.until(job.id, JobStatus.COMPLETED, JobStatus.FAILED)
        engine.drain()

    assert ("Our analyzer", "video-analyzer", AgentCategory.ANALYSIS, 12) == (
        added.agent.name,
        added.agent.implementation,
        added.agent.category,
        added.total_agents,
    )
    assert JobStatus.COMPLETED is ended.status
    assert [("video-analyzer", 7, None), ("clipper", None, "video-analyzer was here")] == told


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        ({"id": "Our"}, BadInput),
        ({"id": "clipper"}, Conflict),
        ({"base_agent": "nobody"}, BadInput),
        ({"display_name": "a\x1b[31m"}, BadInput),
        ({"display_name": "  "}, BadInput),
        ({"display_name": "x" * 81}, BadInput),
        ({"config": {"x": "x" * 20_000}}, BadInput),
    ],
)
async def test_an_agent_that_will_not_do_is_not_added(
    admin: Context, database: Database, given: dict[str, Any], refusal: type[Exception]
) -> None:
    sound: dict[str, Any] = {"id": "ours", "display_name": "Ours", "base_agent": "clipper"}

    with pytest.raises(refusal):
        await act(admin, "config.add_agent", **{**sound, **given})

    assert 11 == len(await known(database))


async def test_an_alias_is_not_the_base_of_another(admin: Context) -> None:
    await act(admin, "config.add_agent", id="ours", display_name="Ours", base_agent="clipper")

    with pytest.raises(BadInput, match="ours is no built-in agent"):
        await act(admin, "config.add_agent", id="theirs", display_name="Theirs", base_agent="ours")


async def test_an_agent_goes_when_no_job_needs_it(admin: Context, foreign: Context, database: Database) -> None:
    await act(admin, "config.add_agent", id="ours", display_name="Ours", base_agent="clipper")
    job = await made(admin, chain=["ours"])

    with pytest.raises(Conflict, match="1 jobs that are not over need ours"):
        await act(admin, "config.remove_agent", agent_id="ours")
    with pytest.raises(NotFound):
        await act(foreign, "config.remove_agent", agent_id="ours")
    assert 12 == len(await known(database))

    await act(admin, "job.cancel", job_id=str(job.id))
    await act(admin, "config.remove_agent", agent_id="ours")

    assert 11 == len(await known(database))


async def test_a_built_in_agent_is_switched_off_not_removed(admin: Context, database: Database) -> None:
    with pytest.raises(Conflict, match="clipper is built in"):
        await act(admin, "config.remove_agent", agent_id="clipper")

    done = await act(
        admin,
        "config.configure_agent",
        agent_id="clipper",
        enabled=False,
        timeout=77,
        priority="high",
        resource_limits={"memory_mb": 512},
    )

    assert (False, 77, "high", 512, done.version) == (
        done.agent.enabled,
        done.agent.timeout_s,
        done.agent.priority,
        done.agent.memory_mb,
        done.agent.revision,
    )
    there = await known(database)
    assert (10, 11) == (
        sum(agent.enabled for agent in there),
        AgentSettings.of(there, there[0].updated_at).total_configs,
    )


async def test_configuring_nothing_is_refused(admin: Context) -> None:
    with pytest.raises(BadInput, match="at least one thing"):
        await act(admin, "config.configure_agent", agent_id="clipper")
    with pytest.raises(NotFound):
        await act(admin, "config.configure_agent", agent_id="nobody", enabled=True)


async def known(database: Database) -> list[agents.Agent]:
    async with database.transaction("default") as tx:
        return await agents.everyone(tx)
