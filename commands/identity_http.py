"""POST /api/v1/auth/...: register, verify, log in, refresh, log out."""

from html import escape
from urllib.parse import quote
from uuid import UUID

import msgspec
from litestar import Controller, MediaType, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, JSONBody

from commands.http.bearer import ANONYMOUS_ROUTE
from commands.http.form import AnyRequest, Envelope, answer
from commands.identity import IdentityCommands, TokenPair
from domain.errors import RuleViolation

PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"


class RegisterBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who wants an account. `timezone` is an IANA name, UTC when left out."""

    email: str
    password: str
    name: str
    timezone: str = "UTC"


class VerifyBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The token of the mailed link."""

    token: str


class LoginBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Address and password."""

    email: str
    password: str


class RefreshBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The refresh token."""

    refresh_token: str


class EraseBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The password, asked for again because this cannot be undone."""

    password: str


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """The same for a new address and a taken one: look into the mailbox."""

    email: str
    verification: str


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """The address is proved; log in."""

    verified: bool


class IdentityWrites(Controller):
    """Accounts and sessions."""

    path = "/auth"
    tags = ("Identity",)

    @post("/register", opt={ANONYMOUS_ROUTE: True}, summary="Register", status_code=201)
    async def register(
        self, request: AnyRequest, data: JSONBody[RegisterBody], identity: NamedDependency[IdentityCommands]
    ) -> Envelope[Registered]:
        """Register an address; a mail with a link is on its way. The answer is the same when the address is taken."""
        await identity.register(
            email=data.email,
            password=data.password,
            name=data.name,
            timezone=data.timezone,
            correlation_id=_correlation(request),
        )
        return answer(request, Registered(email=data.email, verification="sent"))

    @post("/verify-email", opt={ANONYMOUS_ROUTE: True}, summary="Verify an address", status_code=200)
    async def verify_email(
        self, request: AnyRequest, data: JSONBody[VerifyBody], identity: NamedDependency[IdentityCommands]
    ) -> Envelope[Verified]:
        """Prove an address with the token of the mailed link. Works once."""
        await identity.verify_email(data.token, correlation_id=_correlation(request))
        return answer(request, Verified(verified=True))

    @get("/verify-email", opt={ANONYMOUS_ROUTE: True}, include_in_schema=False, media_type=MediaType.HTML)
    async def show_verification(self, token: FromQuery[str] = "") -> Response[str]:
        """Where the mailed link leads. Opening it changes nothing, because mail scanners open links too."""
        form = (
            "<p>Say yes only if you registered at Vigil yourself, just now. If you did not, somebody else used your"
            " address: close this page, and nothing happens.</p>"
            f'<form method="post" action="/api/v1/auth/verify-email/form?token={quote(token)}">'
            "<button>Yes, this is my address</button></form>"
        )
        return _page("Is this your address?", form)

    @post(
        "/verify-email/form",
        opt={ANONYMOUS_ROUTE: True},
        include_in_schema=False,
        media_type=MediaType.HTML,
        status_code=200,
    )
    async def submit_verification(
        self, request: AnyRequest, identity: NamedDependency[IdentityCommands], token: FromQuery[str] = ""
    ) -> Response[str]:
        """The button of that page."""
        try:
            await identity.verify_email(token, correlation_id=_correlation(request))
        except RuleViolation as refused:
            return _page("This did not work", f"<p>{escape(refused.message)}</p>", status=400)
        return _page("Your address is verified", "<p>You can log in now.</p>")

    @post("/login", opt={ANONYMOUS_ROUTE: True}, summary="Log in", status_code=200)
    async def log_in(
        self, request: AnyRequest, data: JSONBody[LoginBody], identity: NamedDependency[IdentityCommands]
    ) -> Envelope[TokenPair]:
        """Tokens for a verified person."""
        return answer(request, await identity.log_in(email=data.email, password=data.password))

    @post("/refresh", opt={ANONYMOUS_ROUTE: True}, summary="Refresh a session", status_code=200)
    async def refresh(
        self, request: AnyRequest, data: JSONBody[RefreshBody], identity: NamedDependency[IdentityCommands]
    ) -> Envelope[TokenPair]:
        """The next pair of tokens; using an old refresh token again ends the session."""
        return answer(request, await identity.refresh(data.refresh_token))

    @post("/logout", opt={ANONYMOUS_ROUTE: True}, summary="Log out", status_code=204)
    async def log_out(self, data: JSONBody[RefreshBody], identity: NamedDependency[IdentityCommands]) -> None:
        """End the session of this refresh token."""
        await identity.log_out(data.refresh_token)


class AccountWrites(Controller):
    """One's own account."""

    path = "/me"
    tags = ("Identity",)

    @delete("/", summary="Erase your account", status_code=204)
    async def erase_me(
        self, request: AnyRequest, data: JSONBody[EraseBody], identity: NamedDependency[IdentityCommands]
    ) -> None:
        """Erase everything you said here, for ever: your key is destroyed, and nobody can read your address, your name, your
        prompts or your mails again. Nothing is watched for you any more, and every token of yours is refused from now on.
        What was read from the pages you watched stays, without saying for whom."""
        await identity.erase_own(request.user, password=data.password)


def _correlation(request: AnyRequest) -> UUID:
    correlation: UUID = request.scope["vigil.correlation_id"]  # type: ignore[typeddict-item]  # set by RequestIds
    return correlation


def _page(title: str, content: str, *, status: int = 200) -> Response[str]:
    html = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)} - Vigil</title>"
        "<style>body{font:18px/1.5 system-ui;max-width:32rem;margin:15vh auto;padding:0 1rem;color:#1c2430}"
        "button{font:inherit;padding:.6rem 1.2rem;border:0;border-radius:.4rem;background:#1f5eff;color:#fff}</style>"
        f"<h1>{escape(title)}</h1>{content}</html>"
    )
    return Response(
        html, status_code=status, media_type=MediaType.HTML, headers={"Content-Security-Policy": PAGE_POLICY}
    )
