"""Who is told that a budget is spent: the person whose it is, or everybody who runs the installation; once a day."""

from collections.abc import AsyncIterator
from datetime import timedelta
from email.message import EmailMessage
from uuid import UUID

import pytest
import redis.asyncio as redis
from uuid_utils.compat import uuid7

from adapters.hmac_link_tokens import HmacLinkTokens
from adapters.jinja_mail_renderer import JinjaMailRenderer
from adapters.postgres_outbox import PostgresOutbox
from adapters.smtp_mailer import SmtpMailer
from commands.event_store import ErasePerson
from domain.budget import BudgetExhausted, budget_stream
from domain.event import Metadata, NewEvents
from domain.notification import (
    MailKind,
    NotificationFailed,
    NotificationRequested,
    NotificationSent,
    NotificationSuppressed,
)
from domain.operation import INSTALLATION
from domain.user import EmailVerified, RoleGranted, UserErased, UserRegistered
from tests.adapters.test_smtp_mailer import listening
from tests.conftest import AT
from tests.workers.test_mailer import MailServer
from tests.workers.test_notifier import FROM_THE_START, House
from tests.workers.world import Ticks, World
from workers.delivery import Delivery
from workers.letters import OutageMails


@pytest.fixture
async def house(world: World, no_redis: redis.Redis, ticks: Ticks) -> House:
    return House(world, no_redis, ticks, await somebody(world, "ada"), uuid7(), uuid7())


@pytest.fixture
async def post() -> AsyncIterator[MailServer]:
    opened = MailServer()
    async with listening(opened) as port:
        opened.port = port
        yield opened


async def somebody(world: World, name: str, *roles: str, verified: bool = True) -> UUID:
    user_id, email = uuid7(), f"{name}@example.org"
    events = [UserRegistered(email=email, name=name.title(), timezone="Europe/Berlin", registered_at=AT)]
    proof = [EmailVerified(email=email, verified_at=AT)] if verified else []
    granted = [RoleGranted(role=role, granted_at=AT) for role in roles]
    await world.append(user_id, user_id, *events, *proof, *granted)
    return user_id


async def stop(world: World, scope: UUID, *, days: int = 0) -> UUID:
    """The budget of a scope is spent."""
    day = (AT + timedelta(days=days)).date()
    event = BudgetExhausted(scope=scope, day=day, limit_micros=500_000, spent_micros=498_765, exhausted_at=AT)
    stream_id = budget_stream(scope, day)
    new = NewEvents(stream_id=stream_id, owner_id=scope, expected_version=0, events=(event,))
    await world.store.append([new], metadata=Metadata(correlation_id=stream_id, actor="ai"))
    return stream_id


async def deliver(world: World, post: MailServer) -> list[EmailMessage]:
    """Deliver everything that was asked for; what the mail server took."""
    sender = SmtpMailer(f"smtp://127.0.0.1:{post.port}", sender="v@example.com", now=world.clock, timeout_seconds=10)
    delivery = Delivery(
        store=world.store,
        renderer=JinjaMailRenderer(),
        sender=sender,
        outages=OutageMails(world.store, PostgresOutbox(world.pool), "https://vigil.example"),
        links=HmacLinkTokens([b"a secret of these tests"]),
        public_url="https://vigil.example",
        retry_base=timedelta(seconds=30),
        now=world.clock,
    )
    for notification_id in await world.streams_with(NotificationRequested):
        await delivery.deliver(notification_id)
    await sender.close()
    return post.mails


def words(mail: EmailMessage, form: str = "plain") -> str:
    body = mail.get_body((form,))
    assert body is not None
    return " ".join(body.get_content().split())


async def test_whose_budget_is_spent_is_told_once_what_it_means_and_what_helps(house: House, post: MailServer) -> None:
    await stop(house.world, house.owner)
    await house.react()
    await house.world.execute(FROM_THE_START)
    await house.react()
    assert await house.asked() == [
        NotificationRequested(
            kind=MailKind.BUDGET,
            to="ada@example.org",
            subject="Vigil: your AI budget for today has run short",
            requested_at=AT,
        )
    ]
    [mail] = await deliver(house.world, post)
    said = words(mail)
    assert mail["To"] == "ada@example.org"
    assert "Your AI budget for today has run short" in said
    assert "a call that may cost more than is left is not made" in said
    assert "0.498765 USD of 0.50 USD spent" in said
    assert "begins Friday, 2 January 2026, 01:00 (Europe/Berlin, UTC+01:00)" in said
    assert "inconclusive" in said
    assert "What was spent: https://vigil.example/api/v1/ai/usage" in said
    assert "Sent to Ada because this is your budget." in said
    assert len(await house.world.all(NotificationSent)) == 1


async def test_both_forms_of_the_mail_tell_the_same(house: House, post: MailServer) -> None:
    await stop(house.world, house.owner)
    await house.react()
    [mail] = await deliver(house.world, post)
    for told in ("0.498765 USD of 0.50 USD spent", "Europe/Berlin", "inconclusive", "/api/v1/ai/usage"):
        assert told in words(mail)
        assert told in words(mail, "html")


async def test_another_day_is_told_again(house: House) -> None:
    for days in (0, 1):
        await stop(house.world, house.owner, days=days)
    await house.react()
    assert len(await house.asked()) == 2


async def test_of_the_installations_budget_everybody_is_told_who_runs_it(house: House, post: MailServer) -> None:
    world = house.world
    for name, roles in (
        ("olga", ["operator"]),
        ("alan", ["admin"]),
        ("both", ["operator", "admin"]),
        ("aud", ["auditor"]),
    ):
        await somebody(world, name, *roles)
    await somebody(world, "new", "admin", verified=False)
    await stop(world, INSTALLATION)
    await house.react()
    await world.execute(FROM_THE_START)
    await house.react()
    mails = await deliver(world, post)
    assert sorted(mail["To"] for mail in mails) == ["alan@example.org", "both@example.org", "olga@example.org"]
    assert {mail["Subject"] for mail in mails} == {"Vigil: this installation's AI budget for today has run short"}
    assert "because you run this Vigil" in words(mails[0])
    assert "VIGIL_AI_BUDGET_DAY" in words(mails[0])


async def test_an_installation_that_nobody_runs_is_no_defect(house: House) -> None:
    await stop(house.world, INSTALLATION)
    await house.react()
    assert await house.asked() == []
    assert await house.world.value("select count(*) from parked") == 0


async def test_who_has_not_confirmed_the_address_gets_no_mail_and_that_is_recorded(
    house: House, post: MailServer
) -> None:
    await stop(house.world, await somebody(house.world, "eve", verified=False))
    await house.react()
    assert [one.reason for one in await house.world.all(NotificationSuppressed)] == ["address_unverified"]
    assert await deliver(house.world, post) == []


async def test_an_erased_person_is_told_nothing(house: House) -> None:
    ada = house.owner
    await stop(house.world, ada)
    await house.world.append(ada, ada, UserErased(erased_at=AT), companions=[ErasePerson(ada)])
    await house.react()
    assert await house.asked() == []


async def test_a_letter_about_no_budget_fails_for_good(house: House, post: MailServer) -> None:
    request = NotificationRequested(kind=MailKind.BUDGET, to="ada@example.org", subject="?", requested_at=AT)
    await house.world.append(house.owner, uuid7(), request)
    assert await deliver(house.world, post) == []
    [failed] = await house.world.all(NotificationFailed)
    assert "is no budget that was spent" in failed.message
