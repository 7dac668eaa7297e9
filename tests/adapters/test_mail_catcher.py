"""The mail catcher: what was accepted is shown, survives a kill, and cannot harm the one who looks at it."""

import asyncio
import signal
import stat
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import aiohttp
import aiosmtplib
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser, LexborNode

from adapters.mail_catcher import MESSAGE_BYTES_MAX, MailCatcher
from adapters.mail_folder import CaughtMail, MailFolder

AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
SCRIPT = "<script>alert(1)</script>"


class Clock:
    """Each look at it is a second later."""

    def __init__(self) -> None:
        self.at = AT

    def __call__(self) -> datetime:
        self.at += timedelta(seconds=1)
        return self.at


@pytest.fixture
async def catcher(tmp_path: Path) -> AsyncIterator[MailCatcher]:
    made = MailCatcher(tmp_path / "mail", now=Clock())
    await made.start()
    yield made
    await made.stop()


def written(
    subject: str = "Hello", *, text: str = "Hi\n", html: str | None = "<p>Hi</p>\n", to: str = "a@example.com"
) -> bytes:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "Vigil <vigil@example.com>", to, subject
    message.set_content(text)
    if html is not None:
        message.add_alternative(html, subtype="html")
    return bytes(message)


async def deliver(catcher: MailCatcher, content: bytes, *to: str) -> None:
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=catcher.smtp_port, local_hostname="localhost") as client:
        await client.sendmail("bounces@example.com", list(to) or ["a@example.com"], content)


async def get(catcher: MailCatcher, path: str, *, host: str | None = None) -> tuple[aiohttp.ClientResponse, str]:
    url = f"http://127.0.0.1:{catcher.inbox_port}{path}"
    headers = {} if host is None else {"Host": host}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        return response, await response.text()


async def caught(catcher: MailCatcher) -> list[CaughtMail]:
    response, body = await get(catcher, "/api/messages")
    assert (response.status, response.content_type) == (200, "application/json")
    return msgspec.json.decode(body, type=list[CaughtMail])


async def page(catcher: MailCatcher, path: str) -> LexborHTMLParser:
    response, body = await get(catcher, path)
    assert (response.status, response.content_type) == (200, "text/html")
    return LexborHTMLParser(body)


def one(tree: LexborHTMLParser, selector: str) -> LexborNode:
    [found] = tree.css(selector)
    return found


async def test_a_caught_mail_is_told_in_full(catcher: MailCatcher) -> None:
    await deliver(catcher, written("Grüße", html=None), "a@example.com", "b@example.com")
    told = {
        "id": "00000001",
        "from": "vigil@example.com",
        "to": ["a@example.com", "b@example.com"],
        "subject": "Grüße",
        "text": "Hi\n",
        "html": "",
        "headers": {
            "From": "Vigil <vigil@example.com>",
            "To": "a@example.com",
            "Subject": "Grüße",
            "Content-Type": 'text/plain; charset="utf-8"',
            "Content-Transfer-Encoding": "7bit",
            "MIME-Version": "1.0",
        },
        "received_at": "2026-03-01T09:30:01Z",
    }
    _, listed = await get(catcher, "/api/messages")
    assert msgspec.json.decode(listed) == [told]
    _, single = await get(catcher, "/api/messages/00000001")
    assert msgspec.json.decode(single) == told


async def test_both_forms_of_a_mail_are_told(catcher: MailCatcher) -> None:
    await deliver(catcher, written(text="Grüße\n", html="<p>Grüße</p>\n"))
    [mail] = await caught(catcher)
    assert (mail.text, mail.html) == ("Grüße\n", "<p>Grüße</p>\n")


async def test_the_newest_mail_comes_first_and_one_sent_twice_is_shown_twice(catcher: MailCatcher) -> None:
    for subject in ("first", "second", "second"):
        await deliver(catcher, written(subject))
    mails = await caught(catcher)
    assert [mail.subject for mail in mails] == ["second", "second", "first"]
    assert len({mail.id for mail in mails}) == 3


async def test_all_mails_can_be_forgotten(catcher: MailCatcher, tmp_path: Path) -> None:
    await deliver(catcher, written())
    async with (
        aiohttp.ClientSession() as session,
        session.delete(f"http://127.0.0.1:{catcher.inbox_port}/api/messages") as response,
    ):
        assert response.status == 204
    assert await caught(catcher) == []
    assert list((tmp_path / "mail").iterdir()) == []


@pytest.mark.parametrize("path", ["/api/messages/00000099", "/messages/00000099", "/messages/00000099.html", "/other"])
async def test_what_is_not_there_is_not_found(catcher: MailCatcher, path: str) -> None:
    response, _ = await get(catcher, path)
    assert response.status == 404
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_whoever_waits_for_mail_is_told(tmp_path: Path) -> None:
    told: list[CaughtMail] = []
    catcher = MailCatcher(tmp_path, now=Clock(), on_mail=told.append)
    await catcher.start()
    await deliver(catcher, written("Hello"))
    await catcher.stop()
    assert [mail.subject for mail in told] == ["Hello"]


async def test_a_killed_catcher_has_lost_no_accepted_mail(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys, datetime, pathlib\n"
        "from adapters.mail_catcher import MailCatcher\n"
        "async def main():\n"
        "    catcher = MailCatcher(pathlib.Path(sys.argv[1]), now=lambda: datetime.datetime.now(datetime.UTC))\n"
        "    await catcher.start()\n"
        "    print(catcher.smtp_port, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, local_hostname="localhost") as client:
        for n in range(5):
            await client.sendmail("v@example.com", ["a@example.com"], written(f"mail {n}"))
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert [mail.subject for mail in MailFolder(tmp_path).newest_first()] == [f"mail {n}" for n in (4, 3, 2, 1, 0)]


def add(folder: MailFolder, content: bytes) -> CaughtMail:
    return folder.add(sender="v@example.com", to=("a@example.com",), content=content, received_at=AT)


def test_a_folder_opened_again_goes_on_counting(tmp_path: Path) -> None:
    first = add(MailFolder(tmp_path), written("one"))
    reopened = MailFolder(tmp_path)
    second = add(reopened, written("two"))
    assert [mail.subject for mail in reopened.newest_first()] == ["two", "one"]
    assert reopened.get(first.id) == first
    assert first.id < second.id


def test_half_a_mail_is_removed_and_a_strange_file_is_left_alone(tmp_path: Path) -> None:
    kept = add(MailFolder(tmp_path), written())
    (tmp_path / "00000002.partial").write_bytes(b'{"sen')
    (tmp_path / "00000003.json").write_bytes(b'{"sen')
    (tmp_path / "notes.txt").write_text("mine")
    folder = MailFolder(tmp_path)
    assert folder.newest_first() == [kept]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000001.json", "00000003.json", "notes.txt"]
    assert add(folder, written()).id == "00000004"


def test_only_the_newest_mails_are_kept(tmp_path: Path) -> None:
    folder = MailFolder(tmp_path, kept=3)
    for n in range(5):
        add(folder, written(str(n)))
    assert [mail.subject for mail in folder.newest_first()] == ["4", "3", "2"]
    assert len(list(tmp_path.iterdir())) == 3
    assert len(MailFolder(tmp_path, kept=2).newest_first()) == 2
    assert len(list(tmp_path.iterdir())) == 2


def test_only_the_owner_may_read_what_was_caught(tmp_path: Path) -> None:
    add(MailFolder(tmp_path / "mail"), written())
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "mail", *(tmp_path / "mail").iterdir())]
    assert modes == [0o700, 0o600]


TRICKY_PIECES = [
    b"Content-Type: multipart/mixed; boundary=x\r\n",
    b"Content-Type: text/html; charset=",
    b"Content-Type: text/plain; charset*0*=utf-8''%ff\r\n",
    b"Content-Type: message/rfc822\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Disposition: attachment\r\n",
    b"Subject: =?nope?b?????=\r\n",
    b"From: <\r\n",
    *(b"=?utf-8?q?=FF?=", b"\x00", b"utf-7", b"none", b"\xff\xfe", b"From:"),
    *(b"\r\n", b"\r\n\r\n", b"--x\r\n", b"--x--\r\n"),
]
mime_pieces = st.lists(st.sampled_from(TRICKY_PIECES), max_size=12).map(b"".join)


@given(st.one_of(st.binary(max_size=300), mime_pieces))
@example(b"Content-Type: text/html; charset=none\r\n\r\nx")
def test_any_bytes_can_be_caught_and_shown(content: bytes) -> None:
    from tempfile import TemporaryDirectory  # noqa: PLC0415 - a fixture would be shared by all examples

    with TemporaryDirectory() as name:
        mail = add(MailFolder(Path(name)), content)
        assert msgspec.json.decode(msgspec.json.encode(mail), type=CaughtMail) == mail
        assert MailFolder(Path(name)).newest_first() == [mail]


async def test_the_server_says_what_it_can(catcher: MailCatcher) -> None:
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=catcher.smtp_port, local_hostname="localhost") as client:
        await client.ehlo()
        assert client.supports_extension("smtputf8")
        assert client.supports_extension("8bitmime")
        assert client.esmtp_extensions["size"] == str(MESSAGE_BYTES_MAX)


async def test_a_mail_that_is_too_large_is_refused(catcher: MailCatcher) -> None:
    line = b"x" * 900 + b"\r\n"
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=catcher.smtp_port, local_hostname="localhost") as client:
        with pytest.raises(aiosmtplib.SMTPResponseException) as refused:
            await client.sendmail("v@example.com", ["a@example.com"], line * (MESSAGE_BYTES_MAX // len(line) + 1))
    assert refused.value.code == 552
    assert await caught(catcher) == []


async def test_the_list_shows_each_mail_and_refreshes_itself(catcher: MailCatcher) -> None:
    assert "No mail yet" in one(await page(catcher, "/"), ".empty").text()
    await deliver(catcher, written(f"Rain {SCRIPT}", text=f"It rains {SCRIPT}\n"))
    tree = await page(catcher, "/")
    assert one(tree, "li .subject").text() == f"Rain {SCRIPT}"
    assert one(tree, "li .preview").text() == f"It rains {SCRIPT}"
    assert one(tree, "li a").attributes["href"] == "/messages/00000001"
    assert one(tree, 'meta[http-equiv="refresh"]').attributes["content"] == "5"
    assert tree.css("script") == []


async def test_a_mail_is_shown_in_a_sandbox_without_scripts(catcher: MailCatcher) -> None:
    html = f'<p onclick="x()">"Hi" &amp; {SCRIPT}</p>\n'
    await deliver(catcher, written(SCRIPT, html=html))
    tree = await page(catcher, "/messages/00000001")
    frame = one(tree, "iframe").attributes
    assert frame["srcdoc"] == html
    assert frame["sandbox"] == "allow-popups allow-popups-to-escape-sandbox"
    assert one(tree, "h1").text() == SCRIPT
    assert tree.css("script") == []


async def test_a_mail_can_be_read_as_text_and_as_headers(catcher: MailCatcher) -> None:
    await deliver(catcher, written(SCRIPT, text=f"a < b {SCRIPT}\n"))
    as_text = await page(catcher, "/messages/00000001?view=text")
    assert one(as_text, "pre").text().strip() == f"a < b {SCRIPT}"
    as_headers = await page(catcher, "/messages/00000001?view=headers")
    assert "Vigil <vigil@example.com>" in one(as_headers, "dl.headers").text()
    assert as_text.css("script") == as_headers.css("script") == []


@pytest.mark.parametrize("query", ["", "?view=nonsense"])
async def test_a_mail_without_html_is_shown_as_text(catcher: MailCatcher, query: str) -> None:
    await deliver(catcher, written(html=None))
    assert one(await page(catcher, f"/messages/00000001{query}"), "pre").text().strip() == "Hi"


async def test_the_html_alone_is_the_mail_itself_in_a_sandbox(catcher: MailCatcher) -> None:
    await deliver(catcher, written(html=f"<p>{SCRIPT}</p>\n"))
    response, body = await get(catcher, "/messages/00000001.html")
    assert body == f"<p>{SCRIPT}</p>\n"
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox;")
    assert "default-src 'none'" in policy


@pytest.mark.parametrize("path", ["/", "/messages/00000001", "/messages/00000001.html", "/api/messages", "/nothing"])
async def test_every_answer_forbids_scripts_guessing_and_caching(catcher: MailCatcher, path: str) -> None:
    await deliver(catcher, written())
    response, _ = await get(catcher, path)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "frame-ancestors 'none'" in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8025", 200),
        ("127.0.0.1", 200),
        ("[::1]:8025", 200),
        ("evil.example:8025", 421),
        ("10.1.2.3", 421),
        ("127.0.0.1.evil.example", 421),
    ],
)
async def test_a_name_of_the_web_that_leads_here_is_not_served(catcher: MailCatcher, host: str, status: int) -> None:
    response, _ = await get(catcher, "/api/messages", host=host)
    assert response.status == status


async def test_a_taken_port_leaves_nothing_open(catcher: MailCatcher, tmp_path: Path) -> None:
    second = MailCatcher(tmp_path / "second", now=Clock(), inbox_port=catcher.inbox_port)
    with pytest.raises(OSError, match="address already in use"):
        await second.start()
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection("127.0.0.1", second.smtp_port)


async def test_stopping_cuts_open_connections_and_may_be_done_twice(tmp_path: Path) -> None:
    catcher = MailCatcher(tmp_path, now=Clock())
    await catcher.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", catcher.smtp_port)
    await reader.readline()
    await catcher.stop()
    await catcher.stop()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
