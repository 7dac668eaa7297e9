"""The log with its hashes and signatures: written out for outsiders, and compared with itself where it is kept."""

from collections.abc import AsyncIterator, Callable
from typing import NoReturn
from uuid import UUID

import msgspec

from adapters.log_chain import Chain, Fault, TrustedKeys, Verified, broken, positions
from adapters.log_export_format import FORMAT_VERSION, GENESIS, End, Header, Line, LoggedEvent
from adapters.postgres_log import EVENT_COLUMNS, Archive, LogHead, PostgresLog
from adapters.postgres_pool import Pool
from adapters.postgres_signed_heads import PostgresSignedHeads
from domain.log_entry import LogEntry
from domain.signed_head import SignedHead

Told = Callable[[int, int], None]
"""Hears how much of how much is done."""

WINDOW_POSITIONS = 1_000
WINDOW_EVENTS = 5_000

# `left join` because what was deleted must not look as if it never was.
_WINDOW = (
    """
select l.hash, l.stream_id, l.version, e.stream_id is not null, l.partition, l.partition_position, l.position, """
    + EVENT_COLUMNS
    + """
from event_log l left join event e using (stream_id, version)
where l.position > %s and l.position <= %s order by l.position
"""
)

# How many events there are in a window of the commit order, where it ends, and the first that the log does not have.
_LOGGED = """
with part as materialized (
    select tx, seq, stream_id, version from event
    where (tx, seq) > (%(tx)s::xid8, %(seq)s) and (tx, seq) <= (%(last_tx)s::xid8, %(last_seq)s)
    order by tx, seq limit %(limit)s
), judged as (
    select part.*, exists (
        select from event_log l where l.stream_id = part.stream_id and l.version = part.version
    ) as logged from part
)
select count(*),
       (array_agg(tx::text order by tx desc, seq desc))[1], (array_agg(seq order by tx desc, seq desc))[1],
       (array_agg(stream_id order by tx, seq) filter (where not logged))[1],
       (array_agg(version order by tx, seq) filter (where not logged))[1]
from judged
"""


class LogRow(msgspec.Struct, frozen=True):
    """A position of the log, the event it names, and what the store has for it: None when that was deleted."""

    position: int
    stream_id: UUID
    version: int
    event: LoggedEvent | None


class PostgresLogProof:
    """The log as it is written out and verified. Only reads, in windows, so that memory stays what it is."""

    def __init__(self, pool: Pool, archive: Archive | None = None) -> None:
        self._pool = pool
        self._archive = archive
        self._heads = PostgresSignedHeads(pool)

    async def export(self, *, first: int, last: int, key_id: str | None) -> AsyncIterator[Line]:
        """The lines of an export of these positions, as the log has them, also when it was tampered with; with the heads
        that the key signed, or none. Raises `LogBroken` when the position before the first is gone."""
        previous = GENESIS if first == 1 else await self._heads.log_hash(first - 1)
        if previous is None:
            raise broken(Fault.REMOVED, f"{positions(first - 1, first - 1)} removed from the log", first - 1)
        yield Header(FORMAT_VERSION, first, last, previous.hex(), key_id)
        events = heads = 0
        signed = _Upcoming(self._heads.following(first - 1))
        async for row in self.rows(after=first - 1, until=last):
            if row.event is not None:
                events += 1
                yield row.event
            for head in await signed.up_to(row.position):
                if head.key_id == key_id:
                    heads += 1
                    yield head
        yield End(events, heads)

    async def rows(self, *, after: int, until: int) -> AsyncIterator[LogRow]:
        """The log's rows with `after < position <= until` in their order."""
        while after < until:
            end = min(after + WINDOW_POSITIONS, until)
            async with self._pool.connection() as connection:
                rows = await (await connection.execute(_WINDOW, (after, end))).fetchall()
            entries = [LogEntry(*fields) if stored else None for _, _, _, stored, *fields in rows]
            kept = [entry for entry in entries if entry is not None]
            whole = iter(kept if self._archive is None else await self._archive.filled(kept))
            for (digest, stream_id, version, _, *fields), entry in zip(rows, entries, strict=True):
                event = None if entry is None else LoggedEvent(next(whole), bytes(digest))
                yield LogRow(fields[2], stream_id, version, event)
            after = end

    async def verify(self, keys: TrustedKeys, *, told: Told = lambda _done, _total: None) -> Verified:
        """Follow the whole log from its first event, compare every signed head, and see that each event is in it exactly
        once. Raises `LogBroken` with the first thing that is wrong.

        What is not signed yet is followed too, but could have been rewritten; `Verified.signed` says where that begins.
        """
        last_signed = await self._heads.last()  # before the log's head, which only grows
        head = await PostgresLog(self._pool).head()
        chain = Chain(1, GENESIS, keys)
        await self._follow(chain, head, told)
        if last_signed is not None and last_signed.position > head.position:
            chain.check_signature(last_signed)
            cut = positions(head.position + 1, last_signed.position)
            raise broken(
                Fault.REMOVED, f"{cut} signed, and the log ends before: its end was cut off", head.position + 1
            )
        await self._each_event_once(head, told)
        return chain.verified()

    async def _follow(self, chain: Chain, head: LogHead, told: Told) -> None:
        signed = _Upcoming(self._heads.following(0))
        async for row in self.rows(after=0, until=head.position):
            if row.position != chain.next:
                await self._gap(chain.next, row.position - 1, head)
            take_row(chain, row)
            for each in await signed.up_to(row.position):
                chain.take_head(each)
            if row.position % WINDOW_POSITIONS == 0:
                told(row.position, 2 * head.position)
        if chain.position != head.position:
            await self._gap(chain.next, head.position, head)
        if chain.hash != head.hash:
            message = f"the log's head has another hash than its last event, position {head.position}"
            raise broken(Fault.CHANGED, message, head.position)

    async def _gap(self, first: int, last: int, head: LogHead) -> NoReturn:
        _, left = await self._count(head, lambda _done: None)
        still = "" if left is None else f"; version {left[1]} of the stream {left[0]} is left without a position"
        message = f"{positions(first, last)} removed from the log{still}"
        stream_id, version = left or (None, None)
        raise broken(Fault.REMOVED, message, first, stream_id=stream_id, version=version)

    async def _each_event_once(self, head: LogHead, told: Told) -> None:
        """Every position has an event; when no event is without a position and there are as many, each has one."""
        events, left = await self._count(head, lambda done: told(head.position + done, 2 * head.position))
        if left is not None:
            message = (
                f"version {left[1]} of the stream {left[0]} was inserted: the log is past it and has no position for it"
            )
            raise broken(Fault.INSERTED, message, None, stream_id=left[0], version=left[1])
        if events != head.position:
            message = f"the log has {head.position} positions for {events} events: it names an event twice"
            raise broken(Fault.INSERTED, message, None)

    async def _count(self, head: LogHead, told: Callable[[int], None]) -> tuple[int, tuple[UUID, int] | None]:
        """How many events the log is past, up to the first that it does not have, which is told by stream and version."""
        tx, seq, counted, found = "0", 0, 0, WINDOW_EVENTS
        while found == WINDOW_EVENTS:
            values = {"tx": tx, "seq": seq, "last_tx": head.tx, "last_seq": head.seq, "limit": WINDOW_EVENTS}
            async with self._pool.connection() as connection:
                row = await (await connection.execute(_LOGGED, values)).fetchone()
            found, last_tx, last_seq, stream_id, version = row or (0, None, None, None, None)
            if stream_id is not None and version is not None:
                return counted, (stream_id, version)
            if found:
                tx, seq, counted = last_tx, last_seq, counted + found
                told(counted)
        return counted, None


class _Upcoming:
    """Signed heads in order, given out as far as the log was read."""

    def __init__(self, heads: AsyncIterator[SignedHead]) -> None:
        self._heads = heads
        self._next: SignedHead | None = None

    async def up_to(self, position: int) -> list[SignedHead]:
        """Those not given out yet."""
        given: list[SignedHead] = []
        while True:
            if self._next is None:
                self._next = await anext(self._heads, None)
            if self._next is None or self._next.position > position:
                return given
            given.append(self._next)
            self._next = None


def take_row(chain: Chain, row: LogRow) -> None:
    """Go on to the next row of the log. Raises `LogBroken` for an event that is not there, or not what it was."""
    event = f"position {row.position}, version {row.version} of the stream {row.stream_id},"
    if row.event is None:
        message = f"{event} was removed: the log has it and the store has not"
        raise broken(Fault.REMOVED, message, row.position, stream_id=row.stream_id, version=row.version)
    if not chain.fits(row.event):
        message = f"{event} was changed: it does not give its hash"
        raise broken(Fault.CHANGED, message, row.position, stream_id=row.stream_id, version=row.version)
    chain.take(row.event)
