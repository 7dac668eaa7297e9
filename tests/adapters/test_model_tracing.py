"""What a call of a model leaves with observers: spans in an exporter, lines in a log, figures on a page; never its content."""

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv.attributes import error_attributes
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from adapters import model_tracing
from adapters.model_figures import ModelFigures
from adapters.model_tracing import ModelTracing
from commands.asking import Inquiry, PlannedCall
from domain.breaker import BreakerState, BreakerView
from domain.budget import OpenCall
from domain.model_call import CallOutcome, ModelCalled, OnBehalf, Task, TokenUsage
from tests.conftest import AT

CANARY = "canary-7c1f"
CALL, MONITOR, EVALUATION = UUID(int=1), UUID(int=2), UUID(int=3)
USED = TokenUsage(input_tokens=120, output_tokens=30, cache_read_tokens=80, cache_write_tokens=10)


def inquiry() -> Inquiry:
    return Inquiry(
        task=Task.EXTRACT,
        instructions=f"instructions {CANARY}",
        content=f"content {CANARY}",
        schema={"type": "object", "title": CANARY},
        output_tokens_max=500,
    )


def planned(about: Inquiry, provider: str = "claude", model: str = "opus") -> PlannedCall:
    return PlannedCall(
        id=CALL,
        inquiry=about,
        provider=provider,
        model=model,
        on_behalf=OnBehalf(owner_id=UUID(int=9), monitor_id=MONITOR, evaluation_id=EVALUATION),
        started_at=AT,
    )


def ended(call: PlannedCall, outcome: CallOutcome = CallOutcome.OK) -> ModelCalled:
    return ModelCalled(
        task=call.inquiry.task,
        provider=call.provider,
        model=f"{call.model}-20260101",
        outcome=outcome,
        usage=USED,
        cost_micros=4200,
        prices="t",
        monitor_id=call.on_behalf.monitor_id,
        evaluation_id=call.on_behalf.evaluation_id,
        message=None if outcome is CallOutcome.OK else f"it said {CANARY}",
        started_at=AT,
        duration_ms=1250,
    )


def nanoseconds(second: datetime) -> int:
    return int(second.timestamp()) * 10**9


class Observed:
    """Tracing, and all that it leaves."""

    def __init__(self) -> None:
        self.exporter, self.spans_of = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
        self.spans_of.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.figures = ModelFigures()
        self.tracing = ModelTracing(self.figures, self.spans_of)

    def calls(self, about: Inquiry, provider: str, outcome: CallOutcome, model: str = "opus") -> None:
        call = planned(about, provider, model)
        self.tracing.called(call, ended(call, outcome))

    def span(self) -> ReadableSpan:
        (span,) = self.exporter.get_finished_spans()
        return span

    def shown(self, *breakers: BreakerView) -> dict[str, float]:
        """Figures by name, provider, model and whatever else they are of."""
        page = self.figures.page(breakers).decode()
        samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
        order = ("provider", "model", "task", "outcome", "kind", "le")
        return {
            " ".join([each.name, *(each.labels[name] for name in order if name in each.labels)]): each.value
            for each in samples
        }


@pytest.fixture
def observed() -> Iterator[Observed]:
    made = Observed()
    yield made
    made.spans_of.shutdown()


def test_a_call_is_a_span_after_the_conventions(observed: Observed) -> None:
    observed.calls(inquiry(), "claude", CallOutcome.OK)
    span = observed.span()
    assert (span.name, span.kind, span.status.status_code) == ("chat opus", SpanKind.CLIENT, StatusCode.UNSET)
    assert dict(span.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "opus",
        "gen_ai.request.max_tokens": 500,
        "gen_ai.output.type": "json",
        "gen_ai.response.model": "opus-20260101",
        "gen_ai.usage.input_tokens": 120,
        "gen_ai.usage.output_tokens": 30,
        "gen_ai.usage.cache_read.input_tokens": 80,
        "gen_ai.usage.cache_creation.input_tokens": 10,
        "vigil.call_id": str(CALL),
        "vigil.task": "extract",
        "vigil.cost_micros": 4200,
        "vigil.monitor_id": str(MONITOR),
        "vigil.evaluation_id": str(EVALUATION),
    }


def test_a_span_has_the_times_of_the_call_and_not_those_of_its_telling(observed: Observed) -> None:
    observed.calls(inquiry(), "claude", CallOutcome.OK)
    span = observed.span()
    assert (span.start_time, span.end_time) == (nanoseconds(AT), nanoseconds(AT + timedelta(seconds=1)) + 250 * 10**6)


def test_a_call_that_failed_says_how(observed: Observed) -> None:
    observed.calls(inquiry(), "openai", CallOutcome.RATE_LIMITED)
    span = observed.span()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert (span.attributes or {})["error.type"] == "rate_limited"
    assert (span.attributes or {})["gen_ai.provider.name"] == "openai"


def test_names_are_those_that_opentelemetry_publishes() -> None:
    ours = {name: value for name, value in vars(model_tracing).items() if name.startswith("GEN_AI_")}
    assert len(ours) == 10
    assert ours == {name: getattr(gen_ai_attributes, name) for name in ours}
    assert model_tracing.ERROR_TYPE == error_attributes.ERROR_TYPE
    known = {each.value for each in gen_ai_attributes.GenAiProviderNameValues}
    assert set(model_tracing.PROVIDER_NAMES.values()) <= known
    assert gen_ai_attributes.GenAiOperationNameValues.CHAT.value == model_tracing.OPERATION


def test_a_span_belongs_to_what_is_under_way(observed: Observed) -> None:
    tracer = observed.spans_of.get_tracer("test")
    with tracer.start_as_current_span("an evaluation") as outer:
        observed.calls(inquiry(), "claude", CallOutcome.OK)
    span = observed.exporter.get_finished_spans()[0]
    assert span.parent is not None
    assert span.parent.span_id == outer.get_span_context().span_id


def test_nothing_that_observers_get_holds_what_was_asked_or_answered(observed: Observed) -> None:
    with capture_logs() as logs:
        for outcome in set(CallOutcome) - {CallOutcome.BUDGET_EXCEEDED}:
            observed.calls(inquiry(), "claude", outcome)
    spans = "".join(span.to_json() for span in observed.exporter.get_finished_spans())
    assert "opus" in spans
    assert len(logs) == len(CallOutcome) - 1
    assert CANARY not in spans + repr(logs) + observed.figures.page(()).decode()


def test_without_an_sdk_nothing_is_exported_and_all_the_rest_is_there() -> None:
    tracing, call = ModelTracing(), planned(inquiry())
    with capture_logs() as logs:
        tracing.called(call, ended(call))
    assert len(logs) == 1
    assert b'vigil_model_calls_total{model="opus"' in tracing.figures.page(())


@pytest.mark.parametrize(
    ("outcome", "level"), [(CallOutcome.OK, "debug"), (CallOutcome.TIMEOUT, "info"), (CallOutcome.AUTH, "info")]
)
def test_the_log_tells_of_a_call_that_failed_more_loudly(observed: Observed, outcome: CallOutcome, level: str) -> None:
    with capture_logs() as logs:
        observed.calls(inquiry(), "claude", outcome)
    wanted: dict[str, Any] = {"log_level": level, "outcome": outcome, "model": "opus-20260101", "duration_ms": 1250}
    assert wanted.items() <= logs[0].items()


def test_figures_are_by_provider_and_by_the_model_of_the_settings(observed: Observed) -> None:
    for outcome in (CallOutcome.OK, CallOutcome.OK, CallOutcome.OVERLOADED):
        observed.calls(inquiry(), "claude", outcome)
    shown = observed.shown()
    assert shown["vigil_model_calls_total claude opus extract ok"] == 2
    assert shown["vigil_model_calls_total claude opus extract overloaded"] == 1
    tokens = [
        shown[f"vigil_model_tokens_total claude opus {kind}"]
        for kind in ("input", "output", "cache_read", "cache_write")
    ]
    assert tokens == [360, 90, 240, 30]
    assert shown["vigil_model_cost_micros_total claude opus"] == 12_600
    assert shown["vigil_model_call_seconds_count claude opus"] == 3
    assert shown["vigil_model_call_seconds_bucket claude opus 1.0"] == 0
    assert shown["vigil_model_call_seconds_bucket claude opus 2.0"] == 3
    assert "20260101" not in "".join(shown)


def test_an_inquiry_that_goes_on_to_another_provider_is_a_failover(observed: Observed) -> None:
    first, second = inquiry(), inquiry()
    observed.calls(first, "claude", CallOutcome.TIMEOUT)
    observed.calls(first, "claude", CallOutcome.TIMEOUT)
    observed.calls(first, "openai", CallOutcome.OK, model="gpt")
    observed.calls(second, "claude", CallOutcome.OK)
    shown = observed.shown()
    assert {name: value for name, value in shown.items() if "failovers" in name} == {
        "vigil_model_failovers_total openai gpt": 1
    }


async def test_inquiries_at_the_same_time_are_not_each_others_failovers(observed: Observed) -> None:
    async def asks(provider: str) -> None:
        about = inquiry()
        observed.calls(about, provider, CallOutcome.MALFORMED)
        await asyncio.sleep(0)
        observed.calls(about, provider, CallOutcome.OK)

    await asyncio.gather(asks("claude"), asks("openai"), asks("claude"))
    assert not [name for name in observed.shown() if "failovers_total" in name]


def in_batch(observed: Observed, outcome: CallOutcome = CallOutcome.OK, *, asked: bool = True) -> ModelCalled:
    """A call of a batch is told of, which took a day."""
    call = OpenCall(
        id=CALL,
        owner_id=UUID(int=9),
        monitor_id=MONITOR,
        evaluation_id=EVALUATION,
        task=Task.EXTRACT,
        provider="claude",
        model="opus",
        set_aside_micros=9000,
        started_at=AT,
    )
    called = msgspec.structs.replace(ended(planned(inquiry()), outcome), duration_ms=86_400_000)
    observed.tracing.called_in_batch(call, inquiry() if asked else None, called)
    return called


def test_a_call_of_a_batch_is_such_a_span_and_says_so(observed: Observed) -> None:
    in_batch(observed)
    span = observed.span()
    alone = Observed()
    alone.calls(inquiry(), "claude", CallOutcome.OK)
    assert dict(span.attributes or {}) == {**(alone.span().attributes or {}), "vigil.batch": True}
    assert (span.name, span.kind, span.end_time) == ("chat opus", SpanKind.CLIENT, nanoseconds(AT + timedelta(days=1)))
    alone.spans_of.shutdown()


def test_of_a_call_whose_inquiry_nobody_may_know_any_more_the_rest_is_told(observed: Observed) -> None:
    in_batch(observed, CallOutcome.TIMEOUT, asked=False)
    attributes = observed.span().attributes or {}
    assert ("gen_ai.request.max_tokens" in attributes, attributes["error.type"]) == (False, "timeout")


def test_calls_of_batches_are_counted_and_say_nothing_of_how_long_an_answer_takes(observed: Observed) -> None:
    in_batch(observed)
    shown = observed.shown()
    assert shown["vigil_model_calls_total claude opus extract ok"] == 1
    assert shown["vigil_model_tokens_total claude opus input"] == 120
    assert shown["vigil_model_cost_micros_total claude opus"] == 4200
    assert "vigil_model_call_seconds_count claude opus" not in shown
    assert not [name for name in shown if "failovers_total" in name]


def test_nothing_that_is_told_of_a_batch_holds_what_was_asked_or_answered(observed: Observed) -> None:
    with capture_logs() as logs:
        for outcome in (CallOutcome.OK, CallOutcome.MALFORMED):
            in_batch(observed, outcome)
    assert [line["batch"] for line in logs] == [True, True]
    spans = "".join(span.to_json() for span in observed.exporter.get_finished_spans())
    assert CANARY not in spans + repr(logs) + observed.figures.page(()).decode()


def test_breakers_are_shown_as_they_stand_at_the_scrape(observed: Observed) -> None:
    for state, level in ((BreakerState.OPEN, 2), (BreakerState.HALF_OPEN, 1), (BreakerState.CLOSED, 0)):
        view = BreakerView(provider="claude", model="opus", state=state)
        assert observed.shown(view)["vigil_model_breaker claude opus"] == level
