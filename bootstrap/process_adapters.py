"""The adapters that one process has, each made once."""

import os
import re
import socket
import time
from dataclasses import dataclass
from functools import cached_property

import redis.asyncio as redis
from yarl import URL

from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.argon2_passwords import Argon2Passwords
from adapters.cel_condition import CelConditionLanguage
from adapters.hmac_link_tokens import HmacLinkTokens
from adapters.host_pacing import HostPacing
from adapters.jwt_tokens import JwtAccessTokens
from adapters.log_signatures import PublicKeys, known_signing_key
from adapters.network_guard import NetworkGuard
from adapters.pdf_fetcher import PdfFetcher
from adapters.playwright_browser import PlaywrightBrowser, browser_program
from adapters.postgres_archive import PostgresArchive
from adapters.postgres_audit import PostgresLogVerifier
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_guard import PostgresGuard
from adapters.postgres_leases import PostgresLeases
from adapters.postgres_person_keys import HiddenKeys, PersonKeys
from adapters.postgres_pool import Pool
from adapters.postgres_signals import PostgresSignals
from adapters.postgres_snapshots import PostgresSnapshots
from adapters.prometheus_metrics import (
    CountedEventStore,
    CountedLog,
    CountedPacing,
    PrometheusMetrics,
)
from adapters.redis_jobs import RedisJobs
from adapters.redis_log import RedisLog
from adapters.rendering_fetcher import RenderingFetcher
from adapters.smtp_mailer import SmtpMailer
from bootstrap.ai import Ai
from bootstrap.now_and_new import new_id, program_version, utc_now
from bootstrap.settings import Settings
from commands.shell import Shell
from read_api.live import LiveMonitors
from workers.log_reader import LogReader

PURPOSE = "reads single pages on behalf of people who watch them"


def user_agent(public_url: str | None) -> str:
    """Who reads, which version, why, and where the operator is found (RFC 9110, section 10.1.5)."""
    contact = f"+{public_url}; " if public_url and re.fullmatch(r"[!-~]{1,200}", public_url) else ""
    return f"Vigil/{program_version()} ({contact}{PURPOSE})"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where this installation's servers are, whoever started them."""

    database_url: str
    redis_url: str
    smtp_url: str
    public_url: str


class ProcessAdapters:
    """What the commands and the workers of one process share."""

    def __init__(
        self,
        settings: Settings,
        endpoints: Endpoints,
        secret: bytes,
        *,
        pool: Pool,
        client: redis.Redis,
        people: PersonKeys,
    ) -> None:
        self.settings, self.endpoints = settings, endpoints
        self.pool, self.redis, self.people = pool, client, people
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{new_id().hex[-8:]}"
        snapshots = PostgresSnapshots(pool, self.people)
        self.store = CountedEventStore(pool, new_id=new_id, people=self.people, snapshots=snapshots)
        self.sealed_store = PostgresEventStore(pool, new_id=new_id, people=HiddenKeys())
        self.archive = PostgresArchive(pool, settings.archive_folder)
        self.log = CountedLog(pool, self.archive)
        self.log_states = PostgresGuard(pool)
        self.metrics = PrometheusMetrics(pool, now=utc_now, more=lambda: self.ai.page())  # noqa: PLW0108  made when it is first asked for
        self.live_monitors = LiveMonitors(pool, now=utc_now)
        self.tail = RedisLog(client, namespace=settings.redis_namespace)
        self.leases = PostgresLeases(pool)
        self.pacing = CountedPacing(client, namespace=settings.redis_namespace, monotonic=time.monotonic)
        self.signals = PostgresSignals(pool, self.store, self.people)
        self.shell = Shell(store=self.store, now=utc_now, new_id=new_id)
        self.links = HmacLinkTokens([secret])
        self.tokens = JwtAccessTokens([secret], issuer=endpoints.public_url, new_id=new_id, now=utc_now)
        self.conditions = CelConditionLanguage()
        self.guard = NetworkGuard(settings.fetch_allow_networks)
        self.browser_program = browser_program(settings.browser_path)
        agent = user_agent(settings.public_url)
        self.fetcher = RenderingFetcher(
            PdfFetcher(
                AiohttpFetcher(
                    self.guard,
                    now=utc_now,
                    user_agent=agent,
                    pacing=HostPacing(self.pacing, self.guard, per_second=settings.fetch_host_per_second, now=utc_now),
                )
            ),
            # A page and what it loads count as one request to its host.
            parts=self._parts_fetcher(NetworkGuard([]), agent),
            own_parts=self._parts_fetcher(self.guard, agent),
            is_own=lambda url: self.guard.is_own_literal(URL(url)),
            browser=None
            if self.browser_program is None
            else PlaywrightBrowser(self.browser_program, user_agent=agent, sandbox=settings.browser_sandbox),
            now=utc_now,
        )
        self.mailer_adapter = SmtpMailer(endpoints.smtp_url, sender=settings.mail_sender, now=utc_now)

    def _parts_fetcher(self, guard: NetworkGuard, agent: str) -> AiohttpFetcher:
        return AiohttpFetcher(guard, now=utc_now, user_agent=agent, deadline_seconds=10, connections_max=20)

    async def close(self) -> None:
        """Let go of what the adapters hold."""
        await self.fetcher.close()
        await self.mailer_adapter.close()
        if "passwords" in vars(self):
            self.passwords.close()
        if "ai" in vars(self):
            await self.ai.close()

    @cached_property
    def passwords(self) -> Argon2Passwords:
        """Made when it is first asked for: that costs a hash, and workers start sooner without it."""
        return Argon2Passwords()

    @cached_property
    def ai(self) -> Ai:
        """What models are asked with, where a process asks any."""
        return Ai(self.settings, self.pool, self.redis, self.store, holder=self.holder)

    def log_reader(self) -> LogReader:
        """How consumers read the log."""
        return LogReader(self.tail, self.log, monotonic=time.monotonic)

    def jobs(self) -> RedisJobs:
        """The queue of evaluations, its scheduled lane."""
        return RedisJobs(self.redis, namespace=self.settings.redis_namespace, consumer=self.holder)

    def log_verifier(self) -> PostgresLogVerifier:
        """Compares the log with its chain, and with what the installation's key signed, where this host has it."""

        def keys() -> PublicKeys | None:
            own = known_signing_key(self.settings.data_dir, self.settings.secret_key)
            return None if own is None else PublicKeys([own.public])

        return PostgresLogVerifier(self.pool, keys, archive=self.archive)
