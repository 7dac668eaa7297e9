"""What Vigil touches outside itself, played by the driver: shops whose prices change, and a mail server."""

import asyncio
import gzip
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from aiohttp import web

from adapters.mail_catcher import MailCatcher
from adapters.mail_folder import CaughtMail
from faults.ledger import Ledger, Mail
from faults.people import HIGH

BOMB = gzip.compress(bytes(30 * 1024**2), 9)
HANG_SECONDS = 3600.0
HOSTILE = ("bomb", "endless", "drip", "loop", "inside")
"""What sites do that want to harm."""
_PIECE = b" " * 65_536


class World:
    """Shops and a mail server on loopback; the ledger gets the mails it accepted."""

    def __init__(self, folder: Path, ledger: Ledger, *, now: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._prices: dict[str, int] = {}
        self.ambushes: dict[str, Callable[[], None]] = {}
        """Called, instead of an answer, when somebody reads the page of this shop."""
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

    def shop_urls(self, name: str, count: int) -> list[str]:
        """The pages of so many shops called like this, with a price that is never low."""
        names = [f"{name}-{number}" for number in range(count)]
        self._prices.update(dict.fromkeys(names, HIGH))
        return [self.shop_url(shop) for shop in names]

    def hostile_urls(self, kind: str, count: int) -> list[str]:
        """The pages of so many sites of a kind."""
        return [f"{self.shops_url}/hostile/{kind}/{number}" for number in range(count)]

    def set_price(self, name: str, price: int) -> None:
        """From now on this is a shop's price."""
        self._prices[name] = price

    async def start(self) -> None:
        """Open the shops and the mail server."""
        await self._catcher.start()
        app = web.Application()
        app.router.add_get("/{shop}", self._serve)
        app.router.add_get("/hostile/{kind}/{number}", self._harm)
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
        if shop in self.ambushes:
            self.ambushes[shop]()
            await asyncio.sleep(HANG_SECONDS)
        return web.json_response({"price": self._prices[shop]})

    async def _harm(self, request: web.Request) -> web.StreamResponse:
        kind = request.match_info["kind"]
        if kind == "bomb":
            return web.Response(body=BOMB, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})
        if kind in {"loop", "inside"}:
            to = str(request.url) if kind == "loop" else "http://169.254.169.254/latest/meta-data/"
            return web.Response(status=302, headers={"Location": to})
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        with suppress(ConnectionError):
            while True:
                await answer.write(_PIECE if kind == "endless" else b" ")
                await asyncio.sleep(0 if kind == "endless" else 0.2)
        return answer

    def _accept(self, mail: CaughtMail) -> None:
        self._ledger.mails.extend(
            Mail(to, mail.headers.get("Message-ID", ""), mail.subject, mail.text, mail.received_at) for to in mail.to
        )
