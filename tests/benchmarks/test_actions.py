"""What an action costs through the whole chain, beside the same effect without it, in one run.

The parts of the chain are timed where they are called, so that they add up to what a caller waits for.
"""

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from uuid import uuid4

import pytest

from db import agents, keys
from db.database import Database
from db.models.identity import Role
from db.redis import Redis
from resolvers.context import Services
from schema.root import schema
from tests.conftest import People
from tests.uploading import context_of, services_over

BUDGET_MS = 200.0
"""The budget of the specification."""

ROUNDS = 300
BARE = agents.mark_enabled
"""The effect, as it is before anything watches it."""

DOCUMENT = """
mutation ($key: String!) { agentStart(input: {agentId: "clipper"}) @idempotent(key: $key) { agent { id } } }
"""


class Clock:
    """Times calls by the name of the part they belong to."""

    def __init__(self) -> None:
        self.spent: defaultdict[str, list[float]] = defaultdict(list)

    def watched(self, inner: Callable[..., Awaitable[Any]], part: str) -> Callable[..., Awaitable[Any]]:
        """The same function, which notes how long each call takes."""

        async def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return await inner(*args, **kwargs)
            finally:
                self.note(part, began)

        return timed

    def note(self, part: str, began: float) -> None:
        """Note what a part has taken since it began."""
        self.spent[part].append((time.perf_counter() - began) * 1000)

    def report(self, part: str, whole: str) -> None:
        """Say what a part took, and its share of the whole."""
        spent = self.spent[part][ROUNDS // 10 :]
        share = median(spent) / median(self.spent[whole][ROUNDS // 10 :])
        print(f"{part:<52} p50 {median(spent):7.3f}  p95 {quantiles(spent, n=20)[-1]:7.3f} ms   {share:5.0%}")


@pytest.mark.benchmark
async def test_an_action_through_the_chain_beside_its_bare_effect(
    database: Database, redis: Redis, people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, services = Clock(), services_over(database, redis, tmp_path)
    replays = services.chain._replays
    monkeypatch.setattr(agents, "mark_enabled", clock.watched(agents.mark_enabled, "  the effect"))
    monkeypatch.setattr(services.rates, "charge", clock.watched(services.rates.charge, "  limits"))
    monkeypatch.setattr(replays, "begin", clock.watched(replays.begin, "  idempotency: known already?"))
    monkeypatch.setattr(replays, "keep", clock.watched(replays.keep, "  idempotency: kept"))
    monkeypatch.setattr(services.chain.audit, "done", clock.watched(services.chain.audit.done, "  audit"))
    for _ in range(ROUNDS):
        await _bare(services, clock)
        await _chained(services, people, clock)
        # The limits are real, and would end the measurement after a minute's worth.
        await redis.delete(*[key async for key in redis.scan_iter(f"{keys.PREFIX}*")])
    clock.spent["  everything else: document, plan, GraphQL, commit"] = [
        took - sum(parts)
        for took, *parts in zip(
            clock.spent["the action through the chain"],
            *(clock.spent[part] for part in [*clock.spent] if part[0] == " "),
            strict=True,
        )
    ]
    whole = "the action through the chain"
    print(f"\n{ROUNDS} rounds in turn, in this process, without HTTP")
    for part in ("the effect alone, in a transaction", whole, *(part for part in clock.spent if part[0] == " ")):
        clock.report(part, whole)
    assert quantiles(clock.spent[whole], n=20)[-1] < BUDGET_MS


async def _bare(services: Services, clock: Clock) -> None:
    began = time.perf_counter()
    async with services.database.transaction("default") as tx:
        assert await BARE(tx, "clipper", enabled=True)
    clock.note("the effect alone, in a transaction", began)


async def _chained(services: Services, people: People, clock: Clock) -> None:
    context = context_of(services, people[Role.ADMIN])
    variables = {"key": uuid4().hex}
    began = time.perf_counter()
    answer = await schema.execute(DOCUMENT, variable_values=variables, context_value=context)
    clock.note("the action through the chain", began)
    assert answer.errors is None, answer.errors
