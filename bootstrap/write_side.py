"""The composition of the write side: commands with the adapters they need."""

import secrets

from adapters.fact_reader import FactReader
from adapters.json_schemas import JsonSchemas
from adapters.mail_folder import forget_mail_to
from adapters.postgres_evidence import PostgresEvidence
from adapters.postgres_identity import PostgresAccounts, PostgresSessions
from adapters.postgres_past_evaluations import PostgresPastEvaluations
from adapters.rules_provider import RulesProvider
from adapters.source_rules import SourceRules
from bootstrap.now_and_new import new_id, utc_now
from bootstrap.process_adapters import ProcessAdapters
from commands.actions import ActionCommands
from commands.answer_reading import AnswerReader
from commands.backtest import Backtesting
from commands.classifying import ClassifierChain, ModelClassifier
from commands.fact_inquiry import BOUNDARY_BYTES
from commands.identity import IdentityCommands
from commands.judging import Judge
from commands.looking import Looker
from commands.monitors import MonitorCommands
from commands.plan_compiler import PlanCompiler
from commands.previewing import NothingKept, Previewing
from commands.signal_receiving import SignalReceiver
from commands.signals import SignalSourceCommands
from commands.triggers import TriggerCommands


class WriteSide(ProcessAdapters):
    """Everything that is asked for through the API."""

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
            compiler=self._plan_compiler(),
            active_max=self.settings.monitor_limit,
            total_max=self.settings.monitor_total,
        )

    def _plan_compiler(self) -> PlanCompiler:
        can_search = self.ai.searching is not None
        sources = SourceRules(self.guard, can_render=self.browser_program is not None, can_search=can_search)
        models = None
        if self.settings.models:
            models = ModelClassifier(
                asking=self.ai.asking,
                conditions=self.conditions,
                sources=sources,
                interval_seconds_min=self.settings.min_interval_seconds,
                can_search=can_search,
                now=utc_now,
                new_boundary=lambda: secrets.token_hex(BOUNDARY_BYTES),
            )
        return PlanCompiler(
            classifier=ClassifierChain(rules=RulesProvider(), models=models, order=self.settings.ai_providers),
            conditions=self.conditions,
            sources=sources,
            signals=self.signals,
            interval_seconds_min=self.settings.min_interval_seconds,
            now=utc_now,
            models=tuple(self.settings.models),
            can_search=can_search,
        )

    def previews(self) -> Previewing:
        """Trial evaluations, which look back on nothing and leave nothing behind."""
        nothing = NothingKept()
        reader = AnswerReader(FactReader(), self.ai.reading)
        looker = Looker(
            fetcher=self.fetcher, reader=reader, kept=nothing, signals=self.signals, searching=self.ai.searching
        )
        judge = Judge(self.conditions, nothing)
        return Previewing(self.monitors().compiler, looker, judge, now=utc_now, new_id=new_id)

    def backtests(self) -> Backtesting:
        """What plans would have made of evaluations that were made."""
        return Backtesting(
            store=self.store,
            past=PostgresPastEvaluations(self.pool),
            contents=PostgresEvidence(self.pool),
            reading=FactReader(),
            conditions=self.conditions,
            compiler=self.monitors().compiler,
            now=utc_now,
        )

    def actions(self, identity: IdentityCommands) -> ActionCommands:
        """The write side of actions."""
        return ActionCommands(shell=self.shell, addresses=identity)

    def triggers(self) -> TriggerCommands:
        """The write side of triggers."""
        return TriggerCommands(shell=self.shell)

    def signal_sources(self) -> SignalSourceCommands:
        """The write side of signal sources."""
        return SignalSourceCommands(shell=self.shell, kept=self.signals, schemas=JsonSchemas())

    def signal_receiver(self) -> SignalReceiver:
        """Takes signals from outside."""
        return SignalReceiver(shell=self.shell, kept=self.signals, schemas=JsonSchemas(), pace=self.pacing)
