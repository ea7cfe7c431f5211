"""Tokens that were never ours, not meant for this, or no longer good; over HTTP and over WebSocket."""

import asyncio
import base64
import json
import time
from collections.abc import Collection
from typing import Any
from uuid import UUID, uuid4

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agentos.transports import callers as module
from agentos.transports.callers import Callers
from db import users
from db.database import Database, Transaction
from db.models.identity import DEFAULT_TENANT, Role
from db.users import User
from guards.callers import Caller
from guards.errors import Unauthenticated, Unavailable
from guards.tokens import Key, Tokens
from resolvers.context import Services
from tests.agentos.conftest import TokenOf
from tests.conftest import CallerOf, People
from tests.serving import Served
from tests.waiting import until


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def hostile(tokens: Tokens, user: User) -> dict[str, str]:
    """Tokens that must not be believed; each is the good one with one thing changed."""
    key: Key = tokens.ring.signer
    now = int(time.time())
    good: dict[str, Any] = {
        "iss": "agentos",
        "aud": "agentos",
        "sub": str(user.id),
        "jti": "j",
        "iat": now,
        "nbf": now,
        "exp": now + 600,
        "tenant": user.tenant_id,
        "role": str(user.role),
        "ver": user.token_version,
    }
    header: dict[str, Any] = {"typ": "at+jwt", "kid": key.id, "alg": "EdDSA"}

    def signed(claims: dict[str, Any] | None = None, head: dict[str, Any] | None = None, **changed: Any) -> str:
        """Signed by hand, for a library would refuse to make most of these."""
        body = {name: value for name, value in ((claims or good) | changed).items() if value is not ...}
        start = f"{b64(json.dumps(head or header).encode())}.{b64(json.dumps(body).encode())}"
        return f"{start}.{b64(key.private.sign(start.encode()))}"

    def hmac(secret: bytes) -> str:
        # PyJWT refuses to sign with what looks like a public key; an attacker would not.
        algorithm = jwt.get_algorithm_by_name("HS256")
        start = f"{b64(json.dumps(header | {'alg': 'HS256'}).encode())}.{b64(json.dumps(good).encode())}"
        return f"{start}.{b64(algorithm.sign(start.encode(), secret))}"

    raw = key.public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    pem = key.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    stranger = Ed25519PrivateKey.generate()
    start, _, signature = signed().rpartition(".")
    return {
        "not a token": "nonsense",
        "empty parts": "..",
        "unsigned": f"{start}.",
        "alg none": f"{b64(json.dumps(header | {'alg': 'none'}).encode())}.{start.split('.')[1]}.",
        "alg none with a signature": signed(head=header | {"alg": "none"}),
        "HS256 with the public key": hmac(raw),
        "HS256 with the public key as PEM": hmac(pem),
        "HS256 in name only": signed(head=header | {"alg": "HS256"}),
        "a stranger's key": jwt.encode(good, stranger, algorithm="EdDSA", headers={"typ": "at+jwt", "kid": key.id}),
        "a key nobody knows": signed(head=header | {"kid": "unknown"}),
        "a kid that is a path": signed(head=header | {"kid": "../../etc/passwd"}),
        "a kid that is a number": signed(head=header | {"kid": 1}),
        "no kid": signed(head={"typ": "at+jwt", "alg": "EdDSA"}),
        "a key of its own": signed(head=header | {"jwk": key.jwk}),
        "a place for keys": signed(head=header | {"jku": "https://evil.test/jwks.json"}),
        "critical extensions": signed(head=header | {"crit": ["x"], "x": 1}),
        "another type": signed(head=header | {"typ": "JWT"}),
        "another issuer": signed(iss="somebody"),
        "another audience": signed(aud="somebody"),
        "no audience": signed(aud=...),
        "expired": signed(iat=now - 700, nbf=now - 700, exp=now - 60),
        "not yet good": signed(nbf=now + 120),
        "an end that is text": signed(exp=str(now + 600)),
        "no end": signed(exp=...),
        "living too long": signed(exp=now + 86_400),
        "a role there is not": signed(role="root"),
        "a subject that is no id": signed(sub="admin"),
        "another tenant": signed(tenant="other"),
        "a user there is not": signed(sub=str(uuid4())),
        "a version revoked": signed(ver=user.token_version - 1),
        "a version to come": signed(ver=user.token_version + 1),
        "no version": signed(ver=...),
        "changed on the way": f"{start[:-2]}AA.{signature}",
        "longer than 8 KB": signed(x="y" * 9000),
    }


async def test_no_hostile_token_is_believed_over_http_or_websocket(
    server: Served, services: Services, people: People, token_of: TokenOf
) -> None:
    user = people[Role.ADMIN]
    over_http, over_socket = {}, {}
    bad = hostile(services.tokens, user)
    for name, token in bad.items():
        # Else the limit on bad tokens would answer before the last of them.
        await services.redis.flushall()
        answer = await server.graphql("{ me }", token)
        over_http[name] = answer.status_code, answer.json()["errors"][0]["extensions"]["code"]
        async with server.socket(greet=False) as socket:
            await socket.say({"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}})
            over_socket[name] = await socket.ended()

    assert dict.fromkeys(bad, (401, "UNAUTHENTICATED")) == over_http
    assert dict.fromkeys(bad, 4403) == over_socket
    assert 200 == (await server.graphql("{ me }", token_of(user))).status_code


async def test_even_a_public_field_is_not_answered_with_a_bad_token(server: Served) -> None:
    assert 401 == (await server.graphql("{ open }", "a.b.c")).status_code
    for header in ("Basic eDp5", "Bearer", "", "\xff"):
        answer = await server.client.post(
            "/graphql", json={"query": "{ open }"}, headers={b"authorization": header.encode("latin-1")}
        )
        assert 401 == answer.status_code


@pytest.fixture
def clock() -> list[float]:
    """A clock that tests move."""
    return [1000.0]


async def test_who_was_signed_out_is_noticed_four_seconds_later_at_most(
    services: Services, database: Database, people: People, token_of: TokenOf, clock: list[float]
) -> None:
    user = people[Role.USER]
    callers = Callers(services.tokens, database, monotonic=lambda: clock[0])
    bearer = {"authorization": f"Bearer {token_of(user)}"}
    await callers.of(bearer)
    async with database.transaction(user.tenant_id) as tx:
        await users.revoke_tokens(tx, user.id)

    clock[0] += module.FRESH_S - 0.01
    assert (await callers.of(bearer)) is not None
    clock[0] += 0.01
    with pytest.raises(Unauthenticated):
        await callers.of(bearer)


async def test_a_locked_user_is_refused(
    services: Services, database: Database, people: People, token_of: TokenOf
) -> None:
    user = people[Role.USER]
    token = token_of(user)
    async with database.transaction(user.tenant_id) as tx:
        await users.mark_disabled(tx, user.id)

    with pytest.raises(Unauthenticated):
        await Callers(services.tokens, database).holding(f"Bearer {token}")


async def test_a_remembered_token_is_forgotten_when_it_expires(
    services: Services, database: Database, people: People, token_of: TokenOf
) -> None:
    """The memory's clock is an hour ahead: the token is verified anew, and it is good."""
    late = Callers(services.tokens, database, clock=lambda: time.time() + 3600)
    caller = await late.holding(f"Bearer {token_of(people[Role.USER])}")

    assert late.expired(caller)


async def test_without_the_database_only_who_was_just_seen_is_let_through(
    services: Services, database_url: str, people: People, token_of: TokenOf, clock: list[float]
) -> None:
    away = Database.connect("postgresql+asyncpg://nobody@127.0.0.1:1/none", size=1)
    user, stranger = people[Role.USER], people[Role.ADMIN]
    callers = Callers(services.tokens, services.database, monotonic=lambda: clock[0])
    bearer = {"authorization": f"Bearer {token_of(user)}"}
    await callers.of(bearer)
    callers._database = away

    assert (await callers.of(bearer)) is not None
    with pytest.raises(Unavailable):
        await callers.of({"authorization": f"Bearer {token_of(stranger)}"})
    clock[0] += module.FRESH_S
    with pytest.raises(Unavailable):
        await callers.of(bearer)
    await away.close()


async def test_nobody_is_nobody(services: Services) -> None:
    assert (await Callers(services.tokens, services.database).of({})) is None


async def test_many_at_once_are_told_alike(services: Services, people: People, token_of: TokenOf) -> None:
    callers = Callers(services.tokens, services.database)
    token = token_of(people[Role.USER])

    async with asyncio.TaskGroup() as group:
        found = [group.create_task(callers.holding(f"Bearer {token}")) for _ in range(20)]

    assert {people[Role.USER].id} == {task.result().user_id for task in found}


async def test_those_at_once_ask_the_database_together_whoever_goes_away(
    services: Services, people: People, token_of: TokenOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[UUID] = []
    version_of = users.token_version

    async def counting(tx: Transaction, user_id: UUID) -> int | None:
        counted.append(user_id)
        if len(counted) == 1:
            # The database takes its time, until who asks is gone.
            await asyncio.Event().wait()
        return await version_of(tx, user_id)

    monkeypatch.setattr(users, "token_version", counting)
    callers, bearer = Callers(services.tokens, services.database), f"Bearer {token_of(people[Role.USER])}"
    calls = [asyncio.create_task(callers.holding(bearer)) for _ in range(10)]
    await until(lambda: bool(counted))
    calls[0].cancel()
    gone, *others = await asyncio.gather(*calls, return_exceptions=True)

    assert isinstance(gone, asyncio.CancelledError)
    assert [people[Role.USER].id] * 9 == [caller.user_id for caller in others if isinstance(caller, Caller)]
    assert 2 == len(counted)


async def test_those_at_once_are_refused_together_without_the_database(
    services: Services, people: People, token_of: TokenOf
) -> None:
    away = Database.connect("postgresql+asyncpg://nobody@127.0.0.1:1/none", size=1)
    callers, bearer = Callers(services.tokens, away), f"Bearer {token_of(people[Role.USER])}"

    found = await asyncio.gather(*(callers.holding(bearer) for _ in range(10)), return_exceptions=True)

    assert {Unavailable} == {type(each) for each in found}
    assert {} == callers._asking
    await away.close()


async def test_several_are_asked_for_at_once_and_who_is_not_who_they_were_is_named(
    services: Services,
    database: Database,
    people: People,
    other_people: People,
    caller_of: CallerOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One statement a tenant, in which each tenant sees its own; what was told is remembered as if asked one by one."""
    asked: list[int] = []
    real = users.token_versions

    async def counted(tx: Transaction, ids: Collection[UUID]) -> dict[UUID, int]:
        asked.append(len(ids))
        return await real(tx, ids)

    callers = Callers(services.tokens, database)
    everybody = [caller_of(user) for user in (*people.values(), *other_people.values())]
    gone = msgspec.structs.replace(everybody[0], user_id=uuid4())
    foreign = msgspec.structs.replace(everybody[0], tenant="other")
    async with database.transaction(DEFAULT_TENANT) as tx:
        await users.revoke_tokens(tx, people[Role.USER].id)
        await users.mark_disabled(tx, people[Role.OPERATOR].id)
    monkeypatch.setattr(users, "token_versions", counted)
    fallen = await callers.fallen([*everybody, gone, foreign])

    ids = {people[role].id for role in (Role.USER, Role.OPERATOR)}
    expected = [caller for caller in everybody if caller.user_id in ids]
    assert [*expected, gone, foreign] == fallen
    assert sorted([len(people) + 1, len(other_people) + 1]) == sorted(asked)
    with pytest.raises(Unauthenticated, match="revoked"):
        await callers.stand(expected[0])
    assert [] == await callers.fallen([])
