"""Contents of sources in a real PostgreSQL: one copy for each hash, let go by policy, read again when they are missing."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import psycopg
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.fact_reader import FactReader
from adapters.network_guard import NetworkGuard
from adapters.postgres_companions import write_companions
from adapters.postgres_evidence import PostgresEvidence
from adapters.postgres_history import PostgresHistory
from adapters.postgres_leases import PostgresLeases
from adapters.postgres_pool import Pool, open_pool
from commands.answer_reading import AnswerReader
from commands.event_store import KeepEvidence, KeepSchedule
from commands.looking import Looker
from commands.postponed import Postponed
from domain.evidence import Content, Document, FetchOutcome, LetGo, Memory, Validators
from domain.plan import Plan
from domain.schedule import Every
from domain.source import HttpSource, Source
from tests.conftest import AT
from tests.workers.world import plan
from workers.retention import BATCH_CONTENTS_MAX, GRACE, Retention

DAY = timedelta(days=1)
MONITOR, OTHER = UUID(int=1), UUID(int=2)
URL = "http://shop.example/"


def page(text: str = "Kettle 250 EUR", *, at: datetime = AT, fresh_until: datetime | None = None) -> Document:
    return Document(
        url=URL,
        outcome=FetchOutcome.OK,
        fetched_at=at,
        status=200,
        content_type="text/html",
        charset="utf-8",
        body=text.encode(),
        hash=hashlib.sha256(text.encode()).hexdigest(),
        headers={"content-type": "text/html", "etag": '"1"'},
        validators=Validators(etag='"1"'),
        fresh_until=fresh_until,
    )


def hash_of(document: Document) -> str:
    assert document.hash is not None
    return document.hash


async def keep(pool: Pool, document: Document, *, monitor: UUID = MONITOR) -> None:
    schedule = KeepSchedule(monitor, UUID(int=9), Every(seconds=60), active=True, due_at=AT)
    async with pool.connection() as connection, connection.transaction():
        await write_companions(connection, [schedule, KeepEvidence(monitor, URL, document)])


async def rows(pool: Pool) -> int:
    async with pool.connection() as connection:
        found = await (await connection.execute("select count(*) from evidence")).fetchone()
    return int(found[0]) if found else 0


@pytest.fixture
def contents(application_pool: Pool) -> PostgresEvidence:
    """For the role of the workers."""
    return PostgresEvidence(application_pool)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=5000))
async def test_what_was_put_is_got_byte_for_byte(contents: PostgresEvidence, body: bytes) -> None:
    document = msgspec.structs.replace(page(), body=body, hash=hashlib.sha256(body).hexdigest())
    await contents.put(document)
    kept = await contents.get(hash_of(document))
    assert kept == Content(hash=hash_of(document), body=body, headers=document.headers, read_at=AT)


async def test_a_content_is_kept_once_compressed_and_as_it_first_came(contents: PostgresEvidence, pool: Pool) -> None:
    document = page("Kettle " * 10_000)
    await contents.put(document)
    await contents.put(msgspec.structs.replace(document, fetched_at=AT + DAY, headers={}))
    for monitor in (MONITOR, OTHER):
        await keep(pool, document, monitor=monitor)
    assert await rows(pool) == 1
    kept = await contents.get(hash_of(document))
    assert isinstance(kept, Content)
    assert (kept.headers, kept.read_at) == (document.headers, AT)
    async with pool.connection() as connection:
        stored = await (await connection.execute("select octet_length(body) from evidence")).fetchone()
    assert stored is not None
    assert stored[0] < 1000


async def test_what_never_was_and_what_was_let_go_are_told_apart(contents: PostgresEvidence) -> None:
    document = page()
    assert await contents.get(hash_of(document)) is None
    await contents.forget(hash_of(document), at=AT)
    assert await contents.get(hash_of(document)) is None
    await contents.put(document)
    await contents.forget(hash_of(document), at=AT + DAY)
    await contents.forget(hash_of(document), at=AT + 2 * DAY)
    let_go = await contents.get(hash_of(document))
    assert let_go == LetGo(hash=hash_of(document), headers=document.headers, read_at=AT, removed_at=AT + DAY)


async def test_what_was_let_go_is_kept_anew_when_it_is_read_again(contents: PostgresEvidence, pool: Pool) -> None:
    document = page()
    for put_again in (contents.put, lambda again: keep(pool, again)):
        await contents.put(document)
        await contents.forget(hash_of(document), at=AT)
        await put_again(msgspec.structs.replace(document, fetched_at=AT + DAY))
        kept = await contents.get(hash_of(document))
        assert isinstance(kept, Content)
        assert (kept.body, kept.read_at) == (document.body, AT)


async def test_only_what_no_source_has_and_nobody_read_for_long_is_let_go(
    contents: PostgresEvidence, pool: Pool
) -> None:
    present, old, young = page("present"), page("old"), page("young", at=AT + 20 * DAY)
    await keep(pool, present)
    for document in (old, young):
        await contents.put(document)
    count = await contents.let_go(unread_since=AT + 10 * DAY, at=AT + 40 * DAY, limit=10)
    left = [isinstance(await contents.get(hash_of(one)), Content) for one in (present, old, young)]
    assert (count, left) == (1, [True, False, True])


async def test_a_content_that_its_source_had_until_yesterday_was_read_yesterday(
    contents: PostgresEvidence, pool: Pool
) -> None:
    """Answers that nothing changed are not written down; the answer that replaces it says until when it was there."""
    before, after = page("before"), page("after", at=AT + 30 * DAY)
    await keep(pool, before)
    await keep(pool, after)
    assert await contents.let_go(unread_since=AT + 20 * DAY, at=AT + 31 * DAY, limit=10) == 0
    assert await contents.let_go(unread_since=AT + 31 * DAY, at=AT + 42 * DAY, limit=10) == 1
    assert isinstance(await contents.get(hash_of(before)), LetGo)


async def test_the_sources_of_a_deleted_monitor_hold_nothing_for_ever(contents: PostgresEvidence, pool: Pool) -> None:
    document = page()
    await keep(pool, document)
    async with pool.connection() as connection:
        await connection.execute("delete from schedule")
    assert await contents.let_go(unread_since=AT + 10 * DAY, at=AT + 20 * DAY, limit=10) == 0  # read until just now
    assert await PostgresHistory(pool).memory(MONITOR) == {}
    assert await contents.let_go(unread_since=AT + 21 * DAY, at=AT + 30 * DAY, limit=10) == 1


async def test_whoever_is_about_to_remember_a_content_is_not_left_without_it(
    contents: PostgresEvidence, pool: Pool
) -> None:
    document = page()
    await contents.put(document)
    async with pool.connection() as connection, connection.transaction():
        await write_companions(connection, [KeepEvidence(MONITOR, URL, document)])
        assert await contents.let_go(unread_since=AT + 10 * DAY, at=AT + 20 * DAY, limit=10) == 0
    assert isinstance(await contents.get(hash_of(document)), Content)


async def test_retention_lets_go_in_batches_and_one_of_several_does_it(contents: PostgresEvidence, pool: Pool) -> None:
    for number in range(BATCH_CONTENTS_MAX + 3):
        await contents.put(page(str(number)))

    def worker(holder: str, at: datetime, keep_for: timedelta | None = 30 * DAY) -> Retention:
        return Retention(contents, PostgresLeases(pool), keep=keep_for, holder=holder, now=lambda: at)

    due = AT + 30 * DAY + GRACE
    assert await worker("a", due + DAY, None).step() > 0
    assert await worker("a", due).step() > 0
    assert await worker("b", due + DAY).step() > 0  # the other one has the lease
    async with pool.connection() as connection:
        found = await (await connection.execute("select count(*) from evidence where body is null")).fetchone()
        assert found == (0,)
        rests = [await worker("a", due + DAY).step() for _ in range(2)]
        found = await (await connection.execute("select count(*) from evidence where body is null")).fetchone()
    assert rests[0] == 0
    assert rests[1] > 0
    assert found == (BATCH_CONTENTS_MAX + 3,)


class Shop:
    """A page on loopback, with what it says of its freshness."""

    def __init__(self) -> None:
        self.text, self.cache_control = "250", "max-age=600"
        self.leads_to, self.price = "", ""
        self.asked: list[str | None] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        if self.leads_to and request.path == "/":
            raise web.HTTPFound(f"/{self.leads_to}")
        etag = f'"{self.text}"'
        self.asked.append(request.headers.get("If-None-Match"))
        headers = {"ETag": etag, "Cache-Control": self.cache_control}
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers=headers)
        return web.json_response({"price": float(self.price or self.text)}, headers=headers)


class Clock:
    def __init__(self) -> None:
        self.now = AT

    def __call__(self) -> datetime:
        return self.now


class Watching:
    """One monitor's looks, each stored as the evaluator would."""

    def __init__(self, pool: Pool, shop: Shop, fetcher: AiohttpFetcher, clock: Clock) -> None:
        self.pool, self.shop, self.clock = pool, shop, clock
        self.plan: Plan = plan(shop.url, schedule=Every(seconds=120))
        self.looker = Looker(
            fetcher=fetcher, reader=AnswerReader(FactReader()), kept=PostgresHistory(pool), signals=NoSignals()
        )

    async def look(self, *, after: int = 120, fresh: bool = False) -> tuple[FetchOutcome, object, int]:
        """The outcome, the price, and how often the shop was asked by then."""
        self.clock.now += timedelta(seconds=after)
        look = await self.looker.look(MONITOR, self.plan, started_at=self.clock.now, fresh=fresh)
        for (source, document), reading in zip(look.answers, look.readings, strict=True):
            assert isinstance(source, HttpSource)
            if document.outcome is FetchOutcome.OK:
                async with self.pool.connection() as connection, connection.transaction():
                    await write_companions(connection, [KeepEvidence(MONITOR, source.url, document, reading)])
        ((_, document),) = look.answers
        return document.outcome, look.facts["price"].value, len(self.shop.asked)


class NoSignals:
    async def read(self, source_id: UUID, signal_id: UUID | None, *, now: datetime) -> Document:
        raise AssertionError((source_id, signal_id, now))


@pytest.fixture
async def watching(application_pool: Pool) -> AsyncIterator[Watching]:
    shop, clock = Shop(), Clock()
    app = web.Application()
    app.router.add_get("/{page:.*}", shop.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    shop.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    fetcher = AiohttpFetcher(NetworkGuard(["127.0.0.0/8"]), now=clock, user_agent="Vigil")
    yield Watching(application_pool, shop, fetcher, clock)
    await fetcher.close()
    await runner.cleanup()


OK, SAME = FetchOutcome.OK, FetchOutcome.NOT_MODIFIED


async def test_a_source_is_not_asked_while_its_answer_stays_until_after_the_next_slot(watching: Watching) -> None:
    assert await watching.look() == (OK, 250.0, 1)  # it stays for 600 s, and slots are 120 s apart
    watching.shop.text = "150"
    for _ in range(4):
        assert await watching.look() == (SAME, 250.0, 1)
    assert await watching.look() == (OK, 150.0, 2)  # in the last slot of the 600 s, not in the first one after them


async def test_who_asks_for_an_evaluation_gets_the_source_itself(watching: Watching) -> None:
    assert await watching.look() == (OK, 250.0, 1)
    watching.shop.text = "150"
    assert await watching.look(after=1, fresh=True) == (OK, 150.0, 2)


async def test_an_answer_that_nothing_changed_says_anew_how_long_it_stays(watching: Watching) -> None:
    await watching.look()
    assert await watching.look(after=600) == (SAME, 250.0, 2)
    assert await watching.look() == (SAME, 250.0, 2)
    assert watching.shop.asked == [None, '"250"']


@pytest.mark.parametrize("said", ["no-store", "no-cache, max-age=600", "max-age=130", ""])
async def test_a_source_that_says_less_is_asked_in_each_slot(watching: Watching, said: str) -> None:
    watching.shop.cache_control = said
    await watching.look()
    assert await watching.look() == (SAME, 250.0, 2)


async def test_other_headers_of_the_persons_own_are_sent_at_once(watching: Watching) -> None:
    await watching.look()
    sources: tuple[Source, ...] = (HttpSource(url=watching.shop.url, headers={"Accept-Language": "de"}),)
    watching.plan = msgspec.structs.replace(watching.plan, sources=sources)
    assert await watching.look() == (OK, 250.0, 2)
    assert watching.shop.asked == [None, None]  # what nobody asked for so far cannot have stayed as it was


async def test_that_a_page_stayed_as_it_is_says_nothing_of_the_one_a_redirect_led_to_before(watching: Watching) -> None:
    watching.shop.cache_control, watching.shop.leads_to = "", "old"
    assert await watching.look() == (OK, 250.0, 1)
    assert await watching.look() == (SAME, 250.0, 2)
    watching.shop.leads_to, watching.shop.price = "new", "150"  # with the tag that the other one has
    assert await watching.look() == (OK, 150.0, 4)


@pytest.mark.parametrize("fresh", [False, True])
async def test_a_source_whose_kept_content_was_let_go_is_read_in_full(watching: Watching, *, fresh: bool) -> None:
    await watching.look()
    memory = (await PostgresHistory(watching.pool).memory(MONITOR))[watching.shop.url]
    await PostgresEvidence(watching.pool).forget(memory.evidence_hash, at=AT)
    (fact,) = watching.plan.facts  # what was read before is not what is wanted now
    wanted = msgspec.structs.replace(fact, description="what it costs")
    watching.plan = msgspec.structs.replace(watching.plan, facts=(wanted,))
    outcome, price, _ = await watching.look(fresh=fresh)
    assert (outcome, price) == (OK, 250.0)
    asked = [None, '"250"', None] if fresh else [None, None]
    assert watching.shop.asked == asked
    assert await watching.look() == (SAME, 250.0, len(asked))


async def test_of_postponed_sources_the_last_counts_and_a_defect_before_any(watching: Watching) -> None:
    class Telling:
        def __init__(self, *endings: Exception) -> None:
            self._endings = list(endings)

        async def fetch(self, source: Source, known: Validators | None) -> Document:
            del source, known
            raise self._endings.pop(0)

    def looker(*endings: Exception) -> Looker:
        return Looker(
            fetcher=Telling(*endings),
            reader=AnswerReader(FactReader()),
            kept=PostgresHistory(watching.pool),
            signals=NoSignals(),
        )

    sources = tuple(HttpSource(url=f"http://{name}.example/") for name in "abc")
    three = msgspec.structs.replace(watching.plan, sources=sources)
    late = [Postponed(AT + DAY), Postponed(AT + 3 * DAY), Postponed(AT + 2 * DAY)]
    with pytest.raises(Postponed) as later:
        await looker(*late).look(MONITOR, three, started_at=AT)
    assert later.value.until == AT + 3 * DAY
    with pytest.raises(ZeroDivisionError):
        await looker(late[0], ZeroDivisionError(), late[1]).look(MONITOR, three, started_at=AT)


async def test_a_freshness_that_came_with_another_answer_is_not_remembered(pool: Pool) -> None:
    await keep(pool, page("new", fresh_until=None))
    old = Memory(Validators(), "text/html", None, "0" * 64)
    await PostgresHistory(pool).stays_fresh(MONITOR, URL, old, AT + DAY)
    assert (await PostgresHistory(pool).memory(MONITOR))[URL].fresh_until is None


async def test_the_workers_role_may_keep_evidence(application_pool: Pool) -> None:
    async with application_pool.connection() as connection:
        await write_companions(connection, [KeepEvidence(MONITOR, URL, page())])
        with pytest.raises(psycopg.errors.CheckViolation):
            await connection.execute("update evidence set body = null")


async def test_who_stands_still_while_evidence_is_kept_holds_nobody_up_for_ever(pool: Pool, database: str) -> None:
    """As a process that was stopped, or whose machine froze: PostgreSQL ends its transaction."""
    gone = "select not exists (select from pg_stat_activity where pid = %s)"
    async with open_pool(database, size_max=1, settings="-c idle_in_transaction_session_timeout=200ms") as theirs:
        with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
            async with theirs.connection() as connection, connection.transaction():
                await write_companions(connection, [KeepEvidence(MONITOR, URL, page())])
                async with asyncio.timeout(20), pool.connection() as other:
                    while (await (await other.execute(gone, (connection.info.backend_pid,))).fetchone()) != (True,):
                        await asyncio.sleep(0.02)
                await connection.execute("select")
