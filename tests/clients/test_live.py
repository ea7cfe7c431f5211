"""Clients that others wrote, as their makers publish them, follow what changes at a server that is a process.

They come through a door that can be shut on them. What each is told is held against what is on record, cursor by
cursor: nothing may be missing, and nothing told twice.
"""

import asyncio
import re
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio
from gql import Client, GraphQLRequest
from gql.transport.exceptions import TransportQueryError

from agentos import services as opening
from agentos.embedded import Addresses
from agentos.settings import Settings
from db import events, jobs, users
from db.events import Kind
from db.jobs import NewJob
from db.models.identity import DEFAULT_TENANT, Role
from db.redis import connect
from db.users import User
from resolvers.context import Services
from tests.agentos.commands import environment, started
from tests.clients.following import PATIENCE_S, Clients, Follower, following
from tests.clients.live.changes import over_socket
from tests.relays import Relay, relayed
from tests.rooms import administer
from tests.serving import free_port, plain_client
from tests.urls import with_database
from tests.waiting import eventually, until

SOCKETS = ("graphql-ws", "urql", "apollo-ws", "gql-ws")
STREAMS = ("graphql-sse", "apollo-multipart", "gql-multipart")
EVERYBODY = SOCKETS + STREAMS
JOB_CHANGED = """
subscription ($id: ID, $after: String) {
  jobChanged(id: $id, after: $after) {
    ... on JobChange { cursor job { id status priority } }
    ... on Resync { reason cursor }
  }
}
"""
PRIORITY = "mutation ($input: JobPriorityInput!) { jobPriority(input: $input) { priority } }"
SIGNED_OUT = {**dict.fromkeys(SOCKETS, "4403"), **dict.fromkeys(STREAMS, "401"), "apollo-multipart": "UNAUTHENTICATED"}
"""By what each knows that its token is no good: the code of a close, the status of an answer, or what that says."""

LIFE = timedelta(seconds=10)
"""Of a token that runs out while it is watched."""

READY_S = 60.0


class Server:
    """`python -m agentos serve`, one process after the other."""

    def __init__(self, env: dict[str, str]) -> None:
        self.url = ""
        self._env = env
        self._running: list[asyncio.subprocess.Process] = []

    async def start(self) -> None:
        """Be there, and ready, beside who is there already."""
        port = free_port()
        self._running.append(await started("serve", "--port", str(port), env=self._env))
        url = f"http://127.0.0.1:{port}"
        async with plain_client(base_url=url) as client:

            async def ready() -> bool:
                try:
                    return (await client.get("/readyz")).status_code == 200
                except httpx.TransportError:
                    return False

            await until(ready, within_s=READY_S)
        self.url = url

    async def stop(self, *, but: int = 0) -> None:
        """Go as it does when it is told to, but for so many that were started last."""
        while len(self._running) > but:
            process = self._running.pop(0)
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await process.communicate()


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """A server, the door to it, and those who come."""

    services: Services
    server: Server
    door: Relay
    url: str
    clients: Clients
    http: httpx.AsyncClient

    async def user(self) -> User:
        """Somebody new, whom no limit has counted yet."""
        async with self.services.database.transaction(DEFAULT_TENANT) as tx:
            made = await users.add(
                tx,
                tenant=DEFAULT_TENANT,
                email=f"{uuid4().hex}@live.test",
                name="Liv",
                role=Role.ADMIN,
                password_hash=None,
            )
        assert made is not None
        return made

    def token(self, user: User, life: timedelta = timedelta(minutes=10)) -> str:
        return self.services.tokens.issued(
            user_id=user.id, tenant=user.tenant_id, role=user.role, token_version=user.token_version, life=life
        )

    async def job(self) -> "Watched":
        """A job that waits for its turn."""
        async with self.services.database.transaction(DEFAULT_TENANT) as tx:
            job = await jobs.add(tx, NewJob(user_id=None, source_url="https://example.org/v.mp4", chain=("clipper",)))
        async with self.services.database.system() as tx:
            return Watched(self, job.id, await events.edge(tx), self.token(await self.user()))


@dataclass(frozen=True, slots=True)
class Watched:
    """A job that somebody changes over the API while others watch."""

    house: House
    id: UUID
    since: events.Cursor
    token: str

    async def change(self, priority: int) -> None:
        """Change it, and have it on record."""
        asked = {"query": PRIORITY, "variables": {"input": {"jobId": str(self.id), "priority": priority}}}
        url, headers = f"{self.house.server.url}/graphql", {"authorization": f"Bearer {self.token}"}
        answer = await self.house.http.post(url, json=asked, headers=headers)
        assert {"data": {"jobPriority": {"priority": priority}}} == answer.json()

    async def on_record(self) -> list[str]:
        """The cursors of all its changes since it is watched."""
        async with self.house.services.database.system() as tx:
            found = await events.after(tx, self.since)
        return [str(one.cursor) for one in found if one.kind is Kind.JOB_CHANGED and one.entity_id == str(self.id)]


@pytest_asyncio.fixture(scope="module")
async def house(pair: Addresses, template: str) -> AsyncIterator[House]:
    """One for all tests here."""
    name = f"live_{uuid4().hex}"
    await administer(pair.database_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    async with connect(pair.redis_url, answer_timeout_s=PATIENCE_S) as redis:
        await redis.flushall()
    stores = {"database_url": with_database(pair.database_url, name), "redis_url": pair.redis_url}
    with tempfile.TemporaryDirectory(prefix="aos-live-") as folder:
        server = Server(environment(Path(folder), log_level="error", **stores))
        settings = Settings.model_validate({**stores, "data_dir": folder})
        async with AsyncExitStack() as stack:
            services = await stack.enter_async_context(opening.opened(settings, application="agentos tests"))
            stack.push_async_callback(server.stop)
            await server.start()
            door = await stack.enter_async_context(relayed(server.url))
            url = f"http://127.0.0.1:{urlsplit(door.url).port}/graphql"
            clients = await stack.enter_async_context(following(url))
            http = await stack.enter_async_context(plain_client())
            yield House(services=services, server=server, door=door, url=url, clients=clients, http=http)
    await administer(pair.database_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@asynccontextmanager
async def follower(house: House, kind: str, job: Watched) -> AsyncIterator[Follower]:
    """A client that follows a job from when it is watched."""
    async with following_job(house, kind, job, house.token(await house.user())) as client:
        yield client


@asynccontextmanager
async def following_job(house: House, kind: str, job: Watched, token: str) -> AsyncIterator[Follower]:
    """The same with a given token."""
    async with house.clients.client(kind, token) as client:
        await client.follow("job", JOB_CHANGED, id=str(job.id), after=str(job.since))
        yield client


def cursor_of(told: dict[str, Any]) -> str:
    assert {"next"} == told.keys(), told
    change = told["next"]["data"]["jobChanged"]
    cursor: str = change["cursor"]
    assert "reason" not in change
    assert cursor == told["next"]["extensions"]["cursor"]
    return cursor


async def end_of(client: Follower) -> str:
    """By what a client knows, after all that it was told, that it has to give up."""
    while "next" in (told := await client.hear("job")):
        pass
    if "errors" in told:
        return str(told["errors"][0]["extensions"]["code"])
    found = re.search(r"\b(4403|401)\b", told["failed"])
    return found[0] if found else told["failed"]


@pytest.mark.parametrize("kind", EVERYBODY)
async def test_it_hears_what_is_changed_over_the_api(house: House, kind: str) -> None:
    job = await house.job()
    async with follower(house, kind, job) as client:
        await job.change(7)
        told = await client.hear("job")

    assert await job.on_record() == [cursor_of(told)]
    change = told["next"]["data"]["jobChanged"]["job"]
    assert ("QUEUED", 7) == (change["status"], change["priority"])


@pytest.mark.parametrize("kind", EVERYBODY)
async def test_what_it_missed_while_it_had_no_connection_is_told_afterwards(house: House, kind: str) -> None:
    """By its own way of connecting again; nothing is told twice."""
    job = await house.job()
    async with follower(house, kind, job) as client:
        await job.change(1)
        told = [cursor_of(await client.hear("job"))]
        await house.door.leave()
        await job.change(2)
        await job.change(3)
        await house.door.listen()
        told += [cursor_of(await client.hear("job")) for _ in range(2)]
        await job.change(4)
        told.append(cursor_of(await client.hear("job")))

    assert await job.on_record() == told


@pytest.mark.parametrize("kind", SOCKETS)
async def test_what_was_missed_before_the_first_change_is_told_afterwards(house: House, kind: str) -> None:
    """By the place that the server greets with; nobody says `after`."""
    job = await house.job()
    async with cut_off_at_once(house, kind, job) as client:
        told = [cursor_of(await client.hear("job"))]

    assert await job.on_record() == told


async def test_control_who_passes_over_the_place_in_the_greeting_misses_it(house: House) -> None:
    job = await house.job()
    async with cut_off_at_once(house, "unplaced", job) as client:
        [missed] = await job.on_record()
        told = await changed_until_heard(client, job)

    assert told
    assert missed not in told


@asynccontextmanager
async def cut_off_at_once(house: House, kind: str, job: Watched) -> AsyncIterator[Follower]:
    """A client that was away while the first change came that it had asked to be told of."""
    async with house.clients.client(kind, house.token(await house.user())) as client:
        await client.follow("job", JOB_CHANGED, id=str(job.id))
        await client.connected()
        await house.door.leave()
        await job.change(1)
        await house.door.listen()
        yield client


@pytest.mark.parametrize("kind", EVERYBODY)
async def test_a_place_that_is_not_known_here_is_told_and_left_behind(house: House, kind: str) -> None:
    """As after a restore: from what it is told then it goes on as ever."""
    job = await house.job()
    elsewhere = events.Cursor(2**50, 1)
    async with house.clients.client(kind, house.token(await house.user())) as client:
        await client.follow("job", JOB_CHANGED, id=str(job.id), after=str(elsewhere))
        resync = (await client.hear("job"))["next"]["data"]["jobChanged"]
        await house.door.leave()
        await job.change(1)
        await house.door.listen()
        told = cursor_of(await client.hear("job"))

    assert "UNKNOWN" == resync["reason"]
    assert await job.on_record() == [told]


async def test_control_who_asks_again_as_at_first_misses_it(house: House) -> None:
    """The same client of the same socket, but without `after`."""
    job = await house.job()
    async with house.clients.client("forgetful", house.token(await house.user())) as client:
        await client.follow("job", JOB_CHANGED, id=str(job.id))
        before = await changed_until_heard(client, job)
        await house.door.leave()
        await job.change(2)
        await house.door.listen()
        missed = (await job.on_record())[-1]
        after = await changed_until_heard(client, job)

    assert missed not in {*before, *after}


async def changed_until_heard(client: Follower, job: Watched) -> list[str]:
    """What a client is told that nobody knows to be listening yet."""

    async def change() -> bool:
        await job.change(5)
        return not client.told["job"].empty()

    await eventually(change, bool, every_s=0.5)
    told = []
    while not client.told["job"].empty():
        told.append(cursor_of(await client.hear("job")))
    return told


@pytest.mark.slow
async def test_a_server_that_is_started_anew_is_found_again_by_everybody(house: House) -> None:
    """The next one is ready before: else each client waits ever longer until it tries again."""
    job = await house.job()
    await house.server.start()
    async with AsyncExitStack() as stack:
        clients = {kind: await stack.enter_async_context(follower(house, kind, job)) for kind in EVERYBODY}
        await job.change(1)
        told = {kind: [cursor_of(await client.hear("job"))] for kind, client in clients.items()}
        await house.server.stop(but=1)
        async with house.services.database.transaction(DEFAULT_TENANT) as tx:
            await jobs.mark_urgent(tx, job.id, priority=2)
        house.door.lead(house.server.url)
        await job.change(3)
        for kind, client in clients.items():
            told[kind] += [cursor_of(await client.hear("job")) for _ in range(2)]

    on_record = await job.on_record()
    assert dict.fromkeys(EVERYBODY, on_record) == told


@pytest.mark.parametrize(
    ("kind", "wrong", "code"),
    [
        # The others read an operation themselves before they send it.
        *(
            (kind, "subscription { jobChanged { __typename ", "GRAPHQL_PARSE_FAILED")
            for kind in ("graphql-ws", "graphql-sse")
        ),
        *((kind, "subscription { jobsChanged { __typename } }", "GRAPHQL_VALIDATION_FAILED") for kind in EVERYBODY),
    ],
)
async def test_a_wrong_operation_is_told_so_and_its_sibling_goes_on(
    house: House, kind: str, wrong: str, code: str
) -> None:
    job = await house.job()
    async with follower(house, kind, job) as client:
        await job.change(1)
        first = cursor_of(await client.hear("job"))
        await client.follow("wrong", wrong)
        refused = await client.hear("wrong")
        await job.change(2)
        second = cursor_of(await client.hear("job"))

    [error] = refused["errors"] if "errors" in refused else refused["next"]["errors"]
    assert code == error["extensions"]["code"]
    assert await job.on_record() == [first, second]


async def test_gql_is_told_of_a_wrong_operation_on_the_socket_where_its_sibling_goes_on(house: House) -> None:
    """Above it has a socket for each subscription, as each connects again by itself."""
    job = await house.job()
    told = []
    async with Client(transport=over_socket(house.url, house.token(await house.user()))) as session:
        variables = {"id": str(job.id), "after": str(job.since)}
        sibling = session.subscribe(GraphQLRequest(JOB_CHANGED, variable_values=variables))
        for priority in (1, 2):
            await job.change(priority)
            async with asyncio.timeout(PATIENCE_S):
                told.append((await anext(sibling))["jobChanged"]["cursor"])
            with pytest.raises(TransportQueryError, match="jobsChanged"):
                await anext(session.subscribe(GraphQLRequest("subscription { jobsChanged { __typename } }")))
        await sibling.aclose()

    assert await job.on_record() == told


@pytest.mark.parametrize("kind", EVERYBODY)
async def test_a_query_is_answered_over_the_same_client(house: House, kind: str) -> None:
    user = await house.user()
    async with house.clients.client(kind, house.token(user)) as client:
        answer = await client.ask("{ me { email } }")

    assert user.email == answer["next"]["data"]["me"]["email"]


@pytest.mark.slow
async def test_who_brings_a_fresh_token_in_time_hears_on(house: House) -> None:
    """Over a socket by ping or with the next connection, else with that alone.

    Everybody has a twin that brings none: once the twins are sent away, all the first tokens have run out.
    """
    job = await house.job()
    async with AsyncExitStack() as stack:
        users = {kind: await house.user() for kind in EVERYBODY}

        async def beginning(kind: str) -> Follower:
            return await stack.enter_async_context(following_job(house, kind, job, house.token(users[kind], LIFE)))

        clients = {kind: await beginning(kind) for kind in EVERYBODY}
        twins = {kind: await beginning(kind) for kind in EVERYBODY}
        late = {kind: await beginning(kind) for kind in SOCKETS}
        await job.change(1)
        told = {}
        told_late = {kind: [cursor_of(await client.hear("job"))] for kind, client in late.items()}
        for kind, client in late.items():
            await client.hold(house.token(users[kind]))
        for kind, client in clients.items():
            told[kind] = [cursor_of(await client.hear("job"))]
            await client.renew(house.token(users[kind]))
        ends = {kind: await end_of(twin) for kind, twin in twins.items()}
        await job.change(2)
        for kind, client in clients.items():
            told[kind].append(cursor_of(await client.hear("job")))
        for kind, client in late.items():
            told_late[kind].append(cursor_of(await client.hear("job")))

    on_record = await job.on_record()
    assert dict.fromkeys(EVERYBODY, on_record) == told
    assert dict.fromkeys(SOCKETS, on_record) == told_late
    assert SIGNED_OUT == ends


@pytest.mark.parametrize("kind", EVERYBODY)
async def test_a_bad_token_is_not_tried_again(house: House, kind: str) -> None:
    async with house.clients.client(kind, "no.such.token") as client:
        await client.follow("job", JOB_CHANGED)

        assert SIGNED_OUT[kind] == await end_of(client)
