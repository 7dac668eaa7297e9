"""The load: people who create, change and read things while their shops change prices, and a writer of bulk.

Everything it does is decided by one seeded source of chance.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any
from uuid import UUID

from commands.event_store import EventStore
from domain import action, user
from domain.action import ActionRevised, EmailAction
from domain.event import Event, Metadata, NewEvents
from faults.ledger import Flip, Ledger, Sent
from faults.people import HIGH, LOW, PATIENCE_SECONDS, Person
from faults.world import World

THRESHOLD = (LOW + HIGH) // 2
LOOK_SECONDS = 0.15


@dataclass
class Watcher:
    """A person with a monitor that reads their shop every second and mails them when it becomes active, and one that hears
    what their device says."""

    person: Person
    shop: str
    monitor_id: str = ""
    action_id: str = ""
    source_id: str = ""
    secret: str = ""
    actions: list[tuple[str, int]] = field(default_factory=list)


class Load:
    """Everybody at work. `run` goes on until it is asked to stop and every price that fell was seen to have fallen."""

    def __init__(self, people: Sequence[Person], world: World, ledger: Ledger, random: Random) -> None:
        self._watchers = [Watcher(person, f"shop-of-{person.name}") for person in people]
        self._world, self._ledger, self._random = world, ledger, random
        self.flipping = True

    async def set_up(self) -> None:
        """Everybody has an account, a monitor, an action and a trigger; who has them already keeps them."""
        await asyncio.gather(*(self._settle(watcher) for watcher in self._watchers))

    async def run(self, stop: asyncio.Event) -> None:
        """Work until asked to stop, then finish what was begun."""
        async with asyncio.TaskGroup() as group:
            for watcher in self._watchers:
                group.create_task(self._write(watcher, stop))
                group.create_task(self._signal(watcher, stop))
                if self.flipping:
                    group.create_task(self._flip(watcher, stop))

    async def pause(self) -> None:
        """No monitor is due any more."""
        await asyncio.gather(*(self._switch(watcher, "pause") for watcher in self._watchers))

    async def resume(self) -> None:
        """All monitors are due again."""
        await asyncio.gather(*(self._switch(watcher, "resume") for watcher in self._watchers))

    async def _settle(self, watcher: Watcher) -> None:
        person = watcher.person
        if watcher.monitor_id:
            return
        await person.sign_up()
        self._world.set_price(watcher.shop, HIGH)
        wish = {
            "prompt": "Tell me when the price is low",
            "name": (name := person.marker()),
            "sources": [{"type": "http", "url": self._world.shop_url(watcher.shop)}],
            "facts": [{"name": "price", "type": "number", "select": {"jsonpath": "$.price"}}],
            "condition": f"price < {THRESHOLD}.0",
            "schedule": {"every": "PT1S"},
        }
        watcher.monitor_id = str((await person.command("POST", "/monitors", wish, name)).stream_id)
        mailing = {"type": "email", "name": (name := person.marker())}
        watcher.action_id = str((await person.command("POST", "/actions", mailing, name)).stream_id)
        link = {
            "monitor_id": watcher.monitor_id,
            "action_id": watcher.action_id,
            "name": (name := person.marker()),
            "condition": "becomes_active",
            "frequency": "every_time",
        }
        await person.command("POST", "/triggers", link, name)
        device = await person.command("POST", "/signal-sources", {"name": (name := person.marker())}, name)
        watcher.source_id, watcher.secret = str(device.stream_id), device.secret
        self._ledger.secrets[device.secret] = f"the signal secret of {person.name}"
        hearing = {
            "prompt": "Tell me when it is hot",
            "name": (name := person.marker()),
            "sources": [{"type": "signal", "id": watcher.source_id}],
            "facts": [{"name": "temperature", "type": "number"}],
            "condition": "temperature > 1000000.0",
            "schedule": {"every": "PT1H"},
        }
        await person.command("POST", "/monitors", hearing, name)
        await self._state(watcher, "inactive")

    async def _signal(self, watcher: Watcher, stop: asyncio.Event) -> None:
        """What the device says, one thing after the other."""
        while not stop.is_set():
            number = len(self._ledger.signals) + 1
            sent = Sent(watcher.person.name, f"{watcher.person.name}-{number}", number)
            await watcher.person.send_signal(watcher.source_id, watcher.secret, sent)
            await asyncio.sleep(self._random.uniform(0.1, 0.5))

    async def _switch(self, watcher: Watcher, verb: str) -> None:
        person = watcher.person
        await person.command("POST", f"/monitors/{watcher.monitor_id}/{verb}", None, person.marker())

    async def _write(self, watcher: Watcher, stop: asyncio.Event) -> None:
        """Things created, renamed and read back, one after the other."""
        person, random = watcher.person, self._random
        while not stop.is_set():
            match random.choice(("create", "rename", "rename", "rename_monitor", "evaluate")):
                case "rename" if watcher.actions:
                    await self._rename(watcher, random.randrange(len(watcher.actions)))
                case "rename_monitor":
                    path, name = f"/monitors/{watcher.monitor_id}", person.marker()
                    await person.read_back(await person.command("PATCH", path, {"name": name}, name), path)
                case "evaluate":
                    path, name = f"/monitors/{watcher.monitor_id}/evaluate", person.marker()
                    await person.command("POST", path, None, name)
                case _:
                    body: dict[str, Any] = {"type": "email", "name": (name := person.marker())}
                    command = await person.command("POST", "/actions", body, name)
                    watcher.actions.append((str(command.stream_id), command.version or 1))
                    await person.read_back(command, f"/actions/{command.stream_id}")
            await asyncio.sleep(random.uniform(0.05, 0.3))

    async def _rename(self, watcher: Watcher, number: int) -> None:
        person, (action_id, version) = watcher.person, watcher.actions[number]
        path, name = f"/actions/{action_id}", person.marker()
        if_match = version if self._random.random() < 0.5 else None
        command = await person.command("PUT", path, {"type": "email", "name": name}, name, if_match=if_match)
        await person.read_back(command, path)
        watcher.actions[number] = action_id, command.version or version

    async def _flip(self, watcher: Watcher, stop: asyncio.Event) -> None:
        """The price falls until that is seen, rises until that is seen, and again."""
        while not stop.is_set():
            flip = Flip(watcher.person.name, watcher.monitor_id, LOW + len(self._ledger.flips) + 1)
            self._ledger.flips.append(flip)
            self._world.set_price(watcher.shop, flip.price)
            await self._state(watcher, "active")
            flip.seen = True
            self._world.set_price(watcher.shop, HIGH)
            await self._state(watcher, "inactive")

    async def _state(self, watcher: Watcher, wanted: str) -> None:
        """Return when the API tells that the monitor is in this state; raises `TimeoutError`."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                status, answer = await watcher.person.get(f"/monitors/{watcher.monitor_id}")
                if status == 200 and answer["data"]["state"] == wanted:
                    return
                await asyncio.sleep(LOOK_SECONDS)


class Bulk:
    """Appends straight to the store, many events in little time, in streams of people nobody mails to."""

    def __init__(self, store: EventStore, ledger: Ledger, random: Random, *, now: datetime) -> None:
        self._store, self._ledger, self._random, self._now = store, ledger, random, now
        self._versions: dict[tuple[UUID, UUID], int] = {}
        self.people: list[UUID] = []

    async def append(self, events: int) -> None:
        """Append about so many events, by four writers at once."""
        while len(self.people) < 4:
            await self._person()
        shares = [self.people[n::4] for n in range(4)]
        await asyncio.gather(*(self._write(share, events // 4) for share in shares))

    async def _person(self) -> None:
        owner = self._id()
        registered = user.register(
            email=f"{owner.hex}@bulk.example", name="Bulk", timezone="UTC", token_id=self._id(), now=self._now
        )[:1]
        await self._append([self._new(owner, owner, registered)])
        self.people.append(owner)

    async def _write(self, owners: Sequence[UUID], events: int) -> None:
        written = 0
        while written < events:
            owner = self._random.choice(owners)
            batch = [self._change(owner) for _ in range(self._random.randint(1, 6))]
            distinct = {new.stream_id: new for new in batch}
            await self._append(list(distinct.values()))
            written += sum(len(new.events) for new in distinct.values())

    def _change(self, owner: UUID) -> NewEvents:
        known = [stream for person, stream in self._versions if person == owner and stream != owner]
        if not known or self._random.random() < 0.1:
            stream = self._id()
            made = action.create(name="bulk", config=EmailAction(), own_address="b@bulk.example", now=self._now)
            return self._new(owner, stream, made)
        stream = self._random.choice(known)
        number = self._random.getrandbits(30)
        return self._new(
            owner, stream, [ActionRevised(name=f"bulk {number}", config=EmailAction(), revised_at=self._now)]
        )

    def _new(self, owner: UUID, stream: UUID, events: Sequence[Event]) -> NewEvents:
        version = self._versions.get((owner, stream), 0)
        return NewEvents(stream_id=stream, owner_id=owner, expected_version=version, events=tuple(events))

    async def _append(self, batch: Sequence[NewEvents]) -> None:
        await self._store.append(batch, metadata=Metadata(correlation_id=self._id(), actor="bulk"))
        for new in batch:
            last = new.expected_version + len(new.events)
            self._versions[new.owner_id, new.stream_id] = last
            self._ledger.appended.append((str(new.stream_id), last))

    def _id(self) -> UUID:
        return UUID(int=self._random.getrandbits(128))
