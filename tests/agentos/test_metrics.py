"""Metrics: each process's own, so that two applications do not count for one another."""

from contextlib import suppress

from agentos.metrics import Metrics
from guards.breakers import RULES, Breaker, Dependency, Outcome
from guards.errors import CircuitOpen


def test_two_registries_do_not_know_each_other() -> None:
    one, other = Metrics(), Metrics()
    one.operation("query", "me", ok=False)
    one.request("/livez", "GET", 200, 0.01)
    one.watch("answer", "Of everything.", lambda: 42)

    shown = one.exposed().decode()
    assert 'agentos_graphql_operations_total{field="me",outcome="error",type="query"} 1.0' in shown
    assert 'agentos_http_request_seconds_bucket{le="0.01",method="GET",route="/livez",status="200"} 1.0' in shown
    assert "agentos_answer 42.0" in shown
    assert "agentos_graphql_operations_total{" not in other.exposed().decode()


def test_a_breaker_shows_how_it_stands_and_how_calls_went() -> None:
    metrics, breaker = Metrics(), Breaker("files", RULES[Dependency.FILES], clock=lambda: 0.0)
    metrics.watch_breakers({Dependency.FILES: breaker})
    for _ in range(10):
        breaker.leave(breaker.enter(), Outcome.FAILED)
    with suppress(CircuitOpen):
        breaker.enter()

    shown = metrics.exposed().decode()
    assert 'agentos_breaker_state{dependency="files",state="open"} 1.0' in shown
    assert 'agentos_breaker_state{dependency="files",state="closed"} 0.0' in shown
    assert 'agentos_breaker_calls_total{dependency="files",outcome="failed"} 10.0' in shown
    assert 'agentos_breaker_calls_total{dependency="files",outcome="refused"} 1.0' in shown
