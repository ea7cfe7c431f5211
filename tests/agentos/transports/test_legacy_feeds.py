"""What all legacy sockets of a tenant are told alike: its snapshot, made once for all, and who may follow it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from agentos import services as opening
from agentos.settings import Settings
from agentos.transports.legacy_feeds import Feed, Feeds
from db import jobs, users
from db.events import Cursor
from db.jobs import NewJob
from db.models.identity import Role
from db.users import User
from guards.networks import Network
from resolvers.context import Services
from resolvers.live import Hub
from schema.rest.snapshots import older
from tests.agentos.conftest import TokenOf
from tests.agentos.transports.legacy import heard, legacy_socket, speaking
from tests.conftest import People
from tests.serving import Socket
from tests.waiting import PATIENCE_S

FOLLOW = {"type": "subscribe", "channel": "admin_updates", "client_id": "admin_ui_1"}


@asynccontextmanager
async def warming(settings: Settings) -> AsyncIterator[Services]:
    """Another process, which builds snapshots and announces them."""
    async with opening.opened(settings, application="agentos tests") as services:
        yield services


async def changed(warmer: Services, tenant: str, *, more: int = 1) -> None:
    """Have a tenant's snapshot differ, and those who follow it told so."""
    # What a follower has begun to build is over after this: it would pass for the one that is built below.
    await warmer.snapshots.current(tenant)
    async with warmer.database.transaction(tenant) as tx:
        for _ in range(more):
            await jobs.add(
                tx, NewJob(user_id=None, source_url="https://example.test/a.mp4", chain=["video-downloader"])
            )
    await warmer.snapshots.rebuild(tenant)
    await warmer.snapshots.warm_all()


async def following(socket: Socket) -> None:
    await socket.say(FOLLOW)
    assert "subscription_confirmed" == (await heard(socket, "subscription_confirmed", "error"))["type"]


async def test_a_follower_is_told_the_snapshot_that_was_announced_in_the_shape_older_clients_read(
    settings: Settings, services: Services, tenant: str, people: People, token_of: TokenOf
) -> None:
    """This process holds the one before: what is told must be the one that another has just built."""
    await services.snapshots.current(tenant)
    async with (
        warming(settings) as warmer,
        speaking(settings, services) as (server, _),
        legacy_socket(server, token_of(people[Role.READONLY])) as socket,
    ):
        await socket.say(FOLLOW)
        confirmed = await heard(socket, "subscription_confirmed")
        await changed(warmer, tenant)
        told = await heard(socket, "admin_data_update")
        stored = await warmer.snapshots.found(tenant)

    assert ("admin_updates", "admin_ui_1") == (confirmed["channel"], confirmed["client_id"])
    assert {"type", "data", "timestamp", "source"} == told.keys()
    assert stored.envelope.version == told["data"]["envelope"]["version"]
    assert told["data"]["agents"] == told["data"]["agents_workers"]
    assert 1 == told["data"]["dashboard"]["queue"]["pending"]
    assert told["data"]["timestamp"] == told["timestamp"]
    assert told["timestamp"].endswith("Z")


async def test_who_may_not_read_the_snapshot_or_not_from_there_cannot_follow_it(
    settings: Settings, services: Services, people: People, token_of: TokenOf
) -> None:
    elsewhere: tuple[Network, ...] = ()
    object.__setattr__(services, "admin_allow", elsewhere)
    codes = {}
    async with speaking(settings, services) as (server, _):
        for role in (Role.USER, Role.ADMIN):
            async with legacy_socket(server, token_of(people[role])) as socket:
                await socket.say(FOLLOW)
                codes[role] = (await heard(socket, "subscription_confirmed", "error"))["code"]

    assert {Role.USER: "FORBIDDEN", Role.ADMIN: "FORBIDDEN"} == codes


async def test_only_the_own_tenants_snapshot_is_told(
    settings: Settings, services: Services, tenant: str, people: People, other_people: People, token_of: TokenOf
) -> None:
    """Both are announced: in the one a job waits, in the other two do."""
    stranger = other_people[Role.ADMIN]
    async with (
        warming(settings) as warmer,
        speaking(settings, services) as (server, _),
        legacy_socket(server, token_of(stranger)) as theirs,
        legacy_socket(server, token_of(people[Role.ADMIN])) as ours,
    ):
        await following(theirs)
        await following(ours)
        await changed(warmer, tenant)
        await changed(warmer, stranger.tenant_id, more=2)
        pending = [await first_pending(socket) for socket in (ours, theirs)]

    assert [1, 2] == pending


async def first_pending(socket: Socket) -> int:
    """How many jobs are told to wait, once any are: something else may have changed before."""
    while not (told := (await heard(socket, "admin_data_update"))["data"]["dashboard"]["queue"]["pending"]):
        continue
    return int(told)


class Late(Hub):
    """Begins to listen when it is let."""

    def __init__(self, services: Services) -> None:
        super().__init__(services.database, services.redis)
        self.let = asyncio.Event()

    async def bounds(self, tenant: str) -> tuple[Cursor, Cursor]:
        await self.let.wait()
        return await super().bounds(tenant)


async def test_nobody_is_taken_for_a_follower_before_changes_are_heard_of(services: Services, tenant: str) -> None:
    """Whoever is told so makes a change at once, and waits for it."""
    late = Late(services)
    feeds = Feeds(replace(services, hub=late))
    async with feeds.of(tenant) as feed, AsyncExitStack() as stack:
        following = asyncio.create_task(stack.enter_async_context(feed.following()))
        early, _ = await asyncio.wait({following}, timeout=0.3)
        late.let.set()
        await following

    assert set() == early


class Apart(Feeds):
    """The weakened twin: each socket has a feed of its own."""

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self.all: list[Feed] = []

    @asynccontextmanager
    async def of(self, tenant: str) -> AsyncIterator[Feed]:
        async with Feeds(self._services).of(tenant) as feed:
            self.all.append(feed)
            yield feed


async def crowd(services: Services, tenant: str, count: int) -> list[User]:
    async with services.database.transaction(tenant) as tx:
        made = [
            await users.add(
                tx, tenant=tenant, email=f"{number}@crowd.test", name="", role=Role.ADMIN, password_hash=None
            )
            for number in range(count)
        ]
    return [user for user in made if user is not None]


async def told_to_fifty(
    settings: Settings, services: Services, feeds: Feeds, tenant: str, token_of: TokenOf
) -> set[str]:
    """What fifty clients of ten users hear of one change, as text."""
    tokens = [token_of(user) for user in await crowd(services, tenant, 10) for _ in range(5)]
    async with warming(settings) as warmer, speaking(settings, services) as (server, legacy), AsyncExitStack() as stack:
        legacy.feeds = feeds
        sockets = [await stack.enter_async_context(legacy_socket(server, token)) for token in tokens]
        for socket in sockets:
            await following(socket)
        await changed(warmer, tenant)
        return set(await asyncio.gather(*(text(socket, "admin_data_update") for socket in sockets)))


async def text(socket: Socket, kind: str) -> str:
    """The next message of a type, letter by letter."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            said = str(await socket.connection.recv())
            if said.startswith(f'{{"type":"{kind}"'):
                return said


async def test_fifty_clients_are_told_one_text_that_was_made_once(
    settings: Settings, services: Services, tenant: str, token_of: TokenOf
) -> None:
    feeds = Feeds(services)
    made: list[int] = []
    async with feeds.of(tenant) as feed:
        texts = await told_to_fifty(settings, services, feeds, tenant, token_of)
        made.append(feed.painted)

    assert (1, [1]) == (len(texts), made)


async def test_the_twin_makes_it_for_each_client(
    settings: Settings, services: Services, tenant: str, token_of: TokenOf
) -> None:
    """The control: what is counted above does grow with the clients when nothing is shared."""
    feeds = Apart(services)
    await told_to_fifty(settings, services, feeds, tenant, token_of)

    assert 50 == sum(feed.painted for feed in feeds.all)


async def test_a_feed_is_there_while_somebody_asks_for_it(services: Services, tenant: str) -> None:
    feeds = Feeds(services)
    async with feeds.of(tenant) as first:
        async with feeds.of(tenant) as second, feeds.of("other") as other:
            same = first is second
            assert {tenant: first, "other": other} == feeds.open
        assert {tenant: first} == feeds.open

    assert same
    assert {} == feeds.open


async def test_what_older_clients_are_told_is_what_they_read_over_rest(services: Services, tenant: str) -> None:
    """The same keys, without the envelope of REST around them."""
    found = await services.snapshots.found(tenant)
    told = older(found.bodies.encoded)

    assert told.startswith(found.bodies.encoded[:100])
    assert b'"time_range":"24h"' in told
