"""What was done to the world is done once: whatever is replayed, rebuilt, verified or read again sends no second mail, looks
at no page again and appends nothing."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from adapters.mail_catcher import MailCatcher
from adapters.mail_folder import CaughtMail
from adapters.postgres_pool import Pool
from bootstrap.now_and_new import utc_now
from domain.schedule import Every
from domain.user import EmailVerificationRequested
from tests.cli.vigil_process import vigil
from tests.conftest import as_application
from tests.faults.installation import Installation, converged
from tests.workers.world import Clock, Page, World, plan

ROLES = ("relay", "projector", "scheduler", "evaluator", "notifier", "mailer", "notary")
CONSUMERS = ("core", "notifier")
SECRET = "a secret for tests that is long enough"

_EVENTS = "select event_id, type, stream_id, data->>'monitor_id' from event order by seq"
Stored = tuple[UUID, str, UUID, str | None]


class Journey:
    """Workers in a process of their own, a mail server and pages that count, and what was appended."""

    def __init__(self, world: World, installation: Installation, database: str, data_dir: Path) -> None:
        self.world, self.installation = world, installation
        self.mails: list[CaughtMail] = []
        self._settings = {
            "database_url": as_application(database),
            "database_owner_url": database,
            "data_dir": str(data_dir),
            "secret_key": SECRET,
        }

    def command(self, *words: str) -> str:
        """What a command of an operator prints."""
        done = vigil(*words, **self._settings)
        assert done.returncode == 0, done.stderr
        return done.stdout

    async def events(self) -> list[Stored]:
        async with self.world.pool.connection() as connection:
            rows = await (await connection.execute(_EVENTS)).fetchall()
        return [(event_id, tag, stream, monitor) for event_id, tag, stream, monitor in rows]

    async def watch(self, owner: UUID, page: Page) -> UUID:
        """A monitor that becomes active at its first look, which is due now, and a mail about it."""
        monitor = await self.world.monitor(owner, plan(page.url, schedule=Every(seconds=3600)), due_at=utc_now())
        await self.world.trigger(owner, monitor, await self.world.action(owner))
        return monitor

    async def until_sent(self, count: int) -> list[Stored]:
        """Return the events when so many mails were sent, recorded as sent, and everything was consumed."""
        async with asyncio.timeout(60):
            while sum(tag == "notification.sent" for _, tag, _, _ in await self.events()) < count:
                await asyncio.sleep(0.05)
        await converged(self.world.pool, CONSUMERS)
        return await self.events()


@pytest.fixture
async def pages() -> AsyncIterator[list[Page]]:
    opened = [Page(), Page()]
    for page in opened:
        page.content = {"price": 150.0}
        await page.start()
    yield opened
    for page in opened:
        await page.stop()


@pytest.fixture
async def journey(tmp_path: Path, database: str, pool: Pool) -> AsyncIterator[Journey]:
    caught: list[CaughtMail] = []
    catcher = MailCatcher(tmp_path / "mail", now=utc_now, on_mail=caught.append)
    await catcher.start()
    data_dir = tmp_path / "data"
    installation = Installation(
        data_dir,
        database,
        VIGIL_SMTP_URL=f"smtp://127.0.0.1:{catcher.smtp_port}",
        VIGIL_FETCH_ALLOW_NETWORKS="127.0.0.0/8",
        VIGIL_SECRET_KEY=SECRET,
    )
    opened = Journey(World(pool, pool, Clock(utc_now())), installation, database, data_dir)
    opened.mails = caught
    yield opened
    installation.close()
    await catcher.stop()


def about(events: Sequence[Stored], monitor: UUID) -> Callable[[Stored], bool]:
    """Whether an event belongs to a monitor, or to what operators did."""
    streams = {stream for _, _, stream, subject in events if subject == str(monitor)} | {monitor}
    return lambda event: event[2] in streams or event[1].startswith("operation.") or event[1] == "action.created"


@pytest.mark.timeout(300)
async def test_nothing_that_reads_the_log_again_does_anything_again(journey: Journey, pages: list[Page]) -> None:
    first, second = pages
    world = journey.world
    journey.installation.start("workers", *ROLES)
    ada, ben = await world.person(), await world.person(verified=False, email="ben@example.org")
    asked = EmailVerificationRequested(
        token_id=uuid7(), email="ben@example.org", expires_at=utc_now() + timedelta(days=1)
    )
    await world.append(ben, ben, asked)
    watched = await journey.watch(ada, first)
    before = await journey.until_sent(2)
    assert (len(journey.mails), len(first.seen)) == (2, 1)

    for _ in range(2):
        journey.command("projections", "rebuild", "--all")
    replayed = [json.loads(line) for line in journey.command("events", "replay", "--json").splitlines()]
    assert [event["event_id"] for event in replayed][: len(before)] == [str(event[0]) for event in before]
    assert "one unbroken chain" in journey.command("events", "verify")
    journey.command("events", "show", "--stream", str(watched))
    journey.installation.flush_redis()
    journey.installation.kill("workers")
    journey.installation.flush_redis()
    # A reactor is never replayed; should somebody do it all the same, it does nothing a second time.
    await world.execute("update checkpoint set position = 0 where consumer = 'notifier'")
    journey.installation.start("workers again", *ROLES)

    another = await journey.watch(
        ada, second
    )  # the same partition: when this one is told, all before it was seen again
    after = await journey.until_sent(3)
    assert after[: len(before)] == before
    news = [event for event in after[len(before) :] if not about(after, another)(event)]
    assert news == []
    assert (len(journey.mails), len(first.seen), len(second.seen)) == (3, 1, 1)
    assert len({mail.headers["Message-ID"] for mail in journey.mails}) == 3
