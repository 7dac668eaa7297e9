"""What `vigil doctor` looks at in the database: the server, its tables, the keys of people, the log and who reads it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime, timedelta

import psycopg

from adapters import yoyo_migrations
from adapters.postgres_guard import PostgresGuard
from adapters.postgres_person_keys import keys_status
from adapters.postgres_pool import CURE_OF_ROLE, open_pool
from adapters.postgres_status import consumer_status, tables_status
from adapters.secret_key import SecretKeyRefused
from adapters.wrapping_keys import known_wrapping_keys
from bootstrap.now_and_new import utc_now
from bootstrap.settings import Settings
from cli.connection import CONNECT_SECONDS
from cli.doctor_ai import examine_ai
from cli.doctor_engine import examine_engine
from cli.findings import Finding, failed, graded, ok, warning
from domain.log_state import REPAIR, RESTORED
from projections.core import CORE
from read_api.health import LAG_SECONDS_MAX

CLOCK_LOW, CLOCK_MAX = timedelta(seconds=1), timedelta(seconds=30)
LAG_SECONDS_LOW = 5.0
POSTGRES_MIN = 13
"""The type xid8 and the functions around it are new in PostgreSQL 13."""


async def examine_store(url: str, settings: Settings, *, redis_url: str | None) -> AsyncGenerator[Finding, None]:
    """PostgreSQL, its clock, its tables, how far their readers are, how evaluations stand, and who reads."""
    try:
        connection = await psycopg.AsyncConnection.connect(url, connect_timeout=CONNECT_SECONDS, autocommit=True)
    except psycopg.OperationalError as error:
        yield failed("PostgreSQL", f"does not answer: {error}", "start it, or correct VIGIL_DATABASE_URL")
        return
    async with connection:
        version = connection.info.server_version
        if version < POSTGRES_MIN * 10_000:
            yield failed("PostgreSQL", f"version {version // 10_000} is too old", f"use {POSTGRES_MIN} or newer")
            return
        yield ok("PostgreSQL", f"version {version // 10_000}.{version % 10_000} answers")
        yield await _clock(connection, utc_now)
    missing = [each.name for each in await asyncio.to_thread(yoyo_migrations.status, url) if not each.applied]
    if missing:
        yield failed("migrations", f"missing: {', '.join(missing)}", "run `vigil migrate up`")
        return
    yield ok("migrations", "all applied")
    yield await _wrapping(url, settings)
    async with open_pool(url, size_max=1) as pool:
        guard = PostgresGuard(pool)
        yield _role(may_change=await guard.may_change_events())
        yield await _log(guard)
    async with aclosing(_consumers(url)) as found:
        async for finding in found:
            yield finding
    for finding in await examine_engine(url, redis_url, settings):
        yield finding
    for finding in await examine_ai(url, redis_url, settings):
        yield finding


async def _wrapping(url: str, settings: Settings) -> Finding:
    """Whether this host can open what people said."""
    try:
        known = known_wrapping_keys(settings.data_dir, settings.secret_key, settings.wrapping_keys)
    except SecretKeyRefused as error:
        return failed("wrapping keys", str(error), "put the file back that was there")
    async with open_pool(url, size_max=1) as pool:
        status = await keys_status(pool, known)
    if status.missing:
        message = f"keys of people are wrapped by {', '.join(status.missing)}, which is not here"
        return failed("wrapping keys", message, "add it to VIGIL_WRAPPING_KEYS: see docs/personal-data.md")
    if status.first is None:
        return ok("wrapping keys", "none is here; one is made at the first start")
    others = sum(status.wrapped_by.values()) - status.wrapped_by.get(status.first, 0)
    if others:
        message = f"{others} keys of people are wrapped by another than the first wrapping key"
        return warning("wrapping keys", message, "run `vigil keys rotate`")
    return ok("wrapping keys", f"all keys of people are wrapped by {status.first}")


async def _clock(connection: psycopg.AsyncConnection[tuple[object, ...]], now: Callable[[], datetime]) -> Finding:
    before = now()
    row = await (await connection.execute("select clock_timestamp()")).fetchone()
    after = now()
    theirs = row[0] if row else None
    if not isinstance(theirs, datetime):
        return failed("clock", "the database tells no time", "look into the database's log")
    apart = abs(theirs - (before + (after - before) / 2))
    message = f"{apart.total_seconds():.3f} s from the database's"
    cure = "let both machines take their time from NTP"
    return graded("clock", message, cure, bad=apart > CLOCK_MAX, low=apart > CLOCK_LOW)


def _role(*, may_change: bool) -> Finding:
    if not may_change:
        return ok("database role", "may append events and change none")
    return warning("database role", "this role could change what was recorded", CURE_OF_ROLE)


async def _log(guard: PostgresGuard) -> Finding:
    """Whether every event gets its place, and who is in the way."""
    state = await guard.state()
    if state.restored:
        return failed("log", RESTORED, f"{REPAIR}; see docs/operations.md")
    if not state.late:
        return ok("log", f"position {state.position}, {state.waiting_events} events on their way")
    message = f"{state.waiting_events} events wait, the first for {state.waiting_seconds:.1f} s"
    if not state.held:
        return warning("log", f"{message}, and nothing holds them up", "start `vigil worker relay`, or see its log")
    holder = await guard.oldest_open()
    if holder is None:
        return warning("log", f"{message} for a transaction that has just ended", "look again")
    if holder.pid is None:
        cure = f"in {holder.database}: commit prepared '{holder.prepared_as}', or rollback prepared"
        return warning("log", f"{message} for a prepared transaction of {holder.role}", cure)
    who = f"{holder.application or 'somebody'} ({holder.role} in {holder.database} from {holder.client})"
    cure = f"let it end, or: select pg_terminate_backend({holder.pid})"
    return warning("log", f"{message} for the open transaction of {who}, pid {holder.pid}", cure)


async def _consumers(url: str) -> AsyncGenerator[Finding, None]:
    async with open_pool(url, size_max=1) as pool:
        consumers = await consumer_status(pool)
        tables = await tables_status(pool, CORE)
    if tables.rebuild_needed:
        message = f"the read tables are made by other SQL than this program's (version {tables.version})"
        yield warning(CORE.name, f"rebuild needed: {message}", f"run `vigil projections rebuild {CORE.name}`")
    for each in consumers:
        message = f"{each.lag_events} events and {each.lag_seconds:.1f} s behind"
        name, _, act = each.consumer.partition(".")
        if act:
            cure = f"unless one runs, start `vigil projections {act} {name}` again"
            yield warning(each.consumer, f"a {act} runs, or was interrupted", cure)
            continue
        if not each.holders:
            yield warning(each.consumer, f"{message}; nobody works on it", "start `vigil up` or `vigil worker`")
            continue
        late, low = each.lag_seconds > LAG_SECONDS_MAX, each.lag_seconds > LAG_SECONDS_LOW
        yield graded(each.consumer, message, "look into its worker's log, or start another", bad=late, low=low)
