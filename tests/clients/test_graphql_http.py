"""GraphQL over HTTP, by the audits that the makers of graphql-http hold servers to."""

from collections import Counter

from db.models.identity import Role
from tests.clients.judging import asked, installed
from tests.serving import Served

AUDITS = {"MUST": 13, "SHOULD": 23, "MAY": 25}
"""How many there are of each level in the version that is locked."""


async def test_every_audit_is_passed(house: Served, tokens: dict[Role, str]) -> None:
    installed("graphql-http")

    judged = await asked("audits.js", f"http://{house.host}:{house.port}/graphql", *tokens.values())

    lines = judged.told.splitlines()
    assert 0 == judged.status, judged.told
    assert [] == [line for line in lines if line.split()[2] != "ok"]
    assert AUDITS == Counter(line.split()[0] for line in lines)


async def test_a_server_that_speaks_no_graphql_does_not_pass(house: Served, tokens: dict[Role, str]) -> None:
    installed("graphql-http")

    judged = await asked("audits.js", f"http://{house.host}:{house.port}/livez", *tokens.values())

    assert "ok" not in {line.split()[2] for line in judged.told.splitlines() if line.startswith("MUST")}
