"""Sends mail over SMTP (RFC 5321), one connection for each mail, and says in the domain's words how it went."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from urllib.parse import parse_qs, unquote, urlsplit

from aiosmtplib import SMTP, SMTPException, SMTPNotSupported, SMTPResponseException

from adapters.mime_message import MessageRefused, build_message, envelope_address
from domain.mail import MailReceipt, MailRefused, OutgoingMail, single_line

PORT_RELAY, PORT_SUBMISSION, PORT_SUBMISSIONS = 25, 587, 465
"""RFC 5321; RFC 6409 (with a login); RFC 8314 (with TLS from the first byte)."""
REPLY_CHARS_MAX = 500
FAREWELL_SECONDS = 5.0
AUTHENTICATION_REQUIRED = 530
"""RFC 4954, section 6: about us, not about the mail, whatever command it answers."""


class Encryption(StrEnum):
    """How a connection is protected: from the first byte, by a STARTTLS that must succeed, by STARTTLS if the server
    offers it, or not at all because the operator said so."""

    IMPLICIT = "implicit"
    REQUIRED = "required"
    OFFERED = "offered"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mail is handed over."""

    host: str
    port: int
    encryption: Encryption
    username: str | None = None
    password: str | None = field(default=None, repr=False)


def smtp_server(url: str) -> SmtpServer:
    """Read `smtp://[user:password@]host[:port][?starttls=required|never]` or `smtps://...` (percent-encoded user and
    password). With a user STARTTLS is required unless the URL says `never`, so that a password never travels in the clear
    because somebody removed the offer. Raises ValueError, without the password in its message.
    """
    parts = urlsplit(url)
    options = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    starttls = options.pop("starttls", [None])[-1]
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname or options or parts.path not in {"", "/"}:
        raise ValueError("an SMTP URL is smtp://user:password@host:port?starttls=required|never, or smtps://...")
    username = unquote(parts.username) if parts.username else None
    match parts.scheme, starttls:
        case "smtps", None:
            encryption = Encryption.IMPLICIT
        case "smtp", None:
            encryption = Encryption.REQUIRED if username else Encryption.OFFERED
        case "smtp", "required" | "never":
            encryption = Encryption(starttls)
        case _:
            raise ValueError("starttls is `required` or `never`, and only for smtp://")
    usual_port = PORT_SUBMISSION if username else PORT_RELAY
    return SmtpServer(
        host=parts.hostname,
        port=parts.port or (PORT_SUBMISSIONS if encryption is Encryption.IMPLICIT else usual_port),
        encryption=encryption,
        username=username,
        password=unquote(parts.password or "") if username else None,
    )


class SmtpMailer:
    """The mailer of an operator's SMTP server. Any number of sends may run at once; `connections_max` of them talk to the
    server, the others wait."""

    def __init__(
        self,
        url: str,
        *,
        sender: str,
        now: Callable[[], datetime],
        timeout_seconds: float = 60.0,
        connections_max: int = 8,
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        """`url` as `smtp_server` reads it; `sender` is an address or `Name <address>`; `timeout_seconds` is for one whole
        attempt. Raises ValueError for a URL or sender that cannot be used."""
        self._server = smtp_server(url)
        self._sender, self._sender_address = sender, envelope_address(sender)
        # Asking for the machine's own name is a blocking look-up; RFC 5321 (4.1.4) lets the name be any valid one.
        self._own_name = self._sender_address.rpartition("@")[2].encode("idna").decode()
        self._now = now
        self._timeout_seconds = timeout_seconds
        self._free = asyncio.Semaphore(connections_max)
        self._tls_context = tls_context or ssl.create_default_context()
        self._farewells: set[asyncio.Task[None]] = set()

    async def send(self, mail: OutgoingMail) -> MailReceipt:
        """Hand the mail over; returns when the server has answered the final dot with 250.

        Raises `MailRefused`: permanent when the mail cannot be written or the server answered it with 5yz; not permanent
        for 4yz, for a server that is not reached, does not answer in time or does not let us in. After a lost answer to
        the final dot nobody can know whether the mail was taken (RFC 1047): it counts as not taken, and the same
        Message-ID lets the reader's side see that a second one is the same.
        """
        try:
            data = build_message(mail, sender=self._sender, date=self._now())
        except MessageRefused as refused:
            raise MailRefused(None, str(refused), permanent=True) from refused
        await self._free.acquire()
        client = self._client()
        try:
            receipt = await self._attempt(client, mail.to, data)
        except BaseException:
            client.close()
            self._free.release()
            raise
        # The receipt does not wait for the answer to QUIT: until it is recorded, a crash would send the mail again.
        farewell = asyncio.create_task(self._part(client))
        self._farewells.add(farewell)
        farewell.add_done_callback(self._farewells.discard)
        return receipt

    async def close(self) -> None:
        """Wait until the server was told goodbye on every connection."""
        await asyncio.gather(*self._farewells)

    async def _attempt(self, client: SMTP, to: str, data: bytes) -> MailReceipt:
        let_in = False
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await client.connect()
                let_in = True
                return await self._hand_over(client, to, data)
        except SMTPResponseException as refused:
            permanent = let_in and 500 <= refused.code <= 599 and refused.code != AUTHENTICATION_REQUIRED
            code = refused.code if refused.code > 0 else None  # the library's code for an answer that is none is -1
            raise _refusal(code, refused.message, permanent=permanent) from refused
        except SMTPNotSupported as refused:
            raise _refusal(None, str(refused), permanent=let_in) from refused
        except TimeoutError as late:
            raise _refusal(None, f"no answer within {self._timeout_seconds:g} s", permanent=False) from late
        except (SMTPException, OSError) as lost:
            raise _refusal(None, str(lost) or type(lost).__name__, permanent=False) from lost

    async def _hand_over(self, client: SMTP, to: str, data: bytes) -> MailReceipt:
        international = not (to.isascii() and self._sender_address.isascii())
        if international:
            await client.ehlo()
            if not client.supports_extension("smtputf8"):
                raise SMTPNotSupported("the mail server takes no international addresses (SMTPUTF8, RFC 6531)")
        encoding = "utf-8" if international else "ascii"
        await client.mail(self._sender_address, options=["SMTPUTF8"] if international else [], encoding=encoding)
        await client.rcpt(to, encoding=encoding)
        code, message = await client.data(data)
        return MailReceipt(code=code, message=_reply(message))

    async def _part(self, client: SMTP) -> None:
        try:
            with suppress(SMTPException, OSError):
                await client.quit(timeout=FAREWELL_SECONDS)
        finally:
            client.close()
            self._free.release()

    def _client(self) -> SMTP:
        server = self._server
        return SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            local_hostname=self._own_name,
            timeout=self._timeout_seconds,
            use_tls=server.encryption is Encryption.IMPLICIT,
            start_tls=_START_TLS[server.encryption],
            tls_context=self._tls_context,
        )


_START_TLS = {
    Encryption.IMPLICIT: False,
    Encryption.REQUIRED: True,
    Encryption.OFFERED: None,  # the library's way to say: if the server offers it
    Encryption.NEVER: False,
}


def _refusal(code: int | None, message: str, *, permanent: bool) -> MailRefused:
    return MailRefused(code, _reply(message), permanent=permanent)


def _reply(message: str) -> str:
    return single_line(message, chars_max=REPLY_CHARS_MAX)
