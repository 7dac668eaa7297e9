"""Leases in PostgreSQL: who may do alone what only one may do."""

from collections.abc import Sequence
from datetime import timedelta

from adapters.postgres_pool import Pool

# A new lease begins above every epoch that a checkpoint has seen: whoever lost the leases must not be taken for a zombie.
_HOLD = """
insert into lease (name, holder, epoch, expires_at)
select name, %(holder)s, first.epoch, now() + %(lifetime)s
from unnest(%(names)s::text[]) as name, (select coalesce(max(epoch), 0) + 1 as epoch from checkpoint) as first
order by name
on conflict (name) do update
set holder = excluded.holder, expires_at = excluded.expires_at,
    epoch = lease.epoch + case when lease.holder = excluded.holder then 0 else 1 end
where lease.holder = excluded.holder or lease.expires_at <= now()
returning name, epoch
"""

# One statement, so that nobody waits for a process that stops in the middle. Two that run at once may each see the other's
# past and end a little uneven, which the next round mends; a lease has one holder whatever they see, by its row. Leases
# that are above the least each may have go first to those who have one already, then by name: nothing moves without cause.
# Rows are locked in the order of their names, so that no two wait for each other.
_SHARE = """
with living as (
    select holder from lease where starts_with(name, %(members)s) and expires_at > now()
    union select %(holder)s::text
), taken as (
    select name, holder from lease where name = any (%(names)s::text[]) and expires_at > now()
), division as (
    select cardinality(%(names)s::text[]) / count(*) as quotient, mod(cardinality(%(names)s::text[]), count(*)) as rest
    from living
), ranked as (
    select holder, row_number() over (order by least(count(name), quotient + 1) desc, holder) as rank
    from living left join taken using (holder) cross join division group by holder, quotient
), share as (
    select quotient + case when rank <= rest then 1 else 0 end as size
    from ranked cross join division where holder = %(holder)s
), wanted as (
    select name, holder is not null as ours, row_number() over (order by holder is null, name) <= size as within
    from unnest(%(names)s::text[]) as name left join taken using (name) cross join share
    where holder is null or holder = %(holder)s
), written as (
    insert into lease (name, holder, epoch, expires_at)
    select name, %(holder)s, first.epoch, case when within then now() + %(lifetime)s else '-infinity' end
    from wanted, (select coalesce(max(epoch), 0) + 1 as epoch from checkpoint) as first where within or ours
    union all select %(members)s::text || %(holder)s::text, %(holder)s, 1, now() + %(lifetime)s
    order by 1
    on conflict (name) do update
    set holder = excluded.holder, expires_at = excluded.expires_at,
        epoch = lease.epoch + case when lease.holder = excluded.holder then 0 else 1 end
    where lease.holder = excluded.holder or lease.expires_at <= now()
    returning name, epoch, expires_at
), departed as (
    delete from lease where name in (
        select name from lease
        where starts_with(name, %(members)s) and expires_at <= now() and holder <> %(holder)s for update skip locked
    )
)
select name, epoch from written where name = any (%(names)s::text[]) and expires_at > now()
"""

_LET_GO = "update lease set expires_at = '-infinity' where name = any (%s) and holder = %s"


class PostgresLeases:
    """Fulfils `workers.lifecycle.Leases` and `workers.partitions.SharedLeases`. Time is the database's, so hosts need not agree on the hour."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def hold(self, names: Sequence[str], holder: str, *, lifetime: timedelta) -> dict[str, int]:
        """Take or renew; the epoch of each lease that is ours, the others are somebody else's."""
        async with self._pool.connection() as connection:
            rows = await (
                await connection.execute(_HOLD, {"names": list(names), "holder": holder, "lifetime": lifetime})
            ).fetchall()
        return {name: int(epoch) for name, epoch in rows}

    async def share(self, names: Sequence[str], holder: str, *, members: str, lifetime: timedelta) -> dict[str, int]:
        """Be there for another `lifetime`, by a lease whose name is `members` and then `holder`; renew, give back what is
        above an even share, take what is free up to it. The epoch of each lease that is ours."""
        values = {"names": list(names), "holder": holder, "members": members, "lifetime": lifetime}
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SHARE, values)).fetchall()
        return {name: int(epoch) for name, epoch in rows}

    async def let_go(self, names: Sequence[str], holder: str) -> None:
        """Give back; the next holder gets a higher epoch."""
        async with self._pool.connection() as connection:
            await connection.execute(_LET_GO, (list(names), holder))
