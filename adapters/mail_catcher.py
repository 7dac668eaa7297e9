"""Catches mail on a machine that has no mail server: an SMTP server on loopback, and an inbox to read what it took."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from weakref import WeakSet

from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session

from adapters.mail_folder import MESSAGES_KEPT, CaughtMail, MailFolder
from adapters.mail_inbox import inbox_app

MESSAGE_BYTES_MAX = 5 * 1024 * 1024
IDLE_SECONDS = 60.0
SHUTDOWN_SECONDS = 1.0


class MailCatcher:
    """Takes every mail up to `MESSAGE_BYTES_MAX`, keeps it in a folder, shows it, and passes it on to nobody.

    Both servers run in the event loop that calls `start`. A mail is in the folder before the answer 250 is given
    (RFC 5321, section 6.1). `on_mail` is called with each mail, before that answer.
    """

    def __init__(
        self,
        folder: Path,
        *,
        now: Callable[[], datetime],
        host: str = "127.0.0.1",
        smtp_port: int = 0,
        inbox_port: int = 0,
        kept: int = MESSAGES_KEPT,
        on_mail: Callable[[CaughtMail], None] | None = None,
    ) -> None:
        """Port 0 lets the system choose; after `start` the two ports are the real ones."""
        self.smtp_port, self.inbox_port = smtp_port, inbox_port
        self._host, self._now, self._on_mail = host, now, on_mail
        self._folder = MailFolder(folder, kept=kept)
        self._connections: WeakSet[SMTP] = WeakSet()
        self._server: asyncio.Server | None = None
        self._inbox: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen on both ports; raises OSError when one is taken."""
        try:
            self._server = await asyncio.get_running_loop().create_server(
                self._smtp_connection, self._host, self.smtp_port
            )
            self.smtp_port = self._server.sockets[0].getsockname()[1]
            self._inbox = web.AppRunner(
                inbox_app(self._folder, host=self._host), access_log=None, shutdown_timeout=SHUTDOWN_SECONDS
            )
            await self._inbox.setup()
            await web.TCPSite(self._inbox, self._host, self.inbox_port).start()
            self.inbox_port = self._inbox.addresses[0][1]
        except OSError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Listen no more and cut open connections; stopping twice is once."""
        server, self._server = self._server, None
        inbox, self._inbox = self._inbox, None
        if server is not None:
            server.close()
            for connection in list(self._connections):
                if connection.transport is not None:
                    connection.transport.close()
            await server.wait_closed()
        if inbox is not None:
            await inbox.cleanup()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802 - aiosmtpd calls it by this name and with these
        """Keep the mail, then say so. Nothing is awaited in between, so a client that leaves cannot stop it half-way."""
        mail = self._folder.add(
            sender=envelope.mail_from or "",
            to=tuple(envelope.rcpt_tos),
            content=envelope.original_content or b"",
            received_at=self._now(),
        )
        if self._on_mail is not None:
            self._on_mail(mail)
        return f"250 2.0.0 kept as {mail.id}"

    def _smtp_connection(self) -> SMTP:
        connection = SMTP(
            self,
            data_size_limit=MESSAGE_BYTES_MAX,
            enable_SMTPUTF8=True,
            hostname="localhost",
            ident="mail catcher",
            timeout=IDLE_SECONDS,
            loop=asyncio.get_running_loop(),
        )
        self._connections.add(connection)
        return connection
