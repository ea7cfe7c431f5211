"""The API as schemathesis sees it: whatever is sent, the answer is one of those that are described.

Bounded and the same each time; what it may not do, and cannot judge, is in `schemathesis.toml` and `fuzzing.py`.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from agentos import services as opening
from agentos.app import create_app
from agentos.settings import Settings
from db import agents, seed, users
from db.database import Database
from db.models.identity import DEFAULT_TENANT, Role
from resolvers.context import Services
from schema.root import schema
from tests.clients.judging import FOLDER, Judged
from tests.serving import Served, served
from tests.waiting import finished
from workers.agents.roster import ROSTER

PATIENCE_S = 240.0
CALLERS = 100
"""Administrators who take turns: each has a limit of their own, which is not what is judged here."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.environ.get("CI") != "true", reason="it takes minutes: CI=true asks for it"),
]
COMMON = ("--seed", "1", "--no-shrink", "--suppress-health-check", "all", "--warnings", "off")


@pytest_asyncio.fixture
async def behind_a_proxy(
    database: Database, database_url: str, redis_url: str, tmp_path: Path
) -> AsyncIterator[tuple[Served, str]]:
    """The application with a history, behind a proxy that says from where each call is; and tokens of many callers."""
    given = {"database_url": database_url, "redis_url": redis_url, "data_dir": tmp_path, "log_level": "error"}
    settings = Settings.model_validate({**given, "trusted_proxies": "127.0.0.0/8", "admin_allow": "0.0.0.0/0"})
    chain = [agent.id for agent in ROSTER][:4]
    async with opening.opened(settings, application="agentos tests") as services:
        async with database.transaction(DEFAULT_TENANT) as tx:
            await agents.settle(tx, ROSTER)
        await seed.fill(database, DEFAULT_TENANT, jobs=20, events=10, chain=chain, seed=1, now=datetime.now(UTC))
        async with served(create_app(settings, services)) as running:
            yield running, ",".join([await token(database, services, number) for number in range(CALLERS)])


async def token(database: Database, services: Services, number: int) -> str:
    """An access token of one more administrator."""
    async with database.transaction(DEFAULT_TENANT) as tx:
        user = await users.add(
            tx, tenant=DEFAULT_TENANT, email=f"{number}@fuzz.test", name="F", role=Role.ADMIN, password_hash=None
        )
    assert user is not None
    return services.tokens.issued(
        user_id=user.id, tenant=user.tenant_id, role=user.role, token_version=user.token_version
    )


async def judged(house: tuple[Served, str], schema_at: str, *arguments: str, folder: Path) -> Judged:
    """Run it against the application to its end; the schema is at a path there, or in a file of the folder."""
    running, tokens = house
    base = f"http://{running.host}:{running.port}"
    place = (f"{base}{schema_at}",) if schema_at.startswith("/") else (schema_at, "--url", f"{base}/graphql")
    head = ("-m", "schemathesis.cli", "--config-file", str(FOLDER / "schemathesis.toml"), "run", *place)
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *(*head, *arguments, *COMMON),
        cwd=folder,
        env={
            **os.environ,
            "AGENTOS_TEST_TOKENS": tokens,
            "SCHEMATHESIS_HOOKS": str(FOLDER / "fuzzing.py"),
            "PYTHONPATH": str(FOLDER.parents[1]),
            "NO_COLOR": "1",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    code, told, _ = await finished(child, within_s=PATIENCE_S)
    return Judged(code, told.decode())


async def test_rest_answers_as_it_is_described(behind_a_proxy: tuple[Served, str], tmp_path: Path) -> None:
    arguments = ("--exclude-deprecated", "--exclude-path", "/api/v1/admin/action")
    bounded = ("--phases", "examples,coverage,fuzzing", "-n", "3")

    found = await judged(behind_a_proxy, "/openapi.json", *arguments, *bounded, folder=tmp_path)

    assert 0 == found.status, found.told[-8_000:]


async def test_no_action_fails_for_reasons_of_ours(behind_a_proxy: tuple[Served, str], tmp_path: Path) -> None:
    arguments = ("--include-path", "/api/v1/admin/action", "--phases", "fuzzing", "-n", "40")

    found = await judged(behind_a_proxy, "/openapi.json", *arguments, folder=tmp_path)

    assert 0 == found.status, found.told[-8_000:]


async def test_graphql_answers_whatever_is_asked(behind_a_proxy: tuple[Served, str], tmp_path: Path) -> None:
    (tmp_path / "schema.graphql").write_text(schema.as_str())
    open_house = (
        "--exclude-name-regex",
        "system(EmergencyStop|MaintenanceMode|Restore)|logout|adminAction|actionByName",
    )

    # A field that is refused is a fault of the server to that check; `no_fault_of_ours` stands in its place.
    checks = ("--exclude-checks", "not_a_server_error")

    found = await judged(behind_a_proxy, "schema.graphql", "-n", "2", *checks, *open_house, folder=tmp_path)

    assert 0 == found.status, found.told[-8_000:]
