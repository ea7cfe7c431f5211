"""Every refusal has a status that its clients can act on."""

from guards.errors import family
from schema.rest.statuses import STATUSES, status_of

TAKEN = {400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 503}


def test_every_code_has_a_status_of_the_contract() -> None:
    codes = {refusal.code for refusal in family()}

    assert {status_of(code) for code in codes} <= TAKEN
    assert set(STATUSES.values()) <= TAKEN


def test_the_table_names_no_code_that_nothing_has() -> None:
    assert {"INTERNAL_ERROR"} == STATUSES.keys() - {refusal.code for refusal in family()}
