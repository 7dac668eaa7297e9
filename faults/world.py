"""What Vigil touches outside itself, played by the driver: shops whose prices change, and a mail server."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from aiohttp import web

from adapters.mail_catcher import MailCatcher
from adapters.mail_folder import CaughtMail
from faults.ledger import Ledger, Mail


class World:
    """Shops and a mail server on loopback; the ledger gets the mails it accepted."""

    def __init__(self, folder: Path, ledger: Ledger, *, now: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._prices: dict[str, int] = {}
        self._catcher = MailCatcher(folder, now=now, on_mail=self._accept)
        self._shops: web.AppRunner | None = None
        self.shops_url = ""

    @property
    def smtp_url(self) -> str:
        """Where mail is taken."""
        return f"smtp://127.0.0.1:{self._catcher.smtp_port}"

    def shop_url(self, name: str) -> str:
        """The page of a shop."""
        return f"{self.shops_url}/{name}"

    def set_price(self, name: str, price: int) -> None:
        """From now on this is a shop's price."""
        self._prices[name] = price

    async def start(self) -> None:
        """Open the shops and the mail server."""
        await self._catcher.start()
        app = web.Application()
        app.router.add_get("/{shop}", self._serve)
        self._shops = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._shops.setup()
        await web.TCPSite(self._shops, "127.0.0.1", 0).start()
        self.shops_url = f"http://127.0.0.1:{self._shops.addresses[0][1]}"

    async def stop(self) -> None:
        """Close everything."""
        if self._shops is not None:
            await self._shops.cleanup()
        await self._catcher.stop()

    async def _serve(self, request: web.Request) -> web.Response:
        shop = request.match_info["shop"]
        return web.json_response({"price": self._prices[shop]})

    def _accept(self, mail: CaughtMail) -> None:
        self._ledger.mails.extend(
            Mail(to, mail.headers.get("Message-ID", ""), mail.subject, mail.text, mail.received_at) for to in mail.to
        )
