"""Bodies: what is read, and what is not even looked at."""

import pytest

from agentos.transports import bodies
from agentos.transports.bodies import Operation
from guards.errors import BadInput


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def test_sixty_four_levels_are_read_and_one_more_is_not() -> None:
    bodies.parsed(nested(64))

    with pytest.raises(BadInput, match="deeper than 64"):
        bodies.parsed(nested(65))


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b'"\\ud800"', b"NaN", b"Infinity", b"1e999", nested(200_000)])
def test_what_is_not_strict_json_is_refused(text: bytes) -> None:
    with pytest.raises(BadInput, match="not valid JSON"):
        bodies.parsed(text)


@pytest.mark.parametrize("text", [b'"\\u0000"', b'["a\\u0000b"]', b'{"a\\u0000":1}', b'{"a":{"b":"\\u0000"}}'])
def test_a_nul_is_refused_wherever_it_is(text: bytes) -> None:
    with pytest.raises(BadInput, match="NUL"):
        bodies.parsed(text)


def test_an_operation_has_just_its_four_parts() -> None:
    value = {"query": "{ a }", "variables": {"x": 1}, "operationName": "A", "extensions": {}, "other": 1}

    assert Operation("{ a }", {"x": 1}, "A", {}) == bodies.operation(value)
