"""What was answered before is marked, and told to nobody who may no longer do it."""

from typing import Any

import msgspec

from db.models.identity import Role
from resolvers.context import Services
from schema.root import schema
from tests.conftest import People
from tests.uploading import context_of

PAUSE = """mutation {
  pause: queuePause(input: {durationMinutes: 5}) @idempotent(key: "a-key-of-sixteen") { state { paused pausedUntil } }
}"""
KEY = "another-key-of-16"


async def asked(
    services: Services, user: Any, document: str = PAUSE, *, key: str | None = None, **variables: Any
) -> Any:
    context = context_of(services, user)
    context.idempotency_key = key
    return await schema.execute(document, variable_values=variables, context_value=context)


async def test_the_fields_that_were_answered_before_are_named(services: Services, people: People) -> None:
    first = await asked(services, people[Role.ADMIN])
    again = await asked(services, people[Role.ADMIN])

    assert first.errors is None
    assert first.data == again.data
    assert "replayed" not in (first.extensions or {})
    assert {"replayed": ["pause"]} == again.extensions


async def test_only_those_are_named_that_were(services: Services, people: People) -> None:
    await asked(services, people[Role.ADMIN])
    both = await asked(
        services,
        people[Role.ADMIN],
        PAUSE.replace(
            "mutation {", 'mutation { a: queueResume @idempotent(key: "a-third-key-of-16") { state { paused } }'
        ),
    )

    assert both.errors is None
    assert {"replayed": ["pause"]} == both.extensions


async def test_also_a_refusal_that_is_told_again_is_marked(services: Services, people: People) -> None:
    missing = "00000000-0000-0000-0000-000000000007"
    document = "mutation ($id: ID!) { jobCancel(input: {jobId: $id}) { jobId } }"
    first = await asked(services, people[Role.ADMIN], document, key=KEY, id=missing)
    again = await asked(services, people[Role.ADMIN], document, key=KEY, id=missing)

    assert ["NOT_FOUND"] * 2 == [each.errors[0].extensions["code"] for each in (first, again)]
    assert {"replayed": ["jobCancel"]} == again.extensions


async def test_who_may_no_longer_do_it_is_not_told_what_was_answered(services: Services, people: People) -> None:
    admin = people[Role.ADMIN]
    await asked(services, admin)
    demoted = msgspec.structs.replace(admin, role=Role.USER)

    refused = await asked(services, demoted)
    as_before = await asked(services, admin)

    assert (None, "FORBIDDEN") == (refused.data, refused.errors[0].extensions["code"])
    assert {"replayed": ["pause"]} == as_before.extensions


async def test_a_header_stands_for_one_action(services: Services, people: People) -> None:
    document = "mutation { a: queueResume { state { paused } } b: queueResume { state { paused } } }"
    refused = await asked(services, people[Role.ADMIN], document, key=KEY)

    assert "VALIDATION_ERROR" == refused.errors[0].extensions["code"]
    assert "one action" in refused.errors[0].message


async def test_two_actions_of_one_operation_do_not_share_a_key(services: Services, people: People) -> None:
    keyed = f'queueResume @idempotent(key: "{KEY}") {{ state {{ paused }} }}'
    refused = await asked(services, people[Role.ADMIN], f"mutation {{ a: {keyed} b: {keyed} }}")

    assert "VALIDATION_ERROR" == refused.errors[0].extensions["code"]


async def test_the_key_beside_a_field_stands_before_the_one_of_the_header(services: Services, people: People) -> None:
    await asked(services, people[Role.ADMIN])
    again = await asked(services, people[Role.ADMIN], key=KEY)

    assert {"replayed": ["pause"]} == again.extensions


async def test_a_key_that_is_none_is_refused(services: Services, people: People) -> None:
    refused = await asked(services, people[Role.ADMIN], "mutation { queueResume { state { paused } } }", key="short")

    assert "VALIDATION_ERROR" == refused.errors[0].extensions["code"]
