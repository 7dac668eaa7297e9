"""The ledger of model calls in PostgreSQL: what is set aside for those under way, what the recorded ones cost, and the budgets.

A call is admitted by a row in `model_call_open`, and recorded by an event; then its row goes and what it cost is added to the
day's sums, in one statement. Whoever dies in between leaves the row, and `workers.call_sweeper` does the rest.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date, datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec
import structlog
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from adapters.gathered import Gathered
from adapters.postgres_pool import Pool
from commands.asking import PlannedCall, Reply
from commands.event_store import ConcurrentAppend, EventStore, PersonErased
from domain.budget import (
    BudgetExhausted,
    Budgets,
    OpenCall,
    budget_stream,
    day_of,
    is_set_aside,
    is_spent,
    plausible,
)
from domain.event import Metadata, NewEvents
from domain.mail import single_line
from domain.model_call import NOTHING_USED, CallOutcome, ModelCalled, TokenUsage
from domain.operation import INSTALLATION

NAME_CHARS_MAX, MESSAGE_CHARS_MAX = 200, 500
log = structlog.get_logger()

ACTOR = "ai"

_ADMIT_ALL = "insert into model_call_open select * from jsonb_populate_recordset(null::model_call_open, %s)"
_ADMIT = "select call_id, refused_by, spent, under_way from admit_model_calls(%s, %s, %s, %s)"
# Nobody waits for the disk: what is lost with the server is a row that is found again beside its event, and settled again.
_SETTLE = "select set_config('synchronous_commit', 'off', true), settle_model_calls(%s, %s)"
_LEFT_BEHIND = """
select id, owner_id, monitor_id, evaluation_id, task, provider, model, set_aside_micros, started_at
from model_call_open o
where started_at < %s and not exists (select from model_batch_call b where b.call_id = o.id)
order by started_at, id limit %s
"""


class Prices(Protocol):
    """What models cost."""

    @property
    def version(self) -> str:
        """Which prices these are."""
        ...

    def cost_micros(
        self, provider: str, model: str, usage: TokenUsage, *, at: datetime, asked_for: str | None = None
    ) -> int:
        """What a usage cost, in millionths of a US dollar."""
        ...

    def most_micros(
        self,
        provider: str,
        model: str,
        input_chars: int,
        output_tokens_max: int,
        *,
        at: datetime,
        searches: bool = False,
    ) -> int:
        """What a call can cost at most."""
        ...


class _Refused(msgspec.Struct, frozen=True):
    """Which limit a call does not fit, what is spent of it, and what is set aside."""

    scope: UUID
    spent_micros: int
    under_way_micros: int


class PostgresModelLedger:
    """Fulfils `commands.asking.Ledger` and `workers.call_sweeper.OpenCalls`. Calls that are admitted or recorded at the same
    moment are so together; with a limit, one process after the other, so that no two spend the same money."""

    def __init__(
        self, pool: Pool, store: EventStore, prices: Prices, budgets: Budgets, *, now: Callable[[], datetime]
    ) -> None:
        self._pool = pool
        self._store = store
        self._prices = prices
        self._budgets = budgets
        self._now = now
        self._admitted = Gathered(self._admit_all)
        self._settled = Gathered(self._settle_all)
        self._told: set[tuple[UUID, date]] = set()
        self._settling: set[asyncio.Task[None]] = set()

    async def admit(self, call: PlannedCall) -> str | None:
        """As the port says. The first time a day that money which is spent leaves no room, it is told by an event; while it is
        only set aside for calls under way, which mostly cost less, nobody is alarmed."""
        set_aside = self._most(call)
        refused = await self._admitted.ask((call, set_aside))
        if refused is not None and self._settling:
            # What was set aside for calls that have ended stands in the sums yet.
            await asyncio.wait(self._settling)
            refused = await self._admitted.ask((call, set_aside))
        if refused is None:
            return None
        scope = refused.scope
        limit = self._budgets.of(scope) or 0
        if refused.spent_micros + set_aside <= limit:
            return is_set_aside(scope, limit)
        await self._tell(scope, day_of(call.started_at), limit, refused.spent_micros)
        return is_spent(scope, limit, spent_micros=refused.spent_micros, most_micros=set_aside)

    async def record(self, call: PlannedCall, reply: Reply, *, duration_ms: int) -> ModelCalled:
        """As the port says. A call that nobody heard the end of counts as the most it can have cost. For an erased person no
        event is written; what was sold to the installation is added to its sum all the same. The sums follow after: until they do,
        what was set aside stands in them, and should this process be killed, the sweeper sees to it."""
        usage = plausible(reply.usage)
        model = _line(reply.model or "", NAME_CHARS_MAX) or call.model
        is_estimated = usage == NOTHING_USED and (reply.is_unheard or reply.outcome is CallOutcome.TIMEOUT)
        if is_estimated:
            cost = self._most(call)
        else:
            cost = self._prices.cost_micros(call.provider, model, usage, at=call.started_at, asked_for=call.model)
        called = ModelCalled(
            task=call.inquiry.task,
            provider=call.provider,
            model=model,
            outcome=reply.outcome,
            usage=usage,
            cost_micros=cost,
            prices=self._prices.version,
            is_estimated=is_estimated,
            monitor_id=call.on_behalf.monitor_id,
            evaluation_id=call.on_behalf.evaluation_id,
            message=None if reply.message is None else _line(reply.message, MESSAGE_CHARS_MAX),
            started_at=call.started_at,
            duration_ms=duration_ms,
        )
        called = await self._written(call.id, call.on_behalf.owner_id, called)
        task = asyncio.create_task(self._settle(call.id, called.cost_micros))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        return called

    async def settled(self) -> None:
        """Return when the sums hold what was recorded before."""
        await asyncio.gather(*self._settling)

    async def keep(self, call_id: UUID, owner_id: UUID, called: ModelCalled) -> ModelCalled:
        """Write down how a call ended and take it for recorded; done again, it changes nothing. What is written down in the
        end: what was written first stays."""
        called = await self._written(call_id, owner_id, called)
        await self._settled.ask((call_id, called.cost_micros))
        return called

    async def _settle(self, call_id: UUID, cost_micros: int) -> None:
        try:
            await self._settled.ask((call_id, cost_micros))
        except Exception as error:  # noqa: BLE001  the event is written; the sweeper finds it
            log.warning("a call is settled later", call_id=str(call_id), error=repr(error))

    async def _written(self, call_id: UUID, owner_id: UUID, called: ModelCalled) -> ModelCalled:
        new = NewEvents(stream_id=call_id, owner_id=owner_id, expected_version=0, events=(called,))
        context = Metadata(correlation_id=called.evaluation_id or call_id, actor=ACTOR)
        if not await self._store.is_erased(owner_id):
            with suppress(PersonErased):
                called = await self._first(new, called, context)
        return called

    async def left_behind(self, *, before: datetime, limit: int) -> list[OpenCall]:
        """As the port of the sweeper says."""
        async with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_LEFT_BEHIND, (before, limit))
            return msgspec.convert(await cursor.fetchall(), list[OpenCall])

    async def _first(self, new: NewEvents, called: ModelCalled, context: Metadata) -> ModelCalled:
        try:
            await self._store.append([new], metadata=context)
        except ConcurrentAppend:
            for stored in await self._store.load(new.stream_id):
                if isinstance(stored.event, ModelCalled):
                    return stored.event
            raise
        return called

    async def _tell(self, scope: UUID, day: date, limit: int, spent: int) -> None:
        if (scope, day) in self._told:
            return
        self._told = {one for one in self._told if one[1] >= day} | {(scope, day)}
        event = BudgetExhausted(scope=scope, day=day, limit_micros=limit, spent_micros=spent, exhausted_at=self._now())
        stream_id = budget_stream(scope, day)
        new = NewEvents(stream_id=stream_id, owner_id=scope, expected_version=0, events=(event,))
        try:
            await self._store.append([new], metadata=Metadata(correlation_id=stream_id, actor=ACTOR))
        except (ConcurrentAppend, PersonErased):
            return  # told by another process, or to nobody
        except BaseException:
            self._told.discard((scope, day))
            raise

    def _most(self, call: PlannedCall) -> int:
        inquiry = call.inquiry
        put_in = sum(
            len(text)
            for text in (
                _bytes(inquiry.instructions),
                _bytes(inquiry.content),
                msgspec.json.encode(dict(inquiry.schema)),
            )
        )
        return self._prices.most_micros(
            call.provider,
            call.model,
            put_in,
            inquiry.output_tokens_max,
            at=call.started_at,
            searches=inquiry.searches,
        )

    async def _admit_all(self, asked: Sequence[tuple[PlannedCall, int]]) -> Sequence[_Refused | None]:
        rows = Jsonb(msgspec.to_builtins([_row(call, set_aside) for call, set_aside in asked]))
        person, installation = self._budgets.person_day_micros, self._budgets.installation_day_micros
        async with self._pool.connection() as connection:
            if person is None and installation is None:
                await connection.execute(_ADMIT_ALL, (rows,))
                return [None] * len(asked)
            cursor = await connection.execute(_ADMIT, (rows, person, installation, INSTALLATION))
            refused = {call_id: _Refused(*why) for call_id, *why in await cursor.fetchall()}
        return [refused.get(call.id) for call, _ in asked]

    async def _settle_all(self, costs: Sequence[tuple[UUID, int]]) -> Sequence[None]:
        # Two may settle the same call, which the statement must see once.
        rows = Jsonb([{"id": str(call_id), "cost": cost} for call_id, cost in dict(costs).items()])
        async with self._pool.connection() as connection:
            await connection.execute(_SETTLE, (rows, INSTALLATION))
        return [None] * len(costs)


def _row(call: PlannedCall, set_aside: int) -> dict[str, Any]:
    return {
        "id": call.id,
        "owner_id": call.on_behalf.owner_id,
        "day": day_of(call.started_at),
        "monitor_id": call.on_behalf.monitor_id,
        "evaluation_id": call.on_behalf.evaluation_id,
        "task": call.inquiry.task,
        "provider": call.provider,
        "model": call.model,
        "set_aside_micros": set_aside,
        "started_at": call.started_at,
    }


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")


def _line(text: str, chars_max: int) -> str:
    """What a provider says may hold anything, and PostgreSQL stores neither NUL nor half a character."""
    return single_line(text, chars_max=chars_max)
