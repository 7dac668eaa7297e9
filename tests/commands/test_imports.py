"""Imports of prompts that models compile: a few at once, and everything else in the order of the entries."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from adapters.cel_condition import CelConditionLanguage
from adapters.network_guard import NetworkGuard
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_pool import Pool
from adapters.rules_provider import RulesProvider
from adapters.source_rules import SourceRules
from commands.asking import Inquiry, Reply
from commands.caller import Caller
from commands.classifying import ClassifierChain
from commands.monitor_copies import COMPILED_AT_ONCE, Entry, Imported, MonitorCopies
from commands.monitors import MonitorCommands
from commands.plan_compiler import PlanCompiler, Wish
from commands.shell import Shell
from domain.errors import InvalidInput, PromptNotUnderstood
from domain.model_call import CallOutcome
from tests.commands.test_classifying import HARD, Model, classifier, plan, wish
from tests.conftest import AT

ADA = Caller(user_id=uuid7(), roles=frozenset({"member"}), correlation_id=uuid7())
WITHIN_SECONDS = 20
"""A model that waits for company that never comes waits for ever."""


@dataclass
class Sociable(Model):
    """A provider that answers when so many inquiries have arrived, the last of them first."""

    company: int = COMPILED_AT_ONCE
    under_way: int = 0
    under_way_most: int = 0
    cancelled: int = 0
    waiting: list[asyncio.Event] = field(default_factory=list)

    async def call(self, inquiry: Inquiry, *, seconds: float) -> Reply:
        own = asyncio.Event()
        self.waiting.append(own)
        self.under_way += 1
        self.under_way_most = max(self.under_way, self.under_way_most)
        try:
            if len(self.waiting) == self.company:
                for _ in range(100):  # in which whoever comes as well would arrive
                    await asyncio.sleep(0)
                own.set()
            await own.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1
            self.waiting.remove(own)
            if self.waiting:
                self.waiting[-1].set()
        return await super().call(inquiry, seconds=seconds)


class NoSignals:
    """Nobody has signal sources."""

    async def own(self, owner_id: UUID, source_ids: Sequence[UUID]) -> frozenset[UUID]:
        return frozenset()


def copies(pool: Pool, model: Model) -> MonitorCopies:
    compiler = PlanCompiler(
        classifier=ClassifierChain(rules=RulesProvider(), models=classifier(model), order=("claude",)),
        conditions=CelConditionLanguage(),
        sources=SourceRules(NetworkGuard()),
        signals=NoSignals(),
        interval_seconds_min=60,
        now=lambda: AT,
        models=(model.name,),
    )
    shell = Shell(PostgresEventStore(pool, new_id=uuid7), now=lambda: AT, new_id=uuid7)
    return MonitorCopies(MonitorCommands(shell=shell, compiler=compiler, active_max=100, total_max=100))


async def imported(pool: Pool, model: Model, wishes: Sequence[Wish | None]) -> Sequence[Imported]:
    refused = (InvalidInput("no address"),)
    entries = [
        Entry(place=f"[{i}]", wish=one, refusals=() if one else refused, paused=True) for i, one in enumerate(wishes)
    ]
    async with asyncio.timeout(WITHIN_SECONDS):
        return await copies(pool, model).import_entries(ADA, entries, answer=lambda _: {})


async def test_some_prompts_are_compiled_at_once_and_no_more(pool: Pool) -> None:
    model = Sociable([plan(name="Village")])
    done = await imported(pool, model, [wish(f"{HARD} {i}") for i in range(2 * COMPILED_AT_ONCE)])
    assert [one.entry.place for one in done] == [f"[{i}]" for i in range(len(done))]
    numbers = [f"Village ({n})" for n in range(2, len(done) + 1)]
    assert [one.name for one in done] == ["Village", *numbers], "names go by the order of the entries"
    assert (len(model.asked), model.under_way_most) == (len(done), COMPILED_AT_ONCE)


async def test_each_entry_has_its_own_refusal(pool: Pool) -> None:
    given = [wish(HARD), None, wish(HARD, confirmations=99), wish(f"{HARD} twice"), wish("")]
    refusal = Reply(outcome=CallOutcome.REFUSED, message="no")
    first, none, wrong, second, empty = await imported(pool, Model([plan(), refusal]), given)
    assert (first.name, first.refusals) == ("The village is famous", ())
    assert [refused.message for refused in none.refusals] == ["no address"]
    assert [refused.field for refused in wrong.refusals] == ["confirmations"]
    assert [type(refused) for refused in second.refusals] == [PromptNotUnderstood]
    assert [refused.field for refused in empty.refusals] == ["prompt"]


async def test_an_import_that_breaks_off_leaves_nobody_asking(pool: Pool) -> None:
    """As where the database goes away: what was created stays, and what is under way is given up."""

    @dataclass
    class Breaking(Sociable):
        async def call(self, inquiry: Inquiry, *, seconds: float) -> Reply:
            if f"{HARD} 0" in inquiry.content:
                while self.under_way < COMPILED_AT_ONCE - 1:
                    await asyncio.sleep(0)
                raise OSError("it went away")
            return await super().call(inquiry, seconds=seconds)

    model = Breaking([plan()])
    with pytest.raises(OSError, match="it went away"):
        await imported(pool, model, [wish(f"{HARD} {i}") for i in range(2 * COMPILED_AT_ONCE)])
    assert (model.cancelled, model.under_way, len(model.asked)) == (COMPILED_AT_ONCE - 1, 0, 0)
