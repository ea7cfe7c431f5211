"""Metrics for Prometheus, in a registry of our own: labels are names of ours, never words a client chose."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from guards.breakers import Breaker, BreakerState, Dependency, Outcome

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """What one process counts."""

    media_type: Final = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Histogram(
            "agentos_http_request_seconds",
            "How long requests took, by the route's template.",
            ["route", "method", "status"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._series: dict[tuple[str, str, int], Histogram] = {}
        """Each combination of labels there was, which the library would look up under a lock."""

        self._operations = Counter(
            "agentos_graphql_operations",
            "GraphQL operations by each of their root fields.",
            ["type", "field", "outcome"],
            registry=self.registry,
        )
        self.sockets = Gauge("agentos_sockets", "WebSockets open now.", registry=self.registry)
        self.subscriptions = Gauge(
            "agentos_subscriptions", "Operations running over WebSockets and streams now.", registry=self.registry
        )
        self.streams = Gauge(
            "agentos_streams",
            "Answers over HTTP that go on, open now, by how they are framed.",
            ["kind"],
            registry=self.registry,
        )
        self.jobs = Gauge("agentos_jobs", "Jobs by their status, in all tenants.", ["status"], registry=self.registry)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        key = route, method, status
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = self._requests.labels(route, method, str(status))
        series.observe(seconds)

    def operation(self, kind: str, field: str, *, ok: bool) -> None:
        """Count a GraphQL operation under one of its root fields."""
        self._operations.labels(kind, field, "ok" if ok else "error").inc()

    def watch(self, name: str, about: str, read: Callable[[], float]) -> None:
        """Show a number that is read whenever somebody looks."""
        Gauge(f"agentos_{name}", about, registry=self.registry).set_function(read)

    def watch_breakers(self, breakers: Mapping[Dependency, Breaker]) -> None:
        """Show how the circuit breakers of this process stand whenever somebody looks."""
        self.registry.register(_Breakers(breakers))

    def exposed(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)


class _Breakers(Collector):
    """The circuit breakers, read when they are asked for."""

    def __init__(self, breakers: Mapping[Dependency, Breaker]) -> None:
        self._breakers = breakers

    def collect(self) -> Iterator[Metric]:
        """How each stands, and how the calls of its dependency went."""
        states = GaugeMetricFamily(
            "agentos_breaker_state", "1 for how a circuit breaker stands.", labels=["dependency", "state"]
        )
        calls = CounterMetricFamily(
            "agentos_breaker_calls", "Calls of a dependency by how they ended.", labels=["dependency", "outcome"]
        )
        for name, breaker in self._breakers.items():
            for state in BreakerState:
                states.add_metric([name, state], float(breaker.state is state))
            for outcome in Outcome:
                calls.add_metric([name, outcome], breaker.totals[outcome])
        return iter((states, calls))
