"""Answers of models that are kept: one suite for the store and for its stand-in of tests."""

import asyncio
from datetime import datetime, timedelta

import msgspec
import pytest

from adapters.postgres_evidence import PostgresEvidence
from adapters.postgres_leases import PostgresLeases
from adapters.postgres_model_answers import PostgresModelAnswers
from adapters.postgres_pool import Pool
from commands.kept_answers import KeptAnswer
from tests.commands.model_world import AnswersInMemory
from tests.conftest import AT
from workers import retention
from workers.retention import ANSWERS_KEPT, GRACE, REST_SECONDS, Retention

KEY, OTHER = b"\x00" * 32, b"\xff" * 32
ANSWER = KeptAnswer('{"price": {"quote": "\\u0000 49", "value": 49.50}}', "claude", "m-1", 7, AT)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

Answers = PostgresModelAnswers | AnswersInMemory


@pytest.fixture(params=["postgres", "memory"])
def answers(request: pytest.FixtureRequest) -> Answers:
    if request.param == "memory":
        return AnswersInMemory()
    return PostgresModelAnswers(request.getfixturevalue("application_pool"))


async def test_an_answer_is_found_as_it_was_kept(answers: Answers) -> None:
    await answers.keep(KEY, ANSWER, asked_at=AT)
    assert await answers.find(KEY, at=AT) == ANSWER
    assert await answers.find(OTHER, at=AT) is None


async def test_the_first_answer_stays(answers: Answers) -> None:
    await answers.keep(KEY, ANSWER, asked_at=AT)
    await answers.keep(KEY, KeptAnswer("{}", "openai", "m-2", 9, AT + HOUR), asked_at=AT)
    assert await answers.find(KEY, at=AT) == ANSWER


async def test_what_was_asked_after_an_answer_came_takes_its_place(answers: Answers) -> None:
    await answers.keep(KEY, ANSWER, asked_at=AT)
    other = KeptAnswer("{}", "openai", "m-2", 9, AT + HOUR)
    await answers.keep(KEY, other, asked_at=AT + timedelta(microseconds=1))
    assert await answers.find(KEY, at=AT) == other
    assert await answers.forget(unused_since=AT + HOUR, limit=10) == 0, "it counts as used when it came"


async def test_what_nobody_used_is_forgotten_and_what_somebody_used_stays(answers: Answers) -> None:
    await answers.keep(KEY, ANSWER, asked_at=AT)
    await answers.keep(OTHER, ANSWER, asked_at=AT)
    await answers.find(OTHER, at=AT + DAY + HOUR)
    assert await answers.forget(unused_since=AT, limit=10) == 0
    assert await answers.forget(unused_since=AT + DAY, limit=10) == 1
    assert await answers.find(KEY, at=AT + 2 * DAY) is None
    assert await answers.find(OTHER, at=AT + 2 * DAY) == ANSWER


async def test_only_so_many_are_forgotten_at_once(answers: Answers) -> None:
    for number in range(5):
        await answers.keep(bytes([number]) * 32, ANSWER, asked_at=AT)
    counts = [await answers.forget(unused_since=AT + HOUR, limit=2) for _ in range(4)]
    assert counts == [2, 2, 1, 0]


async def used_at(pool: Pool) -> list[datetime]:
    async with pool.connection() as connection:
        rows = await (await connection.execute("select used_at from model_answer order by key")).fetchall()
    return [row[0] for row in rows]


async def test_that_it_was_used_is_written_once_a_day(application_pool: Pool) -> None:
    answers = PostgresModelAnswers(application_pool)
    await answers.keep(KEY, ANSWER, asked_at=AT)
    for hours in (1, 23, 24):
        await answers.find(KEY, at=AT + hours * HOUR)
        assert await used_at(application_pool) == [AT]
    await answers.find(KEY, at=AT + 25 * HOUR)
    assert await used_at(application_pool) == [AT + 25 * HOUR]
    await answers.find(KEY, at=AT)
    assert await used_at(application_pool) == [AT + 25 * HOUR], "a clock that was set back takes nothing back"


async def test_many_may_keep_and_find_the_same_at_once(application_pool: Pool) -> None:
    answers = PostgresModelAnswers(application_pool)
    await asyncio.gather(*(answers.keep(KEY, ANSWER, asked_at=AT) for _ in range(10)))
    found = await asyncio.gather(*(answers.find(KEY, at=AT + 2 * DAY) for _ in range(10)))
    assert found == [ANSWER] * 10
    assert await used_at(application_pool) == [AT + 2 * DAY]


@pytest.mark.parametrize("keep", [None, 30 * DAY])
async def test_retention_forgets_answers_in_batches_whatever_the_policy_for_contents_is(
    application_pool: Pool, monkeypatch: pytest.MonkeyPatch, keep: timedelta | None
) -> None:
    monkeypatch.setattr(retention, "BATCH_ANSWERS_MAX", 2)
    answers = PostgresModelAnswers(application_pool)
    for number in range(3):
        await answers.keep(bytes([number]) * 32, ANSWER, asked_at=AT)
    await answers.keep(OTHER, msgspec.structs.replace(ANSWER, came_at=AT + DAY), asked_at=AT)

    def at(now: datetime, holder: str = "one") -> Retention:
        contents, leases = PostgresEvidence(application_pool), PostgresLeases(application_pool)
        return Retention(contents, leases, answers=answers, keep=keep, holder=holder, now=lambda: now)

    late = AT + ANSWERS_KEPT + GRACE
    assert await at(late).step() == REST_SECONDS
    assert len(await used_at(application_pool)) == 4, "not before its time"
    assert await at(late + HOUR, "another").step() == REST_SECONDS
    assert len(await used_at(application_pool)) == 4, "another one has the lease"
    assert await at(late + HOUR).step() == 0.0
    assert await at(late + HOUR).step() == REST_SECONDS
    assert await used_at(application_pool) == [AT + DAY]
