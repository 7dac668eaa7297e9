"""Mails and the inbox in a real browser on the screen of a telephone: nothing may be wider than it."""

import asyncio
import html
import shutil
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import aiohttp
import aiosmtplib
import msgspec
import pytest
from selectolax.lexbor import LexborHTMLParser

from adapters.jinja_mail_renderer import JinjaMailRenderer
from adapters.mail_catcher import MailCatcher
from adapters.mime_message import build_message
from domain.evaluation import Evidence
from domain.fact import Fact, FactType
from domain.mail import (
    AlertContent,
    AlreadyRegisteredContent,
    FailingContent,
    Outage,
    OutgoingMail,
    RecoveredContent,
    VerifyEmailContent,
)
from domain.monitor import State

AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
SCREEN_PIXELS = 380
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed to show the pages in")

MEASURE = """
<script>
addEventListener("load", () => {
  const widths = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument;
    const rights = [...page.querySelectorAll("body *")].map(element => element.getBoundingClientRect().right);
    return [frame.title, Math.ceil(Math.max(page.documentElement.scrollWidth, ...rights) - 0.5)];
  });
  const result = document.createElement("pre");
  result.id = "widths";
  result.textContent = JSON.stringify(Object.fromEntries(widths));
  document.body.append(result);
});
</script>
"""


def alert(word: str) -> AlertContent:
    """An alert in which `word` stands wherever text comes from outside."""
    url = f"https://shop.example/{word}"
    fact = Fact(
        name=word,
        type=FactType.TEXT,
        value=word,
        unit=word,
        quote=word,
        source_url=url,
        evidence_hash="0",
        observed_at=AT,
    )
    return AlertContent(
        person_name=word,
        timezone="America/Argentina/Buenos_Aires",
        monitor_id=UUID(int=1),
        monitor_name=word,
        prompt=word,
        explanation=word,
        condition=word,
        state_before=State.UNKNOWN,
        state_after=State.INACTIVE,
        facts=(fact, fact),
        inputs={word: word},
        evidence=(Evidence(url=url, outcome=word, fetched_at=AT),),
        evaluation_id=UUID(int=7),
        evaluated_at=AT,
        monitor_url=url,
    )


def outages(word: str) -> tuple[Outage, ...]:
    """Two outages in which `word` stands wherever text comes from outside."""
    url = f"https://shop.example/{word}"
    outage = Outage(
        monitor_name=word,
        monitor_url=url,
        source_urls=(url,),
        state=State.INACTIVE,
        failures=3,
        code=word,
        message=word,
        since=AT,
        until=AT,
    )
    return outage, outage


async def widths_in_pixels(pages: dict[str, str], folder: Path) -> dict[str, int]:
    """How far each page reaches to the right when it is shown in a frame of `SCREEN_PIXELS`."""
    frames = "".join(
        f'<iframe title="{html.escape(title)}" srcdoc="{html.escape(page)}" '
        f'style="width:{SCREEN_PIXELS}px;height:800px;border:0"></iframe>'
        for title, page in pages.items()
    )
    probe = folder / "probe.html"
    probe.write_text(f"<!DOCTYPE html><meta charset=utf-8><body>{frames}{MEASURE}", encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        str(CHROMIUM),
        *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
        *("--disable-dev-shm-usage", "--virtual-time-budget=5000", f"--user-data-dir={folder / 'profile'}"),
        *("--dump-dom", probe.as_uri()),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    output, _ = await process.communicate()
    [result] = LexborHTMLParser(output.decode()).css("#widths")
    return msgspec.json.decode(result.text(), type=dict[str, int])


async def inbox_pages(mail: OutgoingMail, folder: Path) -> dict[str, str]:
    """The pages of an inbox that has caught `mail`."""
    catcher = MailCatcher(folder, now=lambda: AT)
    await catcher.start()
    async with (
        aiosmtplib.SMTP(hostname="127.0.0.1", port=catcher.smtp_port, local_hostname="localhost") as client,
        aiohttp.ClientSession(f"http://127.0.0.1:{catcher.inbox_port}") as session,
    ):
        data = build_message(mail, sender="vigil@example.com", date=AT)
        await client.sendmail("vigil@example.com", ["a@example.com"], data)
        paths = ["/", *(f"/messages/00000001?view={view}" for view in ("html", "text", "headers"))]
        pages = {path: await (await session.get(path)).text() for path in paths}
    await catcher.stop()
    return pages


async def test_nothing_is_wider_than_a_telephone(tmp_path: Path) -> None:
    renderer = JinjaMailRenderer()
    hostile = renderer.render(alert("W" * 120))
    mails = {
        "words": renderer.render(alert("some words of usual length " * 4)).html,
        "one long word": hostile.html,
        "verify": renderer.render(
            VerifyEmailContent(
                person_name="W" * 120, link=f"http://127.0.0.1/verify?token={'W' * 200}", token="W" * 200, expires_at=AT
            )
        ).html,
        "again": renderer.render(AlreadyRegisteredContent(person_name="Ada", login_url=f"http://x/{'W' * 99}")).html,
    }
    for made in (FailingContent, RecoveredContent):
        content = made(person_name="W" * 120, timezone="America/Argentina/Buenos_Aires", outages=outages("W" * 120))
        mails[made.__name__] = renderer.render(content).html
    caught = OutgoingMail(message_id="<a@b>", to="a@example.com", subject="W" * 190, body=hostile)
    inbox = await inbox_pages(caught, tmp_path / "mail")
    too_wide = {"a page that is too wide": "<!DOCTYPE html><body style='margin:0'><div style='width:500px'>x</div>"}

    widths = await widths_in_pixels(mails | inbox | too_wide, tmp_path)

    assert widths.pop("a page that is too wide") == 500
    assert widths.keys() == mails.keys() | inbox.keys()
    assert {title: width for title, width in widths.items() if width > SCREEN_PIXELS} == {}
