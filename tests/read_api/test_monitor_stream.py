"""GET /api/v1/monitors/{id}/stream over a real connection: what can be read is told, in order, once, to its owner only."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from socket import create_server
from uuid import UUID

import httpx
import pytest
from litestar import Litestar, Router
from litestar.middleware import DefineMiddleware
from uuid_utils.compat import uuid7

from adapters.cel_condition import CelConditionLanguage
from adapters.cel_explaining import CelExplanations
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_pool import Pool
from bootstrap.roles import serving, url_of
from commands.caller import Principal
from commands.http.bearer import BearerAuthentication
from commands.http.failures import EXCEPTION_HANDLERS
from commands.http.request import BodyKeepingRequest, RequestIds
from domain.log_entry import partition_of
from domain.monitor import MonitorDeleted, MonitorPaused, MonitorRenamed, State
from domain.user import UserErased
from read_api import listener as listening
from read_api import live
from read_api.evaluations import EvaluationReads, EvaluationViews
from read_api.explanations import Explanations
from read_api.listener import RETRY_MS, Listener
from read_api.live import LOOK_NEWS_MAX, LiveMonitors, StreamsExhausted
from read_api.monitor_stream import MonitorStream
from read_api.monitors import MonitorReads, MonitorViews
from read_api.past_monitors import PastMonitors
from tests.conftest import AT
from tests.read_api.conftest import given, nobody_is_erased
from tests.read_api.listening import Listening
from tests.read_api.world import World, minutes, price
from workers.lifecycle import Stop


class ShortTokens:
    """Takes a person's id for their token, with the seconds it is good for behind it if it ends: `<id>+0.5`."""

    def read(self, token: str) -> Principal:
        user_id, _, seconds = token.partition("+")
        expires_at = datetime.now(UTC) + timedelta(seconds=float(seconds)) if seconds else None
        return Principal(user_id=UUID(user_id), roles=frozenset({"member"}), expires_at=expires_at)


def make_live(pool: Pool, **limits: int) -> LiveMonitors:
    return LiveMonitors(pool, now=lambda: datetime.now(UTC), **limits)


@asynccontextmanager
async def served(pool: Pool, hub: LiveMonitors) -> AsyncIterator[httpx.AsyncClient]:
    """The stream and what it is compared with, at a port of this machine."""
    app = Litestar(
        route_handlers=[Router("/api/v1", route_handlers=[MonitorStream, MonitorReads, EvaluationReads])],
        middleware=[
            DefineMiddleware(RequestIds, new_id=uuid7),
            DefineMiddleware(BearerAuthentication, tokens=ShortTokens(), is_erased=nobody_is_erased),
        ],
        dependencies={
            "live_monitors": given(hub),
            "monitor_views": given(MonitorViews(pool)),
            "evaluation_views": given(EvaluationViews(pool)),
            "explanations": given(Explanations(pool, CelExplanations(CelConditionLanguage()))),
            "past_monitors": given(PastMonitors(pool, PostgresEventStore(pool, new_id=uuid7))),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        request_class=BodyKeepingRequest,
        logging_config=None,
    )
    with create_server(("127.0.0.1", 0)) as door:
        async with (
            httpx.AsyncClient(base_url=url_of(door), timeout=20) as client,
            serving(app, door, Stop(), drain=hub.end),
        ):
            yield client


@pytest.fixture
def hub(pool: Pool) -> LiveMonitors:
    return make_live(pool)


@pytest.fixture
async def client(pool: Pool, hub: LiveMonitors) -> AsyncIterator[httpx.AsyncClient]:
    async with served(pool, hub) as opened:
        yield opened


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.002)


def looking() -> list[asyncio.Task[None]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "live monitors"]


async def put_in(hub: LiveMonitors, owner_id: UUID, monitor_id: UUID, since: int | None = None) -> Listener:
    """Somebody who listens without a connection, and is told only by the looks of the test."""
    listener, _ = await hub.listen(owner_id, monitor_id, since=since, expires_at=None)
    return listener


async def paused_hub(pool: Pool, **limits: int) -> LiveMonitors:
    """One that does not look by itself."""
    made = make_live(pool, **limits)
    made._looking = asyncio.create_task(asyncio.sleep(0))
    await made._looking
    return made


def taken(listener: Listener) -> list[bytes]:
    """What the listener was told and now has sent."""
    batch, listener._batch = list(listener._batch), ()
    return batch


async def test_a_stream_begins_with_the_monitor_and_tells_what_happens_as_it_can_be_read(
    world: World, client: httpx.AsyncClient
) -> None:
    ada = await world.person()
    monitor, other = await world.monitor(ada), await world.monitor(ada)
    await world.project()
    person = Listening(client, str(ada))
    async with person.to(monitor) as stream:
        first = await stream.hear("monitor")
        assert first.data == await person.read(f"/monitors/{monitor}")
        assert stream.retry == RETRY_MS
        at = minutes(1)
        evaluation = await world.evaluation(ada, monitor, at, price(49.0, at), after=State.ACTIVE)
        await world.evaluation(ada, other, at)
        await world.append(ada, monitor, MonitorPaused(paused_at=at))
        await world.project()
        told, switched, paused = [await stream.hear(kind) for kind in ("evaluation", "change", "monitor")]
        read = await person.read(f"/monitors/{monitor}/evaluations/{evaluation}")
        assert told.data == read | {"explanation": None}
        assert [switched.data] == await person.read(f"/monitors/{monitor}/changes")
        assert paused.data == await person.read(f"/monitors/{monitor}")
        assert paused.data["status"] == "paused"
        partitions, places = zip(
            *(map(int, heard.id.split(".")) for heard in (first, told, switched, paused)), strict=True
        )
        assert set(partitions) == {partition_of(ada)}
        assert list(places) == sorted(set(places))


async def test_nothing_keeps_a_stream_back_on_its_way(world: World, client: httpx.AsyncClient) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    await world.project()
    async with Listening(client, str(ada)).to(monitor) as stream:
        headers = stream.response.headers
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert (headers["Cache-Control"], headers["X-Accel-Buffering"]) == ("no-store", "no")


async def test_what_the_read_tables_do_not_show_yet_is_not_told(world: World, pool: Pool) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    await world.project()
    hub = await paused_hub(pool)
    listener = await put_in(hub, ada, monitor)
    await world.evaluation(ada, monitor, AT)
    entries = await world.sequence()
    await hub._look()
    assert taken(listener) == []
    await world.apply(entries)
    await hub._look()
    assert len(taken(listener)) == 1


async def test_only_its_owner_may_listen_to_a_monitor(
    world: World, client: httpx.AsyncClient, hub: LiveMonitors
) -> None:
    ada, eve = await world.person(), await world.person("Eve")
    monitor, deleted = await world.monitor(ada), await world.monitor(ada)
    await world.append(ada, deleted, MonitorDeleted(deleted_at=AT))
    await world.project()
    foreign = await Listening(client, str(eve)).refused(monitor, 404)
    missing = await Listening(client, str(eve)).refused(uuid7(), 404)
    assert (foreign["code"], foreign["message"]) == (missing["code"], missing["message"])
    await Listening(client, str(ada)).refused(deleted, 404)
    assert not hub._listeners


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_whoever_comes_back_gets_everything_once_and_in_order(
    world: World, client: httpx.AsyncClient, seed: int
) -> None:
    chance = random.Random(seed)
    ada, ben = await world.person(), await world.person("Ben")
    monitor, others = await world.monitor(ada), await world.monitor(ben)
    await world.project()
    written: list[str] = []

    async def write() -> None:
        for n in range(60):
            written.append(str(await world.evaluation(ada, monitor, minutes(n))))
            await world.evaluation(ben, others, minutes(n))
            if chance.random() < 0.4:
                await world.project()
        await world.append(ada, monitor, MonitorRenamed(name="done", renamed_at=minutes(60)))
        await world.project()

    heard: list[str] = []
    last: str | None = None
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        ended = False
        while not ended:
            patience = chance.randint(1, 9)
            async with Listening(client, str(ada)).to(monitor, since=last) as stream:
                async for event in stream.events():
                    last = event.id
                    heard += [event.data["id"]] if event.kind == "evaluation" else []
                    ended, patience = event.data.get("name") == "done", patience - 1
                    if ended or not patience:
                        break
    assert heard == written


async def test_the_last_that_is_told_of_a_deleted_monitor_is_that_it_is_archived(
    world: World, client: httpx.AsyncClient
) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    await world.project()
    async with Listening(client, str(ada)).to(monitor) as stream:
        await stream.hear("monitor")
        await world.append(ada, monitor, MonitorRenamed(name="Cheap", renamed_at=AT), MonitorDeleted(deleted_at=AT))
        await world.project()
        gone, end = await stream.rest()
    assert (gone.kind, gone.data["status"], gone.data["name"]) == ("monitor", "archived", "Cheap")
    assert (end.kind, end.data) == ("end", {"reason": "deleted"})


async def test_every_stream_of_somebody_who_is_erased_ends(world: World, client: httpx.AsyncClient) -> None:
    ada, ben = await world.person(), await world.person("Ben")
    mine, others = await world.monitor(ada), await world.monitor(ben)
    await world.project()
    async with Listening(client, str(ada)).to(mine) as stream, Listening(client, str(ben)).to(others) as other:
        await stream.hear("monitor")
        await other.hear("monitor")
        await world.append(ada, ada, UserErased(erased_at=AT))
        await world.project()
        assert [(heard.kind, heard.data) for heard in await stream.rest()] == [("end", {"reason": "erased"})]
        await world.evaluation(ben, others, AT)
        await world.project()
        await other.hear("evaluation")


async def test_a_stream_ends_with_its_token_and_another_goes_on_where_it_ended(
    world: World, client: httpx.AsyncClient
) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    await world.project()
    async with Listening(client, f"{ada}+0.3").to(monitor) as stream:
        await stream.hear("monitor")
        *_, end = await stream.rest()
    assert (end.kind, end.data) == ("end", {"reason": "token_expired"})
    evaluation = await world.evaluation(ada, monitor, AT)
    await world.project()
    async with Listening(client, str(ada)).to(monitor, since=end.id) as stream:
        assert (await stream.hear("evaluation")).data["id"] == str(evaluation)
        assert stream.comments == ["resumed"]


async def test_silence_is_broken_by_comments(
    world: World, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "HEARTBEAT_SECONDS", 0.02)
    ada = await world.person()
    monitor = await world.monitor(ada)
    await world.project()
    async with Listening(client, str(ada)).to(monitor) as stream:
        await stream.hear("monitor")
        assert [await stream.comment(), await stream.comment()] == ["still here"] * 2


async def test_a_server_that_stops_lets_every_stream_end_with_a_last_word(
    world: World, pool: Pool, hub: LiveMonitors
) -> None:
    """Without it the server would wait for them, and then cut them off."""
    ada = await world.person()
    monitor = await world.monitor(ada)
    await world.project()
    heard = asyncio.Event()

    async def reason(base_url: httpx.URL) -> str:
        async with (
            httpx.AsyncClient(base_url=base_url, timeout=20) as own,
            Listening(own, str(ada)).to(monitor) as stream,
        ):
            await stream.hear("monitor")
            heard.set()
            *_, end = await stream.rest()
            return f"{end.kind} {end.data['reason']}"

    async with served(pool, hub) as client:
        told = asyncio.create_task(reason(client.base_url))
        await heard.wait()
    assert await told == "end shutdown"
    assert not hub._listeners
    await until(lambda: not looking())


async def test_whoever_goes_away_leaves_nothing_behind(
    world: World, client: httpx.AsyncClient, hub: LiveMonitors
) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    await world.project()
    before = asyncio.all_tasks()
    async with Listening(client, str(ada)).to(monitor) as stream:
        await stream.hear("monitor")
        assert (len(hub._listeners), len(looking())) == (1, 1)
    await until(lambda: not hub._listeners and not looking())
    await until(lambda: asyncio.all_tasks() <= before)


async def test_many_listeners_share_one_task_and_one_look(world: World, pool: Pool) -> None:
    hub = make_live(pool, streams_of_person_max=100)
    ada, ben = await world.person(), await world.person("Ben")
    monitors = {owner: await world.monitor(owner) for owner in (ada, ben)}
    await world.project()
    listeners = [await put_in(hub, owner, monitor) for owner, monitor in monitors.items() for _ in range(25)]
    assert len(looking()) == 1
    hub._ended = True
    await until(lambda: not looking())
    for n in range(10):
        for owner, monitor in monitors.items():
            await world.evaluation(owner, monitor, minutes(n), after=State.ACTIVE)
    await world.project()
    asked = pool.get_stats()["requests_num"]
    await hub._look()
    assert pool.get_stats()["requests_num"] - asked <= 4, "the news, the evaluations, the changes, the monitors"
    assert {len(taken(listener)) for listener in listeners} == {20}


async def test_a_slow_listener_holds_nobody_up_and_nothing_piles_up_for_it(world: World, pool: Pool) -> None:
    hub = await paused_hub(pool)
    ada = await world.person()
    monitor = await world.monitor(ada)
    await world.project()
    slow, quick = await put_in(hub, ada, monitor), await put_in(hub, ada, monitor)
    got: list[bytes] = []
    for n in range(3 * LOOK_NEWS_MAX):
        await world.evaluation(ada, monitor, minutes(n))
        if n % 40 == 39:
            await world.project()
            await hub._look()
            got += taken(quick)
    await world.project()
    while await hub._look() or quick._batch:
        got += taken(quick)
    assert len(got) == 3 * LOOK_NEWS_MAX
    late = taken(slow)
    assert 0 < len(late) <= LOOK_NEWS_MAX
    while await hub._look() or slow._batch:
        late += taken(slow)
    assert late == got


async def test_whoever_is_too_far_behind_is_sent_to_the_history_and_goes_on(world: World, pool: Pool) -> None:
    hub = make_live(pool, replay_places_max=5)
    ada = await world.person()
    monitor = await world.monitor(ada)
    await world.project()
    async with served(pool, hub) as client:
        person = Listening(client, str(ada))
        async with person.to(monitor) as stream:
            first = await stream.hear("monitor")
        for n in range(6):
            await world.evaluation(ada, monitor, minutes(n))
        await world.project()
        async with person.to(monitor, since=first.id) as stream:
            reset = await stream.hear("reset")
            assert f"/api/v1/monitors/{monitor}/history" in reset.data["message"]
            latest = await world.evaluation(ada, monitor, minutes(9))
            await world.project()
            assert (await stream.hear("evaluation")).data["id"] == str(latest)
        partition, place = map(int, reset.id.split("."))
        async with person.to(monitor, since=f"{partition}.{place + 99}") as stream:
            assert (await stream.hear("reset")).id == f"{partition}.{place + 1}"


@pytest.mark.parametrize("since", ["x", "7", "16.1", "-1.1", "1.99999999999999999999", "1.2.3"])
async def test_what_is_no_event_id_is_refused_by_name(world: World, client: httpx.AsyncClient, since: str) -> None:
    ada = await world.person()
    error = await Listening(client, str(ada)).refused(uuid7(), 400, since=since)
    assert (error["code"], error["details"][0]["field"]) == ("VALIDATION_ERROR", "Last-Event-ID")


async def test_an_event_id_of_somebody_elses_stream_is_refused(world: World, client: httpx.AsyncClient) -> None:
    ada = await world.person()
    foreign = f"{(partition_of(ada) + 1) % 16}.1"
    error = await Listening(client, str(ada)).refused(uuid7(), 400, since=foreign)
    assert error["details"][0]["field"] == "Last-Event-ID"


async def test_a_parameter_that_does_not_exist_is_refused(world: World, client: httpx.AsyncClient) -> None:
    ada = await world.person()
    error = await Listening(client, str(ada)).refused(uuid7(), 400, interval="1")
    assert error["details"][0]["field"] == "interval"


async def test_a_person_has_so_many_streams_and_a_closed_one_makes_room(world: World, pool: Pool) -> None:
    hub = make_live(pool, streams_of_person_max=2, streams_max=3)
    ada, ben = await world.person(), await world.person("Ben")
    mine, others = await world.monitor(ada), await world.monitor(ben)
    await world.project()
    async with served(pool, hub) as client:
        person, other = Listening(client, str(ada)), Listening(client, str(ben))
        async with person.to(mine):
            async with person.to(mine):
                error = await person.refused(mine, 429)
                assert (error["code"], error["retry_after"]) == ("STREAM_LIMIT_EXCEEDED", "2")
                async with other.to(others):
                    full = await other.refused(others, 503)
                    assert (full["code"], full["retry_after"]) == ("SERVICE_UNAVAILABLE", "2")
            await until(lambda: len(hub._listeners) == 1)
            async with person.to(mine) as stream:
                await stream.hear("monitor")


async def test_a_database_that_is_away_is_waited_for(
    world: World, pool: Pool, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "FAILURE_PAUSE_SECONDS", 0.01)
    ada = await world.person()
    monitor = await world.monitor(ada)
    await world.project()
    async with Listening(client, str(ada)).to(monitor) as stream:
        await stream.hear("monitor")
        async with pool.connection() as connection:
            await connection.execute("alter table checkpoint rename to mislaid")
        await asyncio.sleep(live.LOOK_SECONDS)
        async with pool.connection() as connection:
            await connection.execute("alter table mislaid rename to checkpoint")
        evaluation = await world.evaluation(ada, monitor, AT)
        await world.project()
        assert (await stream.hear("evaluation")).data["id"] == str(evaluation)


async def test_a_process_that_stops_takes_no_more_listeners(world: World, hub: LiveMonitors) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    await world.project()
    hub.end()
    with pytest.raises(StreamsExhausted):
        await put_in(hub, ada, monitor)
