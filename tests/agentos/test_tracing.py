"""Trace ids: the client's if it is one, and the same in every answer."""

import re

import pytest
from starlette.datastructures import Headers

from agentos.tracing import brought, parent_of
from tests.serving import Served

W3C = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize("own", ["a", "trace-7", "A.b_c-9", "x" * 64])
def test_a_well_formed_id_is_kept(own: str) -> None:
    assert own == brought(Headers({"x-trace-id": own}))


@pytest.mark.parametrize("own", ["", "x" * 65, "a b", "a\tb", 'a"b', "<b>", "ä"])
def test_anything_else_is_replaced(own: str) -> None:
    assert re.fullmatch("[0-9a-f]{32}", brought(Headers({"x-trace-id": own})))


def test_a_w3c_trace_is_joined() -> None:
    assert brought(Headers({"traceparent": f"00-{W3C}-00f067aa0ba902b7-01"})) == W3C
    for bad in (f"00-{'0' * 32}-00f067aa0ba902b7-01", f"ff-{W3C}-00f067aa0ba902b7-01", W3C):
        assert brought(Headers({"traceparent": bad})) != W3C


def test_only_a_w3c_trace_is_told_as_one() -> None:
    assert re.fullmatch(f"00-{W3C}-[0-9a-f]{{16}}-01", parent_of(W3C) or "")
    assert None is parent_of("trace-7")


async def test_every_answer_names_its_trace(server: Served) -> None:
    own = await server.client.get("/livez", headers={"x-trace-id": "trace-7"})
    fresh = await server.client.get("/nowhere")

    assert "trace-7" == own.headers["x-trace-id"]
    assert "traceparent" not in own.headers
    assert fresh.headers["x-trace-id"] == fresh.headers["traceparent"].split("-")[1]
