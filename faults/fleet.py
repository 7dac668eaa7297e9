"""A fleet: many monitors that nobody looks at, put straight into the store, so that evaluators always have several at once."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any, LiteralString
from uuid import UUID

import psycopg

from bootstrap.now_and_new import utc_now
from commands.event_store import ConcurrentAppend, EventStore, KeepSchedule
from domain.event import Event, Metadata, NewEvents
from domain.fact import FactSpec, FactType, Select
from domain.monitor import MonitorCreated, MonitorPaused, MonitorResumed
from domain.plan import Kind, Plan
from domain.schedule import Every
from domain.source import HttpSource
from domain.user import UserRegistered
from faults.people import LOW

OWNERS = 4
Connection = psycopg.AsyncConnection[tuple[Any, ...]]
_COUNTED = """
select data->>'monitor_id' from event
where type in ('evaluation.completed', 'evaluation.failed') and (data->>'monitor_id')::uuid = any (%s) and seq > %s
"""
_NEWEST: LiteralString = "select coalesce(max(seq), 0) from event"


@dataclass(frozen=True)
class Ship:
    """One monitor of a fleet."""

    monitor_id: UUID
    owner_id: UUID
    plan: Plan


class Fleet:
    """Monitors over shops' pages, of people nobody mails to."""

    def __init__(self, store: EventStore, random: Random) -> None:
        self._store, self._random = store, random
        self._owners: list[UUID] = []
        self.ships: list[Ship] = []

    async def grow(self, urls: Sequence[str], *, every_seconds: int) -> list[Ship]:
        """A monitor more for each page."""
        while len(self._owners) < OWNERS:
            owner = self._id()
            email = f"{owner.hex}@fleet.example"
            registered = UserRegistered(email=email, name="Fleet", timezone="UTC", registered_at=utc_now())
            await self._append(owner, owner, 0, registered)
            self._owners.append(owner)
        grown = [Ship(self._id(), self._random.choice(self._owners), _plan(url, every_seconds)) for url in urls]
        for ship in grown:
            now = utc_now()
            created = MonitorCreated(name="one of many", prompt="Is it cheap?", plan=ship.plan, created_at=now)
            await self._append(ship.monitor_id, ship.owner_id, 0, created, _due(ship, now))
        self.ships += grown
        return grown

    async def pause(self) -> None:
        """None of them is due any more."""
        for ship in self.ships:
            await self._switch(ship, MonitorPaused(paused_at=utc_now()), active=False)

    async def resume(self) -> None:
        """All of them are due again."""
        for ship in self.ships:
            await self._switch(ship, MonitorResumed(resumed_at=utc_now()), active=True)

    async def retire(self, ships: Sequence[Ship]) -> None:
        """These stay paused from now on."""
        for ship in ships:
            await self._switch(ship, MonitorPaused(paused_at=utc_now()), active=False)
        self.ships = [ship for ship in self.ships if ship not in ships]

    async def _switch(self, ship: Ship, event: Event, *, active: bool) -> None:
        while True:
            version = len(await self._store.load(ship.monitor_id))
            with suppress(ConcurrentAppend):  # it was evaluated meanwhile, and changed its state
                return await self._append(
                    ship.monitor_id, ship.owner_id, version, event, _due(ship, utc_now(), active=active)
                )

    async def _append(self, stream: UUID, owner: UUID, version: int, event: Event, *due: KeepSchedule) -> None:
        new = NewEvents(stream_id=stream, owner_id=owner, expected_version=version, events=(event,))
        context = Metadata(correlation_id=self._id(), actor="fleet")
        await self._store.append([new], metadata=context, companions=due)

    def _id(self) -> UUID:
        return UUID(int=self._random.getrandbits(128))


async def each_evaluated(connection: Connection, ships: Sequence[Ship], times: int, *, within_seconds: float) -> None:
    """Return when each of them was evaluated so often from now on; raises `TimeoutError` that tells how many were not."""
    [(newest,)] = await (await connection.execute(_NEWEST)).fetchall()
    ids, late = [ship.monitor_id for ship in ships], len(ships)
    try:
        async with asyncio.timeout(within_seconds):
            while late:
                rows = await (await connection.execute(_COUNTED, (ids, newest))).fetchall()
                made = [row[0] for row in rows]
                late = sum(1 for monitor_id in ids if made.count(str(monitor_id)) < times)
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise TimeoutError(f"{late} of {len(ids)} monitors not evaluated {times} times") from None


def _plan(url: str, every_seconds: int) -> Plan:
    return Plan(
        kind=Kind.CURRENT_STATE,
        facts=(FactSpec(name="price", type=FactType.NUMBER, select=Select(jsonpath="$.price")),),
        condition=f"price < {LOW}.0",
        schedule=Every(seconds=every_seconds),
        sources=(HttpSource(url=url),),
        explanation="Fires when it costs next to nothing.",
    )


def _due(ship: Ship, at: datetime, *, active: bool = True) -> KeepSchedule:
    return KeepSchedule(ship.monitor_id, ship.owner_id, ship.plan.schedule, active=active, due_at=at)
