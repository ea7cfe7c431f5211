"""The snapshot as it changes: what was asked for of it and nothing else, and patches from version to version."""

import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from dataloaders.snapshot import TimeRange
from dataloaders.snapshot.cache import slot_of
from dataloaders.snapshot.whole import Section
from db import configuration, events, keys
from db.database import Database
from db.events import Event, Kind
from db.models.identity import Role
from db.redis import Redis, connect
from resolvers.context import Services
from schema.root import schema
from schema.subscriptions import snapshot as module
from tests.conftest import People
from tests.schema.subscriptions.viewers import (
    PATCHES,
    SECTIONS,
    SLOT,
    Guest,
    announced,
    applied,
    as_stored,
    letters,
    reading,
    watching,
)
from tests.uploading import services_over
from tests.waiting import until

MANY = [f"{number:0200}" for number in range(500)]


@pytest_asyncio.fixture
async def live(services: Services) -> AsyncIterator[Services]:
    """Services whose hub reads events."""
    async with reading(services):
        yield services


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
    await announced(live)
    async with AsyncExitStack() as stack:
        guest = Guest(None, random.Random(0))
        await guest.settle(stack, live, people[Role.ADMIN])
        await guest.hear_until(await announced(live), stack, live, people[Role.ADMIN])
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
    executed = schema.watching(live.hub).executed
    async with AsyncExitStack() as stack:
        viewers = [
            await stack.enter_async_context(watching(live, people[Role.ADMIN], PATCHES, **{"from": version}))
            for version in versions
        ]
        for viewer in viewers[:-1]:
            await viewer.told()
        [audience] = schema.watching(live.hub).audiences.values()
        patched = live.snapshots.patches.made
        await announced(live)
        told = [letters(await viewer.told()) for viewer in viewers]

        assert (4, executed + 1) == (audience.members.total(), schema.watching(live.hub).executed)
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


async def test_who_holds_a_newer_version_than_told_of_their_sections_is_led_on_from_it(
    live: Services, people: People
) -> None:
    """Not back to where the others are, who were told of these sections before: then all go on alike."""
    told = await announced(live, line="a line")
    held = await announced(live)
    async with (
        watching(live, people[Role.ADMIN], PATCHES, sections=["LOGS"]) as other,
        watching(
            live,
            people[Role.ADMIN],
            PATCHES,
            held=await as_stored(live, held),
            sections=["LOGS"],
            **{"from": held},
        ) as viewer,
    ):
        own, others = [], []
        for line in ("one", "two"):
            await announced(live)
            version = await announced(live, line=line)
            own.append(await viewer.patched())
            others.append(await other.told())

            assert letters(await as_stored(live, version)) == letters(viewer.document)

    first, second = (change["version"] for change in others)
    assert [(held, first, ["LOGS"]), (first, second, ["LOGS"])] == [
        (change["patch"]["from"], change["version"], change["changed"]) for change in own
    ]
    assert [told, first] == [change["patch"]["from"] for change in others]


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
