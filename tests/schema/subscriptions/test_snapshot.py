"""The snapshot as it changes: what was asked for of it and nothing else, and patches from version to version."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from jsonpath import JSONPatch

from dataloaders.snapshot import TimeRange
from dataloaders.snapshot.cache import slot_of
from dataloaders.snapshot.whole import Section
from db import configuration, events, jobs, keys, logs
from db.database import Database
from db.events import Event, Kind
from db.jobs import NewJob
from db.models.identity import Role
from db.models.records import Severity
from db.redis import Redis, connect
from db.users import User
from resolvers.context import Services
from schema.root import schema
from schema.subscriptions import snapshot as module
from tests.conftest import People
from tests.uploading import context_of, services_over
from tests.waiting import until

SLOT = slot_of("default", TimeRange.DAY)
MANY = [f"{number:0200}" for number in range(500)]
BOTH = "sections { dashboard { jobs { totalJobs } } logs { logs { message } } queue { status } }"
SECTIONS = f"""
subscription($sections: [SnapshotSection!], $range: TimeRange! = DAY) {{
  snapshotChanged(sections: $sections, timeRange: $range) {{ ... on SnapshotChange {{
    version previousVersion changed {BOTH} snapshot {{ envelope {{ version }} analytics {{ timeRange }} }}
  }} }}
}}
"""
PATCHES = """
subscription($from: String, $sections: [SnapshotSection!], $after: String) {
  snapshotChanged(from: $from, sections: $sections, after: $after) { ... on SnapshotChange {
    cursor version changed patch { from operations reason document }
  } }
}
"""


class Viewer:
    """Somebody who watches the snapshot, and holds what they were told of it as JSON."""

    def __init__(self, stream: Any, document: Any = None) -> None:
        self.document = document
        self.coming: asyncio.Future[Any] = asyncio.ensure_future(anext(stream))
        self._stream = stream

    async def told(self) -> Any:
        """What is told next."""
        async with asyncio.timeout(10):
            answer = await self.coming
        self.coming = asyncio.ensure_future(anext(self._stream))
        body = json.loads(answer.body)
        return body["data"]["snapshotChanged"] if answer.ok else body["errors"][0]["extensions"]["code"]

    async def patched(self) -> Any:
        """The same, once it is applied to what they hold, by an implementation that is not the one that made it."""
        change = await self.told()
        patch = change["patch"]
        if patch["operations"] is None:
            self.document = patch["document"]
        else:
            assert self.document["envelope"]["version"] == patch["from"]
            self.document = applied(patch["operations"], self.document)
        return change


class Guest:
    """A client as the guide has it: it applies the patch that fits what it holds, and else comes back with that."""

    def __init__(self, sections: list[str] | None, chance: random.Random) -> None:
        self.sections = sections
        self.held: Any = None
        self.seats = 0
        """How often they came."""

        self._chance = chance
        self._seat: AsyncExitStack | None = None
        self._viewer: Viewer | None = None

    async def settle(self, stack: AsyncExitStack, services: Services, user: User) -> None:
        """Listen somewhere, if they do not."""
        if self._viewer is None:
            self.seats += 1
            self._seat = await stack.enter_async_context(AsyncExitStack())
            variables: dict[str, Any] = {
                "sections": self.sections,
                "from": self.held["envelope"]["version"] if self.held else "",
            }
            self._viewer = await self._seat.enter_async_context(watching(services, user, PATCHES, **variables))

    async def leave(self) -> None:
        if self._seat is not None:
            await self._seat.aclose()
        self._viewer = self._seat = None

    async def hear(self) -> None:
        """Take what has come, and leave now and then."""
        while self._viewer is not None and self._viewer.coming.done():
            await self._take(await self._viewer.told())
        if self._chance.random() < 0.5:
            await self.leave()

    async def hear_until(self, version: str, stack: AsyncExitStack, services: Services, user: User) -> None:
        """Take what comes, and come back where it does not fit, until they hold that version."""
        while not self.held or version != self.held["envelope"]["version"]:
            await self.settle(stack, services, user)
            assert self._viewer is not None
            await self._take(await self._viewer.told())

    async def _take(self, change: Any) -> None:
        patch = change["patch"]
        if patch["document"] is not None:
            self.held = patch["document"]
        elif self.held is not None and patch["from"] == self.held["envelope"]["version"]:
            self.held = applied(patch["operations"], self.held)
        else:
            await self.leave()


@pytest_asyncio.fixture
async def live(services: Services) -> AsyncIterator[Services]:
    """Services whose hub reads events."""
    async with reading(services):
        yield services


@asynccontextmanager
async def reading(services: Services) -> AsyncIterator[Services]:
    reader = asyncio.create_task(services.hub.run())
    yield services
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    await services.snapshots.close()


@asynccontextmanager
async def watching(
    services: Services, user: User, document: str, *, held: Any = None, resumed: str | None = None, **variables: Any
) -> AsyncIterator[Viewer]:
    """Somebody who listens, or has been told something, once the block is entered."""
    listening, context = services.hub.listeners, context_of(services, user)
    context.after = resumed
    async with aclosing(schema.told(document, variables=variables, context=context)) as stream:
        viewer = Viewer(stream, held)
        try:
            await until(lambda: services.hub.listeners > listening or viewer.coming.done())
            yield viewer
        finally:
            viewer.coming.cancel()
            await asyncio.gather(viewer.coming, return_exceptions=True)


async def announced(services: Services, tenant: str = "default", *, line: str | None = None) -> str:
    """Have a job come in, or a line be logged, and the snapshot told of; its version."""
    async with services.database.transaction(tenant) as tx:
        if line is None:
            await jobs.add(tx, NewJob(user_id=None, source_url="https://a.test/a.mp4", chain=["clipper"]))
        else:
            await logs.write(tx, [logs.NewLine(level=Severity.INFO, source="tests", message=line)])
    await services.snapshots.rebuild(tenant)
    await services.snapshots.warm_all()
    return (await services.snapshots.found(tenant)).envelope.version


async def as_stored(services: Services, version: str) -> Any:
    """What a version is, as JSON."""
    copy = await services.snapshots.versions.of(SLOT, version)
    assert copy is not None
    return json.loads(copy.bodies.encoded)


def applied(operations: Any, document: Any) -> Any:
    """What a patch makes of a document, which stays as it is."""
    return JSONPatch(operations).apply(json.loads(letters(document)))


def letters(content: Any) -> str:
    return json.dumps(content, sort_keys=True)


async def test_just_the_sections_that_changed_are_told(live: Services, people: People) -> None:
    before = await announced(live)
    async with watching(live, people[Role.ADMIN], SECTIONS) as viewer:
        version = await announced(live, line="a line")
        change = await viewer.told()

    assert (version, before) == (change["version"], change["previousVersion"])
    assert version == change["snapshot"]["envelope"]["version"]
    assert "LOGS" in change["changed"]
    assert "QUEUE" not in change["changed"]
    assert "a line" == change["sections"]["logs"]["logs"][0]["message"]
    assert change["sections"]["queue"] is None


async def test_who_asks_for_some_sections_hears_of_no_others(live: Services, people: People) -> None:
    await announced(live)
    async with (
        watching(live, people[Role.ADMIN], SECTIONS, sections=["LOGS"]) as some,
        watching(live, people[Role.ADMIN], SECTIONS) as all_,
    ):
        of_job, of_line = await announced(live), await announced(live, line="a line")
        told = await some.told()
        both = [await all_.told() for _ in range(2)]

    assert (of_line, ["LOGS"]) == (told["version"], told["changed"])
    assert [of_job, of_line] == [change["version"] for change in both]


async def test_the_twin_tells_everybody_of_everything(
    live: Services, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: without asking what is wanted, what is told first above would be the job."""

    def everything(asked: frozenset[Section]) -> Callable[[Event], bool]:
        return lambda event: True

    monkeypatch.setattr(module, "wants", everything)
    await announced(live)
    async with watching(live, people[Role.ADMIN], SECTIONS, sections=["LOGS"]) as viewer:
        of_job, of_line = await announced(live), await announced(live, line="a line")
        told = await viewer.told()

    assert (of_job, []) == (told["version"], told["changed"])
    assert of_line != told["version"]


async def test_patches_lead_from_nothing_to_the_newest(live: Services, people: People) -> None:
    """Each gives, to the letter, what is stored; the first is the whole, all others are a part of that."""
    first = await announced(live)
    async with watching(live, people[Role.ADMIN], PATCHES, **{"from": ""}) as viewer:
        begun = await viewer.patched()
        for line in (None, "a line", None):
            version = await announced(live, line=line)
            change = await viewer.patched()

            assert (version, None) == (change["version"], change["patch"]["reason"])
            assert letters(await as_stored(live, version)) == letters(viewer.document)
            assert len(letters(change["patch"]["operations"])) < len(letters(viewer.document)) / 2

    assert (first, "UNKNOWN", None) == (begun["version"], begun["patch"]["reason"], begun["patch"]["from"])
    assert {section.name for section in Section} == set(begun["changed"])


async def test_a_patch_applied_to_another_version_is_seen(live: Services, people: People) -> None:
    """The control: who holds the wrong version, and does not look at which one a patch is from, has something else."""
    await announced(live)
    async with watching(live, people[Role.ADMIN], PATCHES, **{"from": ""}) as viewer:
        await viewer.patched()
        stale = viewer.document
        await announced(live, line="a line")
        await viewer.patched()
        version = await announced(live)
        change = await viewer.patched()
    wrong = applied(change["patch"]["operations"], stale)

    assert letters(await as_stored(live, version)) == letters(viewer.document) != letters(wrong)


async def test_who_comes_back_to_another_replica_is_told_what_they_missed(
    live: Services, database: Database, redis: Redis, tmp_path: Path, people: People
) -> None:
    await announced(live)
    async with watching(live, people[Role.ADMIN], PATCHES, **{"from": ""}) as viewer:
        held = (await viewer.patched())["version"]
    for line in (None, "missed", None):
        newest = await announced(live, line=line)
    async with (
        reading(services_over(database, redis, tmp_path / "other")) as other,
        watching(other, people[Role.ADMIN], PATCHES, held=viewer.document, **{"from": held}) as back,
    ):
        missed = await back.patched()
        last = await announced(live)
        change = await back.patched()

    assert (held, newest) == (missed["patch"]["from"], missed["version"])
    assert {"DASHBOARD", "LOGS", "QUEUE"} <= set(missed["changed"])
    assert (newest, last) == (change["patch"]["from"], change["version"])
    assert letters(await as_stored(live, last)) == letters(back.document)


async def test_who_holds_the_newest_is_told_only_what_comes(live: Services, people: People) -> None:
    newest = await announced(live)
    async with watching(live, people[Role.ADMIN], PATCHES, **{"from": newest}) as viewer:
        version = await announced(live)
        change = await viewer.told()

    assert (version, newest) == (change["version"], change["patch"]["from"])


async def test_whoever_applies_what_fits_and_else_comes_back_holds_the_newest(
    live: Services, database: Database, redis: Redis, tmp_path: Path, people: People
) -> None:
    """Viewers of random sections at two replicas, who leave and come back as they like, and an emptied Redis."""
    chance = random.Random(7)
    await announced(live)
    async with reading(services_over(database, redis, tmp_path / "other")) as other, AsyncExitStack() as stack:
        guests = [Guest(chance.choice((None, ["LOGS"], ["QUEUE", "LOGS"])), chance) for _ in range(4)]
        for step in range(6):
            for guest in guests:
                await guest.settle(stack, chance.choice((live, other)), people[Role.ADMIN])
            if step == 4:
                await redis.flushdb()
            newest = await announced(live, line=chance.choice((None, f"line {step}")))
            for guest in chance.sample(guests, 2):
                await guest.hear()
        # What all of them hear of.
        newest = await announced(live, line="the last")
        expected = letters(await as_stored(live, newest))
        for guest in guests:
            await guest.hear_until(newest, stack, live, people[Role.ADMIN])

            assert expected == letters(guest.held)


async def test_a_version_that_was_kept_and_never_told_of_costs_one_return(live: Services, people: People) -> None:
    """Its process died before the event was on record; the next patch leads from there, and fits nobody."""
    held = await announced(live)
    async with AsyncExitStack() as stack:
        guest = Guest(None, random.Random(0))
        guest.held = await as_stored(live, held)
        await guest.settle(stack, live, people[Role.ADMIN])
        await live.snapshots.rebuild("default")
        lost = await live.snapshots.announcements.of(SLOT, None)
        await live.snapshots.versions.keep(SLOT, lost, list(Section))
        newest = await announced(live)
        await guest.hear_until(newest, stack, live, people[Role.ADMIN])

    assert 2 == guest.seats
    assert letters(await as_stored(live, newest)) == letters(guest.held)


@pytest.mark.parametrize("named", ["", "19f-unknown", "x" * 9_999])
async def test_who_names_a_version_that_is_not_known_is_told_the_whole(
    named: str, live: Services, people: People
) -> None:
    newest = await announced(live)
    async with watching(live, people[Role.ADMIN], PATCHES, **{"from": named}) as viewer:
        patch = (await viewer.patched())["patch"]

    assert ("UNKNOWN", None, None) == (patch["reason"], patch["operations"], patch["from"])
    assert letters(await as_stored(live, newest)) == letters(viewer.document)


async def test_another_tenants_version_is_not_known(live: Services, people: People, other_people: People) -> None:
    await live.snapshots.current("other")
    await announced(live)
    theirs = await announced(live, "other")
    async with (
        watching(live, people[Role.ADMIN], PATCHES, **{"from": theirs}) as ours,
        watching(live, other_people[Role.ADMIN], PATCHES, **{"from": ""}) as stranger,
    ):
        own, foreign = await ours.patched(), await stranger.patched()

    assert ("UNKNOWN", theirs) == (own["patch"]["reason"], foreign["version"])
    assert letters(ours.document) != letters(stranger.document)


async def test_a_patch_that_is_larger_than_the_whole_is_not_told(live: Services, people: People) -> None:
    await announced(live)
    async with live.database.transaction("default") as tx:
        await configuration.change(tx, dict.fromkeys(MANY, 1))
    held = await announced(live)
    async with live.database.transaction("default") as tx:
        await configuration.change(tx, dict.fromkeys(MANY))
    async with watching(live, people[Role.ADMIN], PATCHES, **{"from": held}) as viewer:
        version = await announced(live)
        patch = (await viewer.patched())["patch"]

    assert ("SMALLER", None) == (patch["reason"], patch["operations"])
    assert letters(await as_stored(live, version)) == letters(viewer.document)


async def test_those_who_came_with_other_versions_are_told_the_same_that_was_made_once(
    live: Services, people: People
) -> None:
    versions = ["", await announced(live), await announced(live), await announced(live)]
    async with AsyncExitStack() as stack:
        viewers = [
            await stack.enter_async_context(watching(live, people[Role.ADMIN], PATCHES, **{"from": version}))
            for version in versions
        ]
        for viewer in viewers[:-1]:
            await viewer.told()
        [audience] = schema.watching.audiences.values()
        made, patched = audience.executed, live.snapshots.patches.made
        await announced(live)
        told = [letters(await viewer.told()) for viewer in viewers]

        assert (4, 0, 1) == (audience.members, made, audience.executed)
    assert 1 == len(set(told))
    assert patched + 1 == live.snapshots.patches.made


async def test_a_change_that_the_first_patch_holds_is_not_told_again(live: Services, people: People) -> None:
    """Its event becomes visible after somebody began to listen, and before the newest version is looked up."""
    await announced(live)
    copy = await live.snapshots.announcements.of(SLOT, await announced(live))
    late = {"version": copy.envelope.version, "sections": ["queue"], "before": []}
    async with watching(live, people[Role.ADMIN], PATCHES, **{"from": ""}) as viewer:
        held = (await viewer.patched())["version"]
        async with live.database.transaction("default") as tx:
            await events.record(tx, Kind.SNAPSHOT_CHANGED, SLOT.about, late)
        version = await announced(live)
        change = await viewer.patched()

    assert copy.envelope.version == held
    assert (version, held) == (change["version"], change["patch"]["from"])


async def test_what_a_transport_takes_up_again_goes_on_from_its_cursor(live: Services, people: People) -> None:
    """Its document still names the version it began with; event by event the patches lead on from what it holds."""
    await announced(live)
    async with watching(live, people[Role.ADMIN], PATCHES, **{"from": ""}) as viewer:
        cursor = (await viewer.patched())["cursor"]
    versions = [await announced(live), await announced(live, line="missed")]
    async with watching(
        live, people[Role.ADMIN], PATCHES, held=viewer.document, resumed=cursor, **{"from": ""}
    ) as back:
        told = [(await back.patched())["version"] for _ in versions]

    assert versions == told
    assert letters(await as_stored(live, versions[-1])) == letters(back.document)


async def test_who_names_a_version_is_not_told_each_change_they_missed(live: Services, people: People) -> None:
    """Whatever cursor they give with it: all of that is in the first patch."""
    await announced(live)
    async with watching(live, people[Role.ADMIN], PATCHES, **{"from": ""}) as viewer:
        held = await viewer.patched()
    for _ in range(2):
        newest = await announced(live)
    variables = {"from": held["version"], "after": held["cursor"]}
    async with watching(live, people[Role.ADMIN], PATCHES, held=viewer.document, **variables) as back:
        missed = await back.patched()
        version = await announced(live)
        change = await back.patched()

    assert [newest, version] == [missed["version"], change["version"]]


async def test_some_sections_have_patches_from_the_version_that_told_of_them_last(
    live: Services, people: People
) -> None:
    """What was told to others in between is in the patch, for it is about the whole."""
    await announced(live)
    async with watching(live, people[Role.ADMIN], PATCHES, sections=["LOGS"], **{"from": ""}) as viewer:
        first = await viewer.patched()
        await announced(live)
        await announced(live)
        version = await announced(live, line="a line")
        change = await viewer.patched()

    assert (first["version"], ["LOGS"]) == (change["patch"]["from"], change["changed"])
    assert letters(await as_stored(live, version)) == letters(viewer.document)


async def test_another_stretch_of_time_is_told_when_it_is_built_itself(
    live: Services, redis: Redis, people: People
) -> None:
    """It is kept warm for whoever listens, and what is told of it is not told to those who watch the usual one."""
    await announced(live)
    week = slot_of("default", TimeRange.WEEK)
    async with (
        watching(live, people[Role.ADMIN], SECTIONS, range="WEEK") as weekly,
        watching(live, people[Role.ADMIN], SECTIONS) as daily,
    ):

        async def followed() -> bool:
            return bool(await redis.exists(keys.snapshot_read(week.about)))

        await until(followed)
        await live.snapshots.warm_all()
        of_week = await weekly.told()
        version = await announced(live)
        of_day = await daily.told()

    built = (await live.snapshots.found("default", TimeRange.WEEK)).envelope.version
    assert ("WEEK", built) == (of_week["snapshot"]["analytics"]["timeRange"], of_week["version"])
    assert ("DAY", version) == (of_day["snapshot"]["analytics"]["timeRange"], of_day["version"])


async def test_no_section_at_all_cannot_be_watched(live: Services, people: People) -> None:
    async with watching(live, people[Role.ADMIN], PATCHES, sections=[]) as viewer:
        assert "VALIDATION_ERROR" == await viewer.told()


async def test_with_redis_away_what_this_process_holds_is_told(
    database: Database, people: People, tmp_path: Path
) -> None:
    async with (
        connect("redis://127.0.0.1:1/0") as nowhere,
        reading(services_over(database, nowhere, tmp_path)) as alone,
    ):
        async with watching(alone, people[Role.ADMIN], PATCHES, **{"from": "19f-known-elsewhere"}) as viewer:
            patch = (await viewer.patched())["patch"]
        held = json.loads(await alone.snapshots.encoded("default"))

    assert ("UNKNOWN", None) == (patch["reason"], patch["operations"])
    assert held["dashboard"]["jobs"] == viewer.document["dashboard"]["jobs"]
