"""`vigil doctor`: is everything there that Vigil needs, and what would cure it."""

import asyncio
import difflib
import os
import shutil
import stat
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

import msgspec
import psycopg
import redis.asyncio as redis
import typer
from redis.exceptions import RedisError
from rich.console import Console
from rich.text import Text

from adapters import yoyo_migrations
from adapters.data_dir import read_endpoints
from adapters.postgres_guard import PostgresGuard
from adapters.postgres_person_keys import PersonKeys
from adapters.postgres_pool import open_pool
from adapters.postgres_status import consumer_status, tables_status
from adapters.secret_key import SecretKeyRefused
from adapters.smtp_mailer import Encryption, smtp_server
from adapters.wrapping_keys import installation_wrapping_keys
from bootstrap.logs import configure_logs
from bootstrap.parts import utc_now
from bootstrap.running import CURE_OF_ROLE
from bootstrap.settings import PREFIX, Settings, SettingsInvalid, read_settings, unknown_settings
from cli.connection import CONNECT_SECONDS, run
from cli.event_lines import clean
from cli.output import FAILED, print_json
from projections.core import CORE

BYTES_LOW, BYTES_MIN = 2 * 1024**3, 200 * 1024**2
CLOCK_LOW, CLOCK_MAX = timedelta(seconds=1), timedelta(seconds=30)
LAG_SECONDS_LOW, LAG_SECONDS_MAX = 5.0, 30.0
"""The upper one is where /health/ready says no."""
POSTGRES_MIN = 13
"""The type xid8 and the functions around it are new in PostgreSQL 13."""
REDIS_MIN = (6, 2)
"""XAUTOCLAIM is new in Redis 6.2."""
OPEN_TO_OTHERS = stat.S_IRGRP | stat.S_IWGRP | stat.S_IRWXO
"""Passing through is left to the group: under root the embedded PostgreSQL, which runs as another user, needs it."""


class Level(StrEnum):
    """How well a thing is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out about one thing; `cure` says what to do unless it is ok."""

    check: str
    level: Level
    message: str
    cure: str | None = None


def run_doctor(*, as_json: bool) -> None:
    """Check everything and show it; exits 1 when something failed."""
    console = Console(highlight=False)
    findings = run(_shown(console, as_json=as_json))
    if as_json:
        print_json(findings)
    if any(finding.level is Level.FAILED for finding in findings):
        raise typer.Exit(FAILED)


async def _shown(console: Console, *, as_json: bool) -> list[Finding]:
    findings: list[Finding] = []
    async with aclosing(examine()) as found:
        async for finding in found:
            findings.append(finding)
            if not as_json:
                _show(console, finding)
    return findings


def _show(console: Console, finding: Finding) -> None:
    style = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILED: "bold red"}[finding.level]
    line = Text.assemble((f"{finding.level:<8}", style), (f"{finding.check:<14}", "bold"), clean(finding.message, 500))
    console.print(line, soft_wrap=True)
    if finding.cure is not None:
        console.print(Text(f"{'':<22}→ {finding.cure}"), soft_wrap=True)


async def examine() -> AsyncGenerator[Finding, None]:
    """Every check in turn. What cannot be checked because something before it failed is left out."""
    try:
        settings = read_settings()
    except SettingsInvalid as error:
        yield _failed("configuration", str(error).replace("\n", " "), "correct these settings, then run this again")
        return
    configure_logs(settings)
    yield _ok("configuration", "valid")
    for finding in map(_unknown_setting, unknown_settings()):
        yield finding
    yield _folder(settings.data_dir)
    yield _disk(settings.data_dir)
    running = read_endpoints(settings.data_dir)
    database_url, redis_url = (
        settings.database_url or running.get("postgres"),
        settings.redis_url or running.get("redis"),
    )
    yield await _redis(redis_url) if redis_url else _not_running("Redis", "VIGIL_REDIS_URL", settings)
    if database_url:
        async with aclosing(_database(database_url, settings)) as found:
            async for finding in found:
                yield finding
    else:
        yield _not_running("PostgreSQL", "VIGIL_DATABASE_URL", settings)
    yield await _mail(settings.smtp_url or running.get("smtp"))


def _unknown_setting(name: str) -> Finding:
    known = [PREFIX + field.upper() for field in Settings.model_fields]
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean {near[0]}? If not, remove it" if near else "remove it"
    return _warning("configuration", f"{name} is not a setting of Vigil and has no effect", meant)


def _folder(data_dir: Path) -> Finding:
    there = _nearest(data_dir)
    if not os.access(there, os.W_OK | os.X_OK):
        cure = "give this user the right to write there, or set VIGIL_DATA_DIR to another folder"
        return _failed("data folder", f"{there} cannot be written to by this user", cure)
    if there != data_dir:
        return _ok("data folder", f"{data_dir} is made at the first start")
    if there.stat().st_mode & OPEN_TO_OTHERS:
        return _warning("data folder", f"{data_dir} is open to other users", f"chmod go-rwx {data_dir}")
    return _ok("data folder", f"{data_dir} is this user's alone")


def _disk(data_dir: Path) -> Finding:
    free = shutil.disk_usage(_nearest(data_dir)).free
    message, cure = f"{free / 1024**3:.1f} GiB free", "make room, or set VIGIL_DATA_DIR to a folder on another disk"
    return _graded("disk space", message, cure, failed=free < BYTES_MIN, low=free < BYTES_LOW)


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(each for each in (folder, *folder.absolute().parents) if each.exists())


async def _redis(url: str) -> Finding:
    client = redis.from_url(url, socket_timeout=CONNECT_SECONDS, socket_connect_timeout=CONNECT_SECONDS)
    try:
        version = str((await client.info("server"))["redis_version"])
    except (RedisError, OSError) as error:
        return _failed("Redis", f"does not answer: {error}", "start it, or correct VIGIL_REDIS_URL")
    finally:
        await client.aclose()
    if tuple(map(int, version.split(".")[:2])) < REDIS_MIN:
        return _failed("Redis", f"version {version} lacks XAUTOCLAIM", "use Redis 6.2 or newer")
    return _ok("Redis", f"version {version} answers")


async def _database(url: str, settings: Settings) -> AsyncGenerator[Finding, None]:
    """PostgreSQL, its clock, its tables, and how far their readers are."""
    try:
        connection = await psycopg.AsyncConnection.connect(url, connect_timeout=CONNECT_SECONDS, autocommit=True)
    except psycopg.OperationalError as error:
        yield _failed("PostgreSQL", f"does not answer: {error}", "start it, or correct VIGIL_DATABASE_URL")
        return
    async with connection:
        version = connection.info.server_version
        if version < POSTGRES_MIN * 10_000:
            yield _failed("PostgreSQL", f"version {version // 10_000} is too old", f"use {POSTGRES_MIN} or newer")
            return
        yield _ok("PostgreSQL", f"version {version // 10_000}.{version % 10_000} answers")
        yield await _clock(connection, utc_now)
    missing = [each.name for each in await asyncio.to_thread(yoyo_migrations.status, url) if not each.applied]
    if missing:
        yield _failed("migrations", f"missing: {', '.join(missing)}", "run `vigil migrate up`")
        return
    yield _ok("migrations", "all applied")
    yield await _wrapping(url, settings)
    async with open_pool(url, size_max=1) as pool:
        guard = PostgresGuard(pool)
        yield _role(may_change=await guard.may_change_events())
        yield await _log(guard)
    async with aclosing(_consumers(url)) as found:
        async for finding in found:
            yield finding


async def _wrapping(url: str, settings: Settings) -> Finding:
    """Whether this host can open what people said."""
    try:
        known = installation_wrapping_keys(settings.data_dir, settings.secret_key, settings.wrapping_keys)
    except SecretKeyRefused as error:
        return _failed("wrapping keys", str(error), "put the file back that was there")
    async with open_pool(url, size_max=1) as pool:
        status = await PersonKeys(pool, known).status()
    if status.missing:
        message = f"keys of people are wrapped by {', '.join(status.missing)}, which is not here"
        return _failed("wrapping keys", message, "add it to VIGIL_WRAPPING_KEYS: see docs/personal-data.md")
    others = sum(status.wrapped_by.values()) - status.wrapped_by.get(status.first, 0)
    if others:
        message = f"{others} keys of people are wrapped by another than the first wrapping key"
        return _warning("wrapping keys", message, "run `vigil keys rotate`")
    return _ok("wrapping keys", f"all keys of people are wrapped by {status.first}")


async def _clock(connection: psycopg.AsyncConnection[tuple[object, ...]], now: Callable[[], datetime]) -> Finding:
    before = now()
    row = await (await connection.execute("select clock_timestamp()")).fetchone()
    after = now()
    theirs = row[0] if row else None
    if not isinstance(theirs, datetime):
        return _failed("clock", "the database tells no time", "look into the database's log")
    apart = abs(theirs - (before + (after - before) / 2))
    message = f"{apart.total_seconds():.3f} s from the database's"
    cure = "let both machines take their time from NTP"
    return _graded("clock", message, cure, failed=apart > CLOCK_MAX, low=apart > CLOCK_LOW)


def _role(*, may_change: bool) -> Finding:
    if not may_change:
        return _ok("database role", "may append events and change none")
    return _warning("database role", "this role could change what was recorded", CURE_OF_ROLE)


async def _log(guard: PostgresGuard) -> Finding:
    """Whether every event gets its place, and who is in the way."""
    state = await guard.state()
    if state.restored:
        message = "the store was restored into another cluster, or lost events"
        return _failed("log", message, "stop Vigil, run `vigil store repair`; see docs/operations.md")
    if not state.late:
        return _ok("log", f"position {state.position}, {state.waiting_events} events on their way")
    message = f"{state.waiting_events} events wait, the first for {state.waiting_seconds:.1f} s"
    if not state.held:
        return _warning("log", f"{message}, and nothing holds them up", "start `vigil worker relay`, or see its log")
    holder = await guard.oldest_open()
    if holder is None:
        return _warning("log", f"{message} for a transaction that has just ended", "look again")
    if holder.pid is None:
        cure = f"in {holder.database}: commit prepared '{holder.prepared_as}', or rollback prepared"
        return _warning("log", f"{message} for a prepared transaction of {holder.role}", cure)
    who = f"{holder.application or 'somebody'} ({holder.role} in {holder.database} from {holder.client})"
    cure = f"let it end, or: select pg_terminate_backend({holder.pid})"
    return _warning("log", f"{message} for the open transaction of {who}, pid {holder.pid}", cure)


async def _consumers(url: str) -> AsyncGenerator[Finding, None]:
    async with open_pool(url, size_max=1) as pool:
        consumers = await consumer_status(pool)
        tables = await tables_status(pool, CORE)
    if tables.rebuild_needed:
        message = f"the read tables are made by other SQL than this program's (version {tables.version})"
        yield _warning(CORE.name, f"rebuild needed: {message}", f"run `vigil projections rebuild {CORE.name}`")
    for each in consumers:
        message = f"{each.lag_events} events and {each.lag_seconds:.1f} s behind"
        name, _, act = each.consumer.partition(".")
        if act:
            cure = f"unless one runs, start `vigil projections {act} {name}` again"
            yield _warning(each.consumer, f"a {act} runs, or was interrupted", cure)
            continue
        if not each.holders:
            yield _warning(each.consumer, f"{message}; nobody works on it", "start `vigil up` or `vigil worker`")
            continue
        late, low = each.lag_seconds > LAG_SECONDS_MAX, each.lag_seconds > LAG_SECONDS_LOW
        yield _graded(each.consumer, message, "look into its worker's log, or start another", failed=late, low=low)


async def _mail(url: str | None) -> Finding:
    """Whether a mail server greets (RFC 5321, 3.1). Nobody logs in and nothing is sent."""
    if url is None:
        return _ok("mail", "VIGIL_SMTP_URL is not set: `vigil up` catches mail and shows it in the inbox")
    server = smtp_server(url)
    place = f"{server.host}:{server.port}"
    encrypted = True if server.encryption is Encryption.IMPLICIT else None
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(server.host, server.port, ssl=encrypted)
            greeting = (await reader.readline()).decode(errors="replace").strip()
            writer.write(b"QUIT\r\n")
            writer.close()
    except (OSError, TimeoutError) as error:
        return _failed("mail", f"{place} does not answer: {error!r}", "start it, or correct VIGIL_SMTP_URL")
    if not greeting.startswith("220"):
        return _failed("mail", f"{place} answers {greeting!r}", "correct VIGIL_SMTP_URL: this takes no mail now")
    return _ok("mail", f"{place} takes mail")


def _not_running(name: str, variable: str, settings: Settings) -> Finding:
    return _warning(name, f"{variable} is not set, and no Vigil runs in {settings.data_dir}", "start `vigil up`")


def _graded(check: str, message: str, cure: str, *, failed: bool, low: bool) -> Finding:
    if failed:
        return _failed(check, message, cure)
    return _warning(check, message, cure) if low else _ok(check, message)


def _ok(check: str, message: str) -> Finding:
    return Finding(check=check, level=Level.OK, message=message)


def _warning(check: str, message: str, cure: str) -> Finding:
    return Finding(check=check, level=Level.WARNING, message=message, cure=cure)


def _failed(check: str, message: str, cure: str) -> Finding:
    return Finding(check=check, level=Level.FAILED, message=message, cure=cure)
