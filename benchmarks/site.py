"""A local site with as many pages as there are monitors: JSON documents with an ETag, which change when they are told to."""

import asyncio
import socket
from contextlib import suppress

import uvloop
from aiohttp import web

HOSTS = tuple(f"127.0.{block}.{host}" for block in range(1, 5) for host in range(1, 51))
"""200 loopback addresses, so that connections to a host are as few as on the real net."""


class Site:
    """Serves `/<number>`; `POST /change` makes every page another one."""

    def __init__(self) -> None:
        self.edition = 1
        self.answered = {200: 0, 304: 0}

    async def page(self, request: web.Request) -> web.Response:
        """The page, or nothing new."""
        etag = f'"{self.edition}"'
        if request.headers.get("If-None-Match") == etag:
            self.answered[304] += 1
            return web.Response(status=304, headers={"ETag": etag})
        self.answered[200] += 1
        number = int(request.match_info["number"])
        return web.json_response({"price": 100 + self.edition, "item": number}, headers={"ETag": etag})

    async def change(self, _request: web.Request) -> web.Response:
        """From now on every page is another one."""
        self.edition += 1
        return web.Response()

    async def counts(self, _request: web.Request) -> web.Response:
        """How many answers of each kind were given."""
        return web.json_response(self.answered)


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def serve(port: int) -> None:
    """Serve until killed."""
    uvloop.run(_serve(port))


async def _serve(port: int) -> None:
    site = Site()
    application = web.Application()
    application.add_routes(
        [web.get("/counts", site.counts), web.post("/change", site.change), web.get("/{number:\\d+}", site.page)]
    )
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", port).start()  # noqa: S104  every address of the loopback network
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
