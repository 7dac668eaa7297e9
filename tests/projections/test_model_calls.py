"""The table of model calls: every call once, also those nobody owns, and none of a person who was erased."""

from random import Random
from uuid import UUID

from msgspec.structs import replace
from uuid_utils.compat import uuid7

from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_log import PostgresLog
from adapters.postgres_pool import Pool
from adapters.postgres_rebuild import Rebuild
from domain.evaluation import Verdict
from domain.event import Event, Metadata, NewEvents
from domain.log_entry import PARTITIONS, LogEntry
from domain.model_call import CallOutcome, ModelCalled, Task, TokenUsage
from domain.monitor import MonitorCreated, State
from domain.operation import INSTALLATION
from domain.user import UserErased, UserRegistered
from projections.core import CORE
from tests.conftest import AT
from tests.projections.projecting import project, projector, rebuilt, rows
from tests.projections.test_core_projection import cut, dump, projected
from tests.projections.test_rebuild import sequence_all
from tests.read_api.world import completed, plan

EVALUATION, MONITOR = uuid7(), uuid7()


def called(**others: object) -> ModelCalled:
    fields: dict[str, object] = {
        "task": Task.EXTRACT,
        "provider": "claude",
        "model": "claude-haiku-4-5",
        "outcome": CallOutcome.OK,
        "usage": TokenUsage(input_tokens=1_000, output_tokens=50, cache_read_tokens=400, searches=2),
        "cost_micros": 21_250,
        "prices": "genai-prices 0.2.3",
        "started_at": AT,
        "duration_ms": 812,
        **others,
    }
    return ModelCalled(**fields)  # type: ignore[arg-type]  # fields by name


async def append(pool: Pool, owner_id: UUID, stream_id: UUID, *events: Event, after: int = 0) -> None:
    new = NewEvents(stream_id=stream_id, owner_id=owner_id, expected_version=after, events=events)
    store = PostgresEventStore(pool, new_id=uuid7)
    await store.append([new], metadata=Metadata(correlation_id=stream_id, actor="test"))


async def person(pool: Pool) -> UUID:
    ada = uuid7()
    await append(
        pool, ada, ada, UserRegistered(email=f"{ada}@example.org", name="Ada", timezone="UTC", registered_at=AT)
    )
    return ada


async def log_of(pool: Pool) -> list[LogEntry]:
    await sequence_all(pool)
    log = PostgresLog(pool)
    found = [await log.read(partition, after_place=0, limit=1_000) for partition in range(PARTITIONS)]
    return sorted((entry for entries in found for entry in entries), key=lambda entry: entry.position)


async def test_a_call_is_a_row_with_everything_it_used(pool: Pool) -> None:
    ada, call = await person(pool), uuid7()
    lost = called(is_estimated=True, outcome=CallOutcome.TIMEOUT, message="too late", usage=TokenUsage())
    await append(pool, ada, call, called(monitor_id=MONITOR, evaluation_id=EVALUATION))
    await append(pool, ada, uuid7(), lost)
    await sequence_all(pool)
    await project(pool, projector(pool))
    columns = """
    select owner_id, monitor_id, evaluation_id, task, provider, model, outcome, input_tokens, output_tokens, cache_read_tokens,
           cache_write_tokens, searches, cost_micros, prices, is_estimated, message, started_at, duration_ms
    from model_calls order by is_estimated
    """
    shared = ("extract", "claude", "claude-haiku-4-5")
    priced = (21_250, "genai-prices 0.2.3")
    assert await rows(pool, columns) == [
        (ada, MONITOR, EVALUATION, *shared, "ok", 1_000, 50, 400, 0, 2, *priced, False, None, AT, 812),
        (ada, None, None, *shared, "timeout", 0, 0, 0, 0, 0, *priced, True, "too late", AT, 812),
    ]
    assert await rows(pool, "select id from model_calls where not is_estimated") == [(call,)]


async def test_what_the_installation_asked_itself_belongs_to_nobody(pool: Pool) -> None:
    await append(pool, INSTALLATION, uuid7(), called(task=Task.CHECK))
    await sequence_all(pool)
    await project(pool, projector(pool))
    assert await rows(pool, "select owner_id, task from model_calls") == [(None, "check")]
    assert await rows(pool, "select * from parked") == []


async def test_the_calls_of_an_erased_person_are_gone_whatever_came_after(pool: Pool) -> None:
    ada, ben = await person(pool), await person(pool)
    await append(pool, ada, uuid7(), called())
    await append(pool, ben, uuid7(), called())
    await append(pool, ada, ada, UserErased(erased_at=AT), after=1)
    await append(pool, ada, uuid7(), called())
    entries = await log_of(pool)
    one_by_one = await projected(pool, [[entry] for entry in entries])
    assert len(one_by_one["model_calls"]) == 1
    assert str(ben) in str(one_by_one["model_calls"])
    for seed in range(5):
        assert await projected(pool, cut(entries, Random(seed), 4)) == one_by_one
    assert await projected(pool, [entries]) == one_by_one


async def test_a_rebuild_makes_the_same_rows(pool: Pool) -> None:
    ada = await person(pool)
    for owner_id in (ada, INSTALLATION):
        await append(pool, owner_id, uuid7(), called())
    await sequence_all(pool)
    await project(pool, projector(pool))
    async with pool.connection() as connection:
        before = await dump(connection)
    await rebuilt(Rebuild(pool, CORE, PostgresLog(pool)))
    async with pool.connection() as connection:
        assert await dump(connection) == before
    assert len(before["model_calls"]) == 2


async def test_what_an_evaluation_saved_is_told_with_it(pool: Pool) -> None:
    ada, evaluation, older = await person(pool), uuid7(), uuid7()
    await append(pool, ada, MONITOR, MonitorCreated(name="a", prompt="b", plan=plan(), created_at=AT))
    outcome = completed(MONITOR, AT, verdict=Verdict.NOT_MET, before=State.INACTIVE, after=State.INACTIVE)
    await append(pool, ada, older, outcome)
    await append(pool, ada, evaluation, replace(outcome, saved_micros=4_200))
    await sequence_all(pool)
    await project(pool, projector(pool))
    found = await rows(pool, "select id, saved_micros from evaluations order by saved_micros")
    assert found == [(older, 0), (evaluation, 4_200)]
