"""What the doctor says of the evaluation engine: who hands out, who evaluates, and what was given up."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
import redis.asyncio as redis

from adapters.redis_jobs import RedisJobs
from bootstrap.settings import Settings, read_settings
from cli.doctor_engine import examine_engine
from cli.findings import Finding, Level
from domain.evaluation import EvaluationJob

_SLOT = """
insert into schedule (monitor_id, owner_id, schedule, active, due_at, ready_at, enqueued_at)
values (gen_random_uuid(), gen_random_uuid(), '{"kind": "every", "seconds": 60}', %(active)s,
        now() - %(due)s::interval, now() - %(ready)s::interval, now() - %(handed_out)s::interval)
"""
_REQUEST = """
insert into evaluation_request (evaluation_id, monitor_id, owner_id, requested_at, enqueued_at)
values (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), now() - interval '40 s', %s)
"""
_BEAT = "insert into heartbeat values ('scheduler', 'one', clock_timestamp() - %s::interval)"
_DEAD = """
insert into dead_job (evaluation_id, monitor_id, owner_id, due_at, attempts, error, died_at)
values (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), now(), 5, 'boom', now())
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings(data_dir=tmp_path, redis_namespace="doctor")


class Engine:
    """The tables of an engine, and what the doctor says of them."""

    def __init__(self, database: str, redis_url: str, settings: Settings) -> None:
        self.database, self.redis_url, self.settings = database, redis_url, settings

    def holds(self, statement: str, values: Sequence[object] | Mapping[str, object] | None = None) -> None:
        with psycopg.connect(self.database) as connection:
            connection.execute(statement.encode(), values)

    def slot(self, *, due: str, ready: str, handed_out: str | None = None, active: bool = True) -> None:
        self.holds(_SLOT, {"due": due, "ready": ready, "handed_out": handed_out, "active": active})

    async def takes_a_job(self) -> None:
        async with redis.from_url(self.redis_url) as client:
            jobs = RedisJobs(client, namespace=self.settings.redis_namespace, consumer="one")
            some = UUID(int=1)
            await jobs.enqueue(
                [EvaluationJob(evaluation_id=some, monitor_id=some, owner_id=some, due_at=datetime.now(UTC))]
            )
            while not await jobs.take(1, block_ms=10):
                pass

    async def findings(self, redis_url: str | None = None) -> dict[str, Finding]:
        found = await examine_engine(self.database, redis_url or self.redis_url, self.settings)
        assert all((finding.cure is None) == (finding.level is Level.OK) for finding in found)
        return {finding.check: finding for finding in found}


@pytest.fixture
def engine(database: str, redis_url: str, settings: Settings) -> Engine:
    return Engine(database, redis_url, settings)


async def test_an_engine_that_nobody_has_used_is_well(engine: Engine) -> None:
    engine.slot(due="-1 hour", ready="-1 hour")
    found = await engine.findings()
    assert {check: finding.level for check, finding in found.items()} == dict.fromkeys(
        ("scheduler", "evaluator", "dead jobs"), Level.OK
    )
    assert found["scheduler"].message == "none was ever at work; no due monitor waits"


@pytest.mark.parametrize(
    ("beat", "waits", "level", "said"),
    [
        ("3 s", None, Level.OK, "last beat 3 s ago; no due monitor waits"),
        ("3 s", "20 s", Level.OK, "1 due monitors wait, the first for 20."),
        ("3 s", "40 s", Level.WARNING, "`vigil worker evaluator`"),
        ("40 s", None, Level.WARNING, "last beat 40 s ago"),
        ("40 s", "20 s", Level.WARNING, "`vigil worker scheduler`"),
        ("40 s", "40 s", Level.FAILED, "`vigil worker scheduler`"),
        (None, "20 s", Level.WARNING, "none was ever at work"),
        (None, "40 s", Level.FAILED, "`vigil worker scheduler`"),
    ],
)
async def test_a_scheduler_is_missed_by_its_last_beat_and_by_what_waits_for_it(
    engine: Engine, beat: str | None, waits: str | None, level: Level, said: str
) -> None:
    if beat is not None:
        engine.holds(_BEAT, (beat,))
        engine.holds(_BEAT.replace("'one'", "'another'"), ("1 hour",))
    if waits is not None:
        engine.slot(due=waits, ready=waits)
    engine.slot(due="1 day", ready="1 day", active=False)
    scheduler = (await engine.findings())["scheduler"]
    assert scheduler.level is level
    assert said in f"{scheduler.message} {scheduler.cure}"


@pytest.mark.parametrize(
    ("late", "is_taken", "level", "said"),
    [
        ("20 s", False, Level.OK, "none ever took a job; 1 jobs wait or are being done, the oldest is 20 s late"),
        ("40 s", False, Level.FAILED, "start `vigil up` or `vigil worker evaluator`"),
        ("40 s", True, Level.OK, "the oldest is 40 s late"),
        ("70 s", True, Level.WARNING, "start another `vigil worker evaluator`"),
    ],
)
async def test_evaluators_are_missed_by_what_was_handed_out_and_nobody_takes(
    engine: Engine, late: str, *, is_taken: bool, level: Level, said: str
) -> None:
    engine.slot(due=late, ready="-30 s", handed_out="5 s")
    engine.slot(due="1 day", ready="1 day")
    if is_taken:
        await engine.takes_a_job()
    evaluator = (await engine.findings())["evaluator"]
    assert evaluator.level is level
    assert said in f"{evaluator.message} {evaluator.cure}"


async def test_what_was_asked_for_is_waited_for_once_it_is_handed_out(engine: Engine) -> None:
    engine.holds(_REQUEST, (None,))
    engine.holds(_REQUEST, ("-infinity",))
    assert (await engine.findings())["evaluator"].level is Level.OK, "that is the scheduler's"
    engine.holds(_REQUEST, (datetime.now(UTC),))
    evaluator = (await engine.findings())["evaluator"]
    assert evaluator.level is Level.FAILED
    assert "3 jobs wait or are being done, the oldest is 40 s late" in evaluator.message


async def test_without_redis_nothing_is_said_of_evaluators(engine: Engine) -> None:
    assert (await engine.findings("redis://127.0.0.1:1")).keys() == {"scheduler", "dead jobs"}


async def test_what_was_given_up_is_counted_and_its_command_named(engine: Engine) -> None:
    engine.holds(_DEAD)
    engine.holds(_DEAD)
    dead = (await engine.findings())["dead jobs"]
    assert (dead.level, dead.message) == (Level.WARNING, "2 evaluations were given up")
    assert "`vigil evaluations dead list`" in str(dead.cure)
