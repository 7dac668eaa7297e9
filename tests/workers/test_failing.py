"""From a page that cannot be read to the mail that says so, and back: real store, real pages, real mails."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from email.message import EmailMessage
from uuid import UUID

import msgspec
import pytest
import redis.asyncio as redis

from adapters.aiohttp_fetcher import AiohttpFetcher
from adapters.hmac_link_tokens import HmacLinkTokens
from adapters.jinja_mail_renderer import JinjaMailRenderer
from adapters.postgres_leases import PostgresLeases
from adapters.postgres_operators import PostgresOperators
from adapters.postgres_outbox import PostgresOutbox, PostgresTriggers
from adapters.postgres_parking import PostgresParking
from adapters.redis_log import RedisLog
from adapters.smtp_mailer import SmtpMailer
from domain.evaluation import EvaluationFailed
from domain.event import Event
from domain.monitor import MonitorDeleted, MonitorPaused, MonitorResumed, State, StateChanged, Status
from domain.monitor_health import MonitorFailing, MonitorRecovered
from domain.notification import (
    DeliveryDeferred,
    MailKind,
    NotificationRequested,
    NotificationSent,
    NotificationSuppressed,
)
from domain.outage_mail import outage_mail_id
from tests.adapters.test_smtp_mailer import listening
from tests.conftest import AT
from tests.workers.test_mailer import MailServer
from tests.workers.world import ADA, Clock, Page, Ticks, World, plan
from workers.delivery import TAKEN_ALONG_AFTER, Delivery
from workers.evaluator import Evaluator
from workers.letters import OutageMails
from workers.log_reader import LogReader
from workers.notifier import CONSUMER, Notifier
from workers.outage_notices import tell_of_outage
from workers.partitions import PartitionLeases
from workers.sight import RETRIES_MAX

HOUR = timedelta(hours=1)
LINKS = HmacLinkTokens([b"a secret of these tests"])


class House:
    """A person, their monitors, and everybody who looks after them."""

    def __init__(self, world: World, evaluator: Evaluator, notifier: Notifier, delivery: Delivery) -> None:
        self.world, self.evaluator, self.notifier, self.delivery = world, evaluator, notifier, delivery
        self.owner = UUID(int=0)

    async def monitor(self, page: Page) -> UUID:
        return await self.world.monitor(self.owner, plan(page.url))

    async def look(self, *monitors: UUID) -> None:
        """Evaluate the present slot of each; what does not answer was asked again in vain already."""
        for monitor in monitors:
            job = await self.world.slot(self.owner, monitor)
            self.world.clock.at = max(self.world.clock.at, job.due_at) + timedelta(seconds=2)
            await self.evaluator.evaluate(msgspec.structs.replace(job, attempts=RETRIES_MAX))

    async def react(self) -> None:
        """Let the read tables and the notifier follow."""
        await self.world.project()
        while await self.notifier.step() == 0:
            pass
        await self.world.project()

    async def deliver(self) -> None:
        """Deliver everything that is due now; what has to wait for another mail is taken up again the next time."""
        outbox = PostgresOutbox(self.world.pool)
        for notification in await outbox.claim(now=self.world.clock(), lifetime=timedelta(), limit=200):
            await self.delivery.deliver(notification)
        self.world.clock.at += TAKEN_ALONG_AFTER
        await self.world.project()

    async def fail(self, monitor: UUID, page: Page) -> None:
        """Make it failing, and let everybody know."""
        page.status = 500
        for _ in range(3):
            await self.look(monitor)
        page.status = 200
        await self.react()

    async def status(self, monitor: UUID) -> Status:
        return (await self.world.state(monitor)).status

    async def told(self, monitor: UUID) -> list[type[Event]]:
        kinds = (MonitorFailing, MonitorRecovered)
        stored = await self.world.store.load(monitor)
        return [type(one.event) for one in stored if isinstance(one.event, kinds)]

    async def reasons(self) -> list[str]:
        return [one.reason for one in await self.world.all(NotificationSuppressed)]

    async def sends(self) -> int:
        return len(await self.world.all(NotificationSent))

    def to_the_full_hour(self) -> None:
        at = self.world.clock.at
        self.world.clock.at = at.replace(minute=0, second=0, microsecond=0) + HOUR


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    opened = MailServer()
    async with listening(opened) as port:
        opened.port = port
        yield opened


@pytest.fixture
async def house(
    world: World,
    fetcher: AiohttpFetcher,
    server: MailServer,
    no_redis: redis.Redis,
    clock: Clock,
    ticks: Ticks,
) -> AsyncIterator[House]:
    notifier = Notifier(
        LogReader(RedisLog(no_redis, namespace="t"), world.log, monotonic=ticks),
        PostgresParking(world.pool, CONSUMER),
        PartitionLeases(PostgresLeases(world.pool), consumer=CONSUMER, holder="one", monotonic=ticks),
        world.store,
        PostgresTriggers(world.pool),
        PostgresOperators(world.pool),
        now=clock,
    )
    sender = SmtpMailer(f"smtp://127.0.0.1:{server.port}", sender="vigil@example.com", now=clock, timeout_seconds=10)
    delivery = Delivery(
        store=world.store,
        renderer=JinjaMailRenderer(),
        sender=sender,
        outages=OutageMails(world.store, PostgresOutbox(world.pool), "https://vigil.example"),
        links=LINKS,
        public_url="https://vigil.example",
        retry_base=timedelta(seconds=30),
        now=clock,
    )
    house = House(world, world.evaluator(fetcher), notifier, delivery)
    house.owner = await world.person()
    yield house
    await sender.close()


def words(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    return " ".join(body.get_content().split())


async def test_a_page_that_cannot_be_read_three_times_makes_the_monitor_failing_and_its_owner_is_told_once(
    house: House, page: Page, server: MailServer
) -> None:
    monitor = await house.monitor(page)
    await house.look(monitor)
    page.status = 500
    for status in (Status.ACTIVE, Status.ACTIVE, Status.FAILING, Status.FAILING):
        await house.look(monitor)
        assert await house.status(monitor) is status
    assert [one.failures for one in await house.world.all(EvaluationFailed)] == [1, 2, 3, 4]
    assert (await house.world.state(monitor)).state is State.INACTIVE
    assert len(await house.world.all(StateChanged)) == 1

    for _ in range(2):
        await house.react()
        await house.deliver()
    [mail] = server.mails
    assert (mail["To"], mail["Subject"]) == (ADA, "Vigil: Kettle cannot be read")
    assert "500" in words(mail)
    assert "Its state stays inactive" in words(mail)
    assert f"https://vigil.example/api/v1/monitors/{monitor}" in words(mail)
    [failing] = await house.world.events(monitor, MonitorFailing)
    assert await house.world.streams_with(NotificationRequested) == [
        outage_mail_id(monitor, MailKind.FAILING, failing.since)
    ]


async def test_a_page_that_is_well_again_is_told_once_and_the_monitor_goes_on_as_before(
    house: House, page: Page, server: MailServer
) -> None:
    monitor = await house.monitor(page)
    await house.look(monitor)
    await house.fail(monitor, page)
    await house.deliver()
    page.content = {"price": 150}
    for _ in range(2):
        await house.look(monitor)
        await house.react()
        await house.deliver()
    assert await house.status(monitor) is Status.ACTIVE
    assert (await house.world.state(monitor)).state is State.ACTIVE
    assert await house.told(monitor) == [MonitorFailing, MonitorRecovered]
    assert [mail["Subject"] for mail in server.mails] == [
        "Vigil: Kettle cannot be read",
        "Vigil: Kettle can be read again",
    ]
    assert "Its state is active now" in words(server.mails[1])


async def test_a_page_without_the_fact_is_well_again_too(house: House, page: Page, server: MailServer) -> None:
    monitor = await house.monitor(page)
    await house.fail(monitor, page)
    await house.deliver()
    page.content = {"name": "Kettle"}
    await house.look(monitor)
    await house.react()
    await house.deliver()
    assert await house.status(monitor) is Status.ACTIVE
    assert len(server.mails) == 2


async def test_who_was_not_told_that_it_fails_is_not_told_that_it_is_well_again(
    house: House, page: Page, server: MailServer
) -> None:
    monitor = await house.monitor(page)
    await house.fail(monitor, page)
    await house.look(monitor)  # before the mailer came to it
    await house.react()
    await house.deliver()
    await house.deliver()
    assert server.mails == []
    assert sorted(await house.reasons()) == ["failing_was_not_told", "not_failing_any_more"]


async def test_that_it_is_well_again_waits_until_it_is_known_whether_its_failing_was_told(
    house: House, page: Page, server: MailServer, clock: Clock
) -> None:
    server.answer = "451 4.3.0 not now"
    monitor = await house.monitor(page)
    await house.fail(monitor, page)
    await house.deliver()
    await house.look(monitor)
    await house.react()
    [failing] = await house.world.events(monitor, MonitorFailing)
    well = outage_mail_id(monitor, MailKind.RECOVERED, failing.since)
    assert await house.delivery.deliver(well) == clock() + TAKEN_ALONG_AFTER
    assert len(server.mails) == 1
    server.answer = "250 2.0.0 queued as 42"
    clock.move(31)
    await house.deliver()
    await house.deliver()
    assert sorted(await house.reasons()) == ["failing_was_not_told", "not_failing_any_more"]


async def test_many_monitors_that_fail_at_once_are_two_mails_and_two_when_they_are_well_again(
    house: House, page: Page, server: MailServer
) -> None:
    monitors = [await house.monitor(page) for _ in range(30)]
    page.status = 500
    for _ in range(3):
        await house.look(*monitors)
    await house.react()
    await house.deliver()
    await house.deliver()
    assert [mail["Subject"] for mail in server.mails] == ["Vigil: Kettle cannot be read"]
    house.to_the_full_hour()
    await house.deliver()
    await house.deliver()
    assert [mail["Subject"] for mail in server.mails[1:]] == ["Vigil: Kettle and 28 others cannot be read"]
    assert await house.sends() == 30
    page.status = 200
    await house.look(*monitors)
    await house.react()
    await house.deliver()
    house.to_the_full_hour()
    await house.deliver()
    assert [mail["Subject"] for mail in server.mails[2:]] == [
        "Vigil: Kettle can be read again",
        "Vigil: Kettle and 28 others can be read again",
    ]
    assert await house.sends() == 60


async def test_of_those_told_together_only_what_is_still_true_is_told(
    house: House, page: Page, server: MailServer
) -> None:
    first, second, third = [await house.monitor(page) for _ in range(3)]
    page.status = 500
    for _ in range(3):
        await house.look(first, second, third)
    await house.react()
    await house.deliver()
    page.status = 200
    await house.look(second)
    await house.react()
    house.to_the_full_hour()
    for _ in range(3):
        await house.deliver()
    assert [mail["Subject"] for mail in server.mails] == ["Vigil: Kettle cannot be read"] * 2
    assert sorted(await house.reasons()) == ["failing_was_not_told", "not_failing_any_more"]


async def test_a_page_that_comes_and_goes_is_at_most_four_mails_an_hour(
    house: House, page: Page, server: MailServer, clock: Clock
) -> None:
    monitor = await house.monitor(page)
    began = clock()
    while clock() < began + timedelta(hours=2):
        await house.fail(monitor, page)
        await house.deliver()
        await house.look(monitor)
        await house.react()
        await house.deliver()
    assert len(await house.told(monitor)) >= 12
    assert 2 <= len(server.mails) <= 8
    subjects = [str(mail["Subject"]).removeprefix("Vigil: Kettle ") for mail in server.mails]
    assert subjects == ["cannot be read", "can be read again"] * (len(subjects) // 2), "each mail is true when it comes"


async def test_a_failing_monitor_that_is_paused_or_deleted_before_the_mail_needs_none(
    house: House, page: Page, server: MailServer
) -> None:
    for end in (MonitorPaused(paused_at=AT), MonitorDeleted(deleted_at=AT)):
        monitor = await house.monitor(page)
        await house.fail(monitor, page)
        await house.world.append(house.owner, monitor, end)
        await house.deliver()
        house.to_the_full_hour()
        await house.deliver()
    assert server.mails == []
    assert await house.reasons() == ["not_failing_any_more"] * 2


async def test_a_failing_monitor_that_is_resumed_begins_anew(house: House, page: Page) -> None:
    monitor = await house.monitor(page)
    await house.fail(monitor, page)
    house.world.clock.move(1)
    await house.world.append(house.owner, monitor, MonitorResumed(resumed_at=house.world.clock()))
    page.status = 500
    await house.look(monitor)
    await house.look(monitor)
    assert await house.status(monitor) is Status.ACTIVE
    await house.look(monitor)
    assert await house.status(monitor) is Status.FAILING


async def test_a_person_whose_address_is_not_confirmed_gets_no_mail_and_that_is_recorded(
    house: House, page: Page, server: MailServer
) -> None:
    house.owner = await house.world.person(verified=False, email="eve@example.org")
    await house.fail(await house.monitor(page), page)
    await house.deliver()
    assert server.mails == []
    assert await house.reasons() == ["address_unverified"]


async def test_a_mail_about_outages_that_the_server_refuses_is_tried_again_for_all_of_them(
    house: House, page: Page, server: MailServer, clock: Clock
) -> None:
    monitors = [await house.monitor(page) for _ in range(3)]
    page.status = 500
    for _ in range(3):
        await house.look(*monitors)
    await house.react()
    await house.deliver()
    house.to_the_full_hour()
    server.answer = "451 4.3.0 not now"
    await house.deliver()
    await house.deliver()
    assert [len(server.mails), len(await house.world.all(DeliveryDeferred))] == [2, 2]
    server.answer = "250 2.0.0 queued as 43"
    clock.move(31)
    await house.deliver()
    await house.deliver()
    assert len(server.mails) == 3
    assert await house.sends() == 3
    assert server.mails[1]["Message-ID"] == server.mails[2]["Message-ID"]


async def test_mailers_that_take_letters_up_at_the_same_moment_send_one_mail(
    house: House, page: Page, server: MailServer
) -> None:
    monitors = [await house.monitor(page) for _ in range(4)]
    page.status = 500
    for _ in range(3):
        await house.look(*monitors)
    await house.react()
    await house.deliver()
    house.to_the_full_hour()
    waiting = [
        outage_mail_id(monitor, MailKind.FAILING, failing.since)
        for monitor in monitors
        for failing in await house.world.events(monitor, MonitorFailing)
    ]
    await asyncio.gather(*(house.delivery.deliver(one) for one in waiting))
    assert len(server.mails) == 2
    assert await house.sends() == 4


async def test_an_outage_that_the_notifier_sees_twice_is_told_once(house: House, page: Page) -> None:
    monitor = await house.monitor(page)
    await house.fail(monitor, page)
    house.to_the_full_hour()
    [failing] = [one for one in await house.world.store.load(monitor) if isinstance(one.event, MonitorFailing)]
    assert isinstance(failing.event, MonitorFailing)
    await tell_of_outage(house.world.store, failing, failing.event, now=house.world.clock())
    assert len(await house.world.all(NotificationRequested)) == 1


async def test_how_many_failures_make_it_failing_can_be_set(house: House, page: Page) -> None:
    house.evaluator = replace(house.evaluator, failing_after=1)
    monitor = await house.monitor(page)
    page.status = 500
    await house.look(monitor)
    assert await house.status(monitor) is Status.FAILING
