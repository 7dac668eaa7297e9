"""The notifier: each change sets off what waits for it, once, however often it is seen."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest
import redis.asyncio as redis
from uuid_utils.compat import uuid7

from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_leases import PostgresLeases
from adapters.postgres_operators import PostgresOperators
from adapters.postgres_outbox import PostgresTriggers
from adapters.postgres_parking import PostgresParking
from adapters.redis_log import RedisLog
from commands.event_store import Companion, ConcurrentAppend, EventStore
from domain.action import ActionDeleted
from domain.event import Metadata, NewEvents, StreamEvent
from domain.log_entry import partition_of
from domain.monitor import State
from domain.notification import MailKind, NotificationRequested, notification_id
from domain.trigger import (
    Frequency,
    TriggerCondition,
    TriggerDeleted,
    TriggerDisabled,
    TriggerEnabled,
    TriggerFired,
    TriggerSuppressed,
)
from domain.user import EmailVerificationRequested, EmailVerified, RegistrationRepeated
from tests.conftest import AT
from tests.workers.test_relay import EXPIRE
from tests.workers.world import ADA, Clock, RestlessStop, Ticks, World, plan
from workers.log_reader import LogReader
from workers.notifier import CONSUMER, Notifier
from workers.partitions import RENEWAL_SECONDS, PartitionLeases
from workers.reactor import (
    REST_SECONDS,
    REST_SECONDS_WHILE_WAITING,
    REST_SECONDS_WITHOUT_PARTITIONS,
    TRIES_MAX,
    Checkpoints,
)

FROM_THE_START = "update checkpoint set position = 0, epoch = 0 where consumer = 'notifier'"


class House:
    """A person with a monitor, an action, and notifiers that look after them. Redis is away."""

    def __init__(
        self, world: World, client: redis.Redis, ticks: Ticks, owner: UUID, monitor: UUID, action: UUID
    ) -> None:
        self.world, self.owner, self.monitor, self.action = world, owner, monitor, action
        self._client, self._ticks = client, ticks

    def notifier(
        self,
        holder: str = "one",
        *,
        store: EventStore | None = None,
        checkpoints: Checkpoints | None = None,
        triggers: PostgresTriggers | None = None,
    ) -> Notifier:
        pool = self.world.pool
        return Notifier(
            LogReader(RedisLog(self._client, namespace="t"), self.world.log, monotonic=self._ticks),
            checkpoints or PostgresParking(pool, CONSUMER),
            PartitionLeases(PostgresLeases(pool), consumer=CONSUMER, holder=holder, monotonic=self._ticks),
            store or self.world.store,
            triggers or PostgresTriggers(pool),
            PostgresOperators(pool),
            now=self.world.clock,
        )

    async def react(self, notifier: Notifier | None = None) -> None:
        """Project everything, then handle all of it; a notifier of its own unless one is given."""
        await self.world.project()
        handles = notifier or self.notifier()
        while await handles.step() == 0:
            pass
        if notifier is None:
            await handles._reactor._partitions.let_go()

    async def trigger(
        self,
        condition: TriggerCondition = TriggerCondition.BECOMES_ACTIVE,
        *,
        frequency: Frequency = Frequency.EVERY_TIME,
        cooldown_seconds: int = 0,
        action: UUID | None = None,
    ) -> UUID:
        return await self.world.trigger(
            self.owner,
            self.monitor,
            action or self.action,
            condition=condition,
            frequency=frequency,
            cooldown_seconds=cooldown_seconds,
        )

    async def change(self, before: State = State.INACTIVE, after: State = State.ACTIVE) -> UUID:
        return await self.world.change(self.owner, self.monitor, before, after)

    async def fired(self) -> int:
        return len(await self.world.all(TriggerFired))

    async def reasons(self) -> list[str]:
        return [one.reason for one in await self.world.all(TriggerSuppressed)]

    async def asked(self) -> list[NotificationRequested]:
        return await self.world.all(NotificationRequested)


@pytest.fixture
async def house(world: World, no_redis: redis.Redis, ticks: Ticks) -> House:
    owner = await world.person()
    monitor = await world.monitor(owner, plan())
    return House(world, no_redis, ticks, owner, monitor, await world.action(owner))


async def test_a_change_fires_its_trigger_and_asks_for_a_mail(house: House, clock: Clock) -> None:
    trigger = await house.trigger()
    clock.move(60)
    found = await house.change()
    await house.react()
    [firing] = await house.world.events(trigger, TriggerFired)
    assert (firing.monitor_id, firing.evaluation_id, firing.fired_at) == (house.monitor, found, clock())
    [stream] = await house.world.streams_with(NotificationRequested)
    assert stream == notification_id(firing.firing_id, ADA)
    assert await house.asked() == [
        NotificationRequested(
            kind=MailKind.ALERT,
            to=ADA,
            subject="Vigil: Kettle is now active",
            monitor_id=house.monitor,
            trigger_id=trigger,
            action_id=house.action,
            firing_id=firing.firing_id,
            evaluation_id=found,
            requested_at=clock(),
        )
    ]


async def test_what_follows_a_change_tells_what_caused_it(house: House) -> None:
    trigger = await house.trigger()
    await house.change()
    await house.react()
    cause = (await house.world.store.load(house.monitor))[-1]
    [stream] = await house.world.streams_with(NotificationRequested)
    for effect in ((await house.world.store.load(trigger))[-1], (await house.world.store.load(stream))[0]):
        assert effect.owner_id == house.owner
        assert effect.metadata == Metadata(
            correlation_id=cause.metadata.correlation_id, causation_id=cause.event_id, actor=CONSUMER
        )


async def test_a_change_that_is_handled_twice_is_told_once(house: House) -> None:
    await house.trigger()
    await house.trigger(TriggerCondition.BECOMES_INACTIVE)
    await house.change()
    await house.change(State.ACTIVE, State.INACTIVE)
    await house.react()
    await house.world.execute(FROM_THE_START)
    await house.react()
    assert await house.fired() == 2
    assert len(await house.asked()) == 2


async def test_two_notifiers_that_handle_one_change_at_once_tell_it_once(house: House) -> None:
    one, other = house.notifier("one"), house.notifier("two")
    await house.react(one)
    await house.world.execute(EXPIRE)
    await house.react(other)  # now both believe to own the partitions
    for _ in range(3):
        await house.trigger()
    await house.change()
    await house.world.project()
    await asyncio.gather(one.step(), other.step())
    assert await house.fired() == 3
    assert len(await house.asked()) == 3


async def test_a_trigger_made_just_before_the_change_is_not_missed_while_the_read_tables_lag(house: House) -> None:
    notifier = house.notifier()
    await house.react(notifier)
    await house.trigger()
    await house.change()
    await house.world.sequence()
    handling = asyncio.create_task(notifier.step())
    await asyncio.sleep(0.02)
    assert not handling.done()
    await house.world.project()
    await handling
    assert await house.fired() == 1


async def test_read_tables_that_do_not_come_leave_the_change_unhandled(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.reactor.WAIT_SECONDS_MAX", 0.01)
    notifier = house.notifier()
    await house.react(notifier)
    await house.trigger()
    await house.change()
    await house.world.sequence()
    assert await notifier.step() == REST_SECONDS_WHILE_WAITING
    assert await house.fired() == 0
    await house.react(notifier)
    assert await house.fired() == 1


async def test_a_trigger_made_after_the_change_does_not_fire_for_it(house: House) -> None:
    await house.change()
    await house.trigger()
    await house.react()
    assert await house.fired() == 0
    await house.change()
    await house.react()
    assert await house.fired() == 1


async def test_a_deleted_trigger_and_one_of_another_monitor_stay_silent(house: House) -> None:
    trigger = await house.trigger()
    await house.world.append(house.owner, trigger, TriggerDeleted(deleted_at=AT))
    other = await house.world.monitor(house.owner, plan())
    await house.world.trigger(house.owner, other, house.action)
    await house.change()
    await house.react()
    assert await house.fired() == 0
    assert await house.reasons() == []


async def test_a_trigger_that_only_the_read_tables_know_stays_silent(house: House) -> None:
    trigger = await house.trigger()
    await house.react()
    await house.world.tamper("delete from event where stream_id = %s", trigger)
    await house.change()
    await house.react()
    assert await house.world.streams_with(TriggerSuppressed) == []
    assert await house.fired() == 0


@pytest.mark.parametrize(
    ("before", "after", "waiting_for"),
    [
        (State.UNKNOWN, State.ACTIVE, ["becomes_active"]),
        (State.UNKNOWN, State.INACTIVE, []),
        (State.INACTIVE, State.ACTIVE, ["becomes_active", "state_change"]),
        (State.ACTIVE, State.INACTIVE, ["becomes_inactive", "state_change"]),
        (State.ACTIVE, State.ACTIVE, ["becomes_active"]),  # the condition was met again
    ],
)
async def test_each_trigger_fires_for_the_change_it_waits_for(
    house: House, before: State, after: State, waiting_for: list[str]
) -> None:
    triggers = {await house.trigger(condition): condition for condition in TriggerCondition}
    await house.change(before, after)
    await house.react()
    fired = sorted(str(triggers[stream]) for stream in await house.world.streams_with(TriggerFired))
    assert fired == waiting_for


async def test_a_condition_met_again_is_told_as_active(house: House) -> None:
    await house.trigger()
    await house.change(State.ACTIVE, State.ACTIVE)
    await house.react()
    assert [one.subject for one in await house.asked()] == ["Vigil: Kettle is now active"]


async def test_a_trigger_that_fires_once_fires_once_until_it_is_armed_again(house: House) -> None:
    trigger = await house.trigger(frequency=Frequency.ONCE)
    for _ in range(2):
        await house.change()
        await house.react()
    assert (await house.fired(), await house.reasons()) == (1, ["once_already_fired"])
    await house.world.append(house.owner, trigger, TriggerEnabled(enabled_at=AT))
    await house.change()
    await house.react()
    assert await house.fired() == 2


async def test_a_trigger_that_fires_every_time_fires_every_time(house: House) -> None:
    await house.trigger()
    for _ in range(3):
        await house.change()
    await house.react()
    assert (await house.fired(), await house.reasons()) == (3, [])


async def test_within_its_cool_down_a_trigger_is_suppressed(house: House, clock: Clock) -> None:
    await house.trigger(cooldown_seconds=60)
    for seconds in (0, 59.9, 0.1):
        clock.move(seconds)
        await house.change()
        await house.react()
    assert (await house.fired(), await house.reasons()) == (2, ["cooldown"])


async def test_a_disabled_trigger_is_suppressed(house: House) -> None:
    await house.world.append(house.owner, await house.trigger(), TriggerDisabled(disabled_at=AT))
    await house.change()
    await house.react()
    assert (await house.fired(), await house.reasons(), await house.asked()) == (0, ["disabled"], [])


async def test_a_trigger_whose_action_was_deleted_is_suppressed(house: House) -> None:
    await house.trigger()
    await house.world.append(house.owner, house.action, ActionDeleted(deleted_at=AT))
    await house.change()
    await house.react()
    assert (await house.fired(), await house.reasons(), await house.asked()) == (0, ["action_deleted"], [])


async def test_an_address_that_is_not_verified_is_suppressed(world: World, no_redis: redis.Redis, ticks: Ticks) -> None:
    owner = await world.person(verified=False)
    monitor = await world.monitor(owner, plan())
    house = House(world, no_redis, ticks, owner, monitor, await world.action(owner))
    await house.trigger()
    await house.change()
    await house.react()
    assert (await house.fired(), await house.reasons(), await house.asked()) == (0, ["address_unverified"], [])
    await world.append(owner, owner, EmailVerified(email=ADA, verified_at=AT))
    await house.change()
    await house.react()
    assert await house.fired() == 1


async def test_the_subject_and_the_recipients_are_those_of_the_action(house: House) -> None:
    action = await house.world.action(
        house.owner, "one@example.org", "two@example.org", subject_template="{monitor}! {explanation} ({state})"
    )
    await house.trigger(action=action)
    await house.change()
    await house.react()
    assert {(one.to, one.subject) for one in await house.asked()} == {
        ("one@example.org", "Kettle! Fires when the price is low. (active)"),
        ("two@example.org", "Kettle! Fires when the price is low. (active)"),
    }


async def test_an_address_that_an_action_names_twice_gets_one_mail(house: House) -> None:
    action = await house.world.action(house.owner, ADA, ADA.upper(), ADA)
    await house.trigger(action=action)
    await house.change()
    await house.react()
    assert await house.fired() == 1
    assert [one.to.lower() for one in await house.asked()] == [ADA]


async def test_account_mails_are_asked_for_once_however_often_the_event_is_seen(house: House) -> None:
    token = uuid7()
    await house.world.append(
        house.owner,
        house.owner,
        EmailVerificationRequested(token_id=token, email=ADA, expires_at=AT + timedelta(hours=24)),
        RegistrationRepeated(email=ADA, repeated_at=AT),
    )
    for _ in range(2):
        await house.react()
        await house.world.execute(FROM_THE_START)
    asked = {one.kind: one for one in await house.asked()}
    assert len(await house.asked()) == 2
    assert (asked[MailKind.VERIFY_EMAIL].to, asked[MailKind.VERIFY_EMAIL].token_id) == (ADA, token)
    assert asked[MailKind.VERIFY_EMAIL].expires_at == AT + timedelta(hours=24), (
        "as the link does, however late the mail"
    )
    assert (asked[MailKind.ALREADY_REGISTERED].to, asked[MailKind.ALREADY_REGISTERED].token_id) == (ADA, None)


class Interfered(PostgresEventStore):
    """A store in which somebody else is faster, the first so many times."""

    def __init__(self, world: World, interfere: Callable[[], object], times: int) -> None:
        super().__init__(world.pool, new_id=uuid7)
        self._interfere, self._times = interfere, times

    async def append(
        self, batch: Sequence[NewEvents], *, metadata: Metadata, companions: Sequence[Companion] = ()
    ) -> None:
        if self._times > 0:
            self._times -= 1
            done = self._interfere()
            if asyncio.iscoroutine(done):
                await done
        await super().append(batch, metadata=metadata, companions=companions)


async def test_a_trigger_that_changes_in_the_middle_decides_as_it_is_then(house: House) -> None:
    trigger = await house.trigger()
    await house.change()

    async def disable() -> None:
        await house.world.append(house.owner, trigger, TriggerDisabled(disabled_at=AT))

    await house.react(house.notifier(store=Interfered(house.world, disable, times=1)))
    assert (await house.fired(), await house.reasons(), await house.asked()) == (0, ["disabled"], [])


async def test_a_notifier_that_always_loses_gives_up_and_handles_the_change_again(house: House) -> None:
    trigger = await house.trigger()
    await house.change()

    async def enable() -> None:
        await house.world.append(house.owner, trigger, TriggerEnabled(enabled_at=AT))

    notifier = house.notifier(store=Interfered(house.world, enable, times=5))
    with pytest.raises(ConcurrentAppend):
        await house.react(notifier)
    assert await house.fired() == 0
    await house.react(notifier)
    assert await house.fired() == 1


async def test_events_that_concern_nobody_only_move_the_checkpoint(house: House) -> None:
    await house.world.notes(house.owner, 3)
    entries = await house.world.sequence()
    await house.notifier().react(entries[-1])
    await house.react()
    assert await house.asked() == []
    head = sum(await house.world.log.places())
    assert await house.world.value("select sum(position) from checkpoint where consumer = 'notifier'") == head


async def test_a_checkpoint_that_somebody_else_moved_is_read_again(house: House) -> None:
    notifier = house.notifier()
    await house.react(notifier)
    await house.world.notes(house.owner, 2)
    await house.world.project()
    await house.world.execute(
        "update checkpoint set position = position + 2 where position > 0 and consumer = %s", CONSUMER
    )
    assert await notifier.step() == 0
    assert await notifier.step() == REST_SECONDS
    await house.trigger()
    await house.change()
    await house.react(notifier)
    assert await house.fired() == 1


class AwayAtFirst(PostgresParking):
    """Checkpoints whose database does not answer the first question."""

    asked = 0

    async def places(self, partitions: Sequence[int]) -> dict[int, int]:
        self.asked += 1
        if self.asked == 1:
            raise ConnectionError
        return await super().places(partitions)


async def test_a_notifier_that_could_not_read_its_places_reads_them_later(house: House) -> None:
    await house.trigger()
    await house.change()
    notifier = house.notifier(checkpoints=AwayAtFirst(house.world.pool, CONSUMER))
    with pytest.raises(ConnectionError):
        await house.react(notifier)
    await house.react(notifier)
    assert await house.fired() == 1


async def test_a_notifier_without_partitions_rests(house: House, ticks: Ticks) -> None:
    one, other = house.notifier("one"), house.notifier("two")
    await one.step()
    assert await other.step() == REST_SECONDS_WITHOUT_PARTITIONS
    await house.world.execute(EXPIRE)
    ticks.move(RENEWAL_SECONDS)
    await other.step()
    assert await one.step() == REST_SECONDS_WITHOUT_PARTITIONS


async def test_a_notifier_that_stops_hands_its_partitions_over_at_once(house: House) -> None:
    await house.notifier("one").run(RestlessStop(rests_max=1))
    await house.trigger()
    await house.change()
    await house.react(house.notifier("two"))
    assert await house.fired() == 1


class Poisoned(PostgresEventStore):
    """A store in which a stream cannot be read, for this reason."""

    def __init__(self, world: World, stream: UUID, error: Exception) -> None:
        super().__init__(world.pool, new_id=uuid7)
        self._stream = stream
        self.error: Exception | None = error
        self.tries = 0

    async def load(self, stream_id: UUID, *, after_version: int = 0) -> list[StreamEvent]:
        if stream_id == self._stream and self.error is not None:
            self.tries += 1
            raise self.error
        return await super().load(stream_id, after_version=after_version)


async def parked(house: House) -> list[tuple[UUID, str]]:
    """The streams of what is parked, and why."""
    async with house.world.pool.connection() as connection:
        query = "select stream_id, error from parked where consumer = 'notifier' order by partition, place"
        return [(stream, error) for stream, error in await (await connection.execute(query)).fetchall()]


async def at_the_end(house: House) -> bool:
    """Whether the checkpoints are at the end of the log."""
    head = sum(await house.world.log.places())
    return await house.world.value("select sum(position) from checkpoint where consumer = 'notifier'") == head


async def test_a_change_that_cannot_be_handled_is_parked_and_everything_else_goes_on(house: House) -> None:
    poisoned_trigger = await house.trigger()
    other_monitor = await house.world.monitor(house.owner, plan())
    await house.world.trigger(house.owner, other_monitor, house.action)
    store = Poisoned(house.world, poisoned_trigger, ValueError("spoilt\0 data"))
    notifier = house.notifier(store=store)
    await house.change()
    await house.world.change(house.owner, other_monitor)
    await house.react(notifier)
    assert await parked(house) == [(house.monitor, "ValueError: spoilt data")]
    assert store.tries == TRIES_MAX
    assert await house.fired() == 1
    assert await at_the_end(house)


async def test_later_changes_of_a_parked_stream_are_parked_behind_it(house: House) -> None:
    trigger = await house.trigger()
    store = Poisoned(house.world, trigger, ValueError("spoilt"))
    await house.change()
    await house.change()
    await house.react(house.notifier(store=store))
    store.error = None
    await house.change(State.ACTIVE, State.INACTIVE)
    await house.react(house.notifier(store=store))
    assert [error for _, error in await parked(house)] == ["ValueError: spoilt", "behind", "behind"]
    assert await house.fired() == 0
    assert await at_the_end(house)


async def test_a_parked_change_can_be_handled_later(house: House) -> None:
    trigger = await house.trigger()
    store = Poisoned(house.world, trigger, ValueError("spoilt"))
    notifier = house.notifier(store=store)
    await house.change()
    await house.react(notifier)
    store.error = None
    place = await house.world.value("select place from parked where consumer = 'notifier'")
    partition = await house.world.value("select partition from parked where consumer = 'notifier'")
    assert isinstance(place, int)
    assert isinstance(partition, int)
    [entry] = await house.world.log.read(partition, after_place=place - 1, limit=1)
    for _ in range(2):
        await notifier.react(entry)
    assert await house.fired() == 1


class RetriedMeanwhile(PostgresParking):
    """Somebody takes out what is parked when the notifier has just seen that it is."""

    async def held_back(self, stream_ids: Collection[UUID]) -> set[UUID]:
        held = await super().held_back(stream_ids)
        async with self._pool.connection() as connection:
            await connection.execute("delete from parked where consumer = 'notifier'")
        return held


async def test_nothing_is_parked_behind_what_was_taken_out_meanwhile(house: House) -> None:
    store = Poisoned(house.world, await house.trigger(), ValueError("spoilt"))
    await house.change()
    await house.react(house.notifier(store=store))
    assert len(await parked(house)) == 1
    store.error = None
    await house.change(State.ACTIVE, State.INACTIVE)
    await house.change()
    await house.react(house.notifier(checkpoints=RetriedMeanwhile(house.world.pool, CONSUMER)))
    assert await parked(house) == []
    assert await house.fired() == 1
    assert await at_the_end(house)


async def test_an_event_that_this_program_does_not_know_is_parked(house: House) -> None:
    await house.change()
    await house.world.project()
    await house.world.tamper("update event set type_version = 9 where type = 'monitor.state_changed'")
    await house.react()
    [(stream, error)] = await parked(house)
    assert stream == house.monitor
    assert error.startswith("UnknownEvent: ")


@pytest.mark.parametrize("error", [ConnectionError(), psycopg.OperationalError(), psycopg.InterfaceError()], ids=repr)
async def test_what_passes_by_itself_parks_nothing(house: House, error: Exception) -> None:
    store = Poisoned(house.world, await house.trigger(), error)
    await house.change()
    notifier = house.notifier(store=store)
    for _ in range(TRIES_MAX + 1):
        with pytest.raises(type(error)):
            await house.react(notifier)
    assert await parked(house) == []
    store.error = None
    await house.react(notifier)
    assert await house.fired() == 1


async def test_what_was_handled_before_an_outage_is_not_handled_again(house: House) -> None:
    other_monitor = await house.world.monitor(house.owner, plan())
    other_trigger = await house.world.trigger(house.owner, other_monitor, house.action)
    await house.trigger()
    await house.change()
    await house.world.change(house.owner, other_monitor)
    store = Poisoned(house.world, other_trigger, ConnectionError())
    notifier = house.notifier(store=store)
    with pytest.raises(ConnectionError):
        await house.react(notifier)
    assert await house.fired() == 1
    assert not await at_the_end(house)
    assert max(notifier._reactor._partitions.places.values()) > 0


async def test_a_notifier_that_lost_the_checkpoint_parks_nothing(house: House) -> None:
    store = Poisoned(house.world, await house.trigger(), ValueError("spoilt"))
    notifier = house.notifier(store=store)
    await house.react(notifier)
    await house.change()
    await house.world.project()
    await house.world.execute("update checkpoint set epoch = 99 where consumer = %s", CONSUMER)
    await notifier.step()
    assert store.tries == TRIES_MAX
    assert await parked(house) == []


class SlowTriggers(PostgresTriggers):
    """Waiting for read tables takes so long that the leases must be renewed."""

    def __init__(self, world: World, ticks: Ticks) -> None:
        super().__init__(world.pool)
        self._ticks = ticks

    async def of_monitor(self, monitor_id: UUID, *, partition: int, place: int) -> list[UUID] | None:
        found = await super().of_monitor(monitor_id, partition=partition, place=place)
        if found is None:
            self._ticks.move(RENEWAL_SECONDS)
        return found


async def test_read_tables_that_are_behind_in_one_partition_do_not_stop_the_others(
    house: House, ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.reactor.WAIT_SECONDS_MAX", 0.01)
    neighbours = [await house.world.person(email=f"bob{n}@example.org") for n in range(20)]
    neighbour = next(person for person in neighbours if partition_of(person) != partition_of(house.owner))
    monitors = {house.owner: house.monitor, neighbour: await house.world.monitor(neighbour, plan())}
    actions = {house.owner: house.action, neighbour: await house.world.action(neighbour)}
    for owner, monitor in monitors.items():
        await house.world.trigger(owner, monitor, actions[owner])
    notifier = house.notifier(triggers=SlowTriggers(house.world, ticks))
    await house.react(notifier)
    in_order = list(notifier._reactor._partitions.places)
    behind, other = sorted(monitors, key=lambda owner: in_order.index(partition_of(owner)))
    for _ in range(4):
        for owner, monitor in monitors.items():
            await house.world.change(owner, monitor)
    await house.world.project()
    move = "update checkpoint set position = position + %s where consumer = 'core' and partition = %s"
    await house.world.execute(move, -12, partition_of(behind))
    for _ in range(2):
        assert await notifier.step() == REST_SECONDS_WHILE_WAITING
    assert [
        (await house.world.store.load(stream))[0].owner_id for stream in await house.world.streams_with(TriggerFired)
    ] == [other] * 4
    await house.world.execute(move, 12, partition_of(behind))
    await house.react(notifier)
    assert await house.fired() == 8
    assert await at_the_end(house)


async def test_notifiers_share_the_partitions(house: House, ticks: Ticks) -> None:
    notifiers = [house.notifier(str(number)) for number in range(3)]
    for _ in range(3):
        for notifier in notifiers:
            await notifier.step()
        ticks.move(RENEWAL_SECONDS)
    assert sorted(len(notifier._reactor._partitions.epochs) for notifier in notifiers) == [5, 5, 6]
    await house.trigger()
    await house.change()
    await house.world.project()
    for notifier in notifiers:
        await notifier.step()
    assert await house.fired() == 1
