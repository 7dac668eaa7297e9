"""The inbox of the mail catcher: pages for people, JSON for tests. Reads a `MailFolder`; needs no script and no network."""

import ipaddress
from pathlib import Path

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from adapters.mail_folder import CaughtMail, MailFolder

REFRESH_SECONDS = 5

PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""No script, no image, nothing from outside (CSP Level 3). A mail in a `srcdoc` frame inherits it; mails have inline
styles."""
MAIL_POLICY = f"sandbox; {PAGE_POLICY}"

HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""On every answer: mails hold links that let their reader in."""

VIEWS = ("html", "text", "headers")


def inbox_app(folder: MailFolder, *, host: str) -> web.Application:
    """The inbox of `folder`. When `host`, where it listens, is loopback, only requests that name a loopback address are
    answered: a page on the web could otherwise read it under a name of its own that leads here (DNS rebinding)."""
    inbox = _Inbox(folder)
    app = web.Application(middlewares=[_guard(loopback_only=_is_loopback(host))])
    app.router.add_get("/", inbox.list_page)
    app.router.add_get(r"/messages/{id:\d+}", inbox.mail_page)
    app.router.add_get(r"/messages/{id:\d+}.html", inbox.mail_html)
    app.router.add_get("/api/messages", inbox.list_json)
    app.router.add_get(r"/api/messages/{id:\d+}", inbox.mail_json)
    app.router.add_delete("/api/messages", inbox.clear)
    return app


class _Inbox:
    def __init__(self, folder: MailFolder) -> None:
        self._folder = folder
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "inbox_templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    async def list_page(self, request: web.Request) -> web.Response:  # noqa: ARG002 - what aiohttp gives to every handler
        return self._page("list.html.j2", mails=self._folder.newest_first(), refresh_seconds=REFRESH_SECONDS)

    async def mail_page(self, request: web.Request) -> web.Response:
        mail = self._mail(request)
        wanted = request.query.get("view", "html" if mail.html else "text")
        return self._page("mail.html.j2", mail=mail, views=VIEWS, view=wanted if wanted in VIEWS else "text")

    async def mail_html(self, request: web.Request) -> web.Response:
        html = self._mail(request).html
        return web.Response(text=html, content_type="text/html", headers={"Content-Security-Policy": MAIL_POLICY})

    async def list_json(self, request: web.Request) -> web.Response:  # noqa: ARG002 - what aiohttp gives to every handler
        return _json(self._folder.newest_first())

    async def mail_json(self, request: web.Request) -> web.Response:
        return _json(self._mail(request))

    async def clear(self, request: web.Request) -> web.Response:  # noqa: ARG002 - what aiohttp gives to every handler
        self._folder.clear()
        return web.Response(status=204)

    def _mail(self, request: web.Request) -> CaughtMail:
        mail = self._folder.get(request.match_info["id"])
        if mail is None:
            raise web.HTTPNotFound(text="There is no such mail; only the newest are kept.")
        return mail

    def _page(self, template: str, **values: object) -> web.Response:
        return web.Response(text=self._templates.get_template(template).render(values), content_type="text/html")


def _json(value: CaughtMail | list[CaughtMail]) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def _guard(*, loopback_only: bool) -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if loopback_only and not _is_loopback(_host_name(request.host)):
            answer: web.StreamResponse = web.Response(status=421, text="This inbox is read at a loopback address.")
        else:
            try:
                answer = await handler(request)
            except web.HTTPException as refused:
                answer = web.Response(status=refused.status, text=refused.text)
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer

    return guard


def _host_name(authority: str) -> str:
    """The host in `host[:port]` or `[IPv6 address]:port`."""
    return authority[1:].partition("]")[0] if authority.startswith("[") else authority.partition(":")[0]


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
