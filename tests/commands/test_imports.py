"""Imports of prompts that models compile: one after the other, in the order of the entries, and no more than there is room for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from adapters.cel_condition import CelConditionLanguage
from adapters.model_prices import ModelPrices
from adapters.network_guard import NetworkGuard
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_model_ledger import PostgresModelLedger
from adapters.postgres_pool import Pool
from adapters.rules_provider import RulesProvider
from adapters.source_rules import SourceRules
from commands.asking import Inquiry, Ledger, Reply
from commands.caller import Caller
from commands.classifying import ClassifierChain
from commands.monitor_copies import Entry, Imported, MonitorCopies
from commands.monitors import MonitorCommands
from commands.plan_compiler import PlanCompiler, Wish
from commands.shell import Shell
from domain.budget import Budgets
from domain.errors import (
    AiBudgetExceeded,
    InvalidInput,
    MonitorLimitExceeded,
    MonitorTotalExceeded,
    PromptNotUnderstood,
)
from domain.model_call import CallOutcome, TokenUsage
from tests.commands.test_classifying import HARD, Model, classifier, plan, wish
from tests.conftest import AT

ADA = Caller(user_id=uuid7(), roles=frozenset({"member"}), correlation_id=uuid7())
HAIKU = "claude-haiku-4-5"
USED = TokenUsage(input_tokens=1_500, output_tokens=100)


class NoSignals:
    """Nobody has signal sources."""

    async def own(self, owner_id: UUID, source_ids: Sequence[UUID]) -> frozenset[UUID]:
        return frozenset()


@dataclass
class Paid(Model):
    """A provider that says what it used."""

    model: str = HAIKU

    async def call(self, inquiry: Inquiry, *, seconds: float) -> Reply:
        return replace(await super().call(inquiry, seconds=seconds), usage=USED)


def copies(pool: Pool, model: Model, ledger: Ledger | None = None, **limits: Any) -> MonitorCopies:  # noqa: ANN401  of the commands
    models = classifier(model)
    if ledger is not None:
        models = replace(models, asking=replace(models.asking, ledger=ledger))
    compiler = PlanCompiler(
        classifier=ClassifierChain(rules=RulesProvider(), models=models, order=("claude",)),
        conditions=CelConditionLanguage(),
        sources=SourceRules(NetworkGuard()),
        signals=NoSignals(),
        interval_seconds_min=60,
        now=lambda: AT,
        models=(model.name,),
    )
    shell = Shell(PostgresEventStore(pool, new_id=uuid7), now=lambda: AT, new_id=uuid7)
    return MonitorCopies(
        MonitorCommands(shell=shell, compiler=compiler, **{"active_max": 100, "total_max": 100, **limits})
    )


async def imported(
    made: MonitorCopies, wishes: Sequence[Wish | None], *, active: Sequence[int] = ()
) -> Sequence[Imported]:
    """What comes of importing these as paused monitors, but for the `active` ones."""
    refused = (InvalidInput("no address"),)
    entries = [
        Entry(place=f"[{i}]", wish=one, refusals=() if one else refused, paused=i not in active)
        for i, one in enumerate(wishes)
    ]
    return await made.import_entries(ADA, entries, answer=lambda _: {})


def refusals(done: Sequence[Imported]) -> list[type[Exception] | None]:
    return [type(one.refusals[0]) if one.refusals else None for one in done]


async def test_names_and_places_go_by_the_order_of_the_entries(pool: Pool) -> None:
    done = await imported(copies(pool, Model([plan(name="Village")])), [wish(f"{HARD} {i}") for i in range(4)])
    assert [one.entry.place for one in done] == ["[0]", "[1]", "[2]", "[3]"]
    assert [one.name for one in done] == ["Village", "Village (2)", "Village (3)", "Village (4)"]


async def test_each_entry_has_its_own_refusal(pool: Pool) -> None:
    given = [wish(HARD), None, wish(HARD, confirmations=99), wish(f"{HARD} twice"), wish("")]
    refusal = Reply(outcome=CallOutcome.REFUSED, message="no")
    first, none, wrong, second, empty = await imported(copies(pool, Model([plan(), refusal])), given)
    assert (first.name, first.refusals) == ("The village is famous", ())
    assert [refused.message for refused in none.refusals] == ["no address"]
    assert [refused.field for refused in wrong.refusals] == ["confirmations"]
    assert [type(refused) for refused in second.refusals] == [PromptNotUnderstood]
    assert [refused.field for refused in empty.refusals] == ["prompt"]


@pytest.mark.parametrize(("budget_micros", "made"), [(100_000, 12), (50_000, 12), (1_000, 0)])
async def test_entries_of_one_import_do_not_take_each_others_money(pool: Pool, budget_micros: int, made: int) -> None:
    """What is set aside for a call is a multiple of what it costs, and that of five does not fit."""
    store = PostgresEventStore(pool, new_id=uuid7)
    budgets = Budgets(person_day_micros=budget_micros)
    ledger = PostgresModelLedger(pool, store, ModelPrices(), budgets, now=lambda: AT)
    model = Paid([plan()])
    done = await imported(copies(pool, model, ledger), [wish(f"{HARD} {i}") for i in range(12)])
    await ledger.settled()
    assert refusals(done) == [None] * made + [AiBudgetExceeded] * (12 - made)
    assert len(model.asked) == made


async def test_once_all_places_are_taken_nothing_more_is_compiled_or_paid(pool: Pool) -> None:
    model = Model([plan()])
    hard = [wish(f"{HARD} {i}") for i in range(8)]
    given = [*hard, None, wish(HARD, confirmations=99)]
    done = await imported(copies(pool, model, total_max=2), given)
    assert refusals(done) == [None] * 2 + [MonitorTotalExceeded] * 6 + [InvalidInput] * 2
    assert {one.refusals[0].args for one in done[2:8]} == {MonitorTotalExceeded().args}
    assert len(model.asked) == 3, "the first one that finds no place tells that there is none"


async def test_where_no_active_one_has_a_place_paused_ones_have(pool: Pool) -> None:
    model = Model([plan()])
    hard = [wish(f"{HARD} {i}") for i in range(6)]
    done = await imported(copies(pool, model, active_max=1), hard, active=(0, 1, 2, 4))
    assert refusals(done) == [None, MonitorLimitExceeded, MonitorLimitExceeded, None, MonitorLimitExceeded, None]
    assert len(model.asked) == 4
