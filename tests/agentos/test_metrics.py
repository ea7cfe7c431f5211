"""Metrics: each process's own, so that two applications do not count for one another."""

from agentos.metrics import Metrics


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
