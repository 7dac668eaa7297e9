"""What calls of models came to, as figures for Prometheus. Every label is a name from the settings, or one of a closed set.
`docs/operations.md` tells every name."""

from collections.abc import Iterable

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from domain.breaker import BreakerState, BreakerView
from domain.model_call import ModelCalled

SECONDS_BUCKETS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Up to the longest call."""
LEVELS = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # the library says no types there
_OF = ("provider", "model")


class ModelFigures:
    """Counts of what this process asked; how the breakers stand is told at the scrape."""

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        self._calls = Counter(
            "vigil_model_calls", "Calls of models by how they ended.", (*_OF, "task", "outcome"), registry=own
        )
        self._tokens = Counter("vigil_model_tokens", "Tokens by kind.", (*_OF, "kind"), registry=own)
        self._cost = Counter("vigil_model_cost_micros", "Millionths of a US dollar spent.", _OF, registry=own)
        self._seconds = Histogram(
            "vigil_model_call_seconds",
            "How long calls took that were made alone.",
            _OF,
            buckets=SECONDS_BUCKETS,
            registry=own,
        )
        self._failovers = Counter(
            "vigil_model_failovers", "Inquiries that came here after another one failed.", _OF, registry=own
        )
        self._breakers = Gauge("vigil_model_breaker", "0 closed, 1 half open, 2 open.", _OF, registry=own)

    def count(self, model: str, called: ModelCalled, *, is_failover: bool = False, in_batch: bool = False) -> None:
        """A call that was made of `model` as the settings call it: what a provider says it used may be any name. How long a
        batch takes says nothing of how long calls do."""
        of = (called.provider, model)
        self._calls.labels(*of, called.task, called.outcome).inc()
        self._cost.labels(*of).inc(called.cost_micros)
        if not in_batch:
            self._seconds.labels(*of).observe(called.duration_ms / 1000)
        kinds = {
            "input": called.usage.input_tokens,
            "output": called.usage.output_tokens,
            "cache_read": called.usage.cache_read_tokens,
            "cache_write": called.usage.cache_write_tokens,
        }
        for kind, tokens in kinds.items():
            self._tokens.labels(*of, kind).inc(tokens)
        if is_failover:
            self._failovers.labels(*of).inc()

    def page(self, breakers: Iterable[BreakerView]) -> bytes:
        """Everything in Prometheus' text format."""
        for each in breakers:
            self._breakers.labels(each.provider, each.model).set(LEVELS[each.state])
        return generate_latest(self._registry)
