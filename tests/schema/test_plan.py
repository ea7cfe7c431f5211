"""What is settled about an operation before anything of it is run: what it counts against, and what it is let do."""

from contextlib import aclosing
from typing import Any

import pytest
import sqlalchemy as sa
from graphql import get_introspection_query

from db.models.identity import Role
from db.users import User
from guards.allowances import Class, Rate, of_user
from guards.errors import Forbidden, RateLimited
from guards.permissions import Permission
from resolvers.actions.catalogue import CATALOGUE
from resolvers.actions.performing import perform
from resolvers.context import Context, Services
from schema.plan import admit_native
from schema.root import schema
from tests.conftest import People
from tests.schema.conftest import Ask
from tests.uploading import context_of

AN_ID = "00000000-0000-7000-8000-000000000000"
CANCEL = f'jobCancel(input: {{jobId: "{AN_ID}"}}) {{ newStatus }}'
LATER = "mutation($i: JobCancelInput!) { jobCancel(input: $i) { newStatus } }"


def codes(answer: Any) -> list[str]:
    """The codes of an answer's errors."""
    return [error.extensions["code"] for error in answer.errors or ()]


async def asked(context: Context, document: str, **variables: Any) -> Any:
    """The answer to an operation in a context that can be looked at afterwards."""
    return await schema.execute(document, variable_values=variables, context_value=context)


async def left(services: Services, user: User) -> dict[str, int]:
    """What is left of a user's limits."""
    who = of_user(user.id)
    buckets = [bucket for each in Class if each is not Class.PUBLIC for bucket in each.buckets(who)]
    spent = await services.rates.left(user.tenant_id, buckets)
    return {each.name: each.remaining for each in spent.left if not each.name.endswith("burst")}


async def on_record(services: Services) -> list[tuple[str, str]]:
    """What was asked for and how it ended, in its order."""
    async with services.database.system() as tx:
        rows = await tx.rows(sa.text("SELECT action, coalesce(code, outcome) FROM audit ORDER BY seq"))
    return [(action, told) for action, told in rows]


async def test_a_read_counts_once_for_each_class_however_many_fields_it_has(services: Services, people: People) -> None:
    admin = people[Role.ADMIN]
    await asked(context_of(services, admin), "{ me { id } queue { queued } a: me { id } workers { totalCount } }")

    assert {"user": 99, "admin-read": 499, "admin-action": 50, "watch": 600} == await left(services, admin)


async def test_a_large_read_counts_like_several(services: Services, people: People) -> None:
    user = people[Role.USER]
    await asked(
        context_of(services, user), "{ jobs(first: 100) { edges { node { clips { job { clips { id } } } } } } }"
    )

    assert 100 - 3 == (await left(services, user))["user"]


async def test_asking_for_the_schema_counts_like_anything_as_large(services: Services, people: People) -> None:
    user, query = people[Role.USER], get_introspection_query(specified_by_url=True, input_value_deprecation=True)
    await asked(context_of(services, user), query)
    await asked(context_of(services, user), "{ __typename }")

    assert 100 - 9 - 1 == (await left(services, user))["user"]


async def test_an_action_counts_as_often_as_it_is_asked_for(services: Services, people: People) -> None:
    context = context_of(services, people[Role.ADMIN])
    await asked(context, f"mutation {{ a: {CANCEL} b: {CANCEL} c: {CANCEL} d: queueResume {{ paused }} }}")

    assert {"job.cancel": 47, "user": 97, "queue.resume": 49, "admin-action": 49} == {
        each.name: each.remaining for each in (context.spent.left if context.spent else ()) if "burst" not in each.name
    }


async def test_a_chosen_action_counts_as_itself_and_as_the_administrators(services: Services, people: People) -> None:
    context = context_of(services, people[Role.USER])
    chosen = f'adminAction(input: {{jobCancel: {{jobId: "{AN_ID}"}}}}) {{ action }}'
    await asked(context, f"mutation {{ {CANCEL} a: {chosen} }}")

    assert {"job.cancel": 48, "user": 99, "admin-action": 49} == {
        each.name: each.remaining for each in (context.spent.left if context.spent else ()) if "burst" not in each.name
    }


async def test_what_is_denied_counts_nothing(services: Services, people: People) -> None:
    reader = people[Role.READONLY]
    answer = await asked(context_of(services, reader), f"mutation {{ {CANCEL} }}")

    assert ["FORBIDDEN"] == codes(answer)
    assert {"user": 100, "admin-read": 500, "admin-action": 50, "watch": 600} == await left(services, reader)


async def test_what_does_not_fit_counts_all_the_same(services: Services, people: People) -> None:
    """Whoever was let pass has been counted before what they sent is read."""
    user = people[Role.USER]
    answer = await asked(context_of(services, user), LATER, i={"jobId": ["no id"]})

    assert ["BAD_USER_INPUT"] == codes(answer)
    assert 99 == (await left(services, user))["user"]


async def test_too_many_at_once_are_refused_together_and_on_record_once(services: Services, people: People) -> None:
    admin = people[Role.ADMIN]
    many = " ".join(f"a{n}: queueResume {{ paused }}" for n in range(9))
    first, second = context_of(services, admin), context_of(services, admin)

    assert [] == codes(await asked(first, f"mutation {{ {many} }}"))
    refused = await asked(second, f"mutation {{ {many} b: {CANCEL} }}")

    assert ["RATE_LIMITED"] == codes(refused)
    assert None is refused.data
    assert refused.errors[0].extensions["retryAfter"] in range(1, 11)
    assert None is second.admitted
    assert {"queue.resume": 41, "job.cancel": 50} == {
        each.name: each.remaining for each in (second.spent.left if second.spent else ()) if "." in each.name
    }
    assert [("queue.resume", "done")] * 9 + [("queue.resume", "RATE_LIMITED")] == await on_record(services)


async def test_who_floods_with_what_is_denied_is_put_on_record_up_to_a_point(
    services: Services, people: People
) -> None:
    answers = [
        await asked(context_of(services, people[Role.USER]), "mutation { queuePause { paused } }") for _ in "x" * 22
    ]

    assert [["FORBIDDEN"]] * 20 + [["RATE_LIMITED"]] * 2 == [codes(answer) for answer in answers]
    assert [("queue.pause", "FORBIDDEN")] * 20 == await on_record(services)


async def test_strangers_are_counted_by_address_each_time(services: Services, people: People) -> None:
    async def health(address: str, user: User | None = None, times: int = 1) -> list[str]:
        context = context_of(services, user)
        context.address = address
        fields = " ".join(f"a{n}: health {{ status }}" for n in range(times))
        return codes(await asked(context, f"{{ {fields} }}"))

    assert [] == await health("203.0.113.1", times=3)
    assert ["RATE_LIMITED"] == await health("203.0.113.1", times=2)
    assert [] == await health("203.0.113.2", times=2)
    assert [] == await health("203.0.113.1", people[Role.USER], times=2)


async def test_signing_in_has_a_limit_of_its_own_for_each_address(services: Services) -> None:
    document = 'mutation { login(input: {email: "nobody@example.org", password: "wrong"}) { user { id } } }'
    answers = [codes(await asked(context_of(services, None), document)) for _ in range(11)]

    assert [["UNAUTHENTICATED"]] * 10 + [["RATE_LIMITED"]] == answers


async def test_a_subscription_counts_when_it_begins(services: Services, people: People) -> None:
    user = people[Role.USER]
    stream: Any = await schema.stream(
        'subscription { jobChanged(after: "no cursor") { __typename } }', context_value=context_of(services, user)
    )
    async with aclosing(stream):
        assert ["VALIDATION_ERROR"] == codes(await anext(stream))

    counted = await left(services, user)
    assert (599, 100) == (counted["watch"], counted["user"])


@pytest.mark.parametrize(("first", "told"), [(1, []), (100, ["GRAPHQL_VALIDATION_FAILED"]), (None, [])])
async def test_an_operation_is_measured_with_its_variables(
    first: int | None, told: list[str], ask: Ask, people: People
) -> None:
    document = (
        "query($n: Int) { jobs(first: $n) { edges { node { clips { job { clips { job { steps { id } } } } } } } } }"
    )

    assert told == codes(await ask(people[Role.ADMIN], document, n=first))


@pytest.mark.parametrize(
    ("document", "variables", "message"),
    [
        ("($i: AdminActionInput!) {{ adminAction(input: $i) {} }}", {}, "action: choose exactly one"),
        (
            "($i: AdminActionInput!) {{ adminAction(input: $i) {} }}",
            {"i": {"queuePause": {}, "queueResume": {}}},
            "action: choose exactly one",
        ),
        ("($i: AdminActionInput!) {{ adminAction(input: $i) {} }}", {"i": 7}, "action: choose exactly one"),
        (
            "($i: AdminActionInput!) {{ adminAction(input: $i) {} }}",
            {"i": {"queuePuse": {}}},
            "action: there is no action queuePuse; did you mean queuePause",
        ),
        ("($n: String!) {{ actionByName(name: $n) {} }}", {}, "action: choose exactly one"),
        (
            "($n: String!) {{ actionByName(name: $n) {} }}",
            {"n": "job.cancle"},
            "action: there is no action job.cancle; did",
        ),
    ],
)
async def test_what_is_chosen_has_to_be_one_thing_that_there_is(
    document: str, variables: dict[str, Any], message: str, ask: Ask, people: People
) -> None:
    document = "mutation " + document.format("{ action }")
    stranger = await ask(None, document, **variables)
    answer = await ask(people[Role.ADMIN], document, **variables)

    assert ["UNAUTHENTICATED"] == codes(stranger)
    assert ["UNKNOWN_ACTION" if "there is no" in message else "VALIDATION_ERROR"] == codes(answer)
    assert message in (answer.errors or [])[0].message


async def test_what_is_chosen_by_default_is_judged_like_anything_else(ask: Ask, people: People) -> None:
    document = "mutation ($i: AdminActionInput! = {queueResume: {}}) { adminAction(input: $i) { action } }"

    assert ["FORBIDDEN"] == codes(await ask(people[Role.USER], document))
    assert {"adminAction": {"action": "queue.resume"}} == (await ask(people[Role.ADMIN], document)).data


@pytest.mark.parametrize("admitted", [None, {}, {"it": None}, {"it/queue.pause": None}])
async def test_an_action_that_no_plan_let_pass_is_not_carried_out(
    admitted: dict[str, str | None] | None, services: Services, people: People
) -> None:
    """However it was reached; the same call passes once the plan has named it, as the control shows."""
    context, resume = context_of(services, people[Role.ADMIN]), CATALOGUE["queue.resume"]
    context.admitted = admitted
    with pytest.raises(Forbidden, match=r"queue\.resume was not let pass"):
        await perform(context, resume, {}, place="it/queue.resume")

    context.admitted = {"it/queue.resume": None}
    assert None is not (await perform(context, resume, {}, place="it/queue.resume")).result


async def test_a_native_request_is_admitted_by_the_same_rules(services: Services, people: People) -> None:
    user = people[Role.USER]
    await admit_native(context_of(services, user), Permission.UPLOAD_READ)
    with pytest.raises(Forbidden):
        await admit_native(context_of(services, people[Role.READONLY]), Permission.UPLOAD_INIT)
    await admit_native(context_of(services, user), Permission.UPLOAD_INIT, rate=Rate(1))
    with pytest.raises(RateLimited) as refused:
        await admit_native(context_of(services, user), Permission.UPLOAD_INIT, rate=Rate(1))

    assert "upload.init" == refused.value.policy
    assert 99 == (await left(services, user))["user"]
