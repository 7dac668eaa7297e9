"""The notifier: each change sets off what waits for it, once, however often it is seen."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID

import pytest
import redis.asyncio as redis
from uuid_utils.compat import uuid7

from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_leases import PostgresLeases
from adapters.postgres_outbox import PostgresTriggers
from adapters.postgres_read_tables import PostgresCheckpoints
from adapters.redis_log import RedisLog
from commands.event_store import Companion, ConcurrentAppend, EventStore
from domain.action import ActionDeleted
from domain.event import Metadata, NewEvents
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
from workers.notifier import (
    CONSUMER,
    REST_SECONDS,
    REST_SECONDS_WITHOUT_PARTITIONS,
    Checkpoints,
    Notifier,
    ReadTablesBehind,
)
from workers.partitions import RENEWAL_SECONDS, PartitionLeases

FROM_THE_START = "update checkpoint set position = 0, epoch = 0 where consumer = 'notifier'"


class House:
    """A person with a monitor, an action, and notifiers that look after them. Redis is away."""

    def __init__(
        self, world: World, client: redis.Redis, ticks: Ticks, owner: UUID, monitor: UUID, action: UUID
    ) -> None:
        self.world, self.owner, self.monitor, self.action = world, owner, monitor, action
        self._client, self._ticks = client, ticks

    def notifier(
        self, holder: str = "one", *, store: EventStore | None = None, checkpoints: Checkpoints | None = None
    ) -> Notifier:
        pool = self.world.pool
        return Notifier(
            LogReader(RedisLog(self._client, namespace="t"), self.world.log, monotonic=self._ticks),
            checkpoints or PostgresCheckpoints(pool, CONSUMER),
            PartitionLeases(PostgresLeases(pool), consumer=CONSUMER, holder=holder, monotonic=self._ticks),
            store or self.world.store,
            PostgresTriggers(pool),
            now=self.world.clock,
        )

    async def react(self, notifier: Notifier | None = None) -> None:
        """Project everything, then handle all of it; a notifier of its own unless one is given."""
        await self.world.project()
        handles = notifier or self.notifier()
        while await handles.step() == 0:
            pass
        if notifier is None:
            await handles._partitions.let_go()

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
    monkeypatch.setattr("workers.notifier.TRIGGERS_WAIT_SECONDS_MAX", 0.01)
    notifier = house.notifier()
    await house.react(notifier)
    await house.trigger()
    await house.change()
    await house.world.sequence()
    with pytest.raises(ReadTablesBehind):
        await notifier.step()
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
    await house.world.execute("delete from event where stream_id = %s", trigger)
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
    await house.notifier()._react(entries[-1])
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


class AwayAtFirst(PostgresCheckpoints):
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
