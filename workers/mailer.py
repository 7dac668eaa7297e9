"""The mailer: claims the notifications that are due and has them delivered, many at a time."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

import structlog

from workers.delivery import Delivery
from workers.lifecycle import Monotonic, Stop, run_steps

log = structlog.get_logger()

REST_SECONDS = 0.1
CONCURRENCY = 20
CLAIM_LIFETIME = timedelta(seconds=10)
RENEWAL_SECONDS = 2.0
"""A living mailer renews its claims this often, so what a killed one held is taken up after `CLAIM_LIFETIME`, however long
a mail server may take to answer."""
DRAIN_SECONDS_MAX = 40.0


class Outbox(Protocol):
    """Notifications that wait for delivery."""

    async def claim(self, *, now: datetime, lifetime: timedelta, limit: int) -> list[UUID]:
        """Some that are due and that nobody else has claimed."""
        ...

    async def renew(self, notification_ids: Sequence[UUID], *, until: datetime) -> None:
        """These are still being delivered."""
        ...


class Mailer:
    """One of any number of mailers; each notification is delivered by the one that claimed it."""

    def __init__(
        self, outbox: Outbox, delivery: Delivery, *, now: Callable[[], datetime], monotonic: Monotonic
    ) -> None:
        self._outbox = outbox
        self._delivery = delivery
        self._now = now
        self._monotonic = monotonic
        self._running: dict[asyncio.Task[None], UUID] = {}
        self._renew_at = 0.0

    async def run(self, stop: Stop) -> None:
        """Deliver until asked to stop, then finish what is being delivered."""
        await run_steps("mailer", self.step, stop)
        deadline = self._monotonic() + DRAIN_SECONDS_MAX
        while self._running and self._monotonic() < deadline:
            await asyncio.wait(self._running, timeout=RENEWAL_SECONDS)
            try:
                await self._renew()
            except Exception as error:  # noqa: BLE001  then another mailer may deliver too, under the same Message-ID
                log.warning("claims not renewed while draining", error=repr(error))

    async def step(self) -> float:
        """Start deliveries that are due; how many seconds to rest."""
        if self._monotonic() >= self._renew_at:
            await self._renew()
        room = CONCURRENCY - len(self._running)
        if room == 0:
            await asyncio.wait(self._running, timeout=RENEWAL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            return 0.0
        claimed = await self._outbox.claim(now=self._now(), lifetime=CLAIM_LIFETIME, limit=room)
        for notification_id in claimed:
            task = asyncio.create_task(self._deliver(notification_id))
            self._running[task] = notification_id
            task.add_done_callback(self._running.pop)
        return 0.0 if len(claimed) == room else REST_SECONDS

    async def _renew(self) -> None:
        self._renew_at = self._monotonic() + RENEWAL_SECONDS
        if self._running:
            await self._outbox.renew(list(self._running.values()), until=self._now() + CLAIM_LIFETIME)

    async def _deliver(self, notification_id: UUID) -> None:
        try:
            retry_at = await self._delivery.deliver(notification_id)
            if retry_at is not None:
                await self._outbox.renew([notification_id], until=retry_at)
        except Exception as error:  # noqa: BLE001  the claim ends by itself and somebody tries again
            log.warning("delivery not recorded", notification_id=str(notification_id), error=repr(error))
