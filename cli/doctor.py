"""`vigil doctor`: is everything there that Vigil needs, and what would cure it."""

import asyncio
import difflib
import os
import shutil
import stat
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import redis.asyncio as redis
import typer
from redis.exceptions import RedisError
from rich.console import Console
from rich.text import Text

from adapters.data_dir import read_endpoints
from adapters.smtp_mailer import Encryption, smtp_server
from bootstrap.logs import configure_logs
from bootstrap.settings import PREFIX, Settings, SettingsInvalid, read_settings, unknown_settings
from cli.connection import CONNECT_SECONDS, run
from cli.doctor_store import examine_store
from cli.event_lines import clean
from cli.findings import Finding, Level, failed, graded, ok, warning
from cli.output import FAILED, print_json

BYTES_LOW, BYTES_MIN = 2 * 1024**3, 200 * 1024**2
REDIS_MIN = (6, 2)
"""XAUTOCLAIM is new in Redis 6.2."""
OPEN_TO_OTHERS = stat.S_IRGRP | stat.S_IWGRP | stat.S_IRWXO
"""Passing through is left to the group: under root the embedded PostgreSQL, which runs as another user, needs it."""


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
        first, *mistakes = str(error).splitlines()
        for mistake in mistakes or [first]:
            yield failed("configuration", mistake.strip(), "correct this, then run this again")
        return
    configure_logs(settings)
    yield ok("configuration", "valid")
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
        async with aclosing(examine_store(database_url, settings, redis_url=redis_url)) as found:
            async for finding in found:
                yield finding
    else:
        yield _not_running("PostgreSQL", "VIGIL_DATABASE_URL", settings)
    yield await _mail(settings.smtp_url or running.get("smtp"))


def _unknown_setting(name: str) -> Finding:
    known = [PREFIX + field.upper() for field in Settings.model_fields]
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean {near[0]}? If not, remove it" if near else "remove it"
    return warning("configuration", f"{name} is not a setting of Vigil and has no effect", meant)


def _folder(data_dir: Path) -> Finding:
    there = _nearest(data_dir)
    if not os.access(there, os.W_OK | os.X_OK):
        cure = "give this user the right to write there, or set VIGIL_DATA_DIR to another folder"
        return failed("data folder", f"{there} cannot be written to by this user", cure)
    if there != data_dir:
        return ok("data folder", f"{data_dir} is made at the first start")
    if there.stat().st_mode & OPEN_TO_OTHERS:
        return warning("data folder", f"{data_dir} is open to other users", f"chmod go-rwx {data_dir}")
    return ok("data folder", f"{data_dir} is this user's alone")


def _disk(data_dir: Path) -> Finding:
    free = shutil.disk_usage(_nearest(data_dir)).free
    message, cure = f"{free / 1024**3:.1f} GiB free", "make room, or set VIGIL_DATA_DIR to a folder on another disk"
    return graded("disk space", message, cure, bad=free < BYTES_MIN, low=free < BYTES_LOW)


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(each for each in (folder, *folder.absolute().parents) if each.exists())


async def _redis(url: str) -> Finding:
    client = redis.from_url(url, socket_timeout=CONNECT_SECONDS, socket_connect_timeout=CONNECT_SECONDS)
    try:
        version = str((await client.info("server"))["redis_version"])
    except (RedisError, OSError) as error:
        return failed("Redis", f"does not answer: {error}", "start it, or correct VIGIL_REDIS_URL")
    finally:
        await client.aclose()
    if tuple(map(int, version.split(".")[:2])) < REDIS_MIN:
        return failed("Redis", f"version {version} lacks XAUTOCLAIM", "use Redis 6.2 or newer")
    return ok("Redis", f"version {version} answers")


async def _mail(url: str | None) -> Finding:
    """Whether a mail server greets (RFC 5321, 3.1). Nobody logs in and nothing is sent."""
    if url is None:
        return ok("mail", "VIGIL_SMTP_URL is not set: `vigil up` catches mail and shows it in the inbox")
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
        return failed("mail", f"{place} does not answer: {error!r}", "start it, or correct VIGIL_SMTP_URL")
    if not greeting.startswith("220"):
        return failed("mail", f"{place} answers {greeting!r}", "correct VIGIL_SMTP_URL: this takes no mail now")
    return ok("mail", f"{place} takes mail")


def _not_running(name: str, variable: str, settings: Settings) -> Finding:
    return warning(name, f"{variable} is not set, and no Vigil runs in {settings.data_dir}", "start `vigil up`")
