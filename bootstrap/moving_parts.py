"""The composition of the workers: each with the adapters it needs."""

import asyncio
import time
from datetime import timedelta

from adapters.fact_reader import FactReader
from adapters.jinja_mail_renderer import JinjaMailRenderer
from adapters.log_signatures import installation_signing_key
from adapters.postgres_briefings import PostgresBriefings
from adapters.postgres_evidence import PostgresEvidence
from adapters.postgres_history import PostgresHistory
from adapters.postgres_model_answers import PostgresModelAnswers
from adapters.postgres_operators import PostgresOperators
from adapters.postgres_outbox import PostgresOutbox, PostgresTriggers
from adapters.postgres_parking import PostgresParking
from adapters.postgres_pool import is_outage
from adapters.postgres_schedule import PostgresSchedule
from adapters.postgres_signed_heads import PostgresSignedHeads
from adapters.prometheus_metrics import (
    CountedReadTables,
)
from bootstrap.now_and_new import program_version, utc_now
from bootstrap.process_adapters import ProcessAdapters
from commands.answer_reading import AnswerReader
from commands.judging import Judge
from commands.looking import Looker
from projections.core import CORE
from workers.batcher import Batcher
from workers.call_sweeper import CallSweeper
from workers.delivery import Delivery
from workers.evaluation_lanes import EvaluationLanes
from workers.evaluation_queue import EvaluationQueue
from workers.evaluator import Evaluator
from workers.guard import Guard
from workers.known_monitors import KnownMonitors
from workers.letters import OutageMails
from workers.mailer import Mailer
from workers.notary import Notary
from workers.notifier import CONSUMER as NOTIFIER
from workers.notifier import Notifier
from workers.partitions import PartitionLeases
from workers.projector import Projector
from workers.relay import Relay
from workers.retention import Retention
from workers.room import PLACES
from workers.scheduler import Scheduler
from workers.sight import Sight


class MovingParts(ProcessAdapters):
    """Everything that moves."""

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
            PostgresOperators(self.pool),
            now=utc_now,
        )

    def scheduler(self) -> Scheduler:
        """Hands out what is due."""
        due = PostgresSchedule(self.pool)
        return Scheduler(due, self.jobs(), holder=self.holder, now=utc_now, monotonic=time.monotonic)

    def evaluator(self) -> EvaluationLanes:
        """Evaluates what was handed out."""
        history = PostgresHistory(self.pool)
        reader = AnswerReader(FactReader(), self.ai.reading)
        looker = Looker(
            fetcher=self.fetcher,
            reader=reader,
            kept=history,
            signals=self.signals,
            searching=self.ai.searching,
            waiting=self.ai.batches.waiting_looks,
        )
        evaluator = Evaluator(
            store=self.store,
            monitors=KnownMonitors(self.store),
            briefings=PostgresBriefings(self.pool),
            sight=Sight(looker, now=utc_now, is_outage=is_outage),
            judge=Judge(self.conditions, history),
            now=utc_now,
            failing_after=self.settings.failing_after,
            program=program_version(),
        )
        unfinished, suspect = PostgresSchedule(self.pool), asyncio.Lock()
        return EvaluationLanes(
            [
                EvaluationQueue(
                    self.jobs().of(lane),
                    evaluator,
                    unfinished,
                    places=places,
                    now=utc_now,
                    monotonic=time.monotonic,
                    is_outage=is_outage,
                    suspect=suspect,
                    given_way=reader.given_way,
                )
                for lane, places in PLACES.items()
            ]
        )

    def notary(self) -> Notary:
        """Signs the head of the log."""
        key = installation_signing_key(self.settings.data_dir, self.settings.secret_key)
        heads = PostgresSignedHeads(self.pool)
        return Notary(heads, key, self.leases, holder=self.holder, now=utc_now, monotonic=time.monotonic)

    def log_guard(self) -> Guard:
        """Says who holds the log up."""
        return Guard(self.log_states, self.leases, holder=self.holder, monotonic=time.monotonic)

    def retention(self) -> Retention:
        """Lets go of contents that are older than the policy says."""
        days = self.settings.evidence_keep_days
        return Retention(
            PostgresEvidence(self.pool),
            self.leases,
            answers=PostgresModelAnswers(self.pool),
            keep=timedelta(days=days) if days else None,
            holder=self.holder,
            now=utc_now,
        )

    def call_sweeper(self) -> CallSweeper:
        """Closes the books of calls whose process is gone."""
        return CallSweeper(self.ai.ledger, self.leases, prices=self.ai.prices.version, holder=self.holder, now=utc_now)

    def batcher(self) -> Batcher:
        """Has models answer in batches what is in no hurry."""
        return self.ai.batches.batcher(self.store, self.ai.budgets, holder=self.holder)

    def mailer(self) -> Mailer:
        """Delivers notifications."""
        outbox = PostgresOutbox(self.pool)
        delivery = Delivery(
            store=self.store,
            renderer=JinjaMailRenderer(),
            sender=self.mailer_adapter,
            outages=OutageMails(self.store, outbox, self.endpoints.public_url),
            links=self.links,
            public_url=self.endpoints.public_url,
            retry_base=timedelta(seconds=self.settings.smtp_retry_base_seconds),
            now=utc_now,
        )
        return Mailer(outbox, delivery, now=utc_now, monotonic=time.monotonic)

    def _partitions(self, consumer: str) -> PartitionLeases:
        return PartitionLeases(self.leases, consumer=consumer, holder=self.holder, monotonic=time.monotonic)
