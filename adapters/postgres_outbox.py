"""Notifications that wait for delivery, and which worker is at it; and which triggers watch a monitor."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from adapters.postgres_pool import Pool
from domain.notification import MailKind
from projections.core import CORE

_CLAIM = """
insert into delivery_claim (notification_id, claimed_until)
select n.id, %(until)s from notifications n
where n.next_attempt_at <= %(now)s
  and not exists (select from delivery_claim c where c.notification_id = n.id and c.claimed_until >= %(now)s)
order by n.next_attempt_at limit %(limit)s
on conflict (notification_id) do update set claimed_until = excluded.claimed_until
where delivery_claim.claimed_until < %(now)s
returning notification_id
"""

_RENEW = "update delivery_claim set claimed_until = %s where notification_id = any (%s)"

_DUE_OF = """
select id from notifications where owner_id = %s and kind = %s and next_attempt_at <= %s
order by created_at, id limit %s
"""

_REACHED = "select position from checkpoint where consumer = %s and partition = %s"

_TRIGGERS = """
select id from triggers where monitor_id = %s and deleted_at is null and created_place < %s order by created_at, id
"""


class PostgresOutbox:
    """Fulfils `workers.mailer.Outbox`. The read table may lag behind the store; the mailer asks the store again."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def claim(self, *, now: datetime, lifetime: timedelta, limit: int) -> list[UUID]:
        """Claim notifications that are due, until `now + lifetime`."""
        async with self._pool.connection() as connection:
            rows = await (
                await connection.execute(_CLAIM, {"now": now, "until": now + lifetime, "limit": limit})
            ).fetchall()
        return [row[0] for row in rows]

    async def renew(self, notification_ids: Sequence[UUID], *, until: datetime) -> None:
        """Lengthen claims."""
        async with self._pool.connection() as connection:
            await connection.execute(_RENEW, (until, list(notification_ids)))

    async def due_of(self, owner_id: UUID, kind: MailKind, *, now: datetime, limit: int) -> list[UUID]:
        """Fulfils `workers.letters.Waiting`."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_DUE_OF, (owner_id, kind.value, now, limit))).fetchall()
        return [row[0] for row in rows]


class PostgresTriggers:
    """Fulfils `workers.notifier.TriggersOf`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def of_monitor(self, monitor_id: UUID, *, partition: int, place: int) -> list[UUID] | None:
        """Triggers that existed at this place; None while the read tables have not come that far."""
        async with self._pool.connection() as connection:
            reached = await (await connection.execute(_REACHED, (CORE.name, partition))).fetchone()
            if reached is None or reached[0] < place:
                return None
            rows = await (await connection.execute(_TRIGGERS, (monitor_id, place))).fetchall()
        return [row[0] for row in rows]
