"""Why an evaluation came to what it did: the parts of its condition, the rule that decided, and who was told."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol
from uuid import UUID

import msgspec

from domain.condition import reset_as_recorded
from domain.evaluation import Verdict
from domain.explaining import Clause, Rule, Seen, Telling, rule_of, summary, told
from domain.fact import FactSpec, FactValue
from domain.monitor import State
from domain.plan import Plan
from read_api.database import Pool, fetch_row, fetch_rows

# The plan counts where it is the one that was in force. The program's version stands only in the event.
_EVALUATION = """
select e.monitor_id, e.place, e.verdict, e.state_before, e.state_after, e.reason, e.error_message, e.streak, e.condition,
       coalesce(e.inputs, '{}') as inputs, e.plan_revision, e.provider, e.model, v.data->>'program' as program,
       e.completed_at,
       case when m.plan_revision = e.plan_revision then m.plan::text end as plan,
       coalesce((
           select jsonb_agg(jsonb_build_object('name', f.name, 'type', f.type)) from facts f where f.evaluation_id = e.id
       ), '[]') as facts
from evaluations e join monitors m on m.id = e.monitor_id
left join event v on v.stream_id = e.id and v.type = 'evaluation.completed'
where e.id = %(id)s
"""

# In the order of the log, in which streaks are counted. Times tell the order of those which have no place.
_BEFORE = """
select id as evaluation_id, verdict, streak, state_after, completed_at from evaluations
where monitor_id = %(monitor_id)s and verdict is not null and (place, completed_at) < (%(place)s, %(completed_at)s)
order by place desc, completed_at desc, due_at desc, id desc limit 1
"""

_TELLINGS = """
select t.id as trigger_id, t.name, f.outcome, f.reason
from triggers t join firings f on f.trigger_id = t.id
where t.monitor_id = %(monitor_id)s and t.deleted_at is null and f.evaluation_id = %(id)s
  and f.fired_at >= %(since)s - interval '1 hour'
order by t.created_at, t.id
"""

_WHERE_IT_STANDS = ("monitor_id", "place", "completed_at")

_plan = msgspec.json.Decoder(Plan)


class ConditionParts(Protocol):
    """Takes conditions apart."""

    def parts(self, condition: str, facts: Sequence[FactSpec], inputs: Mapping[str, FactValue | None]) -> Clause | None:
        """The condition with the stored inputs put in; None for one that is not understood any more."""
        ...


class ConfirmationShape(msgspec.Struct, frozen=True, kw_only=True):
    """How many verdicts of this kind stand in a row, and how many a switch of the state takes."""

    in_a_row: int | None
    needed: int | None


class PreviousShape(msgspec.Struct, frozen=True, kw_only=True):
    """The evaluation before it that came to a verdict."""

    evaluation_id: UUID
    verdict: Verdict
    streak: int
    state_after: State
    completed_at: datetime


class TellingShape(msgspec.Struct, frozen=True, kw_only=True):
    """What a trigger did about it."""

    trigger_id: UUID
    name: str
    outcome: Literal["fired", "suppressed"]
    reason: str | None


class VersionsShape(msgspec.Struct, frozen=True, kw_only=True):
    """With what it was judged. `program` is null where nothing was, and where the evaluation is archived: then it stands in
    the archive."""

    plan_revision: int | None
    provider: str | None
    model: str | None
    program: str | None


class ExplanationShape(msgspec.Struct, frozen=True, kw_only=True):
    """Why: `summary` and `told` for people, and the same taken apart. `asked` is which of the plan's conditions counted."""

    summary: str
    told: str
    rule: Rule
    asked: Literal["condition", "reset_condition"] | None
    condition: Clause | None
    confirmations: ConfirmationShape
    previous: PreviousShape | None
    triggers: tuple[TellingShape, ...]
    versions: VersionsShape


class Explanations:
    """Explanations from the read tables, for evaluations that may be read."""

    def __init__(self, pool: Pool, conditions: ConditionParts) -> None:
        self._pool = pool
        self._conditions = conditions

    async def of(self, evaluation_id: UUID) -> ExplanationShape | None:
        """Why this evaluation came to what it did; None where it is not there any more."""
        row = await fetch_row(self._pool, _EVALUATION, {"id": evaluation_id})
        if row is None:
            return None
        plan = None if row["plan"] is None else _plan.decode(row["plan"])
        before = None
        if row["completed_at"] is not None:
            before = await fetch_row(self._pool, _BEFORE, {name: row[name] for name in _WHERE_IT_STANDS})
        triggers = await self._triggers(evaluation_id, row)
        tellings = [Telling(name=one.name, outcome=one.outcome, reason=one.reason) for one in triggers]
        expression = row["condition"]
        reset = expression is not None and (plan is None or expression != plan.condition) and _resets(expression)
        seen = _seen(row, plan, resets=reset)
        return ExplanationShape(
            summary=summary(seen),
            told=told(seen, tellings),
            rule=rule_of(seen),
            asked=None if expression is None else "reset_condition" if reset else "condition",
            condition=None if expression is None else self._parts(expression, row, plan, reset=reset),
            confirmations=ConfirmationShape(in_a_row=row["streak"], needed=seen.confirmations),
            previous=None if before is None else msgspec.convert(before, PreviousShape),
            triggers=triggers,
            versions=msgspec.convert({name: row[name] for name in VersionsShape.__struct_fields__}, VersionsShape),
        )

    async def _triggers(self, evaluation_id: UUID, row: Mapping[str, Any]) -> tuple[TellingShape, ...]:
        if row["completed_at"] is None:
            return ()
        values = {"id": evaluation_id, "monitor_id": row["monitor_id"], "since": row["completed_at"]}
        rows = await fetch_rows(self._pool, _TELLINGS, values)
        return tuple(msgspec.convert(rows, list[TellingShape]))

    def _parts(self, expression: str, row: Mapping[str, Any], plan: Plan | None, *, reset: bool) -> Clause | None:
        """What was asked, which of a reset condition is what stands inside of the negation. Of a plan that is no longer
        there, the facts that were read are known."""
        read = msgspec.convert(row["facts"], tuple[FactSpec, ...])
        facts = plan.facts if plan is not None else read
        asked = expression[len(_RESET_BEGINS) : -1] if reset else expression
        return self._conditions.parts(asked, facts, row["inputs"])


_RESET_BEGINS = reset_as_recorded("")[:-1]


def _resets(expression: str) -> bool:
    return expression == reset_as_recorded(expression[len(_RESET_BEGINS) : -1])


def _seen(row: Mapping[str, Any], plan: Plan | None, *, resets: bool) -> Seen:
    return Seen(
        verdict=None if row["verdict"] is None else Verdict(row["verdict"]),
        state_before=None if row["state_before"] is None else State(row["state_before"]),
        state_after=None if row["state_after"] is None else State(row["state_after"]),
        reason=row["reason"],
        failure=row["error_message"],
        streak=row["streak"],
        resets=resets,
        confirmations=None if plan is None else plan.confirmations,
        fires=None if plan is None else plan.fires,
    )
