"""Handing mail over to SMTP servers that take it, refuse it, hang, hang up, and want a password or not."""
# ruff: noqa: N802 - aiosmtpd calls a handler by these names and with these arguments

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import TypedDict, Unpack

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from adapters.smtp_mailer import FAREWELL_SECONDS, Encryption, SmtpMailer, smtp_server
from domain.mail import MailBody, MailRefused, OutgoingMail

SENDER = "Vigil <vigil@example.com>"


def now() -> datetime:
    return datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


def mail(subject: str = "Hello", *, to: str = "ada@example.com") -> OutgoingMail:
    return OutgoingMail(
        message_id="<abc@vigil.example>", to=to, subject=subject, body=MailBody(html="<p>Hi</p>", text="Hi")
    )


Step = Callable[[SMTP], Awaitable[str]]


class Server:
    """Answers each command as it is told to, with 250 where nothing is told; remembers what it took."""

    def __init__(self, **steps: Step) -> None:
        self.steps = steps
        self.taken: list[tuple[str, list[str], bytes]] = []
        self.passwords: list[bytes] = []
        self.connections: list[SMTP] = []
        self.open_most = 0

    async def _step(self, name: str, server: SMTP) -> str | None:
        return await self.steps[name](server) if name in self.steps else None

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = await self._step("mail", server)
        envelope.mail_from = address
        return answer or "250 2.1.0 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = await self._step("rcpt", server)
        envelope.rcpt_tos.append(address)
        return answer or "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.open_most = max(self.open_most, sum(c.transport is not None for c in self.connections))
        answer = await self._step("data", server)
        self.taken.append((envelope.mail_from or "", envelope.rcpt_tos, envelope.original_content or b""))
        return answer or "250 2.0.0 queued as 42"

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        return await self._step("quit", server) or "221 Bye"

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword
    ) -> AuthResult:
        self.passwords.append(data.password)
        return AuthResult(success=data.password == b"p@ss word", handled=False)


class Options(TypedDict, total=False):
    """What the server offers and asks for."""

    tls_context: ssl.SSLContext
    require_starttls: bool
    auth_require_tls: bool
    enable_SMTPUTF8: bool


@asynccontextmanager
async def listening(
    server: Server, *, implicit_tls: ssl.SSLContext | None = None, **options: Unpack[Options]
) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()

    def connection() -> SMTP:
        smtp = SMTP(server, hostname="localhost", authenticator=server.authenticate, loop=loop, **options)
        server.connections.append(smtp)
        return smtp

    listener = await loop.create_server(connection, "127.0.0.1", 0, ssl=implicit_tls)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for smtp in server.connections:
            if smtp.transport is not None:
                smtp.transport.close()
        await listener.wait_closed()


@asynccontextmanager
async def mailer(
    url: str, *, timeout_seconds: float = 5.0, connections_max: int = 8, tls_context: ssl.SSLContext | None = None
) -> AsyncIterator[SmtpMailer]:
    made = SmtpMailer(
        url,
        sender=SENDER,
        now=now,
        timeout_seconds=timeout_seconds,
        connections_max=connections_max,
        tls_context=tls_context,
    )
    yield made
    await made.close()


async def refusal(server: Server, *, timeout_seconds: float = 5.0, to: str = "ada@example.com") -> MailRefused:
    async with (
        listening(server) as port,
        mailer(f"smtp://127.0.0.1:{port}", timeout_seconds=timeout_seconds) as sending,
    ):
        with pytest.raises(MailRefused) as refused:
            await sending.send(mail(to=to))
    return refused.value


def answering(reply: str) -> Step:
    async def step(server: SMTP) -> str:
        return reply

    return step


async def hanging(server: SMTP) -> str:
    await asyncio.Event().wait()
    return "never"


async def hanging_up(server: SMTP) -> str:
    assert isinstance(server.transport, asyncio.Transport)
    server.transport.abort()
    return "250 never heard"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, signed by itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("no openssl program to make a certificate with")
    wanted = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    command = [
        program,
        *wanted.split(),
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        str(key),
        "-out",
        str(cert),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


@pytest.fixture(scope="module")
def server_tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


@pytest.fixture(scope="module")
def trusting(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate[0]))


async def test_an_accepted_mail_gives_the_servers_words() -> None:
    server = Server()
    async with listening(server) as port, mailer(f"smtp://127.0.0.1:{port}") as sending:
        receipt = await sending.send(mail("Grüße"))
    assert (receipt.code, receipt.message) == (250, "2.0.0 queued as 42")
    [(sender, recipients, content)] = server.taken
    message = message_from_bytes(content, policy=default)
    assert (sender, recipients) == ("vigil@example.com", ["ada@example.com"])
    assert (message["Subject"], message["Message-ID"]) == ("Grüße", "<abc@vigil.example>")
    assert message["Date"].datetime == now()


async def test_a_mail_sent_again_has_the_same_message_id() -> None:
    server = Server()
    async with listening(server) as port, mailer(f"smtp://127.0.0.1:{port}") as sending:
        await sending.send(mail())
        await sending.send(mail())
    assert {message_from_bytes(content)["Message-ID"] for _, _, content in server.taken} == {"<abc@vigil.example>"}
    assert len(server.taken) == 2


@pytest.mark.parametrize("command", ["mail", "rcpt", "data"])
@pytest.mark.parametrize(
    ("reply", "code", "permanent"),
    [
        ("421 4.3.2 closing", 421, False),
        ("450 4.2.1 busy", 450, False),
        ("451 4.3.0 try later", 451, False),
        ("550 5.1.1 no such person", 550, True),
        ("552 5.2.2 mailbox full", 552, True),
        ("530 5.7.0 log in first", 530, False),
    ],
)
async def test_4yz_may_be_tried_again_and_5yz_may_not(command: str, reply: str, code: int, *, permanent: bool) -> None:
    refused = await refusal(Server(**{command: answering(reply)}))
    assert (refused.code, refused.permanent) == (code, permanent)
    assert refused.message == reply[4:]


@pytest.mark.parametrize("command", ["mail", "rcpt", "data"])
async def test_a_server_that_never_answers_is_given_up_in_time(command: str) -> None:
    refused = await refusal(Server(**{command: hanging}), timeout_seconds=0.1)
    assert (refused.code, refused.permanent) == (None, False)
    assert "0.1 s" in refused.message


@pytest.mark.parametrize("command", ["mail", "rcpt", "data"])
async def test_a_server_that_hangs_up_may_be_tried_again(command: str) -> None:
    refused = await refusal(Server(**{command: hanging_up}))
    assert (refused.code, refused.permanent) == (None, False)


async def test_a_server_that_is_not_there_may_be_tried_again() -> None:
    async with listening(Server()) as port:
        pass
    async with mailer(f"smtp://127.0.0.1:{port}") as sending:
        with pytest.raises(MailRefused) as refused:
            await sending.send(mail())
    assert (refused.value.code, refused.value.permanent) == (None, False)


@pytest.mark.parametrize(
    ("greeting", "code"),
    [(b"554 5.3.2 no service\r\n", 554), (b"421 busy\r\n", 421), (b"hello\r\n", None), (b"", None)],
)
async def test_a_greeting_that_refuses_us_says_nothing_about_the_mail(greeting: bytes, code: int | None) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        async with mailer(f"smtp://127.0.0.1:{port}") as sending:
            with pytest.raises(MailRefused) as refused:
                await sending.send(mail())
    assert (refused.value.code, refused.value.permanent) == (code, False)


async def test_what_a_server_says_is_kept_short_and_without_control_characters() -> None:
    refused = await refusal(Server(data=answering("550 \x1b[2J" + "no " * 150)))
    assert refused.permanent
    assert refused.message.isprintable()
    assert len(refused.message) <= 500


async def test_the_receipt_does_not_wait_for_goodbye() -> None:
    said_goodbye = asyncio.Event()

    async def slow_goodbye(server: SMTP) -> str:
        await said_goodbye.wait()
        return "221 Bye"

    server = Server(quit=slow_goodbye)
    async with listening(server) as port, mailer(f"smtp://127.0.0.1:{port}") as sending:
        async with asyncio.timeout(FAREWELL_SECONDS / 2):
            assert (await sending.send(mail())).code == 250
        said_goodbye.set()


async def test_a_goodbye_that_is_refused_leaves_the_mail_sent() -> None:
    server = Server(quit=hanging_up)
    async with listening(server) as port, mailer(f"smtp://127.0.0.1:{port}") as sending:
        assert (await sending.send(mail())).code == 250


async def test_many_mails_at_once_share_the_allowed_connections() -> None:
    server = Server()
    async with (
        listening(server) as port,
        mailer(f"smtp://127.0.0.1:{port}", connections_max=3) as sending,
    ):
        receipts = await asyncio.gather(*(sending.send(mail(str(n))) for n in range(20)))
    assert [receipt.code for receipt in receipts] == [250] * 20
    assert {str(message_from_bytes(content)["Subject"]) for _, _, content in server.taken} == {
        str(n) for n in range(20)
    }
    assert 1 < server.open_most <= 3


async def test_a_refused_mail_gives_its_connection_back() -> None:
    server = Server(rcpt=answering("550 no"))
    async with listening(server) as port, mailer(f"smtp://127.0.0.1:{port}", connections_max=1) as sending:
        for _ in range(3):
            with pytest.raises(MailRefused):
                await sending.send(mail())
        server.steps.clear()
        assert (await sending.send(mail())).code == 250


async def test_a_mail_that_cannot_be_written_is_refused_for_good_before_connecting() -> None:
    server = Server()
    refused = await refusal(server, to="ada@example.com, bob@example.com")
    assert (refused.code, refused.permanent) == (None, True)
    assert server.connections == []


async def test_an_international_address_needs_a_server_that_knows_them() -> None:
    refused = await refusal(Server(), to="käthe@example.com")
    assert refused.permanent
    server = Server()
    async with listening(server, enable_SMTPUTF8=True) as port, mailer(f"smtp://127.0.0.1:{port}") as sending:
        assert (await sending.send(mail(to="käthe@example.com"))).code == 250
    assert server.taken[0][1] == ["käthe@example.com"]


async def test_a_password_is_not_sent_where_starttls_is_not_offered() -> None:
    server = Server()
    async with (
        listening(server, auth_require_tls=False) as port,
        mailer(f"smtp://ada:p%40ss%20word@127.0.0.1:{port}") as sending,
    ):
        with pytest.raises(MailRefused, match="STARTTLS") as refused:
            await sending.send(mail())
    assert not refused.value.permanent
    assert "p@ss" not in str(refused.value)
    assert (server.passwords, server.taken) == ([], [])


async def test_a_mail_is_not_sent_where_a_required_starttls_is_not_offered() -> None:
    server = Server()
    async with listening(server) as port, mailer(f"smtp://127.0.0.1:{port}?starttls=required") as sending:
        with pytest.raises(MailRefused, match="STARTTLS"):
            await sending.send(mail())
    assert server.taken == []


async def test_an_operator_may_say_that_a_password_goes_in_the_clear() -> None:
    server = Server()
    async with (
        listening(server, auth_require_tls=False) as port,
        mailer(f"smtp://ada:p%40ss%20word@127.0.0.1:{port}?starttls=never") as sending,
    ):
        assert (await sending.send(mail())).code == 250
    assert server.passwords == [b"p@ss word"]


async def test_a_wrong_password_says_nothing_about_the_mail() -> None:
    server = Server()
    async with (
        listening(server, auth_require_tls=False) as port,
        mailer(f"smtp://ada:wrong@127.0.0.1:{port}?starttls=never") as sending,
    ):
        with pytest.raises(MailRefused) as refused:
            await sending.send(mail())
    assert (refused.value.code, refused.value.permanent) == (535, False)


async def test_an_offered_starttls_is_taken_and_carries_the_password(
    server_tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    server = Server()
    async with (
        listening(server, tls_context=server_tls) as port,
        mailer(f"smtp://ada:p%40ss%20word@127.0.0.1:{port}", tls_context=trusting) as sending,
    ):
        assert (await sending.send(mail())).code == 250
    assert server.passwords == [b"p@ss word"]


async def test_without_a_password_an_offered_starttls_is_taken_too(
    server_tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    server = Server()
    async with (
        listening(server, tls_context=server_tls, require_starttls=True) as port,
        mailer(f"smtp://127.0.0.1:{port}", tls_context=trusting) as sending,
    ):
        assert (await sending.send(mail())).code == 250


async def test_a_certificate_nobody_vouches_for_gets_no_mail(server_tls: ssl.SSLContext) -> None:
    server = Server()
    async with listening(server, tls_context=server_tls) as port, mailer(f"smtp://127.0.0.1:{port}") as sending:
        with pytest.raises(MailRefused) as refused:
            await sending.send(mail())
    assert (refused.value.code, refused.value.permanent) == (None, False)
    assert server.taken == []


async def test_smtps_is_encrypted_from_the_first_byte(server_tls: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    server = Server()
    async with (
        listening(server, implicit_tls=server_tls) as port,
        mailer(f"smtps://127.0.0.1:{port}", tls_context=trusting) as sending,
    ):
        assert (await sending.send(mail())).code == 250


@pytest.mark.parametrize(
    ("url", "port", "encryption"),
    [
        ("smtp://mx.example", 25, Encryption.OFFERED),
        ("smtp://mx.example:2525/", 2525, Encryption.OFFERED),
        ("smtp://u:p@mx.example", 587, Encryption.REQUIRED),
        ("smtp://u:p@mx.example?starttls=never", 587, Encryption.NEVER),
        ("smtp://mx.example?starttls=required", 25, Encryption.REQUIRED),
        ("smtps://u:p@mx.example", 465, Encryption.IMPLICIT),
    ],
)
def test_a_url_says_where_and_how_protected(url: str, port: int, encryption: Encryption) -> None:
    server = smtp_server(url)
    assert (server.host, server.port, server.encryption) == ("mx.example", port, encryption)


def test_user_and_password_are_percent_encoded_and_the_password_is_not_shown() -> None:
    server = smtp_server("smtp://ada%40example.com:p%40ss%2Fword@mx.example")
    assert (server.username, server.password) == ("ada@example.com", "p@ss/word")
    assert "p@ss" not in repr(server)


@pytest.mark.parametrize(
    "url",
    [
        "http://u:secret@mx.example",
        "smtp://",
        "mx.example:25",
        "smtp://u:secret@mx.example?starttls=maybe",
        "smtp://u:secret@mx.example?starttls=offered",
        "smtps://u:secret@mx.example?starttls=required",
        "smtp://u:secret@mx.example?tls=1",
        "smtp://u:secret@mx.example/path",
        "smtp://u:secret@mx.example:port",
    ],
)
def test_a_url_that_is_not_understood_is_refused_without_showing_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r".+") as refused:
        smtp_server(url)
    assert "secret" not in str(refused.value)


def test_a_sender_that_is_no_address_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="address"):
        SmtpMailer("smtp://127.0.0.1", sender="Vigil", now=now)
