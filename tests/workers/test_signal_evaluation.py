"""Signals, from the sender to the verdict: each is evaluated, in the order they came, and what was said in them is in no
table of evidence."""

import itertools
import json
from datetime import timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace
from standardwebhooks.webhooks import Webhook
from uuid_utils.compat import uuid7

from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.json_schemas import JsonSchemas
from commands.caller import Caller
from commands.event_store import DropSchedule, KeepSchedule, KeepSignalSecret
from commands.shell import Shell
from commands.signal_receiving import Received, SignalReceiver
from commands.signal_signature import SignatureRefused, new_secret
from commands.signals import SignalSourceCommands
from domain.evaluation import EvaluationCompleted, EvaluationRequested, Verdict
from domain.fact import FactSpec, FactType, Select
from domain.monitor import MonitorDeleted, MonitorPaused, State
from domain.plan import Fires, Kind, Plan
from domain.schedule import Every
from domain.signal import SignalReceived
from domain.signal_source import SignalSourceCreated, Terms
from domain.source import SignalSource
from tests.workers.world import Clock, Page, World
from workers.scheduler import LOST_AFTER

DEGREES = FactSpec(name="temperature", type=FactType.NUMBER, select=Select(jsonpath="$.temperature"))


class NoPace:
    """Everything is admitted: pacing is tested elsewhere."""

    async def take(self, _key: str, *, per_second: float, burst: int) -> float:
        return 0.0


class Station:
    """A person, a signal source of theirs, and whoever sends there."""

    def __init__(self, world: World, fetcher: AiohttpFetcher, owner_id: UUID, source_id: UUID, secret: str) -> None:
        self.world, self.owner_id, self.source_id, self.secret = world, owner_id, source_id, secret
        self.evaluator = world.evaluator(fetcher)
        shell = Shell(world.store, now=world.clock, new_id=uuid7)
        self.receiver = SignalReceiver(shell=shell, kept=world.signals, schemas=JsonSchemas(), pace=NoPace())
        self._numbers = itertools.count(1)

    async def sends(self, content: object, *, webhook_id: str | None = None) -> Received:
        body = json.dumps(content).encode()
        webhook_id = webhook_id or f"msg {next(self._numbers)}"
        at = self.world.clock()
        headers = {
            "webhook-id": webhook_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Webhook(self.secret).sign(webhook_id, at, body.decode()),
        }
        return await self.receiver.receive(self.source_id, headers, body, is_json=True, correlation_id=uuid7())

    async def monitor(self, of: Plan | None = None) -> UUID:
        """A monitor of the signals that no slot disturbs."""
        rest = self.world.clock() + timedelta(days=300)
        return await self.world.monitor(self.owner_id, of or self.plan(), due_at=rest)

    def plan(self) -> Plan:
        return Plan(
            kind=Kind.CURRENT_STATE,
            facts=(DEGREES,),
            condition="temperature > 30.0",
            schedule=Every(seconds=300),
            sources=(SignalSource(id=self.source_id),),
            explanation="Fires when it is hot.",
        )

    async def evaluate_all(self) -> list[EvaluationCompleted]:
        """What the scheduler hands out and the evaluator makes of it, until nothing is left."""
        done: list[EvaluationCompleted] = []
        while jobs := await self.world.schedule.claim(now=self.world.clock(), lost_after=LOST_AFTER, slots_max=100):
            for job in jobs:
                await self.evaluator.evaluate(job)
                await self.world.project()
                done.append(await self.world.verdict(job))
        return done


@pytest.fixture
async def station(world: World, fetcher: AiohttpFetcher) -> Station:
    owner_id, source_id, secret_id, secret = await world.person(), uuid7(), uuid7(), new_secret()
    now = world.clock()
    created = SignalSourceCreated(name="Greenhouse", secret_id=secret_id, created_at=now)
    keep = KeepSignalSecret(secret_id, source_id, owner_id, secret.encode(), now, now)
    await world.append(owner_id, source_id, created, companions=[keep])
    return Station(world, fetcher, owner_id, source_id, secret)


async def test_each_of_many_signals_is_evaluated_in_order_and_a_spike_in_the_middle_is_not_missed(
    station: Station, clock: Clock
) -> None:
    monitor = await station.monitor()
    for degrees in (20, 21, 35, 22, 23):
        await station.sends({"temperature": degrees})
        clock.move(0.01)
    done = await station.evaluate_all()
    assert [completed.inputs["temperature"] for completed in done] == [20, 21, 35, 22, 23]
    assert [completed.verdict for completed in done] == [
        *(Verdict.NOT_MET, Verdict.NOT_MET, Verdict.MET, Verdict.NOT_MET, Verdict.NOT_MET)
    ]
    assert [completed.state_after for completed in done][2:4] == [State.ACTIVE, State.INACTIVE]
    assert (await station.world.state(monitor)).state is State.INACTIVE


async def test_history_is_that_of_the_signals_though_they_are_evaluated_later(station: Station, clock: Clock) -> None:
    changed = replace(
        station.plan(), condition="changed(temperature)", kind=Kind.HISTORICAL_CHANGE, fires=Fires.EACH_TIME
    )
    await station.monitor(changed)
    came = []
    for degrees in (20, 20, 21, 21, 20):
        clock.move(1)
        came.append(clock())
        await station.sends({"temperature": degrees})
    clock.move(60)
    done = await station.evaluate_all()
    assert [completed.verdict is Verdict.MET for completed in done] == [False, False, True, False, True]
    assert [completed.evidence[0].fetched_at for completed in done] == came
    assert {completed.evidence[0].url for completed in done} == {f"signal:{station.source_id}"}


async def test_a_signal_that_comes_again_asks_for_nothing(station: Station) -> None:
    await station.monitor()
    first = await station.sends({"temperature": 35}, webhook_id="one")
    again = await station.sends({"temperature": 35}, webhook_id="one")
    assert (again.id, again.event, again.again) == (first.id, first.event, True)
    assert len(await station.world.streams_with(SignalReceived)) == 1
    assert len(await station.world.streams_with(EvaluationRequested)) == 1
    assert len(await station.evaluate_all()) == 1
    await station.sends({"temperature": 35}, webhook_id="one")
    assert await station.evaluate_all() == []


async def test_a_slot_reads_the_last_signal_and_none_at_all_is_inconclusive(station: Station, clock: Clock) -> None:
    monitor = await station.world.monitor(station.owner_id, station.plan())
    (none,) = await station.evaluate_all()
    assert (none.verdict, none.state_after, none.evidence[0].hash) == (Verdict.INCONCLUSIVE, State.UNKNOWN, None)
    await station.sends({"temperature": 10})
    await station.sends({"temperature": 35})
    assert len(await station.evaluate_all()) == 2
    clock.at = await station.world.due_at(monitor)
    clock.move(100)
    (last,) = await station.evaluate_all()
    assert (last.verdict, last.inputs["temperature"]) == (Verdict.MET, 35)


async def test_a_signal_of_one_source_is_judged_with_the_last_of_another_and_with_pages(
    station: Station, world: World, page: Page, fetcher: AiohttpFetcher
) -> None:
    other_id, secret_id, secret = uuid7(), uuid7(), new_secret()
    keep = KeepSignalSecret(secret_id, other_id, station.owner_id, secret.encode(), world.clock(), world.clock())
    created = SignalSourceCreated(name="Cellar", secret_id=secret_id, created_at=world.clock())
    await world.append(station.owner_id, other_id, created, companions=[keep])
    other = Station(world, fetcher, station.owner_id, other_id, secret)
    humidity = FactSpec(name="humidity", type=FactType.NUMBER, select=Select(jsonpath="$.humidity"))
    await other.sends({"humidity": 80})
    both = replace(
        station.plan(),
        condition="temperature > 30.0 && humidity > 70.0",
        facts=(DEGREES, humidity),
        sources=(SignalSource(id=station.source_id), SignalSource(id=other_id)),
    )
    monitor = await station.monitor(both)
    await station.sends({"temperature": 35})
    await other.sends({"humidity": 60})
    first, second = await station.evaluate_all()
    assert (first.inputs["temperature"], second.inputs["humidity"]) == (35, 60)
    assert second.verdict is Verdict.NOT_MET
    assert (await world.state(monitor)).state is State.INACTIVE


async def test_what_was_sent_is_not_kept_as_evidence(station: Station) -> None:
    await station.monitor()
    await station.sends({"temperature": 35, "note": "in the garden"})
    assert len(await station.evaluate_all()) == 1
    assert await station.world.value("select count(*) from evidence") == 0
    assert await station.world.value("select count(*) from source_memory") == 0


async def test_a_monitor_that_is_paused_or_deleted_watches_no_signals(station: Station, world: World) -> None:
    paused, deleted = await station.monitor(), await station.monitor()
    rest = KeepSchedule(
        paused,
        station.owner_id,
        station.plan().schedule,
        active=False,
        due_at=world.clock(),
        signals=(station.source_id,),
    )
    await world.append(station.owner_id, paused, MonitorPaused(paused_at=world.clock()), companions=[rest])
    await world.append(
        station.owner_id, deleted, MonitorDeleted(deleted_at=world.clock()), companions=[DropSchedule(deleted)]
    )
    assert (await station.sends({"temperature": 35})).event.evaluations == ()


async def test_a_source_that_is_deleted_while_a_signal_comes_takes_it_not(station: Station, world: World) -> None:
    commands = SignalSourceCommands(
        shell=Shell(world.store, now=world.clock, new_id=uuid7), kept=world.signals, schemas=JsonSchemas()
    )
    caller = Caller(user_id=station.owner_id, roles=frozenset(), correlation_id=uuid7())
    open_source = world.signals.open_source

    class Deleting:
        async def __call__(self, source_id: UUID, *, now: object) -> object:
            found = await open_source(source_id, now=world.clock())
            await commands.delete(caller, source_id, if_version=None)
            return found

    world.signals.open_source = Deleting()  # type: ignore[method-assign, assignment]  # somebody is faster
    with pytest.raises(SignatureRefused):
        await station.sends({"temperature": 35})
    assert await world.streams_with(SignalReceived) == []


async def test_terms_that_stay_the_same_need_no_second_look(station: Station, world: World) -> None:
    commands = SignalSourceCommands(
        shell=Shell(world.store, now=world.clock, new_id=uuid7), kept=world.signals, schemas=JsonSchemas()
    )
    caller = Caller(user_id=station.owner_id, roles=frozenset(), correlation_id=uuid7())
    written = await commands.revise(caller, station.source_id, lambda present: present, if_version=None)
    assert (written.version, written.events) == (1, ())
    written = await commands.revise(caller, station.source_id, lambda _: Terms("Glasshouse"), if_version=1)
    assert written.version == 2
