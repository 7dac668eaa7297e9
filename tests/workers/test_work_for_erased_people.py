"""Whatever is under way for a person when they are erased is dropped: nothing fails, nothing is parked, nothing is mailed."""

from datetime import timedelta
from uuid import UUID

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
from commands.event_store import ErasePerson
from domain.evaluation import EvaluationCompleted, EvaluationFailed
from domain.mail import MailBody, MailContent, MailReceipt, OutgoingMail
from domain.notification import NotificationRequested, NotificationSuppressed
from domain.trigger import TriggerFired
from domain.user import EmailVerificationRequested, RegistrationRepeated, UserErased
from tests.conftest import AT
from tests.workers.world import ADA, Clock, Page, Ticks, World, plan
from workers.delivery import PERSON_ERASED, Delivery
from workers.letters import OutageMails
from workers.log_reader import LogReader
from workers.notifier import CONSUMER, Notifier
from workers.partitions import PartitionLeases


async def erase(world: World, owner: UUID) -> None:
    await world.append(owner, owner, UserErased(erased_at=AT), companions=[ErasePerson(owner)])


class Post:
    """Takes every mail."""

    def __init__(self) -> None:
        self.taken: list[OutgoingMail] = []

    def render(self, content: MailContent) -> MailBody:
        return JinjaMailRenderer().render(content)

    async def send(self, mail: OutgoingMail) -> MailReceipt:
        self.taken.append(mail)
        return MailReceipt(code=250, message="ok")


@pytest.fixture
def post() -> Post:
    return Post()


@pytest.fixture
def delivery(world: World, post: Post, clock: Clock) -> Delivery:
    return Delivery(
        store=world.store,
        renderer=post,
        sender=post,
        outages=OutageMails(world.store, PostgresOutbox(world.pool), "https://vigil.example"),
        links=HmacLinkTokens([b"a secret of these tests"]),
        public_url="https://vigil.example",
        retry_base=timedelta(seconds=30),
        now=clock,
    )


@pytest.fixture
def notifier(world: World, no_redis: redis.Redis, clock: Clock, ticks: Ticks) -> Notifier:
    return Notifier(
        LogReader(RedisLog(no_redis, namespace="t"), world.log, monotonic=ticks),
        PostgresParking(world.pool, CONSUMER),
        PartitionLeases(PostgresLeases(world.pool), consumer=CONSUMER, holder="one", monotonic=ticks),
        world.store,
        PostgresTriggers(world.pool),
        PostgresOperators(world.pool),
        now=clock,
    )


async def test_an_evaluation_that_was_queued_is_not_made(world: World, fetcher: AiohttpFetcher, page: Page) -> None:
    owner = await world.person()
    job = await world.slot(owner, await world.monitor(owner, plan(page.url)))
    await erase(world, owner)
    await world.evaluator(fetcher).evaluate(job)
    assert page.seen == []
    assert await world.outcome(job) is None


async def test_an_evaluation_in_flight_is_not_recorded_and_does_not_come_back(
    world: World, fetcher: AiohttpFetcher, page: Page
) -> None:
    owner = await world.person()
    job = await world.slot(owner, await world.monitor(owner, plan(page.url)))

    async def erased_meanwhile() -> None:
        await erase(world, owner)

    page.on_request = erased_meanwhile
    await world.evaluator(fetcher).evaluate(job)
    assert len(page.seen) == 1
    assert (await world.all(EvaluationCompleted), await world.all(EvaluationFailed)) == ([], [])
    assert await world.value("select count(*) from schedule") == 0
    assert await world.value("select count(*) from source_memory") == 0


async def test_a_change_from_before_the_erasure_fires_nothing(world: World, notifier: Notifier) -> None:
    owner = await world.person()
    monitor, action = await world.monitor(owner, plan()), await world.action(owner)
    await world.trigger(owner, monitor, action)
    await world.change(owner, monitor)
    await world.append(
        owner, owner, EmailVerificationRequested(token_id=owner, email=ADA, expires_at=AT),
        RegistrationRepeated(email=ADA, repeated_at=AT),
    )  # fmt: skip
    await erase(world, owner)
    await world.project()
    while await notifier.step() == 0:
        pass
    assert (await world.all(TriggerFired), await world.all(NotificationRequested)) == ([], [])
    assert await world.value("select count(*) from parked") == 0


async def test_a_mail_that_waits_is_suppressed_and_not_sent(world: World, delivery: Delivery, post: Post) -> None:
    owner = await world.person()
    monitor = await world.monitor(owner, plan())
    alert = await world.alert(owner, monitor, await world.change(owner, monitor))
    await erase(world, owner)
    assert await delivery.deliver(alert) is None
    assert post.taken == []
    (suppressed,) = await world.events(alert, NotificationSuppressed)
    assert suppressed.reason == PERSON_ERASED


async def test_no_mail_of_an_erased_person_is_due(world: World, clock: Clock) -> None:
    owner = await world.person()
    monitor = await world.monitor(owner, plan())
    await world.alert(owner, monitor, await world.change(owner, monitor))
    await world.project()
    await erase(world, owner)
    await world.project()
    clock.move(3600)
    outbox = PostgresOutbox(world.pool)
    assert await outbox.claim(now=clock(), lifetime=timedelta(seconds=10), limit=10) == []


async def test_others_are_served_as_before(world: World, delivery: Delivery, post: Post) -> None:
    owner, other = await world.person(), await world.person(email="ben@example.org")
    monitor = await world.monitor(other, plan())
    alert = await world.alert(other, monitor, await world.change(other, monitor), to="ben@example.org")
    await erase(world, owner)
    await delivery.deliver(alert)
    assert [mail.to for mail in post.taken] == ["ben@example.org"]
