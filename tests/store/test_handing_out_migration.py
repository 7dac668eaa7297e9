"""Migration 0014 on a store that is in use: what waits, what was asked for, and what the next evaluation compares with."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID, uuid1

import msgspec
import psycopg
import pytest
from psycopg import sql

from adapters import yoyo_migrations
from domain.evaluation import Previous, Verdict
from tests.conftest import AT, database_url

OWNER, WATCHED, FRESH, REVISED = (UUID(int=n) for n in range(1, 5))
LAST = UUID(int=9)
BEFORE = "0013_erasure_indexes"
_PERSON = """
insert into read_model.users (id, email, name, timezone, registered_at, version)
values (%s, 'ada@example.org', 'Ada', 'UTC', %s, 1)
"""
_EVALUATION = """
insert into read_model.evaluations (id, monitor_id, owner_id, status, verdict, streak, plan_revision, due_at, completed_at)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_SLOT = """
insert into schedule (monitor_id, owner_id, schedule, active, due_at, enqueued_at, last_evaluation_id)
values (%s, %s, '{"kind": "every", "seconds": 300}', true, %s, %s, %s)
"""


@pytest.fixture
def url(postgres_url: str) -> Iterator[str]:
    """A database that is migrated to the release before."""
    name = f"m{uuid1().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        made = database_url(postgres_url, name)
        names = yoyo_migrations.up(made)
        yoyo_migrations.down(made, steps=len(names) - 1 - names.index(BEFORE))
        yield made
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def fill(url: str) -> None:
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("set session_replication_role = replica")  # the read tables' other columns are not the matter
        looks = [(3, "met", 1, 1), (2, "met", 4, 2), (1, "inconclusive", 0, 2)]
        for minutes, verdict, streak, revision in looks:
            at = AT - timedelta(minutes=minutes)
            evaluation = LAST if minutes == 1 else UUID(int=10 + minutes)
            cursor.execute(_EVALUATION, (evaluation, WATCHED, OWNER, "completed", verdict, streak, revision, at, at))
        failed = (UUID(int=20), WATCHED, OWNER, "failed", None, None, None, AT, AT)
        cursor.execute(_EVALUATION, failed)
        cursor.execute(_EVALUATION, (UUID(int=21), REVISED, OWNER, "completed", "not_met", 2, None, AT, AT))
        cursor.execute(_SLOT, (WATCHED, OWNER, AT, AT, LAST))
        cursor.execute(_SLOT, (FRESH, OWNER, AT + timedelta(hours=1), None, None))
        cursor.execute(_SLOT, (REVISED, OWNER, AT, None, UUID(int=21)))
        for number, handed_out in ((30, None), (31, AT)):
            request = "insert into evaluation_request values (%s, %s, %s, %s, %s)"
            cursor.execute(request, (UUID(int=number), WATCHED, OWNER, AT, handed_out))


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, options="-c timezone=UTC") as connection:
        return connection.execute(query.encode()).fetchall()


def previous(url: str) -> dict[UUID, Previous | None]:
    found = rows(url, "select monitor_id, previous from schedule")
    return {UUID(str(monitor)): None if one is None else msgspec.convert(one, Previous) for monitor, one in found}


def test_a_store_in_use_goes_on_with_what_it_has_and_can_be_taken_back(url: str) -> None:
    fill(url)
    for _ in range(2):
        yoyo_migrations.up(url)
        assert previous(url) == {
            WATCHED: Previous(evaluation_id=LAST, verdict=Verdict.MET, streak=4, plan_revision=2),
            FRESH: None,
            REVISED: Previous(evaluation_id=UUID(int=21), verdict=Verdict.NOT_MET, streak=2),
        }
        assert rows(url, "select ready_at = due_at, enqueued_at, attempts from schedule") == [(True, None, 0)] * 3
        assert rows(url, "select count(*) from evaluation_request where ready_at <= now() and attempts = 0") == [(2,)]
        signal = "insert into evaluation_request select gen_random_uuid(), monitor_id, owner_id, requested_at, null, "
        with psycopg.connect(url) as connection:
            connection.execute(f"{signal} now(), 0, gen_random_uuid() from evaluation_request limit 1".encode())
            connection.execute("insert into heartbeat values ('scheduler', 'one', now())")
        names = [migration.name for migration in yoyo_migrations.status(url) if migration.applied]
        yoyo_migrations.down(url, steps=len(names) - 1 - names.index(BEFORE))
        assert rows(url, "select count(*) from evaluation_request") == [(2,)]
        assert rows(url, "select to_regclass('dead_job'), to_regclass('heartbeat')") == [(None, None)]
        assert rows(url, "select count(*) from schedule") == [(3,)]
