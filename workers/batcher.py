"""The batcher: sends inquiries that are in no hurry to providers in batches, and fetches what they answer.

Sending is not idempotent, and a process may be killed at any step. So a batch is written down before it is sent, with the ids of
its calls; what is not known to have arrived is looked for at the provider before it is sent again; and what is fetched may be
fetched again, for every step after that changes nothing the second time.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

import structlog

from commands.asking import PlannedCall, Reply
from commands.batching import LOST, Batch, BatchCall, BatchItem, Found, Missing, NotSent, Results, Shipment
from commands.unhurried import Ended
from domain.model_call import UNAVAILABLE, CallOutcome
from workers.batch_accounts import BatchAccounts
from workers.lifecycle import Leases, Stop, run_steps

log = structlog.get_logger()

LEASE = "batcher"
LEASE_LIFETIME = timedelta(minutes=10)
REST_SECONDS = 60.0
GATHERED_FOR = timedelta(minutes=3)
"""How long inquiries wait for others to go with them."""
BATCH_CALLS_MAX = 1_000
BATCH_BYTES_MAX = 32 * 2**20
"""Providers take 50,000 and 200 MB and more; each batch is in memory here."""
PROVIDER_SECONDS_MAX = 180.0
"""For sending a batch, looking for one, or fetching its results."""
LOOKED_FOR_AFTER = timedelta(minutes=10)
"""By then whoever sent it gave up long ago, and the provider lists what it has."""
OVER_AFTER = timedelta(hours=26)
"""Providers end a batch after 24 hours, whatever is not answered by then."""
FORGOTTEN_AFTER = timedelta(days=3)


class BatchProvider(Protocol):
    """A service with a model that takes batches. Whatever happens is an answer, never an exception."""

    @property
    def name(self) -> str:
        """What settings and people call it."""
        ...

    @property
    def model(self) -> str:
        """The model that is asked for."""
        ...

    async def submit(self, shipment: Shipment, *, seconds: float) -> str | NotSent:
        """Send a batch, within this time; what the provider calls it."""
        ...

    async def find(self, missing: Missing, *, seconds: float) -> Found:
        """Look for a batch that may have arrived; each request ends within this time."""
        ...

    async def fetch(self, provider_id: str, *, seconds: float) -> Results:
        """What became of a batch; each request ends within this time. One that cannot be asked about now is not over."""
        ...


class Batches(Protocol):
    """Where batches are written down."""

    async def make(
        self,
        provider: str,
        model: str,
        *,
        able: Sequence[str],
        at: datetime,
        waiting_since: datetime,
        count_max: int,
        bytes_max: int,
    ) -> Batch | None:
        """A new batch of the inquiries that have waited longest, once the first has waited since then or there are as many as
        may be; those that prefer none of the `able` providers go to the first of these. What was answered meanwhile is
        done."""
        ...

    async def under_way(self) -> list[Batch]:
        """Those that are not done."""
        ...

    async def calls(self, batch_id: UUID) -> list[BatchCall]:
        """The calls of a batch."""
        ...

    async def claim(self, batch: Batch, *, at: datetime) -> bool:
        """Note that the batch is being sent from now on; False when somebody else did so since it was read."""
        ...

    async def arrived(self, batch_id: UUID, provider_id: str) -> None:
        """The provider has it, and calls it so."""
        ...

    async def leave(self, call_id: UUID, ended: Ended | None, *, at: datetime) -> None:
        """A call is not made: it is no part of its batch any more, and no money is set aside for it."""
        ...

    async def dissolve(self, batch_id: UUID) -> None:
        """A batch is not sent: what it asks waits again, and no money is set aside for it."""
        ...

    async def close(self, batch_id: UUID) -> None:
        """A batch is done."""
        ...

    async def known(self, provider: str) -> Collection[str]:
        """What a provider calls those of its batches that are not done."""
        ...

    async def forget(self, *, before: datetime) -> None:
        """Forget how inquiries ended before then, and looks that began before then."""
        ...


class BatchLedger(Protocol):
    """Sets money aside, at the price of batches."""

    async def admit(self, call: PlannedCall) -> str | None:
        """Set aside what the call may cost at most; None when it may be made, else which budget is spent, in words."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Batcher:
    """One of any number: the one with the lease works, the others stand by. Without `providers` there is nothing to do."""

    providers: Sequence[BatchProvider]
    batches: Batches
    ledger: BatchLedger
    accounts: BatchAccounts
    leases: Leases
    holder: str
    now: Callable[[], datetime]

    async def run(self, stop: Stop) -> None:
        """Work until asked to stop, then give the lease back."""
        await run_steps("batcher", self.step, stop)
        await self.leases.let_go([LEASE], self.holder)

    async def step(self) -> float:
        """Go on with each batch, make new ones of what waits, and forget what is old; how many seconds to rest."""
        for batch in await self.batches.under_way():
            if not await self._holds():
                return REST_SECONDS
            await self._try(batch)
        for provider in self.providers:
            while await self._holds() and (made := await self._make(provider)) is not None:
                if not await self._try(made):
                    break  # what it asks waits again, and would be made into a batch again at once
        if await self._holds():
            await self.batches.forget(before=self.now() - FORGOTTEN_AFTER)
        return REST_SECONDS

    async def _holds(self) -> bool:
        return LEASE in await self.leases.hold([LEASE], self.holder, lifetime=LEASE_LIFETIME)

    async def _make(self, provider: BatchProvider) -> Batch | None:
        now = self.now()
        return await self.batches.make(
            provider.name,
            provider.model,
            able=[one.name for one in self.providers],
            at=now,
            waiting_since=now - GATHERED_FOR,
            count_max=BATCH_CALLS_MAX,
            bytes_max=BATCH_BYTES_MAX,
        )

    async def _try(self, batch: Batch) -> bool:
        """Go on with a batch; whether others may be sent. One that cannot be gone on with keeps no other one from it."""
        try:
            return await self._go_on(batch)
        except Exception:
            log.exception("a batch could not be gone on with", batch_id=str(batch.id), provider=batch.provider)
            return True

    async def _go_on(self, batch: Batch) -> bool:
        provider = next((one for one in self.providers if one.name == batch.provider), None)
        calls = await self.batches.calls(batch.id)
        if batch.sent_at is None:
            # Another model than the one it was made for may be set up by now, at another price.
            if provider is None or provider.model != batch.model:
                await self.batches.dissolve(batch.id)
            else:
                return await self._send(batch, calls, provider)
        elif batch.provider_id is None:
            await self._look_for(batch, calls, provider)
        else:
            await self._collect(batch, calls, provider)
        return True

    async def _send(self, batch: Batch, calls: Sequence[BatchCall], provider: BatchProvider) -> bool:
        """Send a batch; False when the provider takes none at present."""
        items = await self._admitted(batch, calls)
        if not items:
            await self.batches.close(batch.id)
            return True
        if not await self.batches.claim(batch, at=self.now()):
            return True
        sent = await provider.submit(Shipment(id=batch.id, items=items), seconds=PROVIDER_SECONDS_MAX)
        if isinstance(sent, str):
            await self.batches.arrived(batch.id, sent)
            log.info("a batch was sent", batch_id=str(batch.id), provider=batch.provider, calls=len(items))
            return True
        outcome = sent.reply.outcome
        log.warning("a batch was not taken", batch_id=str(batch.id), provider=batch.provider, outcome=outcome)
        if sent.may_have_arrived:
            return False
        if outcome in UNAVAILABLE:
            await self.batches.dissolve(batch.id)
            return False
        await self._end_all(batch, await self.batches.calls(batch.id), {}, otherwise=sent.reply)
        return True

    async def _admitted(self, batch: Batch, calls: Sequence[BatchCall]) -> list[BatchItem]:
        """What is to be sent, with money set aside for each. What nobody may know any more is not, nor what there is no money
        for."""
        items: list[BatchItem] = []
        for call in calls:
            if call.asked is None:
                await self.batches.leave(call.id, None, at=self.now())
                continue
            planned = PlannedCall(
                id=call.id,
                inquiry=call.asked.inquiry,
                provider=batch.provider,
                model=batch.model,
                on_behalf=call.asked.on_behalf,
                started_at=batch.made_at,
            )
            spent = None if call.open is not None else await self.ledger.admit(planned)
            if spent is None:
                items.append(BatchItem(call_id=call.id, inquiry=call.asked.inquiry))
            else:
                await self.batches.leave(
                    call.id, Ended(outcome=CallOutcome.BUDGET_EXCEEDED, message=spent), at=self.now()
                )
        return items

    async def _look_for(self, batch: Batch, calls: Sequence[BatchCall], provider: BatchProvider | None) -> None:
        """Who sent it died, or heard no answer: the provider may have it, and is asked before it is sent again."""
        if batch.sent_at is None or self.now() - batch.sent_at < LOOKED_FOR_AFTER:
            return
        found = Found()
        if provider is not None:
            missing = Missing(
                id=batch.id,
                calls={str(call.id) for call in calls},
                since=batch.made_at,
                known=await self.batches.known(batch.provider),
            )
            async with asyncio.timeout(PROVIDER_SECONDS_MAX):
                found = await provider.find(missing, seconds=PROVIDER_SECONDS_MAX)
        if found.provider_id is not None:
            await self.batches.arrived(batch.id, found.provider_id)
        elif found.is_certain:
            if provider is None or provider.model != batch.model or self._is_overdue(batch.made_at):
                await self.batches.dissolve(batch.id)
            else:
                await self._send(batch, calls, provider)
        elif self._is_overdue(batch.sent_at):
            await self._end_all(batch, calls, {}, otherwise=LOST)

    async def _collect(self, batch: Batch, calls: Sequence[BatchCall], provider: BatchProvider | None) -> None:
        results = Results(is_over=False)
        if provider is not None:
            async with asyncio.timeout(PROVIDER_SECONDS_MAX):
                results = await provider.fetch(batch.provider_id or "", seconds=PROVIDER_SECONDS_MAX)
        if not results.is_over and not self._is_overdue(batch.sent_at or batch.made_at):
            return
        replies: dict[str, Reply] = {}
        for call_id, reply in results.replies:
            replies.setdefault(call_id, reply)
        strange = replies.keys() - {str(call.id) for call in calls}
        if strange:
            log.warning("a batch has answers nobody asked for", batch_id=str(batch.id), answers=len(strange))
        await self._end_all(batch, calls, replies, otherwise=results.missing)

    def _is_overdue(self, since: datetime) -> bool:
        return self.now() - since > OVER_AFTER

    async def _end_all(
        self, batch: Batch, calls: Sequence[BatchCall], replies: Mapping[str, Reply], *, otherwise: Reply
    ) -> None:
        await self.accounts.end_all(calls, replies, otherwise=otherwise)
        await self.batches.close(batch.id)
        log.info("a batch is done", batch_id=str(batch.id), provider=batch.provider, calls=len(calls))
