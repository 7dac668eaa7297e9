"""What people are told while a part of Vigil is down or behind."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bootstrap.now_and_new import new_id, utc_now
from bootstrap.parts import Endpoints, Parts, open_parts
from bootstrap.settings import read_settings
from commands.actions import ACTION
from commands.caller import Caller
from commands.streams import load
from domain.action import EmailAction
from domain.event import Metadata, NewEvents
from domain.user import EmailVerified, UserRegistered
from tests.api.conftest import SECRET
from tests.api.people import Installation, Person
from tests.conftest import AT

EMAIL = "ada@example.org"


@pytest.fixture
async def alone(database: str, redis_server: str, tmp_path: Path) -> AsyncIterator[Parts]:
    """An API that nobody projects for."""
    settings = read_settings(data_dir=tmp_path, redis_namespace="alone", pool_size=2, log_level="error")
    endpoints = Endpoints(
        database_url=database, redis_url=redis_server, smtp_url="smtp://127.0.0.1:25", public_url="http://vigil.test"
    )
    async with open_parts(settings, endpoints, SECRET) as opened:
        yield opened


async def somebody(installation: Installation) -> Person:
    """A verified person, written to the store only."""
    user_id = new_id()
    registered = UserRegistered(email=EMAIL, name="Ada", timezone="UTC", registered_at=AT)
    new = NewEvents(
        stream_id=user_id,
        owner_id=user_id,
        expected_version=0,
        events=(registered, EmailVerified(email=EMAIL, verified_at=AT)),
    )
    await installation.parts.store.append([new], metadata=Metadata(correlation_id=new_id(), actor="test"))
    token, _ = installation.parts.tokens.issue(user_id, frozenset({"member"}), now=utc_now())
    return Person(installation, user_id, EMAIL, token)


async def test_a_command_is_done_and_answered_also_while_nobody_projects(alone: Parts) -> None:
    """A creation can be shown from what was written; a change cannot, and is not shown as it was before."""
    async with Installation(alone) as installation:
        ada = await somebody(installation)
        caller = Caller(user_id=ada.user_id, roles=frozenset({"member"}), correlation_id=new_id())
        actions = alone.actions(alone.identity())
        made = await actions.create(caller, name="Mail me", config=EmailAction(), answer=lambda _: {})
        created, changed, deleted = await asyncio.gather(
            ada.asks("POST", "/actions", {"type": "email", "name": "Another"}),
            ada.asks("PUT", f"/actions/{made.stream_id}", {"type": "email", "name": "Tell me"}),
            ada.asks("DELETE", f"/actions/{made.stream_id}", headers={"If-Match": '"9"'}),
        )
        assert (created.status_code, created.json()["data"]["name"]) == (201, "Another")
        assert "Vigil-Position" not in created.headers
        assert (changed.status_code, changed.json()["error"]["code"]) == (503, "SERVICE_UNAVAILABLE")
        assert changed.headers["Retry-After"]
        assert deleted.status_code == 412
        assert (await load(alone.store, ACTION, made.stream_id)).state.name == "Tell me", "what is not shown was done"


async def test_a_database_that_went_away_is_told_apart_from_a_bug_and_forgiven_when_it_is_back(alone: Parts) -> None:
    async with Installation(alone) as installation:
        ada = await somebody(installation)
        assert await ada.gets("GET", "/monitors") == []
        async with alone.pool.connection() as connection, alone.pool.connection() as other:
            row = await (await other.execute("select pg_backend_pid()")).fetchone()
            assert row is not None
            await connection.execute("select pg_terminate_backend(%s)", row)
        answers = [await ada.asks("GET", "/monitors") for _ in range(4)]
        assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 503], "one connection was lost"
        (lost,) = (answer for answer in answers if answer.status_code == 503)
        assert lost.json()["error"]["code"] == "SERVICE_UNAVAILABLE"
        assert int(lost.headers["Retry-After"]) > 0
        assert answers[-1].status_code == 200
