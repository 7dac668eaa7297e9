"""What observers learn of calls of models: a span of OpenTelemetry, a line in the log, figures. Never what was asked or
answered, nor a message about it.

Names and values of spans after the semantic conventions for generative AI (open-telemetry/semantic-conventions-genai,
"Inference" spans; status: development); our own begin with `vigil.`. Without an SDK that somebody sets up, no span goes
anywhere.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider

from adapters.model_figures import ModelFigures
from commands.asking import Inquiry, PlannedCall
from domain.budget import OpenCall
from domain.model_call import CallOutcome, ModelCalled

log = structlog.get_logger()

OPERATION = "chat"
PROVIDER_NAMES = {"claude": "anthropic", "openai": "openai"}
"""Well-known values of `gen_ai.provider.name`, by our names."""

GEN_AI_OPERATION_NAME = "gen_ai.operation.name"
GEN_AI_PROVIDER_NAME = "gen_ai.provider.name"
GEN_AI_REQUEST_MODEL = "gen_ai.request.model"
GEN_AI_REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
GEN_AI_OUTPUT_TYPE = "gen_ai.output.type"
GEN_AI_RESPONSE_MODEL = "gen_ai.response.model"
GEN_AI_USAGE_INPUT_TOKENS = "gen_ai.usage.input_tokens"
GEN_AI_USAGE_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS = "gen_ai.usage.cache_read.input_tokens"
GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS = "gen_ai.usage.cache_creation.input_tokens"
ERROR_TYPE = "error.type"

VIGIL_CALL_ID = "vigil.call_id"
VIGIL_TASK = "vigil.task"
VIGIL_COST_MICROS = "vigil.cost_micros"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_last: ContextVar[tuple[Inquiry, str] | None] = ContextVar("last", default=None)
"""What the task that asks asked last, and whom: an inquiry is asked in one task."""


class ModelTracing:
    """Fulfils `commands.asking.Tracing` and `workers.batch_accounts.BatchTracing`. `provider` is whose spans
    these are, by default the one that is set for the process."""

    def __init__(self, figures: ModelFigures | None = None, provider: TracerProvider | None = None) -> None:
        self.figures = figures or ModelFigures()
        self._tracer = trace.get_tracer("vigil.models", tracer_provider=provider)

    def called(self, call: PlannedCall, called: ModelCalled) -> None:
        """As the port says."""
        before = _last.get()
        is_failover = before is not None and before[0] is call.inquiry and before[1] != call.provider
        _last.set((call.inquiry, call.provider))
        self.figures.count(call.model, called, is_failover=is_failover)
        self._tell(call.id, call.model, call.inquiry, called, {})

    def called_in_batch(self, call: OpenCall, inquiry: Inquiry | None, called: ModelCalled) -> None:
        """As the port says. The conventions have no name for calls of batches."""
        self.figures.count(call.model, called, in_batch=True)
        self._tell(call.id, call.model, inquiry, called, {"batch": True})

    def _tell(
        self, call_id: UUID, model: str, inquiry: Inquiry | None, called: ModelCalled, how: Mapping[str, bool]
    ) -> None:
        self._trace(call_id, model, inquiry, called, how)
        line = log.debug if called.outcome is CallOutcome.OK else log.info
        line(
            "a model was called",
            call_id=str(call_id),
            task=called.task,
            provider=called.provider,
            model=called.model,
            outcome=called.outcome,
            duration_ms=called.duration_ms,
            input_tokens=called.usage.input_tokens,
            output_tokens=called.usage.output_tokens,
            cost_micros=called.cost_micros,
            **how,
            **_for_whom(called),
        )

    def _trace(
        self, call_id: UUID, model: str, inquiry: Inquiry | None, called: ModelCalled, how: Mapping[str, bool]
    ) -> None:
        began = called.started_at
        most = {} if inquiry is None else {GEN_AI_REQUEST_MAX_TOKENS: inquiry.output_tokens_max}
        span = self._tracer.start_span(
            f"{OPERATION} {model}",
            kind=SpanKind.CLIENT,
            start_time=_nanoseconds(began),
            attributes={
                GEN_AI_OPERATION_NAME: OPERATION,
                GEN_AI_PROVIDER_NAME: PROVIDER_NAMES.get(called.provider, called.provider),
                GEN_AI_REQUEST_MODEL: model,
                **most,
                GEN_AI_OUTPUT_TYPE: "json",
                VIGIL_CALL_ID: str(call_id),
                VIGIL_TASK: called.task.value,
                **{f"vigil.{name}": value for name, value in (*how.items(), *_for_whom(called).items())},
            },
        )
        if span.is_recording():
            span.set_attributes(
                {
                    GEN_AI_RESPONSE_MODEL: called.model,
                    GEN_AI_USAGE_INPUT_TOKENS: called.usage.input_tokens,
                    GEN_AI_USAGE_OUTPUT_TOKENS: called.usage.output_tokens,
                    GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: called.usage.cache_read_tokens,
                    GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS: called.usage.cache_write_tokens,
                    VIGIL_COST_MICROS: called.cost_micros,
                }
            )
            if called.outcome is not CallOutcome.OK:
                span.set_attribute(ERROR_TYPE, called.outcome.value)
                span.set_status(Status(StatusCode.ERROR))
        span.end(_nanoseconds(began + timedelta(milliseconds=called.duration_ms)))


def _for_whom(called: ModelCalled) -> dict[str, str]:
    ids = {"monitor_id": called.monitor_id, "evaluation_id": called.evaluation_id}
    return {name: str(value) for name, value in ids.items() if value is not None}


def _nanoseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
