"""From a changing page to mails, while every worker is killed with -9 again and again: each entry into the state is
noticed once, told once, and a mail sent twice carries one Message-ID."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from aiohttp import web
from uuid_utils.compat import uuid7

from adapters.hmac_link_tokens import HmacLinkTokens
from adapters.mail_catcher import MailCatcher
from adapters.mail_folder import CaughtMail
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_pool import Pool, open_pool
from bootstrap.parts import utc_now
from commands.event_store import KeepSchedule
from domain import action, monitor, trigger, user
from domain.action import EmailAction
from domain.event import Event, Metadata, NewEvents
from domain.fact import FactSpec, FactType, Select
from domain.plan import Kind, Plan
from domain.schedule import Every
from domain.source import HttpSource
from domain.trigger import Frequency, TriggerCondition
from tests.faults.installation import Chaos, Installation, check_log, check_read_tables, converged

ENTRIES = 4
HOLD_SECONDS = 4.0
ROLES = [("relay", "projector"), ("scheduler", "evaluator"), ("notifier", "mailer")]


class Shop:
    """A page whose price the test sets."""

    def __init__(self) -> None:
        self.price = 250.0

    async def answer(self, _request: web.Request) -> web.Response:
        return web.json_response({"price": self.price})


@pytest.fixture
async def shop() -> AsyncIterator[tuple[Shop, str]]:
    opened = Shop()
    app = web.Application()
    app.router.add_get("/", opened.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield opened, f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


async def watch(pool: Pool, url: str) -> UUID:
    """A verified person with a monitor of one second, an action and a trigger."""
    store, now = PostgresEventStore(pool, new_id=uuid7), utc_now()
    owner, monitor_id, action_id, trigger_id = (uuid7() for _ in range(4))
    email = "ada@example.org"
    plan = Plan(
        kind=Kind.CURRENT_STATE,
        facts=(FactSpec(name="price", type=FactType.NUMBER, select=Select(jsonpath="$.price")),),
        condition="price < 200",
        schedule=Every(seconds=1),
        sources=(HttpSource(url=url),),
        explanation="Fires when the price is under 200.",
    )
    registered = user.register(email=email, name="Ada", timezone="UTC", token_id=uuid7(), now=now)[:1]
    streams: list[tuple[UUID, list[Event]]] = [
        (owner, [*registered, user.EmailVerified(email=email, verified_at=now)]),
        (monitor_id, [*monitor.create(name="Kettle", prompt="Tell me when it is cheap", plan=plan, now=now)]),
        (action_id, [*action.create(name="mail", config=EmailAction(), own_address=email, now=now)]),
        (
            trigger_id,
            [
                *trigger.create(
                    monitor_id=monitor_id,
                    action_id=action_id,
                    name="tell me",
                    condition=TriggerCondition.BECOMES_ACTIVE,
                    frequency=Frequency.EVERY_TIME,
                    cooldown=timedelta(),
                    now=now,
                )
            ],
        ),
    ]
    batch = [NewEvents(stream_id=s, owner_id=owner, expected_version=0, events=tuple(e)) for s, e in streams]
    due = KeepSchedule(monitor_id, owner, plan.schedule, active=True, due_at=now)
    await store.append(batch, metadata=Metadata(correlation_id=uuid7(), actor="test"), companions=[due])
    return monitor_id


async def entered(pool: Pool, monitor_id: UUID, state: str, times: int) -> None:
    """Return when the monitor has gone into `state` so many times."""
    async with asyncio.timeout(90):
        while True:
            async with pool.connection() as connection:
                row = await (
                    await connection.execute(
                        "select count(*) from event where stream_id = %s and data->>'to_state' = %s",
                        (monitor_id, state),
                    )
                ).fetchone()
            if row is not None and row[0] >= times:
                return
            await asyncio.sleep(0.05)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [5, 6])
async def test_every_entry_is_told_once_whatever_dies(
    tmp_path: Path, database: str, shop: tuple[Shop, str], seed: int
) -> None:
    page, url = shop
    caught: list[CaughtMail] = []
    catcher = MailCatcher(tmp_path / "mail", now=utc_now, on_mail=caught.append)
    await catcher.start()
    installation = Installation(
        tmp_path / "data",
        database,
        VIGIL_SMTP_URL=f"smtp://127.0.0.1:{catcher.smtp_port}",
        VIGIL_SMTP_RETRY_BASE_SECONDS="0.5",
        VIGIL_FETCH_ALLOW_NETWORKS="127.0.0.0/8",
        VIGIL_MIN_INTERVAL_SECONDS="1",
    )
    chaos = Chaos(installation, seed, ROLES)
    try:
        async with open_pool(database, size_max=5) as pool:
            monitor_id = await watch(pool, url)
            chaos.start()
            raging = asyncio.create_task(chaos.rage(20, 0.8))
            await entered(pool, monitor_id, "inactive", 1)
            for times in range(1, ENTRIES + 1):
                page.price = 150.0
                await entered(pool, monitor_id, "active", times)
                page.price = 250.0
                await entered(pool, monitor_id, "inactive", times + 1)
            await raging
            await converged(pool, ("core", "notifier"))
            async with asyncio.timeout(60):
                while len({mail.headers["Message-ID"] for mail in caught}) < ENTRIES:
                    await asyncio.sleep(0.1)
            for number in (1, 2):  # nothing new from here on, so that what is compared holds still
                installation.kill(f"scheduler-evaluator-{number}")
            await converged(pool, ("core", "notifier"))
            await check_log(pool)
            await check_read_tables(pool)
            async with pool.connection() as connection:
                fired = await (
                    await connection.execute("select count(*) from event where type = 'trigger.fired'")
                ).fetchone()
    finally:
        installation.close()
        await catcher.stop()
    copies = Counter(mail.headers["Message-ID"] for mail in caught)
    assert fired == (ENTRIES,)
    assert len(copies) == ENTRIES
    assert sum(copies.values()) - ENTRIES <= chaos.kills
    assert all(b"150" in mail.text.encode() for mail in caught)


def test_a_link_token_is_the_same_in_every_process() -> None:
    one, other = HmacLinkTokens([b"s" * 32]), HmacLinkTokens([b"s" * 32])
    user_id, token_id = uuid7(), uuid7()
    assert one.make("verify-email", user_id, token_id) == other.make("verify-email", user_id, token_id)
