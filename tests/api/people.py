"""An installation as people see it: accounts made through the write side, everything else over HTTP."""

import itertools
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, cast
from uuid import UUID

import httpx

from adapters.argon2_passwords import Argon2Passwords
from bootstrap.application import make_application
from bootstrap.now_and_new import new_id, utc_now
from bootstrap.parts import Parts
from domain.event import Event, Metadata, NewEvents
from domain.user import EmailVerificationRequested
from read_api.freshness import ProjectionWait

SHOP = "http://127.0.0.1/price.json"
"""An address that may be watched here. Nobody reads it."""

PASSWORD = "a few plain words"
PATIENCE_SECONDS = 10.0

Json = dict[str, Any]

_STORED = """
select 'events', count(*) from event where owner_id = %(owner)s
union all select 'reservations', count(*) from reservation where scope like %(scopes)s
union all select 'schedules', count(*) from schedule where owner_id = %(owner)s
union all select 'requests', count(*) from evaluation_request where owner_id = %(owner)s
union all select 'receipts', count(*) from command_receipt where owner_id = %(owner)s
"""


def wish(**changes: object) -> Json:
    """The body of a monitor that needs no classifier; None leaves a field out."""
    body: Json = {
        "prompt": "Tell me when the price is under 50",
        "sources": [{"type": "http", "url": SHOP}],
        "facts": [{"name": "price", "type": "number", "select": {"jsonpath": "$.price"}}],
        "condition": "price < 50.0",
        "schedule": {"every": "PT1H"},
    }
    return {name: value for name, value in {**body, **changes}.items() if value is not None}


class Installation:
    """The application over `parts`, called inside this process."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.app = make_application(parts)
        self._cheap = Argon2Passwords(passes=1, memory_kib=8, lanes=1)
        self.identity = replace(parts.identity(), passwords=self._cheap)
        self._numbers = itertools.count(1)
        transport = httpx.ASGITransport(app=cast("Any", self.app), raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://vigil.test")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.client.aclose()
        self._cheap.close()

    async def link_token(self, user_id: UUID) -> str:
        """The secret in the newest link that was promised to this person."""
        events = [stored.event for stored in await self.parts.store.load(user_id)]
        requested = [event for event in events if isinstance(event, EmailVerificationRequested)][-1]
        return self.parts.links.make("verify-email", user_id, requested.token_id)

    async def person(self) -> "Person":
        """Somebody who has registered and verified, and whose account can be read."""
        email = f"person{next(self._numbers)}@example.org"
        user_id = await self.identity.register(
            email=email, password=PASSWORD, name="Ada", timezone="UTC", correlation_id=new_id()
        )
        await self.identity.verify_email(await self.link_token(user_id), correlation_id=new_id())
        await self.can_be_read(user_id)
        token, _ = self.parts.tokens.issue(user_id, frozenset({"member"}), now=utc_now())
        return Person(self, user_id, email, token)

    async def stored(self, owner_id: UUID) -> dict[str, int]:
        """How many rows the write side keeps for this person."""
        parameters = {"owner": owner_id, "scopes": f"%:{owner_id}"}
        async with self.parts.pool.connection() as connection:
            found = await (await connection.execute(_STORED, parameters)).fetchall()
        return {str(table): int(cast("int", count)) for table, count in found}

    async def append(self, owner_id: UUID, stream_id: UUID, *events: Event) -> None:
        """What a worker would have recorded, read back as soon as it is told."""
        version = len(await self.parts.store.load(stream_id))
        new = NewEvents(stream_id=stream_id, owner_id=owner_id, expected_version=version, events=events)
        await self.parts.store.append([new], metadata=Metadata(correlation_id=new_id(), actor="test"))
        await self.can_be_read(stream_id, owner_id=owner_id)

    async def can_be_read(self, stream_id: UUID, *, owner_id: UUID | None = None) -> None:
        """Return once the read tables show the whole stream."""
        version = len(await self.parts.store.load(stream_id))
        projected = ProjectionWait(self.parts.pool, wait_seconds=PATIENCE_SECONDS)
        assert await projected.wait_for(stream_id, version, owner_id=owner_id or stream_id) is not None

    async def nobody(self, method: str, path: str, body: object = None, **options: Any) -> httpx.Response:  # noqa: ANN401
        """A request without a token."""
        return await self.client.request(method, f"/api/v1{path}", json=body, **options)


class Person:
    """Somebody with an access token."""

    def __init__(self, installation: Installation, user_id: UUID, email: str, token: str) -> None:
        self.installation = installation
        self.user_id, self.email = user_id, email
        self.authorization = {"Authorization": f"Bearer {token}"}

    async def asks(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: dict[str, str] | None = None,
        **options: Any,  # noqa: ANN401  as httpx takes them
    ) -> httpx.Response:
        """The answer to a request below /api/v1, whatever it is."""
        if body is not None:
            options["json"] = body
        return await self.installation.client.request(
            method, f"/api/v1{path}", headers={**self.authorization, **(headers or {})}, **options
        )

    async def gets(self, method: str, path: str, body: object = None, *, expect: int = 200, **options: Any) -> Any:  # noqa: ANN401
        """The data of an answer that has to have this status."""
        response = await self.asks(method, path, body, **options)
        assert response.status_code == expect, response.text
        return response.json()["data"] if response.content else None

    async def is_refused(self, method: str, path: str, body: object = None, *, status: int, **options: Any) -> Json:  # noqa: ANN401
        """The error of an answer that has to have this status."""
        response = await self.asks(method, path, body, **options)
        assert response.status_code == status, response.text
        error: Json = response.json()["error"]
        return error

    async def monitor(self, **changes: object) -> Json:
        """A new monitor."""
        created: Json = await self.gets("POST", "/monitors", wish(**changes), expect=201)
        return created

    async def action(self, **changes: object) -> Json:
        """A new action."""
        created: Json = await self.gets("POST", "/actions", {"type": "email", **changes}, expect=201)
        return created

    async def trigger(self, monitor: Json, action: Json, **changes: object) -> Json:
        """A new trigger between them."""
        body = {"monitor_id": monitor["id"], "action_id": action["id"], "condition": "becomes_active", **changes}
        created: Json = await self.gets("POST", "/triggers", body, expect=201)
        return created
