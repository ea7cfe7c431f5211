"""The command line from outside: output and exit codes, of real processes where it is they that matter."""

import asyncio
import json
import os
import signal
import socket
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import get_args

import pytest
import pytest_asyncio

from agentos import VERSION
from agentos.cli.app import main
from agentos.cli.people import RoleName
from agentos.cli.places import user_of
from agentos.first_run import FIRST_ADMIN
from agentos.keys import key_ring
from agentos.settings import Settings
from db import audit, jobs, keys, users
from db.database import Database
from db.migrations import runner
from db.models.identity import DEFAULT_TENANT, Role
from db.pages import Order, Window
from db.redis import Redis
from guards.tokens import Tokens
from tests.agentos.commands import ROOT, Outcome, environment, run, started
from tests.agentos.conftest import Ran
from tests.waiting import eventually

Env = Mapping[str, str]
MOMENT = "2031-05-04T12:30:00+00:00"


@pytest_asyncio.fixture
async def env(tmp_path: Path, database_url: str, redis_url: str) -> Env:
    """Given stores and an empty data directory."""
    return environment(tmp_path, database_url=database_url, redis_url=redis_url)


@pytest.fixture
def nowhere(tmp_path: Path) -> Env:
    """Stores, and an API, at addresses where nobody listens."""
    return environment(tmp_path, database_url="postgresql://a@127.0.0.1:1/b", redis_url="redis://127.0.0.1:1", port="1")


def test_the_version_is_that_of_the_project() -> None:
    assert VERSION == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_roles_that_may_be_named_are_all_there_are() -> None:
    assert {role.value for role in Role} == set(get_args(RoleName))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing-like-it"], "nothing-like-it"),
        (["seed", "--jobs", "many"], "--jobs"),
        (["seed", "--jobs", "-1"], "--jobs"),
        (["token"], "--user"),
        (["token", "--user", "a@b.example", "--ttl", "901"], "--ttl"),
        (["token", "--user", "a@b.example", "--role", "king"], "--role"),
        (["up", "--no-such-thing"], "--no-such-thing"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2_and_names_it(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 2 == main(arguments)

    assert said in capsys.readouterr().err


async def test_help_does_not_wait_for_the_libraries_of_the_commands(tmp_path: Path) -> None:
    outcome = await run("--help", env=environment(tmp_path))

    assert (0, "") == (outcome.code, outcome.err)
    assert all(name in outcome.out for name in ("up", "serve", "worker", "migrate", "seed", "doctor", "job", "demo"))


@pytest.mark.benchmark
async def test_help_comes_within_half_a_second(tmp_path: Path) -> None:
    took = []
    for _ in range(5):
        began = perf_counter()
        await run("--help", env=environment(tmp_path))
        took.append(perf_counter() - began)

    print(f"\n--help: min {min(took) * 1000:.0f} ms, median {sorted(took)[2] * 1000:.0f} ms; budget 500 ms")
    assert min(took) < 0.5


async def test_a_setting_that_makes_no_sense_is_named(ran: Ran, tmp_path: Path) -> None:
    outcome = await ran("health", env=environment(tmp_path, port="abc"))

    assert 2 == outcome.code
    assert "AGENTOS_PORT" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    "arguments", [["migrate"], ["user", "list"], ["seed"], ["health"], ["job", "list"]], ids=" ".join
)
async def test_stores_that_are_away_are_told_in_a_few_lines(ran: Ran, arguments: list[str], nowhere: Env) -> None:
    outcome = await ran(*arguments, env=nowhere)

    assert (1, "") == (outcome.code, outcome.out)
    assert outcome.err.startswith("error: ")
    assert len(outcome.err.strip().splitlines()) <= 3


@pytest.mark.parametrize("arguments", [["user", "list"], ["doctor"]], ids=" ".join)
async def test_a_database_that_hangs_up_is_told_in_a_few_lines(ran: Ran, arguments: list[str], tmp_path: Path) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        away = f"postgresql://nobody@127.0.0.1:{port}/none?ssl=disable"
        env = environment(tmp_path, database_url=away, redis_url="redis://127.0.0.1:1")
        outcome = await ran(*arguments, env=env)

    assert 1 == outcome.code
    assert "Traceback" not in outcome.err
    assert "closed" in outcome.out or len(outcome.err.strip().splitlines()) <= 3


@pytest.mark.parametrize("process", ["serve", "worker"])
async def test_a_single_process_starts_no_stores_of_its_own(process: str, tmp_path: Path) -> None:
    outcome = await run(process, env=environment(tmp_path / "data"))

    assert 1 == outcome.code
    assert "AGENTOS_DATABASE_URL" in outcome.err
    assert not (tmp_path / "data").exists()


def test_a_data_directory_that_cannot_be_one_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.touch()
    for place in (file, file / "below"):
        assert 2 == main(["up", "--data-dir", str(place)])

        problem, advice = capsys.readouterr().err.splitlines()
        assert f"error: {place} cannot be the data directory: {file} is a file" == problem
        assert "AGENTOS_DATA_DIR" in advice


async def test_a_port_that_is_taken_is_named_by_a_single_process_too(env: Env) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        outcome = await run("serve", "--port", str(port), env=env)

    problem, advice = outcome.err.splitlines()
    assert 1 == outcome.code
    assert f"error: cannot listen on port {port} of 127.0.0.1: another program has it" == problem
    assert "--port" in advice


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["table", "json"])
async def test_output_that_nobody_can_take_is_said_in_two_lines(
    as_json: list[str], env: Env, database: Database
) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agentos", "user", "list", *as_json),
            cwd=ROOT,
            env=env,
            stdout=full,
            stderr=asyncio.subprocess.PIPE,
        )
    finally:
        os.close(full)
    async with asyncio.timeout(60):
        _, err = await process.communicate()

    problem, _advice = err.decode().splitlines()
    assert (1, "error: the output cannot be written: no space left on device") == (process.returncode, problem)


@pytest.mark.parametrize("url", ["notaurl", "ftp://127.0.0.1", "http://", "http://[", "http://a:b"])
@pytest.mark.parametrize("arguments", [["job", "list", "--token", "t"], ["health"]], ids=" ".join)
async def test_an_address_that_is_none_is_not_said_to_be_down(
    arguments: list[str], url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 2 == await asyncio.to_thread(main, [*arguments, "--url", url])

    problem, advice = capsys.readouterr().err.splitlines()
    assert f"error: {url} is not the address of an API" == problem
    assert "http://HOST:PORT" in advice


async def test_migrate_prints_the_revision_and_nothing_else(ran: Ran, env: Env) -> None:
    assert (0, runner.head() + "\n") == _said(await run("migrate", env=env))
    assert (0, runner.head() + "\n") == _said(await ran("migrate", "--check", env=env))


async def test_migrate_check_fails_on_another_revision(ran: Ran, env: Env, database_url: str) -> None:
    await runner.downgrade(database_url, "base")

    outcome = await ran("migrate", "--check", env=env)

    assert (1, "none\n") == _said(outcome)
    assert runner.head() in outcome.err
    assert await runner.current(database_url) is None


async def test_seeding_twice_alike_tells_the_same_but_of_people_and_drops_the_cached_snapshot(
    ran: Ran, env: Env, database: Database, redis: Redis, tenant: str
) -> None:
    await redis.set(keys.snapshot(tenant), b"old")

    first = await ran("seed", "--jobs", "30", "--events", "10", "--now", MOMENT, "--clean", "--json", env=env)
    again = await ran("seed", "--jobs", "30", "--events", "10", "--now", MOMENT, "--clean", "--json", env=env)

    assert (0, 0) == (first.code, again.code)
    assert await redis.get(keys.snapshot(tenant)) is None
    made, remade = json.loads(first.out), json.loads(again.out)
    assert (0, 30) == (made.pop("removed_jobs"), remade.pop("removed_jobs"))
    assert (11, 0) == (made.pop("users"), remade.pop("users"))
    assert made == remade
    assert (30, 10, MOMENT) == (made["jobs"], made["system_events"], made["now"])


async def test_an_interrupted_seeding_says_what_it_leaves(env: Env, database: Database, tenant: str) -> None:
    process = await started("seed", "--jobs", "1000000", env=env)

    async def written() -> int:
        async with database.transaction(tenant) as tx:
            return len(await jobs.newest(tx, most=1))

    try:
        await eventually(written, bool)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(60):
            _, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()

    [said] = err.decode().splitlines()
    assert 130 == process.returncode
    assert said.startswith("warning: at least ")
    assert f" of 1000000 jobs were written before it ended; `seed --clean --tenant {tenant}` removes all jobs" in said


async def test_seeding_a_tenant_that_is_not_there_is_refused(ran: Ran, env: Env, database: Database) -> None:
    outcome = await ran("seed", "--tenant", "nobody", env=env)

    assert 1 == outcome.code
    assert "tenant add nobody" in outcome.err


async def test_token_prints_one_token_and_nothing_else(
    ran: Ran, env: Env, people: dict[Role, users.User], tmp_path: Path
) -> None:
    operator = people[Role.OPERATOR]

    for who, running in ((operator.email, run), (str(operator.id), ran)):
        outcome = await running("token", "--user", who, "--ttl", "60", env=env)

        assert (0, "") == (outcome.code, outcome.err)
        [token] = outcome.out.split()
        caller = Tokens(key_ring(Settings(data_dir=tmp_path)), issuer="agentos").verified(token)
        assert (operator.id, Role.OPERATOR, "default") == (caller.user_id, caller.role, caller.tenant)


async def test_who_is_locked_out_gets_no_token(ran: Ran, env: Env, people: dict[Role, users.User]) -> None:
    operator = people[Role.OPERATOR]
    assert 0 == (await ran("user", "disable", operator.email, env=env)).code

    outcome = await ran("token", "--user", operator.email, env=env)

    assert (1, "") == _said(outcome)
    assert f"error: {operator.email} is locked out" == outcome.err.splitlines()[0]


async def test_a_user_that_is_not_here_may_be_in_another_tenant(ran: Ran, env: Env, database: Database) -> None:
    outcome = await ran("token", "--user", "nobody@example.com", env=env)

    problem, advice = outcome.err.splitlines()
    assert "error: there is no user nobody@example.com in the tenant default" == problem
    assert "--tenant" in advice


async def test_commands_that_name_nobody_act_as_an_administrator_who_is_really_here(database: Database) -> None:
    """Seeded administrators are older than anybody, and nobody who calls."""
    seeded, present, first = [
        await _admin(database, email) for email in ("seeded@example.com", "present@example.com", FIRST_ADMIN)
    ]
    async with database.transaction(DEFAULT_TENANT) as tx:
        await users.mark_signed_in(tx, present.id)

    chosen = []
    for _ in range(3):
        chosen.append((await user_of(database, None, DEFAULT_TENANT)).email)
        async with database.transaction(DEFAULT_TENANT) as tx:
            found = await users.by_email(tx, chosen[-1])
            assert found is not None
            await users.mark_disabled(tx, found.id)

    assert [first.email, present.email, seeded.email] == chosen


async def test_a_user_is_added_once_listed_and_locked_out(ran: Ran, env: Env, database: Database, tenant: str) -> None:
    added = await ran("user", "add", "Ada@Example.com", "--role", "operator", "--json", env=env)
    twice = await ran("user", "add", "ada@example.com", env=env)
    disabled = await ran("user", "disable", "ada@example.com", env=env)
    listed = await ran("user", "list", "--json", env=env)

    assert (0, 1, 0, 0) == (added.code, twice.code, disabled.code, listed.code)
    made = json.loads(added.out)
    assert ("ada@example.com", "operator", tenant) == (made["email"], made["role"], made["tenant"])
    assert len(made["password"]) >= 20
    [shown] = [user for user in json.loads(listed.out) if user["email"] == "ada@example.com"]
    assert shown["disabled"] is not None
    async with database.transaction(tenant) as tx:
        found = await users.by_email(tx, "ada@example.com")
    assert found is not None
    assert (str(found.id), 2) == (made["id"], found.token_version)


async def test_who_may_come_in_is_on_record_however_it_was_changed(ran: Ran, env: Env, database: Database) -> None:
    """Nobody is signed in on the command line, and no address is kept; what changed nothing leaves no entry."""
    assert [0, 0] == [(await ran("tenant", "add", "acme", env=env)).code for _ in range(2)]
    given = ("ada@example.com", "--tenant", "acme")
    added = await ran("user", "add", *given, "--role", "operator", "--json", env=env)
    assert [1, 0, 0] == [(await ran("user", verb, *given, env=env)).code for verb in ("add", "disable", "disable")]

    made = json.loads(added.out)["id"]
    async with database.transaction("acme") as tx:
        trail = (await audit.listed(tx, audit.Filter(), Order("seq", descending=False), Window())).items
    assert [
        ("tenant.add", "acme", {}),
        ("user.add", made, {"role": "operator"}),
        ("user.disable", made, {}),
    ] == [(each.action, each.target, each.details) for each in trail]
    assert {(None, None, "done", None)} == {(each.actor_id, each.role, each.outcome, each.commitment) for each in trail}
    assert "example.com" not in repr(trail)
    assert 0 == (await ran("audit", "verify", env=env)).code


async def test_listing_the_users_of_a_tenant_that_is_not_there_is_refused(
    ran: Ran, env: Env, database: Database
) -> None:
    outcome = await ran("user", "list", "--tenant", "nope", env=env)

    assert (1, "") == (outcome.code, outcome.out)
    assert "error: there is no tenant nope" == outcome.err.splitlines()[0]


async def test_a_new_tenant_has_agents_of_its_own(ran: Ran, env: Env, database: Database) -> None:
    assert 0 == (await ran("tenant", "add", "acme", env=env)).code
    assert 2 == (await ran("tenant", "add", "Not A Name", env=env)).code

    assert "acme" in json.loads((await ran("tenant", "list", "--json", env=env)).out)


async def _admin(database: Database, email: str) -> users.User:
    async with database.transaction(DEFAULT_TENANT) as tx:
        made = await users.add(tx, tenant=DEFAULT_TENANT, email=email, name="", role=Role.ADMIN, password_hash=None)
    assert made is not None
    return made


def _said(outcome: Outcome) -> tuple[int, str]:
    return outcome.code, outcome.out
