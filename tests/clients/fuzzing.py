"""What schemathesis is told: whose turn it is, from where they call, and what must not be done to the house.

Read by its own process, which loads this file and nothing else of ours.
"""

import itertools
import os
import random
import re
from typing import Any

import schemathesis
from hypothesis import strategies
from schemathesis.graphql import nodes, scalar

TOKENS = itertools.cycle(os.environ["AGENTOS_TEST_TOKENS"].split(","))
HOUSES = random.Random(1)
KEY = re.compile("[A-Za-z0-9_-]{16,128}")

CLOSING = frozenset({"system.emergency_stop", "system.maintenance_mode", "system.restore"})
"""The next caller would be told that the house is closed, which is true, and says nothing about the next endpoint."""

SKIPPED = 10_000
"""How many entries may be passed over, by whatever page."""

scalar("JSON", strategies.text(max_size=20).map(nodes.String))


@schemathesis.auth(refresh_interval=None)
class Turns:
    """Every call is somebody else's, so that what is judged is no limit of one caller."""

    def get(self, case: Any, context: Any) -> str:
        """Whose turn it is."""
        return next(TOKENS)

    def set(self, case: Any, data: str, context: Any) -> None:
        """Sign their call."""
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Call from another neighbourhood each time, as the proxy in front says, and with a key of its own."""
    if KEY.fullmatch(case.headers.get("Idempotency-Key", "")):
        # Another call under a key that was used is refused, as it should be; a key that is none stays what it is.
        case.headers["Idempotency-Key"] = f"{HOUSES.getrandbits(128):032x}"
    case.headers["X-Forwarded-For"] = ".".join(str(HOUSES.randrange(1, 255)) for _ in range(4)).replace("127.", "10.")


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Leave out what would close the house to everybody, and what is told apart in words of the description only."""
    return _paged(case.query or {}) and not _closes(case.body)


def _closes(body: Any) -> bool:
    return isinstance(body, dict) and isinstance(name := body.get("action"), str) and name in CLOSING


def _paged(query: dict[str, Any]) -> bool:
    """Whether pages are asked for in one way, and not too many of them are passed over."""
    if {"page", "offset"} <= query.keys() or {"per_page", "limit"} <= query.keys():
        return False
    page, size = query.get("page", 1), query.get("limit", query.get("per_page", 20))
    return not (isinstance(page, int) and isinstance(size, int)) or (page - 1) * size <= SKIPPED


@schemathesis.check
def no_fault_of_ours(ctx: Any, response: Any, case: Any) -> None:
    """A refusal says why; what nobody foresaw would say `INTERNAL_ERROR`, wherever in an answer of GraphQL."""
    told = response.json() if response.content else None
    errors = told.get("errors", ()) if isinstance(told, dict) else ()
    codes = [error.get("extensions", {}).get("code") for error in errors]
    assert "INTERNAL_ERROR" not in codes, str(told)[:500]
