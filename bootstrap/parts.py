"""The composition root: every adapter that the settings ask for, made once and given to whoever needs it."""

import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from uuid import UUID

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from uuid_utils.compat import uuid7

from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.argon2_passwords import Argon2Passwords
from adapters.cel_condition import CelConditionLanguage
from adapters.fact_reader import FactReader
from adapters.hmac_link_tokens import HmacLinkTokens
from adapters.jinja_mail_renderer import JinjaMailRenderer
from adapters.jwt_tokens import JwtAccessTokens
from adapters.log_signatures import PublicKeys, installation_signing_key, known_signing_key
from adapters.mail_folder import forget_mail_to
from adapters.network_guard import NetworkGuard
from adapters.postgres_archive import PostgresArchive
from adapters.postgres_audit import PostgresLogVerifier
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_guard import PostgresGuard
from adapters.postgres_history import PostgresHistory
from adapters.postgres_identity import PostgresAccounts, PostgresSessions
from adapters.postgres_leases import PostgresLeases
from adapters.postgres_outbox import PostgresOutbox, PostgresTriggers
from adapters.postgres_parking import PostgresParking
from adapters.postgres_person_keys import HiddenKeys, PersonKeys, installation_person_keys
from adapters.postgres_pool import Pool, open_pool
from adapters.postgres_schedule import PostgresSchedule
from adapters.postgres_signed_heads import PostgresSignedHeads
from adapters.postgres_snapshots import PostgresSnapshots
from adapters.prometheus_metrics import CountedEventStore, CountedLog, CountedReadTables, PrometheusMetrics
from adapters.redis_jobs import RedisJobs
from adapters.redis_log import RedisLog
from adapters.rules_provider import RulesProvider
from adapters.smtp_mailer import SmtpMailer
from adapters.source_rules import SourceRules
from bootstrap.settings import Settings
from commands.actions import ActionCommands
from commands.identity import IdentityCommands
from commands.judging import Judge
from commands.looking import Looker
from commands.monitors import MonitorCommands
from commands.plan_compiler import PlanCompiler
from commands.shell import Shell
from commands.triggers import TriggerCommands
from projections.core import CORE
from workers.evaluation_queue import EvaluationQueue
from workers.evaluator import Evaluator
from workers.guard import Guard
from workers.log_reader import LogReader
from workers.mailer import Delivery, Mailer
from workers.notary import Notary
from workers.notifier import CONSUMER as NOTIFIER
from workers.notifier import Notifier
from workers.partitions import PartitionLeases
from workers.projector import Projector
from workers.relay import Relay
from workers.scheduler import Scheduler

USER_AGENT = "Vigil/0.1 (monitoring on behalf of a person)"
REDIS_TIMEOUT_SECONDS = 3.0
"""Above the longest blocking read, so that a silent Redis is told from a hanging one."""


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def new_id() -> UUID:
    """A time-ordered id (UUIDv7, RFC 9562)."""
    return uuid7()


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where this installation's servers are, whoever started them."""

    database_url: str
    redis_url: str
    smtp_url: str
    public_url: str


class Parts:
    """The adapters of one process, and everything built from them."""

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
        self.metrics = PrometheusMetrics(pool, now=utc_now)
        self.tail = RedisLog(client, namespace=settings.redis_namespace)
        self.leases = PostgresLeases(pool)
        self.shell = Shell(store=self.store, now=utc_now, new_id=new_id)
        self.links = HmacLinkTokens([secret])
        self.tokens = JwtAccessTokens([secret], issuer=endpoints.public_url, new_id=new_id, now=utc_now)
        self.conditions = CelConditionLanguage()
        self.guard = NetworkGuard(settings.fetch_allow_networks)
        self.fetcher = AiohttpFetcher(self.guard, now=utc_now, user_agent=USER_AGENT)
        self.mailer_adapter = SmtpMailer(endpoints.smtp_url, sender=settings.mail_sender, now=utc_now)

    async def close(self) -> None:
        """Let go of what the adapters hold."""
        await self.fetcher.close()
        await self.mailer_adapter.close()
        if "passwords" in vars(self):
            self.passwords.close()

    @cached_property
    def passwords(self) -> Argon2Passwords:
        """Made when it is first asked for: that costs a hash, and workers start sooner without it."""
        return Argon2Passwords()

    def identity(self) -> IdentityCommands:
        """The write side of identity."""
        return IdentityCommands(
            shell=self.shell,
            passwords=self.passwords,
            links=self.links,
            accounts=PostgresAccounts(self.pool, blind=self.people.blind),
            sessions=PostgresSessions(self.pool, new_id=new_id),
            access=self.tokens,
            registration_open=lambda: self.settings.registration == "open",
            forget_mail=lambda address: forget_mail_to(address, self.settings.mail_folder),
        )

    def monitors(self) -> MonitorCommands:
        """The write side of monitors."""
        return MonitorCommands(
            shell=self.shell,
            compiler=PlanCompiler(
                classifier=RulesProvider(),
                conditions=self.conditions,
                sources=SourceRules(self.guard),
                interval_seconds_min=self.settings.min_interval_seconds,
                now=utc_now,
            ),
            active_max=self.settings.monitor_limit,
        )

    def actions(self, identity: IdentityCommands) -> ActionCommands:
        """The write side of actions."""
        return ActionCommands(shell=self.shell, addresses=identity)

    def triggers(self) -> TriggerCommands:
        """The write side of triggers."""
        return TriggerCommands(shell=self.shell)

    def log_reader(self) -> LogReader:
        """How consumers read the log."""
        return LogReader(self.tail, self.log, monotonic=time.monotonic)

    def relay(self) -> Relay:
        """Sequences and publishes."""
        return Relay(self.log, self.tail, self.leases, holder=self.holder, monotonic=time.monotonic)

    def projector(self) -> Projector:
        """Keeps the read tables."""
        return Projector(
            self.log_reader(),
            CountedReadTables(self.pool, CORE, open_entries=self.people.open_entries),
            self._partitions(CORE.name),
        )

    def notifier(self) -> Notifier:
        """Turns changes into notifications."""
        return Notifier(
            self.log_reader(),
            PostgresParking(self.pool, NOTIFIER),
            self._partitions(NOTIFIER),
            self.store,
            PostgresTriggers(self.pool),
            now=utc_now,
        )

    def scheduler(self) -> Scheduler:
        """Hands out what is due."""
        return Scheduler(PostgresSchedule(self.pool), self._jobs(), now=utc_now)

    def evaluator(self) -> EvaluationQueue:
        """Evaluates what was handed out."""
        history = PostgresHistory(self.pool)
        evaluator = Evaluator(
            store=self.store,
            looker=Looker(fetcher=self.fetcher, reading=FactReader(), kept=history),
            judge=Judge(self.conditions, history),
            history=history,
            now=utc_now,
        )
        return EvaluationQueue(self._jobs(), evaluator, monotonic=time.monotonic)

    def notary(self) -> Notary:
        """Signs the head of the log."""
        key = installation_signing_key(self.settings.data_dir, self.settings.secret_key)
        heads = PostgresSignedHeads(self.pool)
        return Notary(heads, key, self.leases, holder=self.holder, now=utc_now, monotonic=time.monotonic)

    def log_guard(self) -> Guard:
        """Says who holds the log up."""
        return Guard(self.log_states, self.leases, holder=self.holder, monotonic=time.monotonic)

    def log_verifier(self) -> PostgresLogVerifier:
        """Compares the log with its chain, and with what the installation's key signed, where this host has it."""

        def keys() -> PublicKeys | None:
            own = known_signing_key(self.settings.data_dir, self.settings.secret_key)
            return None if own is None else PublicKeys([own.public])

        return PostgresLogVerifier(self.pool, keys, archive=self.archive)

    def mailer(self) -> Mailer:
        """Delivers notifications."""
        delivery = Delivery(
            store=self.store,
            renderer=JinjaMailRenderer(),
            sender=self.mailer_adapter,
            links=self.links,
            public_url=self.endpoints.public_url,
            retry_base=timedelta(seconds=self.settings.smtp_retry_base_seconds),
            now=utc_now,
        )
        return Mailer(PostgresOutbox(self.pool), delivery, now=utc_now, monotonic=time.monotonic)

    def _jobs(self) -> RedisJobs:
        return RedisJobs(self.redis, namespace=self.settings.redis_namespace, consumer=self.holder)

    def _partitions(self, consumer: str) -> PartitionLeases:
        return PartitionLeases(self.leases, consumer=consumer, holder=self.holder, monotonic=time.monotonic)


@asynccontextmanager
async def open_parts(settings: Settings, endpoints: Endpoints, secret: bytes) -> AsyncIterator[Parts]:
    """The parts of this process, with their connections, closed afterwards. Raises `WrappingKeyMissing`."""
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            open_pool(
                endpoints.database_url,
                size_max=settings.pool_size,
                answer_seconds_max=settings.database_timeout_seconds,
            )
        )
        client = redis.from_url(
            endpoints.redis_url,
            socket_timeout=REDIS_TIMEOUT_SECONDS,
            socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=30,
        )
        stack.push_async_callback(client.aclose)
        people = await installation_person_keys(pool, settings.data_dir, settings.secret_key, settings.wrapping_keys)
        parts = Parts(settings, endpoints, secret, pool=pool, client=client, people=people)
        stack.push_async_callback(parts.close)
        yield parts
