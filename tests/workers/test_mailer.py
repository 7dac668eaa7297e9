"""The mailer: every notification is delivered under one Message-ID and recorded, whatever the mail server does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from uuid import UUID

import pytest
from aiosmtpd.smtp import SMTP
from structlog.testing import capture_logs
from uuid_utils.compat import uuid7

from adapters.hmac_link_tokens import HmacLinkTokens
from adapters.jinja_mail_renderer import JinjaMailRenderer
from adapters.postgres_outbox import PostgresOutbox
from adapters.smtp_mailer import SmtpMailer
from domain.evaluation import EvaluationFailed
from domain.mail import MailBody, MailContent, MailReceipt, OutgoingMail
from domain.notification import (
    ATTEMPTS_MAX,
    DeliveryDeferred,
    MailKind,
    NotificationFailed,
    NotificationRequested,
    NotificationSent,
)
from tests.adapters.test_smtp_mailer import Server, listening
from tests.conftest import AT
from tests.workers.world import ADA, Clock, RestlessStop, Ticks, World, plan, until
from workers.delivery import Delivery
from workers.letters import OutageMails
from workers.mailer import CLAIM_LIFETIME, CONCURRENCY, RENEWAL_SECONDS, REST_SECONDS, Mailer

LINKS = HmacLinkTokens([b"a secret of these tests"])
PUBLIC_URL = "https://vigil.example:8443/app"
WAITS_FOR_A_LOCK = """
select exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database())
"""


class MailServer(Server):
    """A server whose answer to each mail the test sets, and which can be made to wait."""

    def __init__(self) -> None:
        super().__init__(data=self._answer)
        self.answer = "250 2.0.0 queued as 42"
        self.hold: asyncio.Event | None = None
        self.waiting = 0
        self.port = 0

    async def _answer(self, _server: SMTP) -> str:
        if self.hold is not None:
            self.waiting += 1
            await self.hold.wait()
        return self.answer

    @property
    def mails(self) -> list[EmailMessage]:
        """Everything that was handed over, also what was refused."""
        return [message_from_bytes(content, policy=default) for _, _, content in self.taken]


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    opened = MailServer()
    async with listening(opened) as port:
        opened.port = port
        yield opened
        if opened.hold is not None:
            opened.hold.set()


Delivers = Callable[..., Delivery]


@pytest.fixture
async def delivers(world: World, server: MailServer, clock: Clock) -> AsyncIterator[Delivers]:
    sender = SmtpMailer(
        f"smtp://127.0.0.1:{server.port}", sender="Vigil <vigil@example.com>", now=clock, timeout_seconds=10
    )

    def make(public_url: str = PUBLIC_URL) -> Delivery:
        return Delivery(
            store=world.store,
            renderer=JinjaMailRenderer(),
            sender=sender,
            outages=OutageMails(world.store, PostgresOutbox(world.pool), public_url),
            links=LINKS,
            public_url=public_url,
            retry_base=timedelta(seconds=30),
            now=clock,
        )

    yield make
    await sender.close()


@pytest.fixture
def delivery(delivers: Delivers) -> Delivery:
    return delivers()


@pytest.fixture
def mailer(world: World, delivery: Delivery, clock: Clock, ticks: Ticks) -> Mailer:
    return Mailer(PostgresOutbox(world.pool), delivery, now=clock, monotonic=ticks)


@pytest.fixture
async def owner(world: World) -> UUID:
    return await world.person()


@pytest.fixture
async def alert(world: World, owner: UUID) -> UUID:
    """A notification of a change, known to the read tables."""
    monitor = await world.monitor(owner, plan())
    found = await world.alert(owner, monitor, await world.change(owner, monitor))
    await world.project()
    return found


async def finished(mailer: Mailer) -> None:
    """Return when nothing is being delivered any more."""
    await until(lambda: not mailer._running)


async def test_an_alert_tells_what_was_seen_and_is_recorded_as_sent(
    world: World, delivery: Delivery, server: MailServer, alert: UUID, clock: Clock
) -> None:
    await delivery.deliver(alert)
    [mail] = server.mails
    body = mail.get_body(("plain",))
    assert body is not None
    assert (mail["To"], mail["Subject"]) == (ADA, "Vigil: Kettle is now active")
    assert "187.5" in body.get_content()
    assert "Tell me when it is cheap" in body.get_content()
    assert mail["Message-ID"] == f"<{alert.hex}@vigil.example>"
    assert await world.events(alert, NotificationSent) == [
        NotificationSent(
            message_id=f"<{alert.hex}@vigil.example>", code=250, message="2.0.0 queued as 42", sent_at=clock()
        )
    ]
    sent = (await world.store.load(alert))[-1]
    assert (sent.metadata.actor, sent.metadata.correlation_id) == ("mailer", alert)


async def test_a_notification_that_was_sent_is_not_sent_again(
    world: World, delivery: Delivery, server: MailServer, alert: UUID
) -> None:
    await delivery.deliver(alert)
    await delivery.deliver(alert)
    assert len(server.mails) == 1
    assert len(await world.store.load(alert)) == 2


async def test_a_notification_nobody_asked_for_is_not_sent(delivery: Delivery, server: MailServer) -> None:
    await delivery.deliver(uuid7())
    assert server.mails == []


async def test_a_mail_refused_for_now_is_tried_again_later_and_later_until_the_attempts_are_used_up(
    world: World, delivery: Delivery, server: MailServer, alert: UUID, clock: Clock
) -> None:
    server.answer = "451 4.3.0 try again"
    waits = []
    for _ in range(ATTEMPTS_MAX - 1):
        await delivery.deliver(alert)
        deferred = (await world.events(alert, DeliveryDeferred))[-1]
        assert (deferred.code, deferred.message, deferred.failed_at) == (451, "4.3.0 try again", clock())
        waits.append((deferred.retry_at - deferred.failed_at).total_seconds())
        clock.at = deferred.retry_at
    assert waits == [30, 60, 120, 240, 480, 960, 1920]
    await delivery.deliver(alert)
    [failed] = await world.events(alert, NotificationFailed)
    assert (failed.code, failed.failed_at) == (451, clock())
    await delivery.deliver(alert)
    assert len(server.mails) == ATTEMPTS_MAX
    assert {mail["Message-ID"] for mail in server.mails} == {f"<{alert.hex}@vigil.example>"}


async def test_a_deferred_mail_is_sent_when_the_server_takes_it(
    world: World, delivery: Delivery, server: MailServer, alert: UUID, clock: Clock
) -> None:
    server.answer = "421 4.3.2 busy"
    await delivery.deliver(alert)
    server.answer = "250 OK"
    clock.move(30)
    await delivery.deliver(alert)
    assert len(await world.events(alert, NotificationSent)) == 1
    assert len({mail["Message-ID"] for mail in server.mails}) == 1


async def test_a_mail_refused_for_good_fails_at_once(
    world: World, delivery: Delivery, server: MailServer, alert: UUID
) -> None:
    server.answer = "550 5.1.1 no such person"
    await delivery.deliver(alert)
    await delivery.deliver(alert)
    [failed] = await world.events(alert, NotificationFailed)
    assert (failed.code, failed.message) == (550, "5.1.1 no such person")
    assert len(server.mails) == 1


async def test_a_server_that_is_away_defers(world: World, delivery: Delivery, server: MailServer, alert: UUID) -> None:
    server.answer = "not an answer"
    await delivery.deliver(alert)
    [deferred] = await world.events(alert, DeliveryDeferred)
    assert deferred.code is None


async def test_an_alert_without_a_verdict_fails_for_good(
    world: World, delivery: Delivery, server: MailServer, owner: UUID
) -> None:
    monitor, evaluation = await world.monitor(owner, plan()), uuid7()
    failed = EvaluationFailed(
        monitor_id=monitor,
        plan_revision=1,
        due_at=AT,
        code="SOURCE_GONE",
        message="gone",
        evidence=(),
        duration_ms=1,
        started_at=AT,
        completed_at=AT,
    )
    await world.append(owner, evaluation, failed)
    alert = await world.alert(owner, monitor, evaluation)
    await delivery.deliver(alert)
    [refused] = await world.events(alert, NotificationFailed)
    assert (refused.code, refused.message) == (None, f"evaluation {evaluation} has no verdict to tell of")
    assert server.mails == []


@pytest.mark.parametrize("kind", [MailKind.ALERT, MailKind.VERIFY_EMAIL])
async def test_a_notification_that_lacks_what_its_kind_needs_fails_for_good(
    world: World, delivery: Delivery, owner: UUID, kind: MailKind
) -> None:
    notification = uuid7()
    await world.append(owner, notification, NotificationRequested(kind=kind, to=ADA, subject="x", requested_at=AT))
    await delivery.deliver(notification)
    assert len(await world.events(notification, NotificationFailed)) == 1


async def test_a_verification_mail_carries_the_link_of_its_token(
    world: World, delivery: Delivery, server: MailServer, owner: UUID
) -> None:
    notification, token_id = uuid7(), uuid7()
    requested = NotificationRequested(
        kind=MailKind.VERIFY_EMAIL,
        to=ADA,
        subject="Confirm",
        token_id=token_id,
        expires_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        requested_at=AT,
    )
    await world.append(owner, notification, requested)
    await delivery.deliver(notification)
    body = server.mails[0].get_body(("plain",))
    assert body is not None
    token = LINKS.make("verify-email", owner, token_id)
    assert f"{PUBLIC_URL}/api/v1/auth/verify-email?token={token}" in body.get_content()
    assert "2 January 2026, 03:04 (UTC)" in body.get_content()


async def test_the_owner_of_an_account_is_told_that_somebody_tried_to_register_it(
    world: World, delivery: Delivery, server: MailServer, owner: UUID
) -> None:
    notification = uuid7()
    requested = NotificationRequested(kind=MailKind.ALREADY_REGISTERED, to=ADA, subject="Account", requested_at=AT)
    await world.append(owner, notification, requested)
    await delivery.deliver(notification)
    body = server.mails[0].get_body(("plain",))
    assert body is not None
    assert "Ada" in body.get_content()
    assert PUBLIC_URL in body.get_content()


@pytest.mark.parametrize(
    ("public_url", "host"),
    [
        ("http://vigil.example", "vigil.example"),
        ("http://127.0.0.1:8000/", "127.0.0.1"),
        ("nonsense", "localhost"),
        ("http://[::1]:8000", "[::1]"),
    ],
)
async def test_message_ids_carry_the_host_of_the_installation(
    delivers: Delivers, server: MailServer, alert: UUID, public_url: str, host: str
) -> None:
    await delivers(public_url).deliver(alert)
    assert [mail["Message-ID"] for mail in server.mails] == [f"<{alert.hex}@{host}>"]


async def test_two_deliveries_at_once_are_recorded_once_and_carry_one_message_id(
    world: World, delivery: Delivery, server: MailServer, alert: UUID
) -> None:
    server.hold = asyncio.Event()
    both = asyncio.gather(delivery.deliver(alert), delivery.deliver(alert))
    await until(lambda: server.waiting == 2)
    server.hold.set()
    await both
    assert len(server.mails) == 2
    assert len({mail["Message-ID"] for mail in server.mails}) == 1
    assert len(await world.events(alert, NotificationSent)) == 1


async def claims(world: World) -> object:
    return await world.value("select count(*) from delivery_claim")


async def test_what_is_due_is_claimed_and_delivered_and_its_claim_is_left_to_run_out(
    world: World, mailer: Mailer, server: MailServer, alert: UUID, clock: Clock
) -> None:
    assert await mailer.step() == REST_SECONDS
    await finished(mailer)
    assert await world.events(alert, NotificationSent) != []
    assert await claimed_until(world, alert) == clock() + CLAIM_LIFETIME
    await world.project()
    clock.at += CLAIM_LIFETIME + timedelta(milliseconds=1)
    await mailer.step()
    await finished(mailer)
    assert len(server.mails) == 1
    assert await claimed_until(world, alert) == clock() - timedelta(milliseconds=1)


async def claimed_until(world: World, notification: UUID) -> object:
    return await world.value("select claimed_until from delivery_claim where notification_id = %s", notification)


async def test_what_is_not_due_yet_waits(
    world: World, mailer: Mailer, server: MailServer, alert: UUID, clock: Clock
) -> None:
    server.answer = "451 later"
    await mailer.step()
    await finished(mailer)
    assert await claimed_until(world, alert) == clock() + timedelta(seconds=30)
    await world.project()
    server.answer = "250 OK"
    clock.move(30)
    await mailer.step()
    await finished(mailer)
    assert len(server.mails) == 1
    clock.move(0.001)
    await mailer.step()
    await finished(mailer)
    assert len(await world.events(alert, NotificationSent)) == 1


async def test_read_tables_that_lag_behind_a_delivery_lead_to_no_second_one(
    world: World, mailer: Mailer, server: MailServer, alert: UUID, clock: Clock
) -> None:
    for _ in range(3):
        await mailer.step()
        await finished(mailer)
        clock.at += CLAIM_LIFETIME + timedelta(milliseconds=1)
    assert len(server.mails) == 1
    assert len(await world.store.load(alert)) == 2


async def test_with_the_read_tables_standing_still_everything_that_waits_is_delivered_once(
    world: World, mailer: Mailer, server: MailServer, owner: UUID
) -> None:
    monitor = await world.monitor(owner, plan())
    found = await world.change(owner, monitor)
    alerts = [await world.alert(owner, monitor, found) for _ in range(2 * CONCURRENCY + 10)]
    await world.project()  # and never again
    for _ in range(3):
        await mailer.step()
        await finished(mailer)
    assert sorted(mail["Message-ID"] for mail in server.mails) == sorted(f"<{a.hex}@vigil.example>" for a in alerts)
    assert len(await world.all(NotificationSent)) == len(alerts)
    await mailer.step()
    await finished(mailer)
    assert len(server.mails) == len(alerts)


async def test_with_the_read_tables_standing_still_what_is_deferred_does_not_hold_up_the_others(
    world: World, mailer: Mailer, server: MailServer, owner: UUID, clock: Clock
) -> None:
    monitor = await world.monitor(owner, plan())
    found = await world.change(owner, monitor)
    alerts = [await world.alert(owner, monitor, found) for _ in range(2 * CONCURRENCY)]
    await world.project()  # and never again
    server.answer = "451 later"
    await mailer.step()
    await finished(mailer)
    server.answer = "250 OK"
    clock.at += CLAIM_LIFETIME + timedelta(milliseconds=1)  # sooner than the deferred may be tried again
    await mailer.step()
    await finished(mailer)
    assert len(await world.all(DeliveryDeferred)) == CONCURRENCY
    assert len(await world.all(NotificationSent)) == CONCURRENCY
    clock.move(30)
    await mailer.step()
    await finished(mailer)
    assert len(await world.all(NotificationSent)) == len(alerts)


class Unrenderable:
    """A template with a defect."""

    def render(self, content: MailContent) -> MailBody:
        raise KeyError(type(content).__name__)


class Unbuildable:
    """Makes no bytes of any mail."""

    async def send(self, mail: OutgoingMail) -> MailReceipt:
        raise ValueError(mail.subject)


async def attempts_until_given_up(
    world: World, delivery: Delivery, alert: UUID, clock: Clock
) -> list[DeliveryDeferred]:
    """Every deferral, each a retry later, and then the end of it."""
    for number in range(1, ATTEMPTS_MAX):
        retry_at = await delivery.deliver(alert)
        assert retry_at == (await world.events(alert, DeliveryDeferred))[-1].retry_at
        assert await delivery.deliver(alert) == retry_at
        assert len(await world.events(alert, DeliveryDeferred)) == number
        assert retry_at is not None
        clock.at = retry_at
    assert await delivery.deliver(alert) is None
    [failed] = await world.events(alert, NotificationFailed)
    assert (failed.code, failed.failed_at) == (None, clock())
    assert await delivery.deliver(alert) is None
    return await world.events(alert, DeliveryDeferred)


async def test_a_mail_that_cannot_be_rendered_is_tried_again_and_then_given_up(
    world: World, delivery: Delivery, server: MailServer, alert: UUID, clock: Clock
) -> None:
    deferred = await attempts_until_given_up(world, replace(delivery, renderer=Unrenderable()), alert, clock)
    assert {(one.code, one.message) for one in deferred} == {(None, "the mail could not be made: KeyError")}
    assert server.mails == []


async def test_a_mail_that_cannot_be_built_is_tried_again_and_then_given_up(
    world: World, delivery: Delivery, alert: UUID, clock: Clock
) -> None:
    deferred = await attempts_until_given_up(world, replace(delivery, sender=Unbuildable()), alert, clock)
    assert {(one.code, one.message) for one in deferred} == {(None, "the mail could not be made: ValueError")}


async def test_a_mail_whose_reader_cannot_be_read_is_tried_again_and_then_given_up(
    world: World, delivery: Delivery, server: MailServer, alert: UUID, owner: UUID, clock: Clock
) -> None:
    await world.tamper("update event set type_version = 99 where stream_id = %s", owner)  # written by a later version
    assert len(await attempts_until_given_up(world, delivery, alert, clock)) == ATTEMPTS_MAX - 1
    assert server.mails == []


async def test_a_mail_that_could_not_be_made_is_sent_once_it_can(
    world: World, delivery: Delivery, server: MailServer, alert: UUID, clock: Clock
) -> None:
    await replace(delivery, renderer=Unrenderable()).deliver(alert)
    clock.move(30)
    assert await delivery.deliver(alert) is None
    assert len(await world.events(alert, NotificationSent)) == 1
    assert len(server.mails) == 1


async def test_a_mailer_stopped_in_the_middle_of_a_delivery_counts_no_attempt(
    world: World, delivery: Delivery, server: MailServer, alert: UUID
) -> None:
    server.hold = asyncio.Event()
    delivering = asyncio.create_task(delivery.deliver(alert))
    await until(lambda: server.waiting == 1)
    delivering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await delivering
    server.hold.set()
    assert len(await world.store.load(alert)) == 1


async def test_read_tables_that_lag_behind_a_deferral_lead_to_no_early_attempt(
    world: World, mailer: Mailer, server: MailServer, alert: UUID
) -> None:
    server.answer = "451 later"
    for _ in range(ATTEMPTS_MAX):
        await mailer.step()
        await finished(mailer)
    assert await world.events(alert, NotificationFailed) == []
    assert len(server.mails) == 1


async def test_claims_are_renewed_while_a_server_is_slow(
    world: World, mailer: Mailer, delivery: Delivery, server: MailServer, alert: UUID, clock: Clock, ticks: Ticks
) -> None:
    other = Mailer(PostgresOutbox(world.pool), delivery, now=clock, monotonic=Ticks())
    server.hold = asyncio.Event()
    await mailer.step()
    await until(lambda: server.waiting == 1)
    for _ in range(5):
        clock.at += CLAIM_LIFETIME * 0.9
        ticks.move(RENEWAL_SECONDS)
        await mailer.step()
        await other.step()
    assert not other._running
    server.hold.set()
    await finished(mailer)
    assert len(server.mails) == 1
    assert len(await world.events(alert, NotificationSent)) == 1


async def test_a_claim_whose_holder_is_gone_is_taken_over_and_not_before_it_ended(
    world: World, mailer: Mailer, delivery: Delivery, server: MailServer, alert: UUID, clock: Clock
) -> None:
    other = Mailer(PostgresOutbox(world.pool), delivery, now=clock, monotonic=Ticks())
    server.hold = asyncio.Event()
    await mailer.step()
    await until(lambda: server.waiting == 1)
    for task in list(mailer._running):
        task.cancel()
    await finished(mailer)
    server.hold.set()
    clock.at += CLAIM_LIFETIME
    await other.step()
    assert not other._running
    clock.move(0.001)
    await other.step()
    await finished(other)
    assert len(await world.events(alert, NotificationSent)) == 1


async def test_of_many_mailers_at_the_same_moment_one_delivers_each_notification(
    world: World, delivery: Delivery, server: MailServer, owner: UUID, clock: Clock
) -> None:
    monitor = await world.monitor(owner, plan())
    found = await world.change(owner, monitor)
    alerts = [await world.alert(owner, monitor, found) for _ in range(12)]
    await world.project()
    mailers = [Mailer(PostgresOutbox(world.pool), delivery, now=clock, monotonic=Ticks()) for _ in range(4)]
    await asyncio.gather(*(one.step() for one in mailers))
    for one in mailers:
        await finished(one)
    assert sorted(mail["Message-ID"] for mail in server.mails) == sorted(f"<{a.hex}@vigil.example>" for a in alerts)


async def test_a_notification_that_another_mailer_is_just_claiming_is_left_to_it(
    world: World, alert: UUID, clock: Clock
) -> None:
    outbox = PostgresOutbox(world.pool)
    async with world.pool.connection() as connection:
        async with connection.transaction():
            await connection.execute(
                "insert into delivery_claim values (%s, %s)", (alert, clock() + timedelta(seconds=1))
            )
            claiming = asyncio.create_task(outbox.claim(now=clock(), lifetime=CLAIM_LIFETIME, limit=10))
            while not await world.value(WAITS_FOR_A_LOCK):
                await asyncio.sleep(0.001)
        assert await claiming == []
    assert await outbox.claim(now=clock() + timedelta(seconds=2), lifetime=CLAIM_LIFETIME, limit=10) == [alert]


async def test_a_mailer_with_its_hands_full_waits_for_one_to_end(
    world: World, mailer: Mailer, server: MailServer, owner: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.mailer.CONCURRENCY", 2)
    monitor = await world.monitor(owner, plan())
    found = await world.change(owner, monitor)
    for _ in range(3):
        await world.alert(owner, monitor, found)
    await world.project()
    server.hold = asyncio.Event()
    assert await mailer.step() == 0.0
    await until(lambda: server.waiting == 2)
    full = asyncio.create_task(mailer.step())
    await asyncio.sleep(0.01)
    assert not full.done()
    assert await claims(world) == 2
    server.hold.set()
    assert await full == 0.0
    await finished(mailer)
    await world.project()
    await mailer.step()
    await finished(mailer)
    assert len(server.mails) == 3


async def test_a_delivery_that_cannot_be_recorded_is_tried_again_when_its_claim_has_ended(
    world: World, mailer: Mailer, server: MailServer, alert: UUID, clock: Clock
) -> None:
    await world.tamper("update event set type_version = 99 where stream_id = %s", alert)  # written by a later version
    with capture_logs() as logged:
        await mailer.step()
        await finished(mailer)
    assert [one["notification_id"] for one in logged if one["event"] == "delivery not recorded"] == [str(alert)]
    assert await claims(world) == 1
    await world.tamper("update event set type_version = 1 where stream_id = %s", alert)
    await mailer.step()
    await finished(mailer)
    assert server.mails == []
    clock.at += CLAIM_LIFETIME + timedelta(milliseconds=1)
    await mailer.step()
    await finished(mailer)
    assert len(await world.events(alert, NotificationSent)) == 1


async def test_a_mailer_asked_to_stop_finishes_what_it_delivers(
    world: World, mailer: Mailer, server: MailServer, alert: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.mailer.RENEWAL_SECONDS", 0.005)
    server.hold = asyncio.Event()
    stopping = asyncio.create_task(mailer.run(RestlessStop(rests_max=1)))
    await until(lambda: server.waiting == 1)
    await asyncio.sleep(0.02)
    assert not stopping.done()
    server.hold.set()
    await stopping
    assert len(await world.events(alert, NotificationSent)) == 1


async def test_a_mailer_asked_to_stop_does_not_wait_for_ever(
    mailer: Mailer, server: MailServer, alert: UUID, ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.mailer.RENEWAL_SECONDS", 0.001)
    monkeypatch.setattr("workers.mailer.DRAIN_SECONDS_MAX", 40.0)
    server.hold = asyncio.Event()
    stopping = asyncio.create_task(mailer.run(RestlessStop(rests_max=1)))
    await until(lambda: server.waiting == 1)
    ticks.move(41)
    async with asyncio.timeout(1):
        await stopping
    assert mailer._running
    server.hold.set()
    await finished(mailer)
