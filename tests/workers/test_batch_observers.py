"""What observers learn of batches: a span and figures for each call, once, when it is accounted for."""

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from adapters.model_tracing import ModelTracing
from adapters.postgres_batches import PostgresBatches
from commands.event_store import ErasePerson
from domain.user import UserErased
from tests.conftest import AT
from tests.model_server import REFUSAL
from tests.workers.batch_world import Everybody, Killed, Unhurrying, costs


@pytest.fixture
def exporter(here: Unhurrying) -> Iterator[InMemorySpanExporter]:
    exporter, spans_of = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    spans_of.add_span_processor(SimpleSpanProcessor(exporter))
    here.tracing = ModelTracing(provider=spans_of)
    yield exporter
    spans_of.shutdown()


async def test_each_call_of_a_batch_is_told_when_it_is_over(here: Unhurrying, exporter: InMemorySpanExporter) -> None:
    job = await here.slot(await here.world.person())
    await here.waits(job)
    await here.sent()
    assert exporter.get_finished_spans() == ()
    here.world.clock.move(3600)
    await here.over()
    (span,) = exporter.get_finished_spans()
    told = dict(span.attributes or {})
    assert (told["vigil.batch"], told["vigil.evaluation_id"]) == (True, str(job.evaluation_id))
    assert told["vigil.cost_micros"] == costs(here.provider.name)
    assert ((span.end_time or 0) - (span.start_time or 0)) == 3600 * 10**9
    labels = f'model="{here.provider.model}",outcome="ok",provider="{here.provider.name}"'
    assert f"vigil_model_calls_total{{{labels}" in here.tracing.figures.page(()).decode()


async def test_a_call_that_a_batch_did_not_answer_is_told_with_how_it_ended(
    here: Unhurrying, exporter: InMemorySpanExporter
) -> None:
    here.server.script = lambda _: REFUSAL
    await here.waits(await here.slot(await here.world.person()))
    await here.sent()
    await here.over()
    (span,) = exporter.get_finished_spans()
    assert dict(span.attributes or {})["error.type"] == "refused"


async def test_who_goes_on_after_a_crash_tells_nobody_again(
    here: Unhurrying, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.waits(await here.slot(await here.world.person()))
    await here.sent(leases=Everybody())
    here.server.end()

    async def dies(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(PostgresBatches, "end", dies)
        with pytest.raises(Killed):
            await here.batcher(leases=Everybody()).step()
    await here.batcher(leases=Everybody()).step()
    assert (len(exporter.get_finished_spans()), await here.left()) == (1, [0, 0, 0, 0])


async def test_of_what_an_erased_person_had_asked_the_rest_is_told(
    here: Unhurrying, exporter: InMemorySpanExporter
) -> None:
    ada = await here.world.person()
    await here.waits(await here.slot(ada))
    await here.sent()
    await here.world.append(ada, ada, UserErased(erased_at=AT), companions=[ErasePerson(ada)])
    await here.over()
    (span,) = exporter.get_finished_spans()
    assert "gen_ai.request.max_tokens" not in dict(span.attributes or {})
