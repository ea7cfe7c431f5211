"""Every endpoint, by every role, about everybody's things, below both prefixes.

What comes of each call is in `tests/golden/endpoints`. Whatever comes has the envelope of its prefix, one entry in the
trail if the endpoint changes something, and none if it only reads. After a change that is meant: `python -m pytest
tests/agentos/test_every_endpoint.py --outcomes`, and look at what it changed.
"""

import base64
import hashlib
import secrets
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
import sqlalchemy as sa

from agentos.app import create_app
from agentos.settings import Settings
from db import refresh_tokens
from db.models.identity import Role
from db.models.work import JobStatus
from db.users import User
from resolvers.context import Services
from schema.rest.endpoints import ENDPOINTS
from schema.rest.operations import stored
from schema.rest.rows import Endpoint
from schema.rest.serving import PREFIXES
from schema.root import schema
from tests import standing
from tests.agentos.conftest import TokenOf
from tests.calls import CALLS, NOWHERE, Case, Things, name_of, path_of, sent_with
from tests.conftest import People
from tests.onlooking import Onlooker
from tests.serving import Served, served
from tests.uploading import begun, context_of, sent, video

GOLDEN: Final = Path(__file__).parent.parent / "golden/endpoints"
NOBODY: Final = "nobody"
BARE: Final = frozenset({"success", "data", "timestamp", "response_time_ms"})
REFUSED: Final = frozenset({"success", "error", "error_code", "timestamp"})
SENT: Final = video(3_000)


@pytest_asyncio.fixture
async def whole(settings: Settings, services: Services) -> AsyncIterator[Served]:
    """The application with the schema of the house."""
    async with served(create_app(settings, services)) as running:
        yield running


async def made(services: Services, user: User, kind: str) -> str:
    """A thing of somebody's own, by its name in `tests.calls`."""
    context, database = context_of(services, user), services.database
    match kind:
        case "user":
            return str(user.id)
        case "job":
            return str(await standing.job_in(database, JobStatus.QUEUED, owner=user.id))
        case "failed":
            return str(await standing.job_in(database, JobStatus.FAILED, owner=user.id))
        case "upload":
            return str((await begun(context, SENT, 1000)).id)
        case "sent":
            return str((await sent(context, await begun(context, SENT, 1000), SENT)).id)
        case "token":
            return await _refresh_token(services, user)
    done = await standing.job_in(database, JobStatus.COMPLETED, owner=user.id)
    await standing.with_clip(database, done, "default/clips/none.mp4")
    async with database.transaction(user.tenant_id) as tx:
        return str(await tx.scalar(sa.text("SELECT id FROM clips WHERE job_id = :job"), {"job": done}))


async def _refresh_token(services: Services, user: User) -> str:
    raw = secrets.token_bytes(32)
    async with services.database.transaction(user.tenant_id) as tx:
        await refresh_tokens.add(
            tx,
            tenant=user.tenant_id,
            user_id=user.id,
            family=uuid4(),
            digest=hashlib.sha256(raw).digest(),
            expires_at=await refresh_tokens.now(tx) + timedelta(days=1),
        )
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Shelf:
    """What calls are about: things that last are made once, and those that a call uses up for each call."""

    def __init__(self, services: Services, mine: User, other: User) -> None:
        self._services = services
        self._owners = {Case.OWN: mine, Case.FOREIGN: other, Case.MALFORMED: mine}
        self._lasting: dict[tuple[Case, str], str] = {}

    async def of(self, case: Case, kinds: Iterable[str], *, used_up: bool) -> Things:
        """Ids of things of these kinds."""
        if case is Case.MISSING:
            return NOWHERE
        found: dict[str, str] = {}
        for kind in kinds:
            known = None if used_up else self._lasting.get((case, kind))
            if known is None:
                known = self._lasting[case, kind] = await made(self._services, self._owners[case], kind)
            found[kind] = known
        return found


def changes(endpoint: Endpoint) -> bool:
    """Whether an endpoint does something."""
    if endpoint.operation is not None:
        return stored(endpoint.operation, schema).changes
    return endpoint.method == "POST"


def require_envelope(endpoint: Endpoint, prefix: str, answer: httpx.Response) -> None:
    """What every answer has, and what it has not."""
    body: dict[str, Any] = answer.json()
    bare = REFUSED if answer.is_error else BARE | ({"pagination"} if endpoint.paged else set())
    assert answer.is_success is body["success"]
    assert body["timestamp"].endswith("Z")
    if prefix == "/api/v1":
        assert bare == body.keys()
    elif answer.is_error:
        assert body["detail"] == body["error"]
    else:
        assert bare | (endpoint.beside.keys() - {"*"}) <= body.keys()
    if endpoint.own is None:
        assert (prefix == "/api") <= ("deprecation" in answer.headers)
    if answer.status_code not in {401, 403}:
        assert "ratelimit" in answer.headers


async def outcomes_of(
    role: str, server: Served, services: Services, onlooker: Onlooker, people: People, token: str | None
) -> AsyncIterator[tuple[str, str]]:
    """What comes of every call of a role; what is promised of each is seen to on the way."""
    mine = people[Role.USER if role == NOBODY else Role(role)]
    other = next(user for user in people.values() if user.id != mine.id)
    headers = {"authorization": f"Bearer {token}"} if token else {}
    shelf = Shelf(services, mine, other)
    for endpoint in ENDPOINTS:
        call = CALLS[name_of(endpoint)]
        for case in call.cases:
            told: dict[str, str] = {}
            await onlooker.forget()
            for prefix in PREFIXES if endpoint.own is None else ("",):
                things = await shelf.of(case, call.needs, used_up=changes(endpoint))
                before = await onlooker.on_record()

                answer = await server.client.request(
                    endpoint.method,
                    f"{prefix}{path_of(endpoint, call, case, things)}",
                    headers=headers,
                    **sent_with(call, case, things),
                )

                place = f"{name_of(endpoint)} {case} by {role}: {answer.status_code} {answer.text[:300]}"
                assert answer.status_code not in {404, 405} or "NOT_FOUND" == answer.json()["error_code"], place
                assert answer.status_code not in {429, 500}, place
                require_envelope(endpoint, prefix, answer)
                written = await onlooker.on_record() - before
                if endpoint.operation == "AuthRefresh":
                    assert written == (case is Case.OWN), place
                elif case is Case.MALFORMED:
                    # What cannot even be read asks for nothing that could be on record.
                    assert written <= (changes(endpoint) and role != NOBODY), place
                else:
                    assert written == (changes(endpoint) and role != NOBODY), place
                told[prefix] = f"{answer.status_code} {answer.json().get('error_code', 'ok')}"
            [outcome] = set(told.values())
            yield f"{name_of(endpoint)} {case}", outcome


@pytest.mark.slow
@pytest.mark.parametrize("role", [*Role, NOBODY])
async def test_every_endpoint_has_the_outcome_of_the_golden_text(
    role: str,
    whole: Served,
    services: Services,
    onlooker: Onlooker,
    people: People,
    token_of: TokenOf,
    request: pytest.FixtureRequest,
) -> None:
    token = None if role == NOBODY else token_of(people[Role(role)])
    found = {place: outcome async for place, outcome in outcomes_of(role, whole, services, onlooker, people, token)}

    golden = GOLDEN / f"{role}.txt"
    written = "".join(f"{place:<44} {outcome}\n" for place, outcome in found.items())
    if request.config.getoption("--outcomes"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(written)
    assert golden.read_text().splitlines() == written.splitlines()


def test_every_endpoint_has_a_call() -> None:
    assert sorted(CALLS) == sorted(map(name_of, ENDPOINTS))
