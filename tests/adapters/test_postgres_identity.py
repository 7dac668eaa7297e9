"""Accounts and refresh sessions against a real PostgreSQL."""

import asyncio
import hashlib
from datetime import timedelta
from uuid import UUID

import pytest
from structlog.testing import capture_logs
from uuid_utils.compat import uuid7

from adapters.hmac_link_tokens import HmacLinkTokens
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_identity import SESSION_LIFETIME, SPENT_KEPT_MAX, PostgresAccounts, PostgresSessions
from adapters.postgres_pool import Pool
from commands.event_store import Companion, KeepCredential, Reserve
from domain.event import Metadata
from tests.conftest import AT

USER = UUID(int=7)
REUSED = "authn_token_reuse"


@pytest.fixture
def sessions(pool: Pool) -> PostgresSessions:
    return PostgresSessions(pool, new_id=uuid7)


@pytest.fixture
def accounts(pool: Pool) -> PostgresAccounts:
    return PostgresAccounts(pool)


async def column(pool: Pool, name: str) -> list[object]:
    async with pool.connection() as connection:
        rows = await (await connection.execute("select to_jsonb(session) from session")).fetchall()
    return [row[0][name] for row in rows]


async def next_of(sessions: PostgresSessions, token: str) -> str:
    refreshed = await sessions.refresh(token, now=AT)
    assert refreshed is not None
    return refreshed[1]


async def test_a_session_is_refreshed_with_a_new_token_each_time(sessions: PostgresSessions) -> None:
    seen = {token := await sessions.open(USER, now=AT)}
    for _ in range(3):
        refreshed = await sessions.refresh(token, now=AT)
        assert refreshed is not None
        user_id, token = refreshed
        assert user_id == USER
        seen.add(token)
    assert len(seen) == 4
    assert all(len(token) == 43 for token in seen), "256 bits in base64url"


async def test_a_token_is_stored_as_its_hash_alone(sessions: PostgresSessions, pool: Pool) -> None:
    first = await sessions.open(USER, now=AT)
    second = await next_of(sessions, first)
    assert await column(pool, "token_hash") == [f"\\x{hashlib.sha256(second.encode()).hexdigest()}"]
    assert await column(pool, "spent_hashes") == [[f"\\x{hashlib.sha256(first.encode()).hexdigest()}"]]
    async with pool.connection() as connection:
        rows = await (await connection.execute("select session::text from session")).fetchall()
    assert first not in str(rows)
    assert second not in str(rows)


async def test_a_spent_token_that_comes_back_ends_the_whole_session_and_is_logged(sessions: PostgresSessions) -> None:
    first = await sessions.open(USER, now=AT)
    elsewhere = await sessions.open(USER, now=AT)
    third = await next_of(sessions, await next_of(sessions, first))
    with capture_logs() as logs:
        assert await sessions.refresh(first, now=AT) is None
    assert [(line["event"], line["log_level"], line["user_id"]) for line in logs] == [(REUSED, "warning", str(USER))]
    assert first not in str(logs)
    assert await sessions.refresh(third, now=AT) is None
    assert await sessions.refresh(elsewhere, now=AT) is not None, "another session of the person goes on"


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "\ud800", "\0", "' or true --"], ids=ascii)
async def test_an_unknown_token_is_refused_and_ends_nothing(sessions: PostgresSessions, token: str) -> None:
    mine = await sessions.open(USER, now=AT)
    with capture_logs() as logs:
        assert await sessions.refresh(token, now=AT) is None
        await sessions.end(token, now=AT)
    assert logs == []
    assert await sessions.refresh(mine, now=AT) is not None


async def test_of_twenty_refreshes_at_once_at_most_one_has_a_child(sessions: PostgresSessions, pool: Pool) -> None:
    token = await sessions.open(USER, now=AT)
    with capture_logs() as logs:
        outcomes = await asyncio.gather(*(sessions.refresh(token, now=AT) for _ in range(20)))
    children = [outcome[1] for outcome in outcomes if outcome is not None]
    assert len(children) == 1
    assert [line["event"] for line in logs] == [REUSED]
    assert await sessions.refresh(children[0], now=AT) is None, "somebody else had the token too"
    assert await column(pool, "ended_at") != [None]


async def test_a_session_ends_after_thirty_days_however_often_it_is_refreshed(sessions: PostgresSessions) -> None:
    token = await sessions.open(USER, now=AT)
    for days in (10, 20, 29):
        refreshed = await sessions.refresh(token, now=AT + timedelta(days=days))
        assert refreshed is not None
        token = refreshed[1]
    assert timedelta(days=30) == SESSION_LIFETIME
    last = AT + SESSION_LIFETIME
    assert await sessions.refresh(token, now=last) is None
    assert await sessions.refresh(token, now=last - timedelta(seconds=1)) is not None


async def test_only_the_last_two_hundred_spent_tokens_are_kept(sessions: PostgresSessions, pool: Pool) -> None:
    tokens = [await sessions.open(USER, now=AT)]
    for _ in range(SPENT_KEPT_MAX + 2):
        tokens.append(await next_of(sessions, tokens[-1]))
    expected = [f"\\x{hashlib.sha256(token.encode()).hexdigest()}" for token in reversed(tokens[2:-1])]
    assert SPENT_KEPT_MAX == 200
    assert await column(pool, "spent_hashes") == [expected]
    assert await sessions.refresh(tokens[1], now=AT) is None, "forgotten, so refused only"
    assert await column(pool, "ended_at") == [None]
    assert await sessions.refresh(tokens[2], now=AT) is None
    assert await column(pool, "ended_at") != [None]


@pytest.mark.parametrize("with_spent", [False, True])
async def test_who_logs_out_ends_this_session_only(sessions: PostgresSessions, *, with_spent: bool) -> None:
    spent = await sessions.open(USER, now=AT)
    elsewhere = await sessions.open(USER, now=AT)
    token = await next_of(sessions, spent)
    await sessions.end(spent if with_spent else token, now=AT)
    await sessions.end(token, now=AT)
    with capture_logs() as logs:
        assert await sessions.refresh(token, now=AT) is None
    assert logs == [], "a session that has ended is no theft"
    assert await sessions.refresh(elsewhere, now=AT) is not None


async def test_a_link_token_is_no_refresh_token(sessions: PostgresSessions) -> None:
    await sessions.open(USER, now=AT)
    link = HmacLinkTokens([b"k" * 32]).make("verify-email", USER, USER)
    assert await sessions.refresh(link, now=AT) is None


async def test_an_account_is_found_by_its_address_and_no_other_reservation(
    accounts: PostgresAccounts, pool: Pool
) -> None:
    store = PostgresEventStore(pool, new_id=uuid7)
    companions: list[Companion] = [
        Reserve("user-email", "a@example.com", USER),
        Reserve("monitor-name", "b@example.com", UUID(int=8)),
        KeepCredential(USER, "a hash", AT),
    ]
    await store.append([], metadata=Metadata(correlation_id=uuid7(), actor="test"), companions=companions)
    assert await accounts.user_with("a@example.com") == USER
    assert await accounts.password_hash(USER) == "a hash"
    for other in ("b@example.com", "A@example.com", "", "a@example.com' or true --"):
        assert await accounts.user_with(other) is None


async def test_a_hash_is_replaced_but_never_given_to_somebody_who_has_none(
    accounts: PostgresAccounts, pool: Pool
) -> None:
    store = PostgresEventStore(pool, new_id=uuid7)
    context = Metadata(correlation_id=uuid7(), actor="test")
    await store.append([], metadata=context, companions=[KeepCredential(USER, "a hash", AT)])
    await accounts.keep_password_hash(USER, "a stronger hash", now=AT)
    assert await accounts.password_hash(USER) == "a stronger hash"
    nobody = UUID(int=8)
    await accounts.keep_password_hash(nobody, "a hash", now=AT)
    assert await accounts.password_hash(nobody) is None
